"""Clock times written into a draft order, where nothing else that the order says would be lost or contradicted."""

from __future__ import annotations

from typing import Any

from cds_service.fhir import Sigs
from cds_service.planner.model import DAYS, TimesWeek, clock

# What the new times say in place of the old ones.
REPLACED = {"frequency", "period", "periodUnit", "when", "offset", "dayOfWeek", "timeOfDay"}
# What new times would leave without meaning.
RANGES = {"frequencyMax", "periodMax", "count", "countMax"}


def with_times(resource: dict[str, Any], week: TimesWeek, sigs: Sigs) -> tuple[dict[str, Any], list[list[int]]] | None:
    """The draft with these times, and the weekdays (0 Monday) of each of its dosage instructions.

    One instruction for each set of days that has the same times. None where that cannot be done faithfully: several
    instructions, a range or number of doses, or words of which we cannot read all, since they may name other times.
    """
    dosages = resource.get("dosageInstruction")
    if not isinstance(dosages, list) or len(dosages) != 1 or not isinstance(dosages[0], dict):
        return None
    old = dict(dosages[0])
    timing = old.get("timing") or {}
    repeat = timing.get("repeat") or {} if isinstance(timing, dict) else None
    if not isinstance(repeat, dict) or timing.get("event") or RANGES & repeat.keys():
        return None
    code = timing.get("code")
    written = {name: old.pop(name, None) for name in ("text", "patientInstruction")}
    for text in (*written.values(), (code or {}).get("text")):
        if text and not _replaceable(text, "doseAndRate" in old, sigs):
            return None
    sets: dict[tuple[int, ...], list[int]] = {}
    for weekday, minutes in enumerate(week):
        if minutes:
            sets.setdefault(minutes, []).append(weekday)
    if len(sets) > 1:
        old.pop("id", None)  # no two elements have the same
    made = []
    for minutes, days in sets.items():
        new = {name: value for name, value in repeat.items() if name not in REPLACED}
        new |= {"frequency": len(minutes), "period": 1, "periodUnit": "d"}
        if len(days) < len(DAYS):
            new["dayOfWeek"] = [DAYS[weekday] for weekday in days]
        new["timeOfDay"] = [f"{clock(minute)}:00" for minute in minutes]
        kept = {name: text for name, text in written.items() if text and _still_true(text, len(minutes), sigs)}
        made.append({**old, **kept, "timing": {"repeat": new}})
    return {**resource, "dosageInstruction": made}, list(sets.values())


def _still_true(text: Any, doses: int, sigs: Sigs) -> bool:
    """Whether the words hold beside the new times: as many doses a day, and no time of day of their own."""
    read = sigs.read(text) if isinstance(text, str) else None
    if read is None or read.get("when") or read.get("times") or read.get("code") or read.get("days"):
        return False
    return (read.get("frequency"), read.get("period"), read.get("period_unit")) == (doses, 1, "d")


def _replaceable(text: Any, amount_known: bool, sigs: Sigs) -> bool:
    """Whether the words say nothing but a timing, and an amount that stands in the order too."""
    read = sigs.read(text) if isinstance(text, str) else None
    return read is not None and ("amount" not in read or amount_known)
