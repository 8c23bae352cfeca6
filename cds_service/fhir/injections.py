"""How magnesium is injected or infused: dose, time and rate, from FHIR elements and from words beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TypeVar

from msgspec import Raw
from msgspec.json import Decoder

from cds_service.fhir.courses import Course
from cds_service.fhir.dosage import read_dosages
from cds_service.fhir.elements import DosageView, DoseAndRate, QuantityView, RangeView, RatioView, Repeat
from cds_service.fhir.identity import UNREADABLE
from cds_service.fhir.numbers import number
from cds_service.patient import Injected, Injection, Quantity
from cds_service.terminology.index import Vocabulary
from cds_service.terminology.injections import HOUR
from cds_service.terminology.units import UnitTable

_AMOUNTS = ("mass", "substance", "charge", "volume", "count")
_read_quantity = Decoder(QuantityView).decode
_read_range = Decoder(RangeView).decode
_read_ratio = Decoder(RatioView).decode
_read_ratios = Decoder(RatioView | list[RatioView]).decode
V = TypeVar("V")
_A_MINUTE = 60  # seconds
DAY = 24 * HOUR


def read_injections(
    instructions: Sequence[DosageView], name: str, authored: date | None, vocabulary: Vocabulary
) -> tuple[Injection, ...]:
    """Every instruction, in the order sent. What one leaves open, the name of the product may say."""
    named = vocabulary.injections.read(name, name=True)
    if not instructions:
        found = _alone(named)
        return (Injection(found, (), vocabulary.injections.once(name)),) if found else ()
    return tuple(_read(view, name, named, authored, vocabulary) for view in instructions)


def _read(
    view: DosageView, name: str, named: tuple[Injected, ...], authored: date | None, vocabulary: Vocabulary
) -> Injection:
    reader, units = vocabulary.injections, vocabulary.units
    text = " ".join(part for part in (view.text, view.patientInstruction) if part)
    repeat = (view.timing.repeat if view.timing else None) or Repeat()
    said = reader.read(text)
    given = _structured(view, repeat, units)
    if given.amount or given.rate:
        doses: tuple[Injected, ...] = (_completed(given, said, named), *_alternatives(given, (*said, *named)))
    else:
        doses = tuple(_completed(each, (), named) for each in _alone(said)) or _alone(named)
        if given.minutes and len(doses) == 1 and doses[0].amount and doses[0].minutes is None:
            doses = (replace(doses[0], minutes=given.minutes),)
        if given.hours and len(doses) == 1 and doses[0].rate and doses[0].hours is None:
            doses = (replace(doses[0], hours=given.hours),)
    both = f"{text} ; {name}"
    dosages = read_dosages([view], Course(authored), vocabulary)
    once = reader.once(both) or (bool(dosages) and all(dosage.once for dosage in dosages))
    # "2 g over 20 minutes" leaves no word unread, and none says how often.
    once = once or (view.timing is None and bool(vocabulary.sigs.read_all(f"{text} {reader.one_time}")))
    return Injection(doses, dosages, once, _most_a_day(view.maxDosePerPeriod, units), reader.weight(both))


def _alone(said: Sequence[Injected]) -> tuple[Injected, ...]:
    """What tells an amount or a rate of itself."""
    return tuple(each for each in said if each.amount or each.rate)


def _completed(given: Injected, said: Sequence[Injected], named: Sequence[Injected]) -> Injected:
    """A dose with the time, the rate and the strength that words beside it give: its own text first."""
    for words in (said, named):
        same = [each for each in words if each.amount is None or each.amount == given.amount or len(words) == 1]
        for each in same:
            if given.amount and given.minutes is None and given.rate is None:
                given = replace(given, minutes=each.minutes, rate=each.rate)
            if given.rate and not given.amount and given.hours is None:
                given = replace(given, hours=each.hours)
        for each in words:
            given = replace(given, per_ml=given.per_ml or each.per_ml, volume=given.volume or each.volume)
    return given


def _alternatives(given: Injected, words: Sequence[Injected]) -> Iterator[Injected]:
    """What the words say differently: another amount in a unit of weight, another rate."""
    for each in words:
        amount = each.amount if given.amount else None
        other = amount is not None and amount != given.amount and amount.unit not in ("mL", "L")
        faster = each.rate is not None and given.rate is not None and each.rate != given.rate
        if other or faster:
            yield replace(each, alternative=True)


def _structured(view: DosageView, repeat: Repeat, units: UnitTable) -> Injected:
    """Dose, rate and time of the FHIR elements; the highest dose and rate of a range."""
    given = Injected()
    dose: DoseAndRate
    for dose in view.doseAndRate or ():
        amount, kg, _ = _parts(dose.doseQuantity or (dose.doseRange.high if dose.doseRange else None), units)
        if amount is not None and given.amount is None:
            given = replace(given, amount=amount, per_kg=kg)
        given = _rated(given, dose, units)
    minutes = _minutes(number(repeat.duration), repeat.durationUnit, units)
    bounds = repeat.boundsDuration
    if given.amount and minutes and given.minutes is None and given.rate is None:
        given = replace(given, minutes=minutes)
    elif not given.amount:
        minutes = minutes or (_minutes(number(bounds.value), bounds.code or bounds.unit, units) if bounds else None)
        given = replace(given, hours=minutes / HOUR if minutes else None)
        given = given if given.rate else replace(given, minutes=minutes)
    return given


def _rated(given: Injected, dose: DoseAndRate, units: UnitTable) -> Injected:
    span = _decoded(_read_range, dose.rateRange)
    rate = _decoded(_read_quantity, dose.rateQuantity) or (span.high if span else None)
    ratio = _decoded(_read_ratio, dose.rateRatio)
    amount, kg, minutes = _parts(rate, units)
    if amount is None and rate is not None and (time := _minutes(number(rate.value), rate.code or rate.unit, units)):
        return replace(given, minutes=time)  # a rate given as the time in which the dose goes in
    if ratio is not None:
        amount, kg, _ = _parts(ratio.numerator, units)
        below = ratio.denominator
        minutes = _minutes(number(below.value), below.code or below.unit, units) if below else None
        if amount == given.amount and minutes:
            return replace(given, minutes=minutes)  # 4 g in 20 minutes
    if amount is None or not minutes:
        return given
    return replace(given, rate=Quantity(amount.value * HOUR / minutes, amount.unit), per_kg=kg or given.per_kg)


def _parts(quantity: QuantityView | None, units: UnitTable) -> tuple[Quantity | None, bool, Decimal | None]:
    """The amount of a quantity; whether it is for each kilogram; the minutes that it is for: of 2 mg/kg/h, 2 mg, yes
    and 60. Nothing where a part of the unit is not known."""
    value = number(quantity.value) if quantity is not None else None
    text = (quantity.code or quantity.unit or "") if quantity is not None else ""
    known = units.find(text)
    if value is None or value < 0:
        return None, False, None
    if known is not None and not known.per and known.kind in _AMOUNTS:
        return Quantity(value, known.code), False, None
    if not text:
        return Quantity(value, "1"), False, None
    first, *others = text.replace("(", "").replace(")", "").split("/")
    amount, kg, minutes = units.find(first.strip()), False, None
    for part in others:
        each = units.find(part.strip())
        if each is not None and each.kind == "time":
            minutes = each.factor / _A_MINUTE
        elif part.strip() == "kg":
            kg = True
        else:
            return None, False, None
    if amount is None or amount.kind not in _AMOUNTS:
        return None, False, None
    return Quantity(value, amount.code), kg, minutes


def _minutes(value: Decimal | None, unit: str | None, units: UnitTable) -> Decimal | None:
    found = units.find(unit)
    if value is None or value <= 0 or found is None or found.kind != "time":
        return None
    return value * found.factor / _A_MINUTE


def _most_a_day(raw: Raw, units: UnitTable) -> Quantity | None:
    """The most in 24 hours; None where none is given, or none for a time."""
    read = _decoded(_read_ratios, raw) or []
    for ratio in read if isinstance(read, list) else [read]:
        amount, kg, _ = _parts(ratio.numerator, units)
        below = ratio.denominator
        minutes = _minutes(number(below.value), below.code or below.unit, units) if below else None
        if amount is not None and minutes and not kg:
            return Quantity(amount.value * max(1, math.floor(DAY / minutes)), amount.unit)
    return None


def _decoded(read: Callable[[Raw], V], raw: Raw) -> V | None:
    """What an element holds; None where it is not there or cannot be read."""
    try:
        return read(raw) if bytes(raw) else None
    except UNREADABLE:
        return None
