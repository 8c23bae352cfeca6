"""What the tests read: one patient's facts beside one rulebook, and what has to be computed from both."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from cds_service.content.rulebook import Rulebook
from cds_service.content.shared import Allowance
from cds_service.patient import Availability, Lab, Medication, PatientFacts, Person, Quantity
from cds_service.rules.verdict import DailyMagnesium, Kidney, Reason

MAGNESIUM = "magnesium"
PATIENT, CONDITIONS = "patient", "conditions"
INTAKE_KEYS = ("intake", "screener")
MEDICATION_KEYS = ("medications", "medication_statements")
ENDED = "ended_medications"
DRAFT_ORDERS = "draft_orders"

# Routes by which a product does not reach the gut or the blood in amounts that a page is about.
LOCAL_ROUTES = frozenset({"topical", "ophthalmic", "otic", "nasal", "inhaled", "vaginal"})
ORAL_ROUTES = frozenset({"oral", "enteral", "unknown"})
DOSES_A_DAY = {"s": Decimal(86400), "min": Decimal(1440), "h": Decimal(24), "d": Decimal(1), "wk": Decimal(1) / 7,
               "mo": Decimal(12) / 365, "a": Decimal(1) / 365}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """One call: facts, rulebook, whether the service handles drafts, and whether the caller named an encounter."""

    facts: PatientFacts
    rulebook: Rulebook
    drafts_expected: bool
    encounter_named: bool = False

    @cached_property
    def drugs(self) -> frozenset[str]:
        """Every drug concept of any medication."""
        return frozenset[str]().union(*(medication.drugs for medication in self.facts.medications))

    @cached_property
    def concepts(self) -> frozenset[str]:
        """Every condition concept on the list."""
        return frozenset[str]().union(*(condition.concepts for condition in self.facts.conditions))

    @property
    def inpatient(self) -> bool:
        """Whether the encounter that is going on is a hospital stay or an emergency."""
        return self.facts.person.encounter_class in self.rulebook.library.inpatient_classes

    def input_gap(self, key: str) -> Reason | None:
        """Why an input cannot prove that something is absent, or None where it can."""
        availability = self.facts.inputs.get(key)
        if key in self.rulebook.not_available:
            return None
        if availability is None:
            return Reason("input_absent", key)
        if availability.complete:
            return None
        if availability.unreadable:
            return Reason("input_unreadable", key)
        return Reason(f"input_{availability.state}", key, problem=availability.reason)

    @cached_property
    def _medication_gaps(self) -> dict[str, tuple[Reason, ...]]:
        return {}

    def medication_gaps(self, status: str) -> tuple[Reason, ...]:
        """Why it cannot be said that a drug is not there."""
        found = self._medication_gaps.get(status)
        if found is None:
            found = self._medication_gaps[status] = self._find_medication_gaps(status)
        return found

    def _find_medication_gaps(self, status: str) -> tuple[Reason, ...]:
        keys = () if status == "draft" else MEDICATION_KEYS
        if self.drafts_expected and status != "active":
            keys = (*keys, DRAFT_ORDERS)
        gaps = [gap for key in keys if (gap := self.input_gap(key))]
        for medication in self.facts.medications:
            if status != "any" and medication.status != status:
                continue
            if medication.conflict:
                gaps.append(Reason("medication_conflict", str(medication.source.type)))
            elif not medication.drugs and not medication.name and medication.status == "active":
                gaps.append(Reason("medication_not_identified"))
        return tuple(dict.fromkeys(gaps))

    def medications(self, drugs: frozenset[str], status: str, route: str) -> list[Medication]:
        """Recognised medications of any of `drugs`, by status and route."""
        if drugs.isdisjoint(self.drugs):
            return []
        return [
            medication
            for medication in self.facts.medications
            if medication.drugs & drugs
            and (status == "any" or medication.status == status)
            and (medication.status == "active" or self.drafts_expected)
            and _route_fits(medication, route)
        ]

    def ended_medications(self, drugs: frozenset[str], route: str) -> list[Medication]:
        """Recognised medications of any of `drugs` that are over, by route."""
        return [item for item in self.facts.ended if item.drugs & drugs and _route_fits(item, route)]

    @cached_property
    def ended_gaps(self) -> tuple[Reason, ...]:
        """Why it cannot be said that a drug was not given."""
        gap = self.input_gap(ENDED)
        conflict = any(item.conflict for item in self.facts.ended)
        return (*((gap,) if gap else ()), *((Reason("medication_conflict", "MedicationRequest"),) if conflict else ()))

    @cached_property
    def oral_magnesium(self) -> list[Medication]:
        """Oral magnesium products, chart and drafts."""
        return self.medications(frozenset({MAGNESIUM}), "any", "oral")

    def labs_of(self, concept: str) -> tuple[tuple[Lab, ...], Availability | None]:
        """Results of a lab, newest first, and what is known of the input that they come in."""
        key = self.rulebook.library.terminology[concept].input or concept
        return self.facts.labs.get(concept, ()), self.facts.inputs.get(key)

    @cached_property
    def kidney(self) -> Kidney | Reason:
        """The newest eGFR, reported or computed from creatinine; a Reason where there is none."""
        reported, _ = self.labs_of("egfr")
        created, _ = self.labs_of("creatinine")
        gap = self.input_gap(self.rulebook.library.terminology["egfr"].input or "egfr")
        if gap and gap.code != "input_incomplete":
            return gap
        found: list[Kidney] = []
        problems = [lab.problem for lab in (*reported[:1], *created[:1]) if lab.problem]
        if reported and reported[0].value is not None and not reported[0].problem:
            found.append(Kidney(reported[0].value, reported[0], computed=False))
        if created and created[0].value is not None and not created[0].problem and not created[0].comparator:
            value = None if _not_newer(created[0], found) else self.egfr(created[0].value)
            if value is not None:
                found.append(Kidney(value, created[0], computed=True))
        dated = [kidney for kidney in found if kidney.lab.time is not None]
        if not dated:
            problem = problems[0] if problems else ""
            return Reason("unusable_result" if problem else "no_kidney_result", "egfr", problem=problem)
        # Same day: the laboratory's own figure before ours.
        return max(dated, key=lambda kidney: (kidney.lab.time.date(), not kidney.computed))  # type: ignore[union-attr]

    def egfr(self, creatinine: Decimal) -> Decimal | None:
        """CKD-EPI 2021 from creatinine in its page's unit; None without adult age and sex."""
        person, equation = self.facts.person, self.rulebook.library.egfr
        if person.sex is None or person.age_years is None or person.age_years < equation.adult_age:
            return None
        ratio = creatinine * equation.creatinine_factor / equation.kappa[person.sex]
        below = min(ratio, Decimal(1)) ** equation.alpha[person.sex]
        above = max(ratio, Decimal(1)) ** equation.max_exponent
        value = equation.factor * below * above * equation.age_base**person.age_years
        if person.sex == "female":
            value *= equation.female_factor
        return value.quantize(Decimal(1))

    @cached_property
    def daily_magnesium(self) -> DailyMagnesium:
        """Elemental magnesium a day from all oral products. A statement that mirrors an order counts once."""
        total = Decimal(0)
        counted: list[Medication] = []
        missing: list[Medication] = []
        seen: set[tuple[object, ...]] = set()
        for medication in self.oral_magnesium:
            mirror = (medication.drugs, medication.components, medication.status == "draft")
            if medication.source.type == "MedicationStatement" and mirror in seen:
                continue
            seen.add(mirror)
            amount = elemental_a_day(medication, self.rulebook)
            if amount is None:
                missing.append(medication)
            else:
                total += amount
                counted.append(medication)
        as_needed = any(dosage.as_needed for medication in counted for dosage in medication.dosages)
        return DailyMagnesium(total.quantize(Decimal(1)), tuple(counted), tuple(missing), as_needed)

    @cached_property
    def allowance(self) -> Allowance | None:
        """The recommended allowance row for this age; None where age is unknown."""
        return _row_for(self.facts.person, self.rulebook.library.intakes.allowance)

    @cached_property
    def allowance_value(self) -> Decimal | None:
        """mg/d for age, sex, pregnancy and lactation; None where one of them is needed and unknown."""
        row, person = self.allowance, self.facts.person
        if row is None:
            return None
        if person.pregnant and row.pregnancy is not None:
            return row.pregnancy
        if person.lactating and row.lactation is not None:
            return row.lactation
        if person.sex is None:
            return row.male if row.male == row.female else None
        return row.female if person.sex == "female" else row.male

    @cached_property
    def upper_level(self) -> Decimal | None:
        """Upper level for supplemental magnesium at this age; None where age is unknown or none is set."""
        age = self.facts.person.age_years
        if age is None:
            return None
        for row in self.rulebook.library.intakes.upper_level[self.rulebook.site.upper_level]:
            if row.age_from <= age and (row.age_to is None or age < row.age_to):
                return row.value
        return None


def _not_newer(created: Lab, reported: list[Kidney]) -> bool:
    """Whether a reported eGFR stands for that day or a later one, so that ours would not be taken."""
    return any(k.lab.time and created.time and k.lab.time.date() >= created.time.date() for k in reported)


def _row_for(person: Person, rows: list[Allowance]) -> Allowance | None:
    if person.age_years is None:
        return None
    # Infants' rows are bounded in parts of a year, so days decide where they are known.
    age = Decimal(person.age_days) / Decimal("365.25") if person.age_days is not None else Decimal(person.age_years)
    return next((row for row in rows if row.age_from <= age and (row.age_to is None or age < row.age_to)), None)


def _route_fits(medication: Medication, route: str) -> bool:
    if route == "oral":
        return medication.route in ORAL_ROUTES
    if route == "intravenous":
        return medication.route in ("intravenous", "injection")
    if route == "systemic":
        return medication.route not in LOCAL_ROUTES
    return True


def elemental_a_day(medication: Medication, rulebook: Rulebook) -> Decimal | None:
    """mg of elemental magnesium a day from one product, the highest where a range is given.

    None where salt, strength, amount or frequency is unknown: nothing is guessed.
    """
    total = Decimal(0)
    for dosage in medication.dosages:
        amount = dosage.amount_high or dosage.amount
        if dosage.problem or amount is None:
            return None
        doses = doses_a_day(dosage.frequency_max or dosage.frequency, dosage.period, dosage.period_unit)
        if dosage.times:
            doses = Decimal(len(dosage.times))
        elif dosage.when:
            doses = Decimal(len(dosage.when))
        each = elemental_per_dose(medication, amount, rulebook)
        if doses is None or each is None:
            return None
        if dosage.days:
            doses = doses * len(dosage.days) / 7
        total += each * doses
    return total if medication.dosages else None


def elemental_per_dose(medication: Medication, amount: Quantity, rulebook: Rulebook) -> Decimal | None:
    """mg of elemental magnesium in one dose: so many units or mL of the product, or a mass of its only salt."""
    per = "unit" if amount.unit in UNIT_WORDS else amount.unit
    # Grams are how a sachet is weighed, whatever else it holds; milligrams are how a drug is dosed.
    mass = amount.value if amount.unit == "mg" else None
    if mass is not None:
        salts = {drug for drug in medication.drugs if drug != MAGNESIUM and _is_magnesium(drug, rulebook)}
        fraction = _fraction(salts.pop(), rulebook) if len(salts) == 1 else None
        return None if fraction is None else mass * fraction
    total = Decimal(0)
    found = False
    for component in medication.components:
        if not _is_magnesium(component.drug, rulebook):
            continue
        if component.strength is None or component.per != per:
            return None
        strength = _milligrams(component.strength.value, component.strength.unit)
        fraction = _fraction(component.drug, rulebook)
        if strength is None or fraction is None:
            return None
        total += strength * fraction / component.per_value * amount.value
        found = True
    return total if found else None


def _is_magnesium(drug: str, rulebook: Rulebook) -> bool:
    page = rulebook.library.terminology.get(drug)
    return page is not None and (drug == MAGNESIUM or MAGNESIUM in page.member_of)


def _fraction(drug: str, rulebook: Rulebook) -> Decimal | None:
    """Elemental magnesium of a mass of this salt; None where its weights may mean either."""
    if drug == MAGNESIUM:
        return Decimal(1)
    salt = rulebook.library.salts.get(drug)
    return salt.elemental_fraction if salt and salt.labelled_as == "salt" else None


def _milligrams(value: Decimal, unit: str) -> Decimal | None:
    factor = {"mg": Decimal(1), "g": Decimal(1000), "ug": Decimal("0.001")}.get(unit)
    return None if factor is None else value * factor


def doses_a_day(frequency: int | None, period: Decimal | None, unit: str | None) -> Decimal | None:
    """Doses a day from FHIR frequency/period/periodUnit; None where one is missing."""
    if not frequency or not period or unit not in DOSES_A_DAY:
        return None
    return Decimal(frequency) * DOSES_A_DAY[unit] / period


# UCUM annotations and words by which EHRs mean "one dose unit".
UNIT_WORDS = frozenset({
    "1", "{tbl}", "{tablet}", "{pill}", "{capsule}", "{cap}", "{sachet}", "{dose}", "{TAB}", "{CAP}",
    "tablet", "tablets", "capsule", "capsules", "pill", "sachet", "TAB", "CAP",
})  # fmt: skip
