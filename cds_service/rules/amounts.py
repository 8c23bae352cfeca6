"""Elemental magnesium in an order: from salt, strength, unit and frequency, and what the order leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import reduce

from cds_service.content.concept import INJECTED_SALT, MAGNESIUM, SERUM_MAGNESIUM
from cds_service.content.rulebook import Rulebook
from cds_service.patient import Component, Dosage, Medication, Quantity

DOSES_A_DAY = {"s": Decimal(86400), "min": Decimal(1440), "h": Decimal(24), "d": Decimal(1), "wk": Decimal(1) / 7,
               "mo": Decimal(12) / 365, "a": Decimal(1) / 365}  # fmt: skip
EVERY_MEAL = frozenset({"C", "AC", "PC"})  # how many meals there are, a frequency alone says
DILUTE = "balanced_crystalloid"
ORAL = ("oral", "enteral")
HALVES = 2  # tablets are split in two


@dataclass(frozen=True, slots=True)
class Reading:
    """mg of elemental magnesium. `least` and `most` differ where an amount may be the weight of `salt` or of magnesium.

    `usual`: as such products are labelled, None where labels differ. `doubtful`: the order itself does not say which.
    `mixed_up`: it calls elemental what is the salt's weight in its product. `in_turn`: it holds doses that may follow
    one another or be taken together: `least` is the greatest of them, `most` their sum.
    """

    least: Decimal
    most: Decimal
    usual: Decimal | None
    salt: str = ""
    doubtful: bool = False
    mixed_up: bool = False
    in_turn: bool = False

    @property
    def certain(self) -> Decimal:
        """What is counted: as labelled, else no more than is there by either reading."""
        return self.least if self.usual is None else self.usual

    @property
    def possible(self) -> Decimal:
        """As labelled, else by the higher reading."""
        return self.most if self.usual is None else self.usual

    def times(self, many: Decimal) -> Reading:
        usual = None if self.usual is None else self.usual * many
        return replace(self, least=self.least * many, most=self.most * many, usual=usual)

    def plus(self, other: Reading) -> Reading:
        usual = None if self.usual is None or other.usual is None else self.usual + other.usual
        return Reading(
            self.least + other.least, self.most + other.most, usual, self.salt or other.salt,
            self.doubtful or other.doubtful, self.mixed_up or other.mixed_up, self.in_turn or other.in_turn,
        )  # fmt: skip

    def or_else(self, other: Reading) -> Reading:
        """One of the two and never both: what is counted is the greater."""
        usual = None if self.usual is None or other.usual is None else max(self.usual, other.usual)
        return replace(
            self.plus(other), least=max(self.least, other.least), most=max(self.most, other.most), usual=usual
        )

    def or_both(self, other: Reading) -> Reading:
        """One of the two, or both."""
        least, most = max(self.certain, other.certain), self.possible + other.possible
        return replace(self.plus(other), least=least, most=most, usual=None, in_turn=True)


def _known(amount: Decimal) -> Reading:
    return Reading(amount, amount, amount)


def reading_a_day(medication: Medication, rulebook: Rulebook, today: date) -> Reading | None:
    """Elemental magnesium a day from one product, the highest where a range is given, on the day with the most of it
    from `today` on.

    None where salt, strength, amount or frequency is unknown: nothing is guessed.
    """
    found: list[tuple[Dosage, Reading]] = []
    left = [dosage for dosage in medication.dosages if dosage.end is None or dosage.end >= today]
    for dosage in left or medication.dosages:
        amount = dosage.amount_high or dosage.amount
        if dosage.problem or amount is None:
            return None
        doses = most_doses_a_day(dosage)
        each = reading_per_dose(medication, amount, dosage, rulebook)
        if doses is None or each is None:
            return None
        found.append((dosage, each.times(doses)))
    begins = {dosage.start or date.min for dosage, _ in found}
    days = [[pair for pair in found if _on(pair[0], day)] for day in begins]
    return reduce(Reading.or_else, [_together(each) for each in days if each]) if found else None


def _on(dosage: Dosage, day: date) -> bool:
    return (dosage.start or date.min) <= day <= (dosage.end or date.max)


def _together(found: Sequence[tuple[Dosage, Reading]]) -> Reading:
    """All doses of a day. Those of another number (FHIR R4, Dosage.sequence) follow one another, but many charts number
    so what is taken together."""
    steps: dict[int | None, list[tuple[Dosage, Reading]]] = {}
    for dosage, reading in found:
        steps.setdefault(dosage.sequence, []).append((dosage, reading))
    always = [reading for _, reading in steps.pop(None, [])]
    if steps:
        ordered = [steps[number] for number in sorted(number for number in steps if number is not None)]
        join = Reading.or_else if all(map(_gives_way, ordered, ordered[1:])) else Reading.or_both
        always.append(reduce(join, [reduce(Reading.plus, (reading for _, reading in step)) for step in ordered]))
    return reduce(Reading.plus, always)


def _gives_way(step: Sequence[tuple[Dosage, Reading]], following: Sequence[tuple[Dosage, Reading]]) -> bool:
    """Whether a step is surely over when the following one begins: that has no time, or both are at the same hours."""
    timeless = all(dosage.start is None and dosage.end is None for dosage, _ in following)
    if timeless and all(dosage.end is not None for dosage, _ in step):
        return True
    hours, others = ({(each.times, each.when) for each, _ in one} for one in (step, following))
    return hours == others and ((), ()) not in hours


def doses_a_day(frequency: int | None, period: Decimal | None, unit: str | None) -> Decimal | None:
    """Doses a day from FHIR frequency/period/periodUnit; None where one is missing."""
    if not frequency or not period or unit not in DOSES_A_DAY:
        return None
    return Decimal(frequency) * DOSES_A_DAY[unit] / period


def most_doses_a_day(dosage: Dosage) -> Decimal | None:
    """Doses a day on average, the most that an instruction allows; None where it does not say."""
    rate = doses_a_day(dosage.frequency_max or dosage.frequency, dosage.period, dosage.period_unit)
    named = len(dosage.times) or sum(code not in EVERY_MEAL for code, _ in dosage.when)
    if named:
        # "Once a week at bedtime" is a dose on one day of seven.
        each = doses_a_day(1, dosage.period, dosage.period_unit)
        rate = named * (each if each is not None and each < 1 and not dosage.days else Decimal(1))
    elif dosage.days and dosage.period_unit == "wk":
        rate = Decimal(1)
    return rate * len(dosage.days) / 7 if rate is not None and dosage.days else rate


def reading_per_dose(medication: Medication, amount: Quantity, dosage: Dosage, rulebook: Rulebook) -> Reading | None:
    """Elemental magnesium in one dose: so many units or mL of the product, or a mass of its only salt."""
    order = _Order(medication, dosage, rulebook)
    if not order.parts:
        return None
    if (atoms := order.atoms(amount)) is not None:
        return _known(atoms) if order.only else None
    # Grams are how a sachet is weighed, whatever else it holds; milligrams are how a drug is dosed.
    if amount.unit == "mg":
        return order.by_mass(amount.value) if order.only else None
    return order.by_units(amount) if order.agrees(amount, dosage.total) else None


class _Order:
    """One product as it is ordered. `only`: magnesium is its one ingredient, so that a mass or a word is about it."""

    def __init__(self, medication: Medication, dosage: Dosage, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self.parts = [part for part in medication.components if is_magnesium(part.drug, rulebook)]
        self.only = len(self.parts) == 1 == len(medication.components)
        self.coded = medication.product_coded
        self.salts = any(drug != MAGNESIUM and is_magnesium(drug, rulebook) for drug in medication.drugs)
        self.a_unit = milligrams(medication.elemental) if self.only else None
        self.a_dose = milligrams(dosage.elemental) if self.only else None
        # "Magnesium 250 mg (as magnesium oxide)" says whose weight it is, "magnesium 250 mg" does not.
        self.explicit = self.salts or self.coded or not self.only or self.a_unit is not None or self.a_dose is not None

    def fraction(self, salt: str) -> Decimal | None:
        """Elemental magnesium of a mass of this salt; None where its composition is not known."""
        if salt == MAGNESIUM:
            return Decimal(1)
        known = self.rulebook.library.salts.get(salt)
        return known.elemental_fraction if known else None

    def labelled(self, part: Component) -> bool:
        """Whether products of this salt agree that a strength is its weight."""
        return part.per != "unit" or self.rulebook.library.salts[part.drug].labelled_as == "salt"

    def by_element(self, part: Component) -> bool:
        """Whether a tablet or capsule of this strength is labelled by magnesium itself."""
        salt, strength = self.rulebook.library.salts.get(part.drug), milligrams(part.strength)
        limit = salt.element_up_to if salt and part.per == "unit" else None
        return limit is not None and strength is not None and strength <= limit

    def atoms(self, amount: Quantity) -> Decimal | None:
        """mg of magnesium in an amount of substance or charge, which always counts magnesium itself; else None."""
        entry = self.rulebook.library.terminology[SERUM_MAGNESIUM]
        if entry.molar_mass is None or not entry.valence:
            return None
        each = {"mmol": entry.molar_mass, "meq": entry.molar_mass / entry.valence}.get(amount.unit)
        return None if each is None else amount.value * each

    def bare(self, mass: Decimal, usual: Decimal | None) -> Reading:
        """Magnesium without a word on salt or element: no salt gives more than the richest one."""
        salts = self.rulebook.library.salts
        richest = max(salts, key=lambda name: salts[name].elemental_fraction)
        return Reading(mass * salts[richest].elemental_fraction, mass, usual, richest, doubtful=True)

    def by_mass(self, mass: Decimal) -> Reading | None:
        """So many mg, of the salt or of magnesium."""
        part = self.parts[0]
        strength = milligrams(part.strength) if part.per == "unit" else None
        whole = strength is not None and mass * HALVES % strength == 0
        fraction = self.fraction(part.drug)
        if part.drug == MAGNESIUM:
            weight = milligrams(part.salt_weight)
            if whole or strength is None or not self.salts:
                return _known(mass) if self.explicit else self.bare(mass, None)
            # "Oxide 400 mg (241.3 mg magnesium), 400 mg": the weight of the salt; no other mass is guessed.
            by_weight = weight is not None and mass * HALVES % weight == 0
            return _known(mass / weight * strength) if weight and by_weight else None
        if self.a_dose == mass or self.a_unit == mass:
            if whole and fraction is not None:
                return Reading(mass * fraction, mass, mass * fraction, part.drug, doubtful=True, mixed_up=True)
            return _known(mass)
        if fraction is None:
            return None
        if whole and self.by_element(part):
            return _known(mass)
        salt, label = mass * fraction, self.labelled(part)
        if label and (whole or (part.strength is not None and part.per != "unit")):
            return _known(salt)
        usual = salt if label and part.strength is None else None
        return Reading(salt, mass, usual, part.drug, doubtful=not (self.coded and whole))

    def agrees(self, amount: Quantity, total: Quantity | None) -> bool:
        """Whether a dose in units and the mass that the same text gives for it can both be true of this product."""
        said = milligrams(total)
        if said is None or not self.only or self.parts[0].per != "unit":
            return True
        part = self.parts[0]
        masses = [mass for one in (part.strength, part.salt_weight) if (mass := milligrams(one)) is not None]
        masses += [mass for mass in (self.a_unit,) if mass is not None]
        return not masses or any(said == mass * amount.value for mass in masses)

    def by_units(self, amount: Quantity) -> Reading | None:
        """So many units, or mL, of the product."""
        unit = self.rulebook.library.units.get(amount.unit)
        per = "unit" if unit is not None and unit.kind == "count" else amount.unit
        if self.only and self.parts[0].strength is None and per == "unit":
            return self._stated(amount.value)
        found = [self._part(part, per, amount.value) for part in self.parts]
        known = [reading for reading in found if reading is not None]
        return reduce(Reading.plus, known) if len(known) == len(found) else None

    def _stated(self, units: Decimal) -> Reading | None:
        """What the order says itself of the element in a dose or in a unit."""
        if self.a_dose is not None:
            return _known(self.a_dose)
        return None if self.a_unit is None else _known(self.a_unit * units)

    def _part(self, part: Component, per: str, units: Decimal) -> Reading | None:
        if part.strength is None or part.per != per:
            return None
        units /= part.per_value
        if (atoms := self.atoms(part.strength)) is not None:
            return _known(atoms * units)
        strength = milligrams(part.strength)
        if strength is None:
            return None
        mass, fraction = strength * units, self.fraction(part.drug)
        if part.drug == MAGNESIUM:
            return _known(mass) if self.explicit else self.bare(mass, mass)
        if self.by_element(part):
            return _known(mass)
        if fraction is not None and self.labelled(part):
            called = self.a_dose == mass or strength in (self.a_dose, self.a_unit)
            salt = mass * fraction
            return Reading(salt, mass, salt, part.drug, doubtful=True, mixed_up=True) if called else _known(salt)
        if part.per == "unit" and (stated := self._stated(units)) is not None:
            return stated
        # Sold under both weights. The code of a product settles what is dispensed, though not what we count.
        doubtful = not self.coded
        return None if fraction is None else Reading(mass * fraction, mass, None, part.drug, doubtful=doubtful)


def is_magnesium(drug: str, rulebook: Rulebook) -> bool:
    """Whether a drug concept is magnesium or one of its salts."""
    return drug == MAGNESIUM or MAGNESIUM in rulebook.library.broader.get(drug, ())


def dilute(medication: Medication, limit: Decimal, rulebook: Rulebook) -> bool:
    """Whether it is injected and holds no more magnesium than `limit`, in mmol/L: by its code, or by its kind."""
    if MAGNESIUM not in medication.drugs or medication.route in ORAL:
        return False
    if DILUTE in medication.drugs:
        return INJECTED_SALT not in medication.drugs  # "magnesium sulfate in Plasma-Lyte"
    entry = rulebook.library.terminology[SERUM_MAGNESIUM]
    found: list[Decimal] = []
    for part in medication.components:
        if not is_magnesium(part.drug, rulebook):
            continue
        if part.strength is None or part.per != "mL" or not entry.molar_mass or not entry.valence:
            return False
        mass, salt = milligrams(part.strength), rulebook.library.salts.get(part.drug)
        moles = {"mmol": Decimal(1), "meq": Decimal(1) / entry.valence}.get(part.strength.unit)
        if mass is not None and salt is not None:
            found.append(mass * salt.elemental_fraction / entry.molar_mass / part.per_value)
        elif moles is not None:
            found.append(part.strength.value * moles / part.per_value)
        else:
            return False
    return bool(found) and sum(found) * 1000 <= limit


def milligrams(amount: Quantity | None) -> Decimal | None:
    """A mass in mg; None for anything else."""
    factor = {"mg": Decimal(1), "g": Decimal(1000), "ug": Decimal("0.001")}.get(amount.unit) if amount else None
    return None if factor is None or amount is None else amount.value * factor
