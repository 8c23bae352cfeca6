"""Timing findings and the planner: which doses stand where, when magnesium fits, and the order that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cds_service.content.rulebook import Rule, Rulebook
from cds_service.hooks.display import Display, fill, joined
from cds_service.hooks.plan import PlanContent
from cds_service.patient import Medication
from cds_service.planner import (
    DAYS,
    DrugTimes,
    Interval,
    Plan,
    PlanRequest,
    Schedule,
    clock,
    drug_times,
    hours,
    plan_day,
    schedule_from,
)
from cds_service.rules.context import ORAL_ROUTES, doses_a_day
from cds_service.rules.evaluate import Evaluation, Outcome
from cds_service.rules.timing import salt_fits

WAKING = "WAKE"  # FHIR event code: the label of a bisphosphonate fixes its dose at waking
MOST_DOSES = 6


@dataclass(frozen=True)
class DayPlan:
    """A plan for one magnesium product among the other drugs of this patient."""

    product: Medication
    request: PlanRequest
    plan: Plan

    @property
    def writable(self) -> bool:
        """Whether its times may be written into the order: nothing was left out of the planning."""
        return self.plan.possible and self.plan.complete


@lru_cache(maxsize=8)
def _schedule(rulebook: _ById) -> Schedule:
    return schedule_from(rulebook.value.library.schedule, rulebook.value.day, rulebook.value.site.schedule)


@dataclass(frozen=True, eq=False)
class _ById:
    """Lets a cache go by the identity of an immutable rulebook."""

    value: Rulebook

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.value is self.value


def schedule_of(rulebook: Rulebook) -> Schedule:
    """The usual day under the site's values."""
    return _schedule(_ById(rulebook))


def interval_of(rule: Rule, rulebook: Rulebook) -> Interval | None:
    """The interval of a timing page, in minutes; None for a page of another kind."""
    page, library = rule.loaded.page, rulebook.library
    block = page.separate or page.avoid
    if block is None:
        return None
    source = library.references[page.evidence.references[0]]
    after = before = 0
    if page.separate:
        after = int(rule.limits[page.separate.drug_then_magnesium].value * 60)
        before = int(rule.limits[page.separate.magnesium_then_drug].value * 60)
    return Interval(
        drug=block.drug,
        label=_label(library.title(block.drug)),
        drug_then_magnesium=after,
        magnesium_then_drug=before,
        avoid=page.avoid is not None,
        label_moment=WAKING if page.separate and page.separate.fixed_by_label else "",
        verified=page.separate is not None and page.separate.interval == "drug_specific",
        certainty=library.evidence.certainty[page.evidence.certainty].label,
        reference=", ".join(filter(None, [source.publisher or source.title, str(source.year or "")])),
        url=f"/evidence/{rule.id}",
    )


def _label(title: str) -> str:
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def plan_content(rulebook: Rulebook, vocabulary: Any) -> PlanContent:
    """What POST /plan and the plan's page need of the content in force."""
    rules = [rule for rule in rulebook.rules.values() if rule.visibility != "hidden"]
    intervals = {found.drug: found for rule in rules if (found := interval_of(rule, rulebook))}
    names = {name: _label(page.title) for name, page in rulebook.library.terminology.items() if page.kind == "drug"}

    def find(name: str) -> list[str]:
        drugs = vocabulary.drug([], name).drugs
        return sorted(drug for drug in drugs if drug in intervals) or sorted(drug for drug in drugs if drug in names)

    return PlanContent(intervals, schedule_of(rulebook), find, names)


def plan_for(timing: Sequence[Outcome], evaluation: Evaluation, rulebook: Rulebook) -> DayPlan | None:
    """The plan behind timing findings; None where it is not one magnesium product with a known number of doses."""
    products = {
        pair.magnesium.source: pair.magnesium
        for outcome in timing
        if outcome.verdict
        for pair in outcome.verdict.bindings.get("pairs", ())
    }
    if len(products) != 1 or len(evaluation.context.oral_magnesium) != 1:
        return None
    (product,) = products.values()
    doses = _doses(product)
    if doses is None:
        return None
    schedule, today = schedule_of(rulebook), evaluation.context.facts.now.date()
    drugs: list[DrugTimes] = []
    unknown = 0
    for medication in evaluation.context.facts.medications:
        if medication.source == product.source or medication.route not in ORAL_ROUTES:
            continue
        if not medication.drugs:
            unknown += 1
            continue
        rules = [rule for rule in rulebook.rules.values() if _concerns(rule, medication, product)]
        intervals = [found for rule in rules if (found := interval_of(rule, rulebook))]
        drug = intervals[0].drug if intervals else min(medication.drugs)
        either: list[Interval | None] = [*intervals] or [None]
        for interval in either:
            label = interval.label if interval else _label(rulebook.library.title(drug))
            concept = interval.drug if interval else drug
            times = drug_times(concept, label, medication.dosages, interval, schedule, today)
            if times is not None:
                drugs.append(times)
    request = PlanRequest(schedule, today, doses, with_food=False, drugs=tuple(drugs), unknown=0)
    return DayPlan(product, request, plan_day(request))


def _concerns(rule: Rule, medication: Medication, product: Medication) -> bool:
    block = rule.loaded.page.separate or rule.loaded.page.avoid
    if block is None or rule.visibility == "hidden" or block.drug not in medication.drugs:
        return False
    return salt_fits(product, block.magnesium)


def _doses(product: Medication) -> int | None:
    """Whole doses a day of the product; None where the order does not say."""
    total = 0
    for dosage in product.dosages:
        if dosage.as_needed or dosage.problem or dosage.days:
            return None
        rate = doses_a_day(dosage.frequency, dosage.period, dosage.period_unit)
        count = len(dosage.times) or len(dosage.when) or rate
        if count is None or count != int(count):
            return None
        total += int(count)
    return total if 1 <= total <= MOST_DOSES else None


# Words


def plan_summary(day: DayPlan, display: Display) -> str:
    """One line: when magnesium fits and how far it is then from each drug; or that nothing fits."""
    words = display.library.wording.plan
    if not day.plan.possible:
        labels = {drug.drug: drug.label for drug in day.request.drugs}
        return fill(words.none, {"drugs": joined([labels[name] for name in day.plan.blocked_by])})
    gaps = [text for gap in _one_per_drug(day) if (text := gap)]
    template = words.fits if gaps else words.fits_plain
    return fill(template, {"times": plan_times(day), "gaps": ", ".join(gaps)})


def _one_per_drug(day: DayPlan) -> list[str]:
    """'4 h after levothyroxine': the side on which the drug is nearer, at the nearest planned dose."""
    near: dict[str, tuple[int, str]] = {}
    for gap in day.plan.gaps:
        sides = [(gap.after_drug, "after"), (gap.before_drug, "before")]
        for minutes, side in sides:
            if minutes is not None and (gap.drug not in near or minutes < near[gap.drug][0]):
                near[gap.drug] = (minutes, f"{hours(minutes)} {side} {gap.label}")
    return [text for _, text in sorted(near.values())]


def plan_times(day: DayPlan) -> str:
    """'14:00' or '10:30 and 15:00'; by weekday where days differ."""
    if day.plan.times:
        return joined([clock(minute) for minute in day.plan.times])
    return "; ".join(
        f"{code} {joined([clock(minute) for minute in minutes]) or '-'}" for code, minutes in day.plan.per_day.items()
    )


def plan_table(day: DayPlan, display: Display) -> str:
    """The day as a small table: time, what is taken, whether the time is assumed."""
    words = display.library.wording.plan
    rows: dict[int, list[str]] = {}
    monday = 0
    for drug in day.request.drugs:
        if drug.interval is None:
            continue
        for dose in drug.week[monday]:
            text = fill(words.assumed_time, {"drug": drug.label}) if dose.assumed else drug.label
            rows.setdefault(dose.minute, []).append(text)
    for minute in day.plan.times or day.plan.week[monday]:
        rows.setdefault(minute, []).append(f"**{display.drug('magnesium')}**")
    lines = [f"| {clock(minute)} | {joined(names)} |" for minute, names in sorted(rows.items())]
    return "\n".join([f"| {words.head_time} | {words.head_drug} |", "|---|---|", *lines])


def plan_options(day: DayPlan, display: Display) -> list[str]:
    """Options for the card: the plan, or the best alternatives in their order."""
    words = display.library.wording.plan
    if day.plan.possible:
        return [fill(words.option, {"times": plan_times(day)})]
    labels = {drug.drug: drug.label for drug in day.request.drugs}
    options = []
    for item in day.plan.alternatives:
        week = joined([clock(minute) for minute in item.week[0]])
        moves = joined([f"{move.label} {clock(move.to_minute)}" for move in item.moves])
        options.append(
            fill(words.alternatives[item.kind], {
                "times": week, "doses": str(item.doses_per_day), "moves": moves,
                "drugs": joined([labels[name] for name in item.drugs]),
                "date": item.starts.isoformat() if item.starts else "",
            })
        )  # fmt: skip
    return options


def plan_gaps(day: DayPlan, display: Display) -> list[str]:
    """What the plan could not take into account."""
    words = display.library.wording.plan
    unread = [label for label, _ in day.plan.unreadable] + list(day.plan.as_needed)
    return [fill(words.not_planned, {"drugs": joined(unread)})] if unread else []


def with_times(resource: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The draft with the plan's clock times in its only dosage instruction, one instruction for each set of days."""
    dosages = resource.get("dosageInstruction")
    if not isinstance(dosages, list) or len(dosages) != 1 or not isinstance(dosages[0], dict):
        return resource
    sets: dict[tuple[int, ...], list[str]] = {}
    for code, minutes in zip(DAYS, plan.week, strict=True):
        if minutes:
            sets.setdefault(minutes, []).append(code)
    made = []
    for minutes, days in sets.items():
        repeat: dict[str, Any] = {"frequency": len(minutes), "period": 1, "periodUnit": "d"}
        old = dosages[0].get("timing")
        kept = old.get("repeat", {}) if isinstance(old, dict) else {}
        repeat |= {name: kept[name] for name in kept if isinstance(kept, dict) and name.startswith("bounds")}
        if len(days) < len(DAYS):
            repeat["dayOfWeek"] = days
        repeat["timeOfDay"] = [f"{clock(minute)}:00" for minute in minutes]
        made.append({**dosages[0], "timing": {"repeat": repeat}})
    return {**resource, "dosageInstruction": made}
