"""Timing findings and the planner: which doses stand where, and when magnesium fits. `plan_in_words` words it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from cds_service.advice.phrasing import lowered
from cds_service.content.concept import MAGNESIUM
from cds_service.content.rule import Avoid, Separate
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.patient import Medication
from cds_service.planner import token
from cds_service.planner.model import (
    Alternative,
    DrugTimes,
    Interval,
    Plan,
    PlanContent,
    PlanRequest,
    TooLarge,
    same_every_day,
)
from cds_service.planner.plan import plan_day
from cds_service.planner.schedule import COUNTS, MEALS, Schedule, schedule_from
from cds_service.planner.times import drug_times
from cds_service.rules.evaluate import Evaluation, Outcome
from cds_service.rules.routes import ORAL_ROUTES
from cds_service.rules.timing import form_fits, salt_fits

WAKING = "WAKE"  # FHIR event code: the label of a bisphosphonate fixes its dose at waking
SENTENCE = re.compile(r"(?<=\.)\s")


@dataclass(frozen=True)
class DayPlan:
    """A plan for one magnesium product among the other drugs of this patient; `token` opens its web page, and
    is empty where nobody could open it."""

    product: Medication
    request: PlanRequest
    plan: Plan
    token: str

    @property
    def avoided(self) -> bool:
        """Whether a drug is among them that magnesium is not to be combined with: nothing is planned around it."""
        return any(drug.avoid for drug in self.request.drugs)

    @property
    def fewer(self) -> Alternative | None:
        """Fewer doses that fit on every day, where the doses ordered do not and nothing was left out."""
        found = self.plan.alternatives[0] if self.plan.alternatives else None
        if found is None or not self.plan.complete or found.kind != "fewer_doses" or not all(found.week):
            return None
        return found


NoPlan = Literal["two_products", "doses_unknown", "no_times", "too_large", "fault"]
"""Why no day was planned."""


@lru_cache(maxsize=64)
def schedule_of(rulebook: Rulebook) -> Schedule:
    """The usual day under the site's values."""
    return schedule_from(rulebook.library.schedule, rulebook.day, rulebook.site.schedule)


@lru_cache(maxsize=64)
def _intervals(rulebook: Rulebook) -> dict[str, list[tuple[Interval, Separate | Avoid]]]:
    """By drug concept: the intervals of the rules in force, each with the block that says what it holds for."""
    found: dict[str, list[tuple[Interval, Separate | Avoid]]] = {}
    for rule in rulebook.rules.values():
        block = rule.loaded.rule.timing
        if block is not None and rule.visibility != "hidden":
            found.setdefault(block.drug, []).append((_interval(rule, block, rulebook), block))
    return found


def _interval(rule: ActiveRule, block: Separate | Avoid, rulebook: Rulebook) -> Interval:
    """The interval of a timing rule, in minutes."""
    written, library = rule.loaded.rule, rulebook.library
    after = before = 0
    if written.separate:
        after = int(rule.limits[written.separate.drug_then_magnesium].value * 60)
        before = int(rule.limits[written.separate.magnesium_then_drug].value * 60)
    return Interval(
        drug=block.drug,
        label=lowered(library.title(block.drug)),
        drug_then_magnesium=after,
        magnesium_then_drug=before,
        avoid=written.avoid is not None,
        label_moment=WAKING if written.separate and written.separate.fixed_by_label else "",
        verified=written.separate is None or written.separate.interval == "drug_specific",
        certainty=library.evidence.certainty[written.evidence.certainty].label,
        reason=SENTENCE.split(" ".join(written.why.split()))[0].rstrip("."),
        reference=library.source(written.evidence.references[0]),
        url=f"/evidence/{rule.id}",
    )


def plan_content(rulebook: Rulebook, vocabulary: Any) -> PlanContent:
    """What POST /plan and the plan's page need of the content in force."""
    intervals = {name: found[-1][0] for name, found in _intervals(rulebook).items()}
    names = {name: lowered(entry.title) for name, entry in rulebook.library.terminology.items() if entry.kind == "drug"}

    def find(name: str) -> list[str]:
        drugs = vocabulary.drug([], name).drugs
        return sorted(drug for drug in drugs if drug in intervals) or sorted(drug for drug in drugs if drug in names)

    return PlanContent(intervals, schedule_of(rulebook), find, names)


def plan_for(
    timing: Sequence[Outcome], evaluation: Evaluation, rulebook: Rulebook, secret: str = ""
) -> DayPlan | NoPlan:
    """The plan behind timing findings, or why there is none to show. `secret` signs its address, if there is one."""
    products = {
        pair.magnesium.source: pair.magnesium
        for outcome in timing
        if outcome.verdict
        for pair in outcome.verdict.bindings.get("pairs", ())
    }
    if len(products) != 1 or len(evaluation.context.oral_magnesium) != 1:
        return "two_products"
    (product,) = products.values()
    schedule, today = schedule_of(rulebook), evaluation.context.facts.now.date()
    taken = drug_times(MAGNESIUM, "", product.dosages, None, schedule, today)
    if taken is None or taken.unreadable or taken.as_needed or taken.any_day or not same_every_day(taken.week):
        return "doses_unknown"
    doses = len(taken.week[0])
    if doses not in COUNTS:
        return "doses_unknown"
    drugs: list[DrugTimes] = []
    unknown = 0
    for medication in evaluation.context.facts.medications:
        if medication.source == product.source or medication.route not in ORAL_ROUTES:
            continue
        if not medication.drugs:
            unknown += not medication.identified
            continue
        drugs += _times(medication, product, rulebook, schedule, today)
    moments = [schedule.moments[code] for dosage in product.dosages for code, _ in dosage.when]
    with_food = any(moment.sign == 1 and moment.at in ("", *MEALS) for moment in moments)
    try:
        request = PlanRequest(schedule, today, doses, with_food, tuple(drugs), unknown)
        address = token.sign(request, secret)  # also where it is not given: what is too large for it is no plan
    except TooLarge:
        return "too_large"
    day = DayPlan(product, request, plan_day(request), address if secret else "")
    return day if day.avoided or any(drug.windowed for drug in drugs) else "no_times"


def _times(
    medication: Medication, product: Medication, rulebook: Rulebook, schedule: Schedule, today: date
) -> list[DrugTimes]:
    """The week of one medicine, once for each interval that it has beside this product."""
    intervals = _intervals(rulebook)
    either: list[Interval | None] = [
        interval
        for drug in sorted(medication.drugs)
        for interval, block in intervals.get(drug, ())
        if salt_fits(product, block.magnesium) and form_fits(medication, block)
    ]
    found = []
    for interval in either or [None]:
        drug = interval.drug if interval else min(medication.drugs)
        label = interval.label if interval else lowered(rulebook.library.title(drug))
        times = drug_times(drug, label, medication.dosages, interval, schedule, today)
        if times is not None:
            found.append(times)
    return found


def wait_of(outcome: Outcome) -> Decimal:
    """The longer of the two waits of a timing rule, in hours."""
    block, limits = outcome.written.separate, outcome.rule.limits
    names = (block.drug_then_magnesium, block.magnesium_then_drug) if block else ()
    return max((limits[name].value for name in names), default=Decimal(0))
