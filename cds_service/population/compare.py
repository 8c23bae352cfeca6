"""What a change does to a cohort: every patient's advice before and after, counted, with examples side by side."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from cds_service.advice.advise import Advice
from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import Rulebook
from cds_service.population.attrition import Attrition
from cds_service.population.cases import Case, Cohort, NotRead, Side
from cds_service.population.trying import Trial
from cds_service.publish.why import tree

INTERRUPTIVE = ("critical", "warning")
MOST_EXAMPLES, EXAMPLES_OF_A_RULE = 30, 3
Change = Literal["appears", "vanishes", "changes"]


@dataclass(frozen=True, slots=True)
class CardSeen:
    """A card as a clinician reads it, and `inputs`: the facts that it rests on."""

    rule: str
    indicator: str
    summary: str
    detail: str
    suggestions: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Example:
    """One patient whose card is another one: as it reads before and after, None where there is none."""

    case: str
    hook: str
    rule: str
    change: Change
    before: CardSeen | None
    after: CardSeen | None


@dataclass
class RuleChange:
    """What changes of one rule: its cards, and its outcomes, such as "quiet -> fired"."""

    appears: int = 0
    vanishes: int = 0
    changes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass
class Comparison:
    """What came of it. `charts` are patients, `calls` the hooks that were called for them; numbers per 100 are of
    charts. `not_read` counts charts that could not be read, by why. `cut`: time was up, and the rest was not tried."""

    cohort: str
    private: bool
    charts: int = 0
    calls: int = 0
    cards: dict[str, Counter[str]] = field(default_factory=lambda: {"before": Counter(), "after": Counter()})
    rules: dict[str, RuleChange] = field(default_factory=lambda: defaultdict(RuleChange))
    examples: list[Example] = field(default_factory=list)
    attrition: dict[str, Attrition] = field(default_factory=dict)
    not_read: Counter[str] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    cut: bool = False

    def count(self, change: Change) -> int:
        """How many cards of all rules."""
        return sum(getattr(each, change) for each in self.rules.values())

    def interruptive(self, side: Literal["before", "after"]) -> float:
        """Critical and warning cards per 100 charts."""
        found = sum(self.cards[side][indicator] for indicator in INTERRUPTIVE)
        return round(100 * found / self.charts, 1) if self.charts else 0.0

    def words(self) -> str:
        """'+12 cards, -3; interruptive 0.8 -> 1.1 per 100 charts'."""
        if not self.charts:
            return "no chart was read, so nothing can be said"
        more, fewer, other = (self.count(change) for change in ("appears", "vanishes", "changes"))
        reworded = f", {other} read differently" if other else ""
        rates = f"{self.interruptive('before')} -> {self.interruptive('after')}"
        part = "; not all charts were tried" if self.cut or self.not_read or self.remarks else ""
        return f"+{more} cards, -{fewer}{reworded}; interruptive {rates} per 100 charts{part}"

    def effect(self) -> dict[str, Any]:
        """Numbers and names of rules alone: nothing of a single patient."""
        return {
            "cohort": self.cohort,
            "words": self.words(),
            "charts": self.charts,
            "calls": self.calls,
            "not_read": sum(self.not_read.values()),
            "complete": not (self.cut or self.not_read or self.remarks),
            "appears": self.count("appears"),
            "vanishes": self.count("vanishes"),
            "changes": self.count("changes"),
            "cards": {side: dict(sorted(counted.items())) for side, counted in self.cards.items()},
            "interruptive_per_100": {side: self.interruptive(side) for side in ("before", "after")},
            "rules": {
                rule: asdict(each) | {"outcomes": dict(sorted(each.outcomes.items()))}
                for rule, each in sorted(self.rules.items())
            },
        }

    def told(self) -> dict[str, Any]:
        """All of it as JSON, the examples too: for who asked, never to be kept."""
        return self.effect() | {
            "reasons_not_read": dict(self.not_read),
            "remarks": list(self.remarks),
            "passed_over": dict(self.passed_over),
            "examples": [asdict(each) for each in self.examples],
            "attrition": {side: each.told() for side, each in self.attrition.items()},
        }


def compare(
    cohort: Cohort,
    before: Rulebook,
    after: Rulebook,
    content: Content,
    now: datetime,
    *,
    rule: str | None = None,
    examples: int = MOST_EXAMPLES,
    most_seconds: float | None = None,
    between: Callable[[], None] = lambda: None,
) -> Comparison:
    """Try every case of a cohort under both rulebooks. `rule`: one whose attrition is counted too.

    Each chart is read once where both read it alike, and let go before the next. `most_seconds`: then it ends, and says
    that it is cut. `between` is called after each case, so that a service can let its hooks go first.
    """
    trial = Trial(Side(content, before, now), Side(content, after, now))
    found = Comparison(cohort.name, cohort.private, remarks=cohort.remarks, passed_over=cohort.passed_over)
    if rule is not None:
        found.attrition = {"before": Attrition(), "after": Attrition()}
    give_up = time.monotonic() + most_seconds if most_seconds is not None else None
    patients: set[str] = set()
    for case in cohort.cases():
        if give_up is not None and time.monotonic() > give_up:
            found.cut = True
            break
        try:
            pair = trial.of(case)
        except NotRead as fault:
            found.not_read[str(fault)] += 1
            continue
        found.calls += 1
        patients.add(case.patient)
        _count(found, case, pair.before, pair.after, examples)
        if rule is not None:
            _fall(found, "before", trial.before, case, pair.before, rule)
            _fall(found, "after", trial.after, case, pair.after, rule)
        between()
    found.charts = len(patients)
    return found


def _fall(found: Comparison, side: str, of: Side, case: Case, advice: Advice, rule: str) -> None:
    service = of.services[case.hook]
    asked = any(each.rule_id == rule for each in advice.evaluation.outcomes)
    found.attrition[side].add(tree(advice, of.rulebook, service, rule) if asked else None)


def _count(found: Comparison, case: Case, before: Advice, after: Advice, examples: int) -> None:
    old = cards_seen(before)
    found.cards["before"].update(each.indicator for each in old.values())
    if before is after:
        found.cards["after"].update(each.indicator for each in old.values())
        return
    new = cards_seen(after)
    found.cards["after"].update(each.indicator for each in new.values())
    for key in {**old, **new}:
        one, other = old.get(key), new.get(key)
        if one != other:
            change: Change = "appears" if one is None else "vanishes" if other is None else "changes"
            _changed(found, case, change, one, other, examples)
    kinds = [{each.rule_id: str(each.kind) for each in advice.evaluation.outcomes} for advice in (before, after)]
    for rule in {**kinds[0], **kinds[1]}:
        was, is_ = (side.get(rule, "not tried") for side in kinds)
        if was != is_:
            found.rules[rule].outcomes[f"{was} -> {is_}"] += 1


def _changed(
    found: Comparison, case: Case, change: Change, before: CardSeen | None, after: CardSeen | None, examples: int
) -> None:
    card = after or before
    assert card is not None
    counted = found.rules[card.rule]
    setattr(counted, change, getattr(counted, change) + 1)
    if len(found.examples) < examples and getattr(counted, change) <= EXAMPLES_OF_A_RULE:
        found.examples.append(Example(case.name, case.hook, card.rule, change, before, after))


def cards_seen(advice: Advice) -> dict[tuple[str, int], CardSeen]:
    """The cards by their leading rule, and by which of its cards it is."""
    made: dict[tuple[str, int], CardSeen] = {}
    for card in (item.card for item in advice.shown):
        own = card["extension"][EXTENSION]
        rule = str(own.get("rule", ""))
        seen = CardSeen(
            rule,
            card["indicator"],
            card["summary"],
            card.get("detail", ""),
            tuple(_labels(card.get("suggestions", ()))),
            tuple(own.get("inputs", ())),
        )
        made[rule, sum(key[0] == rule for key in made)] = seen
    return made


def _labels(suggestions: Iterable[dict[str, Any]]) -> Iterable[str]:
    return (str(each["label"]) for each in suggestions)
