"""What the watch found, in the words of a ward: states of rules, silence, alarms, canaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cds_service.console.parts import Parts
from cds_service.hooks.rounds import CANARIES, WATCH
from cds_service.store.duties import Alarm
from cds_service.watch.statistics import TOO_FEW, RuleNumbers

STATES: Final = {"active": "good", "silent": "warn", "hidden": "warn", "draft": "plain", "retired": "plain"}
KIND_WORDS: Final = {
    "stopped": "stopped firing", "storm": "fires far more than usual", "fell": "fires less than usual",
    "rose": "fires more than usual", "fault": "met a fault of the software",
    "canary": "a test patient did not get the expected cards", "data": "data got worse",
}  # fmt: skip
DATA_WORDS: Final = {
    "input": "not sent or not readable: {}", "codes": "codes not read: {}", "unit": "units not read: {}",
    "calls": "calls refused",
}  # fmt: skip
NEXT_STEPS: Final = {
    "stopped": "Look at what changed that day: site values, an update of the EHR, codes or units of a laboratory.",
    "storm": "Look at what changed that day. Until it is understood the rule can be made silent.",
    "fell": "Look at what changed since, and at the data of each client.",
    "rose": "Look at what changed since, and at the data of each client.",
    "fault": "Send the log line with this rule's name to whoever maintains this service.",
    "canary": "Do not rely on these rules until it is understood. Was something published just before?",
    "data": "Ask whoever runs this EHR what changed: what is not sent or not read cannot be checked.",
}  # fmt: skip


def length(hours: float) -> str:
    """`5 hours`, `3 days`."""
    number, unit = (round(hours / 24), "day") if hours >= 48 else (round(hours), "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def plain(number: float) -> str:
    """A number without digits that nobody needs."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Watched:
    """What the last look at all counts said, by rule and client ("" for all clients)."""

    until: datetime | None
    streams: Mapping[tuple[str, str], Mapping[str, Any]]

    def of(self, rule: str, client: str = "") -> Mapping[str, Any] | None:
        """The rule's stream: of the client, else of all; of the only one where there is one."""
        found = self.streams.get((rule, client))
        if found is None and not client:
            found = next((row for (name, _), row in self.streams.items() if name == rule), None)
        return found

    def words(self, rule: str) -> str:
        """How it is with this rule now."""
        row = self.of(rule)
        if row is None:
            return "never fired" if self.until else "not looked at yet"
        if row["learning"]:
            return "its usual rate is being learnt"
        usual = f"usual {plain(row['usual_a_day'])} a day" if row["usual_a_day"] >= 1 else "fires seldom"
        if row["silent_hours"] < 1:
            return usual
        told = f"quiet for {length(row['silent_hours'])} ({usual})"
        return f"{told}; {TOO_FEW} whether it stopped" if row["blind"] else told

    def found_within(self, rule: str) -> str:
        """When a stop of it would be noticed."""
        row = self.of(rule)
        if row is None or row["learning"]:
            return ""
        days = row["stop_found_in_days"]
        return f"a stop is noticed within {length(days * 24)}" if days else "a stop is not noticed within four weeks"


def watched(parts: Parts) -> Watched:
    """What the last look said. StoreUnavailable."""
    told = parts.store.duty(WATCH).result or {}
    until = datetime.fromisoformat(told["until"]) if "until" in told else None
    return Watched(until, {(row["rule"], row["client"]): row for row in told.get("streams", [])})


def alarm_words(alarm: Alarm) -> str:
    """What was found, with its numbers."""
    told = alarm.details
    if alarm.kind == "canary":
        return "; ".join(told.get("wrong", []))
    if alarm.kind == "fault":
        return f"{told.get('observed', '?')} times within a day"
    hours = told.get("hours", 0)
    return f"{told.get('observed', '?')} in {length(hours)}, where {plain(told.get('expected', 0))} were expected"


def about(alarm: Alarm, parts: Parts) -> str:
    """What it is about: the rule's title, the canary's, or the data."""
    if alarm.kind == "data":
        kind, _, name = alarm.subject.partition(" ")
        concept = parts.current.library.terminology.get(name)
        return DATA_WORDS.get(kind, "{}").format(concept.title if concept else name.replace("_", " "))
    if alarm.kind == "canary":
        return str(alarm.details.get("title", alarm.subject))
    rule = parts.current.library.rules.get(alarm.subject)
    return rule.rule.title if rule else alarm.subject


def last_canaries(parts: Parts) -> tuple[datetime | None, list[dict[str, Any]]]:
    """When they were run last, and what came of each."""
    duty = parts.store.duty(CANARIES)
    return duty.done_at, (duty.result or {}).get("canaries", [])


def rule_alarms(parts: Parts) -> dict[str, list[Alarm]]:
    """Open alarms about rules, by rule."""
    found: dict[str, list[Alarm]] = {}
    for alarm in parts.store.open_alarms():
        if alarm.kind not in ("data", "canary"):
            found.setdefault(alarm.subject, []).append(alarm)
    return found


def span(days: int, now: datetime) -> tuple[datetime, datetime]:
    return now - timedelta(days=days), now


def state_badge(numbers: RuleNumbers) -> dict[str, str]:
    return {"state": numbers.state, "state_kind": STATES[numbers.state]}
