"""Magnesium by injection: what one order gives at once, each hour and in a day, in grams of magnesium sulfate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from cds_service.content.concept import BODY_WEIGHT, INJECTED_SALT, MAGNESIUM, SERUM_MAGNESIUM
from cds_service.content.rulebook import Limit, Rulebook
from cds_service.content.test_words import InjectedMagnesiumTest
from cds_service.patient import Injected, Injection, Medication, Quantity
from cds_service.rules.amounts import is_magnesium, milligrams, most_doses_a_day
from cds_service.rules.context import Context, medication_notes
from cds_service.rules.lab_tests import Limits
from cds_service.rules.verdict import FALSE, InjectedDose, Reason, Verdict, unknown

HOUR, DAY = Decimal(60), Decimal(24)  # minutes, hours
ADULT = "adult_age"
PERCENT = Decimal(10)  # milligrams in a millilitre
VOLUMES = {"mL": Decimal(1), "L": Decimal(1000)}
NOT_SAID = "no timing given"


@dataclass(frozen=True, slots=True)
class Infused:
    """One dose or rate of an order, in grams of magnesium sulfate; None where it is not known. `hours`: how long the
    rate goes on. `alternative`: another text says it of a dose that is counted already."""

    grams: Decimal | None = None
    minutes: Decimal | None = None
    an_hour: Decimal | None = None
    hours: Decimal | None = None
    by_weight: Decimal | None = None
    alternative: bool = False
    salt: str | None = None

    @property
    def known(self) -> bool:
        return self.grams is not None or self.an_hour is not None

    def going(self, longer_than: Decimal | None) -> Decimal | None:
        """Grams an hour, of what goes on for longer than so many minutes."""
        if self.grams is None:
            return self.an_hour
        slow = self.minutes and longer_than and self.minutes > longer_than
        return self.grams / self.minutes * HOUR if self.minutes and slow else None


def injected_magnesium(test: InjectedMagnesiumTest, context: Context, limits: Limits) -> Verdict:
    """Whether a drafted injection is above the limit; unknown where a dose that could be is not known."""
    drafts = context.medications(frozenset({MAGNESIUM}), "draft", "intravenous")
    asked = test.obstetric if test.obstetric and _obstetric(test, context, drafts) else test.injected_magnesium
    word, name = asked.named
    weight = _weight(context, limits[test.weight_within] if test.weight_within else None)
    ordered = _Ordered(drafts, weight, context.rulebook, _surely_below(limits[ADULT], context))
    used = (limits[name], *((limits[test.minutes],) if test.minutes else ()))
    found, gaps = ordered.above(word, *(limit.value for limit in used))
    if found is None:
        gaps += context.medication_gaps("draft")  # what is ordered and could not be read may be an injection
        return unknown(*dict.fromkeys(gaps)) if gaps else FALSE
    bindings = {"injected": found, "injected.limit": limits[name], "magnesium": drafts[0]}
    return Verdict(True, (), bindings, tuple(item.source for item in drafts), medication_notes(drafts), used)


def _obstetric(test: InjectedMagnesiumTest, context: Context, drafts: Sequence[Medication]) -> bool:
    """For a pregnancy: recorded, the reason of the order, or its words or a problem of somebody who may be pregnant."""
    wanted = frozenset(test.obstetric_conditions)
    reasons = frozenset[str]().union(*(item.reasons for item in drafts))
    said = wanted & context.of_pregnancy or any(item.obstetric for item in drafts)
    return bool(context.facts.person.pregnant or wanted & reasons or (context.may_be_pregnant and said))


def _surely_below(age: Limit, context: Context) -> bool:
    ages = context.facts.person.ages
    return bool(ages) and max(ages) < age.value


class _Ordered:
    """The drafted injections of a call. Of a `child` a dose by weight is enough to know."""

    def __init__(self, drafts: Sequence[Medication], weight: Decimal | None, rulebook: Rulebook, child: bool) -> None:
        self.child, self.rulebook = child, rulebook
        self.injections = [
            (item, injection, self._converted(injection, item, weight))
            for item in drafts
            for injection in item.injections or (Injection(),)
        ]

    def above(
        self, word: str, limit: Decimal, minutes: Decimal | None = None
    ) -> tuple[InjectedDose | None, list[Reason]]:
        """The highest above the limit; where there is none, why there could be one."""
        parts = [part for *_, parts in self.injections for part in parts]
        gaps = [] if all(map(self._known, parts)) else [Reason("injected_dose_unknown")]
        if word in ("day", "two_days"):
            total, open_ones = self._total(1 if word == "day" else 2)
            return (InjectedDose(word, total, salt=self._salt()), []) if total > limit else (None, gaps or open_ones)
        found: list[InjectedDose] = []
        for part in parts:
            value = {"rate": part.going(minutes), "dose_by_weight": part.by_weight}.get(word, part.grams)
            if value is None and word == "dose_by_weight" and part.known:
                gaps.append(Reason("weight_unknown"))
            if value is None or value <= limit:
                continue
            if word == "rate":
                found.append(InjectedDose(word, value, salt=part.salt))
            elif word == "quick_dose" and part.minutes is None:
                gaps.append(Reason("injected_time_unknown"))
            elif word == "dose_by_weight" or part.minutes is None or (minutes and part.minutes <= minutes):
                found.append(InjectedDose(word, value, part.minutes, part.salt))
        return (max(found, key=lambda dose: dose.amount), []) if found else (None, gaps)

    def _salt(self) -> str | None:
        """The one that all drafts are of."""
        salts = {part.salt for *_, parts in self.injections for part in parts}
        return salts.pop() if len(salts) == 1 else None

    def _known(self, part: Infused) -> bool:
        return part.known or (self.child and part.by_weight is not None)

    def _total(self, days: int) -> tuple[Decimal, list[Reason]]:
        """The grams of all drafts in so many days, as far as they are known, and why there may be more."""
        total, gaps = Decimal(0), []
        for item, injection, parts in self.injections:
            known = _in_days([part for part in parts if not part.alternative], injection, days)
            cap = _grams(injection.most_a_day, Injected(), item, self.rulebook)
            if cap is not None:
                known = min(known, cap * days) if known is not None else cap * days
            if known is None and not (self.child and all(part.by_weight is not None for part in parts)):
                gaps.append(Reason("injected_often_unknown"))
            total += known or 0
        return total, gaps

    def _converted(self, injection: Injection, item: Medication, on_chart: Decimal | None) -> list[Infused]:
        """Every dose and rate of an instruction; one that is not known where it names none."""
        weight = injection.weight or on_chart
        named = [part.drug for part in item.components if is_magnesium(part.drug, self.rulebook)]
        # By injection "magnesium" without a salt is the sulfate, as in `_grams`.
        salt = named[0] if len(named) == 1 and named[0] in self.rulebook.library.salts else INJECTED_SALT
        found = []
        for each in injection.doses or (Injected(),):
            grams, an_hour = (_grams(amount, each, item, self.rulebook) for amount in (each.amount, each.rate))
            by_weight = None if grams is None else grams * 1000
            if each.per_kg:
                grams = grams * weight if grams is not None and weight else None
                an_hour = an_hour * weight if an_hour is not None and weight else None
            else:
                by_weight = by_weight / weight if by_weight is not None and weight else None
            minutes = grams / an_hour * HOUR if grams is not None and an_hour and not each.minutes else each.minutes
            found.append(Infused(grams, minutes, an_hour, each.hours, by_weight, each.alternative, salt))
        return found


def _in_days(parts: list[Infused], injection: Injection, days: int) -> Decimal | None:
    rates = [each for each in parts if each.an_hour is not None and each.grams is None]
    doses = Decimal(1) if injection.once or rates else _doses_a_day(injection)
    total = Decimal(0)
    for each in parts:
        if each.an_hour is not None and (each.grams is None or doses is None):
            total += each.an_hour * min(DAY * days, each.hours or DAY * days)
        elif each.grams is None or doses is None:
            return None
        else:
            total += each.grams * (doses if injection.once or rates else doses * days)
    return total


def _doses_a_day(injection: Injection) -> Decimal | None:
    """How often a dose is given; an order that says nothing of it is one dose."""
    if not injection.dosages:
        return Decimal(1)
    rates: list[Decimal | None] = []
    for dosage in injection.dosages:
        if dosage.problem == NOT_SAID:
            rates.append(Decimal(1))
        elif dosage.problem:
            return None
        else:
            often = dosage.frequency_max or dosage.frequency
            rates.append(most_doses_a_day(dosage) or (Decimal(often) if often and not dosage.period else None))
    known = [rate for rate in rates if rate is not None]
    return sum(known, Decimal(0)) if len(known) == len(rates) else None


def _weight(context: Context, within: Limit | None) -> Decimal | None:
    """The newest weight on the chart, in kg, where a test asks for one that is recent enough."""
    newest = next(iter(context.labs_of(BODY_WEIGHT)), None)
    if within is None or newest is None or newest.problem or newest.comparator or newest.time is None:
        return None
    recent = context.facts.now - newest.time <= timedelta(days=float(within.value))
    return newest.value if recent else None


def _grams(amount: Quantity | None, given: Injected, item: Medication, rulebook: Rulebook) -> Decimal | None:
    """An amount as grams of magnesium sulfate; None where the salt, the strength or the size of a bag is not known."""
    if amount is None:
        return None
    parts = [part for part in item.components if is_magnesium(part.drug, rulebook)]
    if len(parts) != 1:
        return None
    salts, salt = rulebook.library.salts, parts[0].drug
    whole = salts[INJECTED_SALT].elemental_fraction
    if (mass := milligrams(amount)) is not None:
        if item.elemental is not None:
            return mass / whole / 1000
        # By injection "magnesium 2 g" is 2 g of the sulfate.
        fraction = whole if salt == MAGNESIUM else salts[salt].elemental_fraction if salt in salts else None
        return None if fraction is None or len(item.components) > 1 else mass * fraction / whole / 1000
    entry = rulebook.library.terminology[SERUM_MAGNESIUM]
    if entry.molar_mass and entry.valence and amount.unit in ("mmol", "meq"):
        each = entry.molar_mass / (entry.valence if amount.unit == "meq" else 1)
        return amount.value * each / whole / 1000
    return _by_volume(amount, given, item, rulebook)


def _by_volume(amount: Quantity, given: Injected, item: Medication, rulebook: Rulebook) -> Decimal | None:
    part = next(part for part in item.components if is_magnesium(part.drug, rulebook))
    strength = part.strength
    unit = rulebook.library.units.get(amount.unit)
    millilitres = amount.value * VOLUMES[amount.unit] if amount.unit in VOLUMES else None
    if millilitres is None and unit is not None and unit.kind == "count":
        if strength is not None and part.per == "unit" and strength.unit != "%":
            return _grams(Quantity(strength.value * amount.value, strength.unit), Injected(), item, rulebook)
        millilitres = amount.value * given.volume if given.volume else None
    if millilitres is None:
        return None
    per_ml = given.per_ml
    if strength is not None and (item.product_coded or per_ml is None):
        if part.per in VOLUMES:
            per_ml = Quantity(strength.value / part.per_value / VOLUMES[part.per], strength.unit)
        elif strength.unit == "%":
            per_ml = Quantity(strength.value * PERCENT, "mg")
    if per_ml is None:
        return None
    return _grams(Quantity(per_ml.value * millilitres, per_ml.unit), Injected(), item, rulebook)
