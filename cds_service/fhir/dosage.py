"""Dosage instructions: FHIR Timing, and written directions, which must not contradict it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from cds_service.fhir.courses import Course, in_days, seconds_of
from cds_service.fhir.dates import read_day
from cds_service.fhir.elements import DosageView, QuantityView, RatioView, Repeat, TimingView
from cds_service.fhir.identity import UNREADABLE
from cds_service.fhir.numbers import number, whole
from cds_service.patient import Dosage, Quantity
from cds_service.rules.amounts import most_doses_a_day
from cds_service.terminology.index import Vocabulary
from cds_service.terminology.strengths import elemental_amount
from cds_service.terminology.units import UnitProblem, UnitTable

KEEP_APART = "urn:magnesium-cds:keep-apart"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERIODS = frozenset({"s", "min", "h", "d", "wk", "mo", "a"})
_WHEN = frozenset(
    {
        "MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE", "EVE.early", "EVE.late",
        "NIGHT", "PHS", "IMD", "HS", "WAKE", "C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD",
        "PCV",
    }
)  # fmt: skip
_CONCEPT_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_YES = b"true"
_AN_HOUR = 3600  # seconds
_read_quantity = Decoder(QuantityView).decode
_read_ratio = Decoder(RatioView).decode


Fields = dict[str, Any]
"""Fields of a Dosage that is made once all of them are known."""


class _Unreadable(Exception):
    """Why a timing cannot be read."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    start: date | None = None
    end: date | None = None


def read_dosages(instructions: Sequence[DosageView], course: Course, vocabulary: Vocabulary) -> tuple[Dosage, ...]:
    """Every instruction, in the order sent; a written one may be several. A duration without a start counts from the
    day of the order. What is said to end before it starts has neither."""
    found = (dosage for view in instructions for dosage in _read(view, course, vocabulary))
    return tuple(replace(each, start=None, end=None) if _is_backwards(each) else each for each in found)


def _is_backwards(dosage: Dosage) -> bool:
    return dosage.start is not None and dosage.end is not None and dosage.end < dosage.start


def _read(view: DosageView, course: Course, vocabulary: Vocabulary) -> list[Dosage]:
    amount, amount_high = _amounts(view, vocabulary.units)
    text = view.text or view.patientInstruction or ""
    base: Fields = {
        "sequence": whole(view.sequence),
        "as_needed": _as_needed(view),
        "amount": amount,
        "amount_high": amount_high,
        "elemental": elemental_amount(text) if text else None,
        "text": text,
        "kept_apart_from": _kept_apart(view) if view.additionalInstruction else frozenset(),
    }
    if view.unread:
        return [Dosage(**base, problem="not readable")]
    timing = view.timing
    if timing is None or not (timing.repeat or timing.code or timing.event):
        return [Dosage(**fields) for fields in _from_text(base, text, course, vocabulary)]
    try:
        dosages = [Dosage(**fields) for fields in _from_timing(base, timing, course, vocabulary)]
        if text:
            _check(dosages, vocabulary.sigs.read_all(text), vocabulary.units)
    except _Unreadable as problem:
        return [Dosage(**base, problem=str(problem))]
    return dosages


def _check(dosages: Sequence[Dosage], written: Sequence[Mapping[str, Any]], units: UnitTable) -> None:
    """Raises _Unreadable where the text says another number of doses a day, or another dose, than the structure."""
    said = _doses_a_day([Dosage(**{k: v for k, v in w.items() if k not in ("lasts", "count")}) for w in written])
    mine = _doses_a_day(dosages)
    if written and said is not None and mine is not None and round(said, 3) != round(mine, 3):
        raise _Unreadable("the timing and the text disagree")
    if len(written) == len(dosages) == 1:
        one = {"amount": dosages[0].amount, "amount_high": dosages[0].amount_high}
        if _is_another(one, written[0], units):
            raise _Unreadable("the amount and the text disagree")


def _doses_a_day(dosages: Sequence[Dosage]) -> Decimal | None:
    rates = [most_doses_a_day(dosage) for dosage in dosages]
    known = [rate for rate in rates if rate is not None]
    return sum(known, Decimal(0)) if len(known) == len(rates) else None


def _is_another(dosage: Mapping[str, Any], written: Mapping[str, Any], units: UnitTable) -> bool:
    """Whether a text gives another amount than the structured dose, where the two can be compared."""
    mine, other = dosage["amount"], written.get("amount")
    if mine is None or other is None or mine.unit not in units.units or other.unit not in units.units:
        return False
    kinds = [units.units[amount.unit].kind for amount in (mine, other)]
    high, other_high = dosage["amount_high"] or mine, written.get("amount_high") or other
    comparable = mine.unit == other.unit or kinds == ["count", "count"]
    return comparable and (mine.value, high.value) != (other.value, other_high.value)


def _from_timing(base: Fields, timing: TimingView, course: Course, vocabulary: Vocabulary) -> list[Fields]:
    repeat = timing.repeat or Repeat()
    dosage = base | _at_events(timing.event) if timing.event else base
    dosage = dosage | _repeated(dosage.get("times", ()), repeat)
    code = next((c for c in _codes(timing) if vocabulary.sigs.coded(c)), None)
    if code is not None:
        dosage["code"] = code
        if not _says_when(dosage):
            # A code is a complete statement of the timing, bounds apart (FHIR R4, Timing.code).
            dosage |= vocabulary.sigs.coded(code)
    bounds = _bounds(repeat, course, vocabulary.units)
    said = {name: day for name, day in (("start", bounds.start), ("end", bounds.end)) if day}
    dosage |= said
    found = [dosage] if _says_when(dosage) else _written(dosage, timing, repeat, course, vocabulary)
    for each in found:
        each |= said
        _count(each, repeat, course, vocabulary.units)
    return found


def _written(
    dosage: Fields, timing: TimingView, repeat: Repeat, course: Course, vocabulary: Vocabulary
) -> list[Fields]:
    """The times in the words of the timing, else in those of the whole instruction."""
    said = timing.code.text if timing.code else None
    found = _from_text(dosage, said, course, vocabulary) if said else []
    if found and "problem" not in found[0]:
        return found
    text = dosage["text"]
    if text and not dosage["as_needed"] and not bytes(repeat.count):
        found = _from_text(dosage, text, course, vocabulary)
        # Words that nobody can read beside words that can: only a text that repeats them is believed.
        if "problem" not in found[0] and (not said or said.casefold() in text.casefold()):
            return [each | {name: dosage[name] for name in ("start", "end") if dosage.get(name)} for each in found]
    if timing.code is not None:
        raise _Unreadable("timing code not known")
    if dosage["as_needed"] or bytes(repeat.count):
        return [dosage]
    return found or [dosage | {"problem": "no timing given"}]


def _repeated(times: Sequence[time], repeat: Repeat) -> Fields:
    unit = repeat.periodUnit
    frequency, frequency_max = _positive(repeat.frequency), _positive(repeat.frequencyMax)
    period, period_max = number(repeat.period), number(repeat.periodMax)
    given = ((repeat.period, period), (repeat.periodMax, period_max))
    if any(value is None and bytes(raw) for raw, value in given) or (period is not None and period <= 0):
        raise _Unreadable("period not readable")
    if unit is not None and unit not in _PERIODS:
        raise _Unreadable("period unit not known")
    if (period is None) != (unit is None):
        raise _Unreadable("period not readable")
    days = _closed(repeat.dayOfWeek, _DAYS, "day of the week not known")
    when = _closed(repeat.when, _WHEN, "time of day not known")
    offset = whole(repeat.offset)
    if bytes(repeat.offset) and (offset is None or offset < 0):
        raise _Unreadable("offset not readable")
    times = (*times, *(_time(t) for t in repeat.timeOfDay or () if t is not None))
    return {
        "times": tuple(sorted(set(times))),
        "when": tuple((code, offset or 0) for code in when),
        "frequency": frequency if frequency is not None or period is None or times or when else 1,
        "frequency_max": frequency_max,
        "period": period,
        "period_max": period_max,
        "period_unit": unit,
        "days": days,
    }


def _says_when(dosage: Fields) -> bool:
    return any(dosage.get(name) for name in ("frequency", "period", "times", "when", "days"))


def _from_text(base: Fields, text: str, course: Course, vocabulary: Vocabulary) -> list[Fields]:
    """The doses of a written direction. An amount that is given beside it stands, and has to be the written one."""
    if not text:
        return [base if base["as_needed"] else base | {"problem": "no timing given"}]
    written = vocabulary.sigs.read_all(text)
    if not written or (base["amount"] is not None and len(written) > 1):
        return [base | {"problem": "not readable"}]
    if _is_another(base, written[0], vocabulary.units):
        return [base | {"problem": "the amount and the text disagree"}]
    found = []
    for fields in written:
        lasts, count = fields.pop("lasts", None), fields.pop("count", None)
        if base["amount"] is not None:
            fields.pop("amount", None)
            fields.pop("amount_high", None)
        fields["once"] = count == 1
        days = None
        if lasts:
            days = lasts[0] * vocabulary.units.units[lasts[1]].factor / 86400
        if count:
            per = vocabulary.units.units[fields["period_unit"]].factor * fields["period"] / 86400
            days = count * per / fields["frequency"]
        start = base.get("start") or course.authored
        if days is not None and start:
            fields |= {"start": start, "end": course.end(start, days)}
        found.append(base | fields | {"as_needed": base["as_needed"] or fields.get("as_needed", False)})
    return found


def _at_events(events: Sequence[str | None]) -> Fields:
    """Doses at stated dates: their times of day, within the days from the first to the last."""
    days = [read_day(event) for event in events if event is not None]
    if None in days or not days:
        raise _Unreadable("date of a dose not readable")
    times = [_time(event[11:19]) for event in events if event is not None and len(event) > 10]
    known = [day for day in days if day is not None]
    return {"times": tuple(times), "start": min(known), "end": max(known)}


def _bounds(repeat: Repeat, course: Course, units: UnitTable) -> _Bounds:
    if repeat.boundsPeriod is not None:
        return _Bounds(read_day(repeat.boundsPeriod.start), read_day(repeat.boundsPeriod.end))
    duration = repeat.boundsDuration or (repeat.boundsRange.high if repeat.boundsRange else None)
    if duration is None:
        return _Bounds()
    days = in_days(duration, units)
    if days is None:
        raise _Unreadable("duration not readable")
    return _Bounds(course.authored, course.end(course.authored, days))


def _count(dosage: Fields, repeat: Repeat, course: Course, units: UnitTable) -> None:
    """A stated number of doses ends on the day of the last one."""
    count = whole(repeat.countMax) or whole(repeat.count)
    dosage["once"] = dosage.get("once", False) or count == 1
    start = dosage.get("start") or course.authored
    if not count or count < 0 or dosage.get("end") is not None or start is None:
        return
    a_day = len(dosage["times"]) or len(dosage["when"])
    if a_day:
        days = Decimal(count) / a_day
    elif dosage["frequency"] and dosage["period"] and dosage["period_unit"]:
        unit = units.units[dosage["period_unit"]]
        days = Decimal(count) / dosage["frequency"] * dosage["period"] * unit.factor / 86400
    else:
        days = Decimal(1) if count == 1 else Decimal(0)
    if 0 < days < 10**6:
        dosage |= {"start": start, "end": course.end(start, days)}


def at_a_rate(view: DosageView, units: UnitTable) -> bool:
    """Whether it goes on at a rate: so much an hour, or over hours, and not at stated times."""
    repeat = view.timing.repeat if view.timing else None
    if repeat and (bytes(repeat.frequency) or bytes(repeat.count) or repeat.timeOfDay or repeat.when):
        return False
    return any(seconds is not None and seconds >= _AN_HOUR for seconds in _rate_periods(view, units))


def _rate_periods(view: DosageView, units: UnitTable) -> Iterator[Decimal | None]:
    """In seconds, the time for which each rate says how much is given; None where it cannot be read."""
    for dose in view.doseAndRate or ():
        try:
            rate = _read_quantity(dose.rateQuantity) if bytes(dose.rateQuantity) else QuantityView()
            ratio = _read_ratio(dose.rateRatio) if bytes(dose.rateRatio) else RatioView()
        except UNREADABLE:
            continue
        below = (rate.code or rate.unit or "").rpartition("/")[2]
        yield seconds_of(QuantityView(value=Raw(b"1"), unit=below), units)
        if ratio.denominator:
            yield seconds_of(ratio.denominator, units)


def _amounts(view: DosageView, units: UnitTable) -> tuple[Quantity | None, Quantity | None]:
    for dose in view.doseAndRate or ():
        if dose.doseQuantity is not None:
            return _amount(dose.doseQuantity, units), None
        if dose.doseRange is not None:
            return _amount(dose.doseRange.low, units), _amount(dose.doseRange.high, units)
    return None, None


def _amount(quantity: QuantityView | None, units: UnitTable) -> Quantity | None:
    """A dose; its unit is empty where none was given, and an unknown unit makes it unusable."""
    value = number(quantity.value) if quantity is not None else None
    if quantity is None or value is None or value < 0:
        return None
    if not quantity.code and not quantity.unit:
        return Quantity(value, "")
    try:
        return Quantity(value, units.of(quantity).code)
    except UnitProblem:
        return None


def _as_needed(view: DosageView) -> bool:
    return (
        _YES in (bytes(view.asNeededBoolean), bytes(view.asNeeded))
        or bytes(view.asNeededCodeableConcept)[:1] == b"{"
        or bytes(view.asNeededFor)[:2] == b"[{"
    )


def _kept_apart(view: DosageView) -> frozenset[str]:
    return frozenset(
        coding.code
        for concept in view.additionalInstruction or ()
        for coding in concept.coding or ()
        if coding.system == KEEP_APART and coding.code and _CONCEPT_ID.fullmatch(coding.code)
    )


def _codes(timing: TimingView) -> list[str]:
    systems = (None, "", "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation")
    codings = timing.code.coding or () if timing.code else ()
    return [c.code for c in codings if c.code and c.system in systems]


def _positive(raw: Raw) -> int | None:
    value = whole(raw)
    if bytes(raw) and (value is None or value <= 0):
        raise _Unreadable("frequency not readable")
    return value


def _closed(values: Sequence[str | None] | None, known: Collection[str], problem: str) -> tuple[str, ...]:
    found = tuple(value for value in values or () if value is not None)
    if any(value not in known for value in found):
        raise _Unreadable(problem)
    return found


def _time(text: str) -> time:
    try:
        parsed = time.fromisoformat(text)
    except ValueError as error:
        raise _Unreadable("time of day not readable") from error
    return parsed.replace(tzinfo=None, microsecond=0)
