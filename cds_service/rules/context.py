"""What the tests read: one patient's facts beside one rulebook, and what has to be computed from both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from cds_service.content.concept import MAGNESIUM
from cds_service.content.rule import Instead
from cds_service.content.rulebook import Limit, Rulebook, stand_ins
from cds_service.content.shared import Allowance
from cds_service.content.word_fields import OTHER
from cds_service.patient import (
    CONDITIONS,
    ENDED,
    INTAKE,
    MEDICATIONS,
    PATIENT,
    SCREENER,
    STATEMENTS,
    Lab,
    Medication,
    PatientFacts,
    Source,
)
from cds_service.rules.amounts import dilute, is_magnesium
from cds_service.rules.daily import day_of, standing
from cds_service.rules.dietary import allowance_of, row_for
from cds_service.rules.kidneys import kidney_of
from cds_service.rules.routes import route_fits
from cds_service.rules.verdict import FALSE, DailyMagnesium, Kidney, LabHit, Reason, Verdict, unknown
from cds_service.spelling import inert

INTAKE_KEYS = (INTAKE, SCREENER)
MEDICATION_KEYS = (MEDICATIONS, STATEMENTS)
DRAFT_ORDERS = "draft_orders"
PREGNANCY_PROBLEM_HOLDS = "pregnancy_problem_holds"


@dataclass(frozen=True)
class Context:
    """One call: facts, rulebook, whether the service handles drafts, and whether the caller named an encounter.

    `low_level`: what a magnesium order replaces; `purposes`: what each one is for, where that is known.
    """

    facts: PatientFacts
    rulebook: Rulebook
    drafts_expected: bool
    encounter_named: bool = False
    low_level: LabHit | None = None
    purposes: Mapping[Source, str] = field(default_factory=dict)

    def purpose(self, order: Medication) -> str:
        """What a magnesium order is for."""
        return self.purposes.get(order.source, OTHER)

    @property
    def may_be_pregnant(self) -> bool:
        """Whether sex and age allow it."""
        row = self.allowance
        return self.facts.person.sex != "male" and (row is None or row.pregnancy is not None)

    @cached_property
    def drugs(self) -> frozenset[str]:
        """Every drug concept of any medication."""
        return frozenset[str]().union(*(medication.drugs for medication in self.facts.medications))

    @cached_property
    def concepts(self) -> frozenset[str]:
        """Every condition concept on the list."""
        return frozenset[str]().union(*(condition.concepts for condition in self.facts.conditions))

    @cached_property
    def of_pregnancy(self) -> frozenset[str]:
        """Condition concepts on the list that were not recorded longer ago than a pregnancy may last."""
        first = self.facts.now.date() - timedelta(days=float(self.limit(PREGNANCY_PROBLEM_HOLDS).value))
        fresh = (item for item in self.facts.conditions if item.recorded is None or item.recorded >= first)
        return frozenset[str]().union(*(item.concepts for item in fresh))

    @cached_property
    def inpatient(self) -> bool:
        """Whether the encounter that is going on is a hospital stay or an emergency."""
        return self.facts.person.encounter_class in self.rulebook.library.inpatient_classes

    def limits(self, rule: Mapping[str, Limit]) -> Mapping[str, Limit]:
        """The limits of a rule as they hold for this patient: what tests apply and what texts print."""
        return {**rule, **self._swapped} if self._swapped else rule

    def limit(self, name: str) -> Limit:
        """A shared limit as it holds for this patient."""
        return self._swapped.get(name) or self.rulebook.shared[name]

    @cached_property
    def _swapped(self) -> dict[str, Limit]:
        """The shared limits that another one stands in for."""
        shared, found = self.rulebook.shared, {}
        for name, cases in stand_ins(self.rulebook):
            case = next((case for case in cases if self._fits(case)), None)
            if case:
                found[name] = replace(shared[case.threshold], usual=shared[name].value)
        return found

    def stricter(self, name: str) -> tuple[Limit, Reason] | None:
        """The lower limit that would hold in place of a shared one, if the problems that it asks for were on the list,
        and why that is not known. None where the list was read, or it would be no lower."""
        gap, threshold = self.input_gap(CONDITIONS), self.rulebook.library.shared_thresholds.get(name)
        cases = threshold.instead if gap and threshold else []
        case = next((case for case in cases if self._fits(case, any_problem=True)), None)
        limit = self.rulebook.shared[case.threshold] if case else None
        return (limit, gap) if limit and gap and limit.value < self.limit(name).value else None

    def _fits(self, case: Instead, any_problem: bool = False) -> bool:
        """Whether everything that the case asks for is so. What is not known is not so, but for problems with
        `any_problem`."""
        return not (
            (case.in_hospital and not self.inpatient)
            or (case.condition and not any_problem and self.concepts.isdisjoint(case.condition))
            or (case.not_since and not any_problem and not self._no_result_since(frozenset(case.not_since)))
            or (case.injected and not self.medications(frozenset(case.injected), "any", "intravenous"))
            or (case.kidney_below and not self._kidney_below(self.rulebook.shared[case.kidney_below].value))
            or (case.age_at_least and not self._as_old_as(self.rulebook.shared[case.age_at_least].value))
        )

    def _no_result_since(self, problems: frozenset[str]) -> bool:
        """Whether one of these problems is on the list and the newest kidney result may be from before it."""
        taken = self.kidney.lab.time if isinstance(self.kidney, Kidney) else None
        return any(
            taken is None or item.recorded is None or taken.date() < item.recorded
            for item in self.facts.conditions
            if item.concepts & problems
        )

    def _kidney_below(self, limit: Decimal) -> bool:
        kidney = self.kidney
        return isinstance(kidney, Kidney) and kidney.may_be_below(limit)

    def _as_old_as(self, years: Decimal) -> bool:
        return any(age >= years for age in self.facts.person.ages)

    def input_gap(self, key: str) -> Reason | None:
        """Why an input cannot prove that something is absent, or None where it can."""
        availability, left_out = self.facts.inputs.get(key), self.rulebook.not_available
        if key in left_out and (availability is None or availability.state == "not_available"):
            # What the patient takes may be kept as orders alone, and is looked for there.
            kept = key == STATEMENTS and MEDICATIONS not in left_out
            return None if kept else Reason("input_not_available", key)
        if availability is None:
            return Reason("input_absent", key)
        if availability.complete:
            return None
        if availability.unreadable:
            return Reason("input_unreadable", key)
        return Reason(f"input_{availability.state}", key, problem=availability.reason)

    @cached_property
    def condition_gap(self) -> Reason | None:
        """Why it cannot be said that a problem is not there."""
        unread = [problem.name for problem in self.facts.unread.get(CONDITIONS, ())]
        return self.input_gap(CONDITIONS) or next(iter(not_identified("condition", unread)), None)

    def person_gap(self, code: str) -> Reason:
        """Why something of the person is not known: the patient record could not be read, else `code`."""
        return self.input_gap(PATIENT) or Reason(code)

    @cached_property
    def _hidden(self) -> dict[str, Verdict]:
        return {}

    def medication_gaps(self, status: str) -> tuple[Reason, ...]:
        """Why it cannot be said that a drug is not there."""
        return self.unless_hidden(status).reasons

    def unless_hidden(self, status: str) -> Verdict:
        """What is said of drugs that were not found: false, or unknown where they may be hidden. The same object for
        every rule that asks."""
        found = self._hidden.get(status)
        if found is None:
            gaps = self._find_medication_gaps(status)
            found = self._hidden[status] = unknown(*gaps) if gaps else FALSE
        return found

    def _find_medication_gaps(self, status: str) -> tuple[Reason, ...]:
        keys = () if status == "draft" else MEDICATION_KEYS
        if self.drafts_expected and status != "active":
            keys = (*keys, DRAFT_ORDERS)
        gaps = [gap for key in keys if (gap := self.input_gap(key))]
        for each in ("active", "draft"):
            gaps += self._not_identified(each) if status in (each, "any") else ()
        return tuple(dict.fromkeys(gaps))

    def _not_identified(self, status: str) -> tuple[Reason, ...]:
        """What of the medicines of a status nobody knows, and whose code and name disagree."""
        unknown = self.unidentified(status)
        torn = tuple(dict.fromkeys(inert(item.name) for item in unknown if item.conflict))
        names = [item.name for item in unknown if not item.conflict]
        return (*not_identified(status, names), *((Reason("medication_conflict", names=torn),) if torn else ()))

    def unidentified(self, status: str = "any") -> list[Medication]:
        """Medicines that are neither drugs of ours nor known as other ones, by status."""
        found = (item for item in self.facts.medications if item.conflict or not item.identified)
        return [item for item in found if status in (item.status, "any")]

    @cached_property
    def age(self) -> Decimal:
        """Age in years, with parts of a year where the day of birth is known. The age has to be known."""
        person = self.facts.person
        if person.age_days is not None:
            return Decimal(person.age_days) / Decimal("365.25")
        return Decimal(person.age_years or 0)

    @cached_property
    def unidentified_count(self) -> int:
        """How many medicines nobody knows. An order and a statement of one name are one."""
        return len({item.name or str(item.source) for item in self.unidentified()})

    @cached_property
    def unidentified_drafts(self) -> tuple[Reason, ...]:
        """What is ordered here and not known: always said, whatever the rules make of it."""
        return self._not_identified("draft") if self.drafts_expected else ()

    def medications(self, drugs: frozenset[str], status: str, route: str) -> list[Medication]:
        """Recognised medications of any of `drugs`, by status and route."""
        if drugs.isdisjoint(self.drugs):
            return []
        return [
            medication
            for medication in self.facts.medications
            if medication.drugs & drugs
            and not (medication.source in self._dilute and any(is_magnesium(drug, self.rulebook) for drug in drugs))
            and (status == "any" or medication.status == status)
            and (medication.status == "active" or self.drafts_expected)
            and route_fits(medication, route)
        ]

    @cached_property
    def _dilute(self) -> frozenset[Source]:
        """Solutions for injection that hold no more magnesium than blood does: no magnesium products."""
        limit = self.rulebook.limit("dilute_magnesium")
        return frozenset(item.source for item in self.facts.medications if dilute(item, limit, self.rulebook))

    def ended_medications(self, drugs: frozenset[str], route: str) -> list[Medication]:
        """Recognised medications of any of `drugs` that are over, by route."""
        return [item for item in self.facts.ended if item.drugs & drugs and route_fits(item, route)]

    @cached_property
    def ended_gaps(self) -> tuple[Reason, ...]:
        """Why it cannot be said that a drug was not given."""
        gap = self.input_gap(ENDED)
        torn = tuple(dict.fromkeys(inert(item.name) for item in self.facts.ended if item.conflict))
        return (*((gap,) if gap else ()), *((Reason("medication_conflict", names=torn),) if torn else ()))

    @cached_property
    def oral_magnesium(self) -> list[Medication]:
        """Oral magnesium products, chart and drafts."""
        return self.medications(frozenset({MAGNESIUM}), "any", "oral")

    @cached_property
    def standing_magnesium(self) -> list[Medication]:
        """The same without what another of them replaces or mirrors."""
        return standing(self.oral_magnesium)

    @cached_property
    def usable_labs(self) -> dict[tuple[str, Decimal], Lab | Reason]:
        """What `lab_tests.usable` found, by lab and the days for which a result is read."""
        return {}

    def labs_of(self, concept: str) -> tuple[Lab, ...]:
        """Results of a lab, newest first."""
        return self.facts.labs.get(concept, ())

    def newest_gap(self, concept: str, labs: Sequence[Lab]) -> Reason | None:
        """Why the first of `labs` may not be the newest there is. An incomplete answer shows it only if in order."""
        key = self.rulebook.library.terminology[concept].input or concept
        for other in self.facts.unread.get(key, ()):
            if not labs or labs[0].time is None or other.time is None or other.time >= labs[0].time:
                return Reason("result_not_identified", concept, names=(inert(other.name),))
        gap, availability = self.input_gap(key), self.facts.inputs.get(key)
        in_order = bool(labs) and availability is not None and availability.newest_first
        return None if gap and gap.code == "input_incomplete" and in_order else gap

    def withheld(self, concept: str) -> Reason | None:
        """Why there may be a newer result than any that is known, although these came in order."""
        key = self.rulebook.library.terminology[concept].input or concept
        availability = self.facts.inputs.get(key)
        return self.input_gap(key) if availability is not None and availability.withheld else None

    def doubted(self, verdict: Verdict, concept: str) -> Verdict:
        """What was withheld leaves a finding as it is, with the reason beside it, and makes anything less unknown."""
        gap = self.withheld(concept)
        if gap is None or verdict.truth is None:
            return verdict
        return replace(verdict, reasons=(*verdict.reasons, gap)) if verdict.truth else unknown(gap)

    @cached_property
    def kidney(self) -> Kidney | Reason:
        """The newest eGFR, reported or computed from creatinine; a Reason where there is none."""
        return kidney_of(self)

    @cached_property
    def daily_magnesium(self) -> DailyMagnesium:
        """Elemental magnesium a day from all oral products."""
        return day_of(self.standing_magnesium, self.rulebook, self.facts.now.date())

    @cached_property
    def allowance(self) -> Allowance | None:
        """The row of the site's table for this age; None where age is unknown or no value is set."""
        rows = self.rulebook.library.intakes.allowance[self.rulebook.site.dietary_region]
        return row_for(self.age, rows) if self.facts.person.age_years is not None else None

    @cached_property
    def allowance_value(self) -> Decimal | None:
        """mg/d for age, sex, pregnancy and lactation; None where one of them is needed and unknown."""
        return allowance_of(self.facts.person, self.allowance)

    @cached_property
    def upper_level(self) -> Decimal | None:
        """Upper level for supplemental magnesium at this age; None where age is unknown or none is set."""
        age, rows = self.facts.person.age_years, self.rulebook.library.intakes.upper_level
        row = row_for(age, rows[self.rulebook.site.dietary_region]) if age is not None else None
        return row.value if row else None


def not_identified(kind: str, names: Iterable[str]) -> tuple[Reason, ...]:
    """Why medicines or problems are not known, by what the chart calls them; one without a name is said too."""
    called = tuple(dict.fromkeys(map(inert, names)))
    named = tuple(filter(None, called))
    reason = Reason(f"{kind}s_not_identified" if len(named) > 1 else f"{kind}_not_identified", names=named)
    return (*((reason,) if named else ()), *((Reason(f"{kind}_without_name"),) if "" in called else ()))


def medication_notes(found: Iterable[Medication]) -> tuple[str, ...]:
    """What a card says about how medications were recognised."""
    found = list(found)
    notes = []
    if any(item.identified_by == "name" for item in found):
        notes.append("identified_by_name")
    if any(item.route == "unknown" for item in found):
        notes.append("route_not_stated")
    return tuple(notes)
