"""What a rule says of the invented patients that it is tried on before each release, under the values now in force."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.in_words import Display
from cds_service.advice.loaded_content import Content
from cds_service.advice.phrasing import sentence
from cds_service.content.library import LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.population.cases import CallCase, NotRead, Side
from cds_service.population.trying import advice_of
from cds_service.publish.patient_in_words import patient_in_words
from cds_service.rules.evaluate import Kind, evaluate
from cds_service.sandbox.scenario import WRITTEN_FOR, Builder, Scenario, scenario_file

Group = Literal["fires_for", "does_not_fire_for", "could_not_be_checked_for"]
GROUPS: Final[Mapping[Group, tuple[Kind, ...]]] = {
    "fires_for": ("fired",),
    "does_not_fire_for": ("quiet", "not_applicable"),
    "could_not_be_checked_for": ("not_evaluated",),
}
_HEADED = re.compile(r"\*\*(.+?):\*\* ?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """An invented patient and the rule's outcome for them. `patient`: what is so of them, in sentences; `reasons`: why
    it was not evaluated or does not apply; `usual`: the outcome under the rule's own values; `tried`: whether this was
    tried now, which a rule that is hidden or not active is not: then the outcome is the usual one."""

    name: str
    kind: str
    patient: tuple[str, ...]
    outcome: Kind
    usual: Kind
    reasons: tuple[str, ...] = ()
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph of a card: its head ("" for none), its text and its list."""

    head: str
    text: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CardRead:
    """A card as a clinician reads it, for the patient of this name. `of`: the rule that leads it."""

    patient: str
    of: str
    indicator: str
    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """Of one rule: its patients, the card on which it is told for the first of them (None where it is not shown), and
    how many patients more there are who have site values of their own."""

    listed: tuple[Example, ...] = ()
    card: CardRead | None = None
    with_site_values: int = 0

    def of(self, group: Group) -> list[Example]:
        return [each for each in self.listed if each.outcome in GROUPS[group]]

    def as_json(self) -> dict[str, Any]:
        """By group, with the first card."""
        data: dict[str, Any] = {
            group: [
                {"name": each.name, "kind": each.kind, "patient": list(each.patient), "outcome": each.outcome,
                 **({"reasons": list(each.reasons)} if each.reasons else {}),
                 **({"outcomeWithoutSiteValues": each.usual} if each.usual != each.outcome else {}),
                 **({} if each.tried else {"tried": False})}
                for each in self.of(group)
            ]
            for group in GROUPS
        }  # fmt: skip
        if self.card:
            blocks = [
                {"head": block.head, "text": block.text, "lines": list(block.lines)} for block in self.card.blocks
            ]
            data["card"] = {
                "patient": self.card.patient,
                "rule": self.card.of,
                "indicator": self.card.indicator,
                "summary": self.card.summary,
                "detail": blocks,
            }
        return data


class ExampleBook:
    """The examples of every rule, each made when it is first asked for and kept while the same values are in force."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._of: tuple[Rulebook, Side, dict[str, Examples]] | None = None

    def examples(self, loaded: LoadedRule, rulebook: Rulebook) -> Examples:
        """Those of one rule; none for a rule that ships without."""
        held = self._of
        if held is None or held[0] is not rulebook:
            held = self._of = rulebook, Side(self._content, rulebook, WRITTEN_FOR), {}
        _, side, kept = held
        if loaded.id not in kept:
            kept[loaded.id] = _examples(loaded.id, side)
        return kept[loaded.id]


def _examples(rule: str, side: Side) -> Examples:
    try:
        cases = scenario_file(rule).scenarios
    except FileNotFoundError:  # a rule of a folder of a site's own
        return Examples()
    own = [case for case in cases if not case.site]
    builder = Builder(side.content.library, side.now)
    return Examples(
        tuple(_example(rule, case, side, builder) for case in own),
        next((_card(rule, case, side, builder) for case in own if case.expect.outcome == "fired"), None),
        len(cases) - len(own),
    )


def _call(case: Scenario, builder: Builder) -> CallCase:
    def request(side: Side) -> dict[str, Any]:
        return builder.request(case, {key: need.template for key, need in side.needs(case.hook).items()})

    return CallCase(case.name, case.name, case.hook, request)


def _example(rule: str, case: Scenario, side: Side, builder: Builder) -> Example:
    usual = case.expect.outcome
    told = partial(Example, sentence(case.name), case.kind, tuple(patient_in_words(case, side.content.library)))
    call = _call(case, builder)
    try:
        facts = call.chart(side).facts
    except NotRead:
        return told(usual, usual, tried=False)
    rulebook = side.rulebook.at("", facts.person.encounter_class)
    evaluation = evaluate(facts, rulebook, side.services[case.hook], only={rule})
    found = next(iter(evaluation.outcomes), None)
    if found is None:
        return told(usual, usual, tried=False)
    display = Display(rulebook, evaluation.context, side.vocabulary.units)
    reasons = () if found.kind == "fired" else tuple(display.reasons(found.reasons))
    return told(found.kind, usual, reasons)


def _card(rule: str, case: Scenario, side: Side, builder: Builder) -> CardRead | None:
    """The card that the rule leads, else the one on which it stands; None where it is not shown."""
    call = _call(case, builder)
    try:
        shown = advice_of(side, call, call.chart(side)).shown
    except NotRead:
        return None
    telling = [(str(each.card["extension"][EXTENSION]["rule"]), each.card) for each in shown if rule in each.rules]
    if not telling:
        return None
    leader, card = min(telling, key=lambda each: each[0] != rule)
    blocks = tuple(_block(text) for text in card.get("detail", "").split("\n\n") if text.strip())
    return CardRead(sentence(case.name), leader, card["indicator"], card["summary"], blocks)


def _block(text: str) -> Block:
    headed = _HEADED.match(text)
    head, rest = headed.groups() if headed else ("", text)
    lines = rest.splitlines()
    listed = tuple(line.removeprefix("- ") for line in lines if line.startswith("- "))
    return Block(head, " ".join(line for line in lines if not line.startswith("- ")).replace("**", ""), listed)
