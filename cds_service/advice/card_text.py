"""One problem's findings as one card: summary, detail, options, evidence, and what was not checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from cds_service.advice.against import against_magnesium, not_proposed, withdrawn
from cds_service.advice.card_extension import EXTENSION, basis
from cds_service.advice.in_words import Display
from cds_service.advice.phrasing import fill, sentence
from cds_service.advice.plan_in_words import plan_gaps, plan_lines, plan_options, plan_summary, plan_table
from cds_service.advice.plan_of_findings import DayPlan, NoPlan, wait_of
from cds_service.advice.signed import by_publisher, source_label, whose
from cds_service.advice.suggestions import suggestions_for
from cds_service.content.library import Library
from cds_service.content.rulebook import ActiveRule
from cds_service.fhir import Chart
from cds_service.patient import Medication
from cds_service.rules.evaluate import Evaluation, Outcome
from cds_service.rules.verdict import LabHit, Reason

MAX_CARDS = 3
MAX_SUMMARY = 139
MAX_OPTIONS = 4
NOTHING_THERE = ("no_result", "no_kidney_result")  # reasons
MAX_WORDS = 120
WORD = re.compile(r"\S*\w\S*")
MAX_LINKS = 3
TOPIC_SYSTEM = "urn:magnesium-cds:topic"


@dataclass(frozen=True, slots=True)
class CardStyle:
    """How cards are written: the address of our web pages, the marks of the development profile, whether suggestions
    carry their instruction in the drug's text too, the secret that signs plan links ("" for none), the most cards, and
    the units of the reader's screen by lab."""

    base_url: str = ""
    dev: bool = False
    phrase_in_text: bool = False
    plan_secret: str = ""
    most: int = MAX_CARDS
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A card as sent, and what is written down of it."""

    card: dict[str, Any]
    rules: tuple[str, ...]
    suggested: Mapping[str, str] = field(default_factory=dict)  # names of suggestions.yaml, by uuid
    finding: str = ""
    seen: str = ""  # what has to be the same for the card to say the same again


@dataclass
class Group:
    """The findings of one problem, the leading one first; `planned`: their plan, or why timing findings have none."""

    outcomes: list[Outcome] = field(default_factory=list)
    planned: DayPlan | NoPlan | None = None

    @property
    def day(self) -> DayPlan | None:
        return self.planned if isinstance(self.planned, DayPlan) else None

    @property
    def lead(self) -> Outcome:
        return self.outcomes[0]


@dataclass(frozen=True)
class Writer:
    evaluation: Evaluation
    chart: Chart
    display: Display
    style: CardStyle
    _written: dict[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    _tests: set[str] = field(default_factory=set)  # that the cards so far propose to order

    @property
    def library(self) -> Library:
        return self.display.library

    def card(self, group: Group, rest: Sequence[Group]) -> Shown:
        lead, outcomes, library = group.lead, group.outcomes, self.library
        named = suggestions_for(
            outcomes, self.chart, self.display, group.day, bool(self._against), self.style.phrase_in_text, self._tests
        )
        suggestions = [item for _, item in named]
        card: dict[str, Any] = {
            "uuid": str(uuid4()),
            "summary": self._summary(group),
            "indicator": lead.written.card.indicator,
            "detail": self._detail(group, rest),
            "source": {
                "label": source_label(library, lead.rule),
                "url": self._evidence(lead),
                "topic": self._topic(lead.written.card.topic),
            },
        }
        if suggestions:
            card["suggestions"] = suggestions
            updates = {item["actions"][0]["type"] for item in suggestions} == {"update"}
            card["selectionBehavior"] = "at-most-one" if updates or len(suggestions) == 1 else "any"
        if reasons := list(dict.fromkeys(name for o in outcomes for name in o.written.card.override_reasons)):
            known = [library.override_reasons[name] for name in reasons[:6]]
            card["overrideReasons"] = [{"code": r.code, "system": r.system, "display": r.display} for r in known]
        label = library.wording.link_label
        links = [
            (label if len(outcomes) == 1 else f"{label}: {o.written.title}", self._evidence(o))
            for o in outcomes[:MAX_LINKS]
        ]
        if protocol := self.display.rulebook.site.protocol(group.lead.written.card.problem):
            links.append((protocol.label, protocol.url))
        if doubtful := [name for o in outcomes for name in o.written.claims if library.claims[name].doubtful]:
            first = min(doubtful, key=lambda name: library.claims[name].verdict != "contradicted")
            links.append((library.wording.claim_link_label, f"{self.style.base_url}/claims/{first}"))
        if group.day is not None and not group.day.avoided and group.day.token:
            links.append((library.wording.plan.link_label, f"{self.style.base_url}/plan/{group.day.token}"))
        card["links"] = [{"label": label, "url": url, "type": "absolute"} for label, url in links]
        card["extension"] = {EXTENSION: basis(outcomes, self.display.rulebook)}
        suggested = {item["uuid"]: name for name, item in named}
        return Shown(card, tuple(o.rule_id for o in outcomes), suggested)

    def _evidence(self, outcome: Outcome) -> str:
        return f"{self.style.base_url}/evidence/{quote(outcome.rule_id)}"

    def _topic(self, topic: str) -> dict[str, str]:
        return {"system": TOPIC_SYSTEM, "code": topic, "display": self.library.wording.topics[topic]}

    def _texts(self, outcome: Outcome) -> tuple[str, str, list[str]]:
        """Summary, detail and options of a finding, placeholders filled; made once."""
        if outcome.rule_id not in self._written:
            self._written[outcome.rule_id] = self._write(outcome)
        summary, detail, consider = self._written[outcome.rule_id]
        return summary, detail, list(consider)

    def _templates(self, outcome: Outcome) -> tuple[str, str, list[str]]:
        """Summary, detail and options before they are filled; a timing rule's own go before those of its family."""
        rule, wording = outcome.written, self.library.wording
        card = rule.card
        if rule.when is not None:
            return card.summary or "", card.detail or "", card.options(giving=not self._withdrawn(outcome))
        text = wording.separate[rule.separate.interval] if rule.separate else wording.avoid
        values = self.display.placeholders(outcome.rule, outcome.verdict) if outcome.verdict else {}
        same = values.get("hours_before") == values.get("hours_after")
        return (
            card.summary or (text.summary_same if same else text.summary) or "",
            card.detail or (text.detail_same if same else text.detail) or "",
            card.options() or (text.consider_same if same and text.consider_same else text.consider),
        )

    def _write(self, outcome: Outcome) -> tuple[str, str, tuple[str, ...]]:
        assert outcome.verdict is not None
        values = self.display.placeholders(outcome.rule, outcome.verdict)
        summary, detail, consider = self._templates(outcome)
        return (
            sentence(fill(summary, values)),
            sentence(fill(detail, values)),
            tuple(sentence(fill(text, values)) for text in consider),
        )

    def _short(self, outcome: Outcome) -> str:
        """One line for a finding that another one leads; "" where the rule adds nothing to any that may lead it."""
        rule, short = outcome.written, outcome.written.card.short
        assert outcome.verdict is not None
        if rule.when is None or (rule.card.joins and short is None):
            return by_publisher(self.library, outcome.rule, self._texts(outcome)[0])
        line = fill(rule.title if short is None else short, self.display.placeholders(outcome.rule, outcome.verdict))
        return sentence(line if short is None else by_publisher(self.library, outcome.rule, line))

    def _summary(self, group: Group) -> str:
        library, outcome = self.library, group.lead
        certainty = library.evidence.certainty[outcome.written.evidence.certainty].label
        # Behind a measured value a low grade of the advice would read as doubt about the result.
        grade = fill(library.wording.evidence_suffix, {"certainty": certainty})
        suffix = "" if outcome.written.tells_a_result else grade
        room = MAX_SUMMARY - len(suffix)
        if group.day is not None and len(group.outcomes) > 1 and not group.day.avoided:
            return plan_summary(group.day, self.display, room) + suffix
        text = self._texts(outcome)[0]
        if outcome.written.separate and len(group.outcomes) > 1:
            text = self._longest_wait(group)
        return (text if len(text) <= room else text[: room - 1].rstrip() + "…") + suffix

    def _longest_wait(self, group: Group) -> str:
        """The line of the drug that asks for the longest wait, and the other drugs."""
        longest = max(group.outcomes, key=wait_of)
        drugs = [o.verdict.bindings["drug"] for o in group.outcomes if o.verdict and o is not longest]
        values = {"line": self._texts(longest)[0], "drugs": self.display.few([self.display.title(d) for d in drugs])}
        return fill(self.library.wording.plan.also, values)

    def _detail(self, group: Group, rest: Sequence[Group]) -> str:
        library = self.library
        heads = library.wording.headings
        blocks = self._day_blocks(group) if group.day and len(group.outcomes) > 1 else self._blocks(group)
        withheld = self._not_proposed(group)
        for head, points in (
            (heads["note"], self._notes(group)),
            (heads["not_proposed"], [withheld] if withheld else []),
            (heads["not_checked"], self._not_checked(group, withheld)),
        ):
            blocks += [f"**{head}:** {'; '.join(points)}."] if points else []
        if rest:
            titles = "; ".join(item.lead.written.title for item in rest)
            blocks.append(fill(library.wording.overflow, {"titles": titles}))
        if self.style.dev:
            blocks.append(f"*{library.wording.dev_notice}*")
        return "\n\n".join(blocks)

    def _why(self, group: Group, text: str) -> str:
        """The first block. It begins with what the magnesium order replaces, unless the summary does."""
        found = [o.verdict.bindings.get("magnesium") for o in group.outcomes if o.verdict]
        lines = [self.display.replacing(order) for order in found if isinstance(order, Medication)]
        said = "{replacing}" in (group.lead.written.card.summary or "")
        told = next((f"{sentence(line)}. " for line in lines if line and not said), "")
        return f"**{self.library.wording.headings['why']}:** {told}{text.strip()}"

    def _blocks(self, group: Group) -> list[str]:
        """Why, what else was found, what to consider, evidence."""
        heads = self.library.wording.headings
        why = self._texts(group.lead)[1]
        planned = plan_options(group.day, self.display, "alone") if group.day is not None else []
        options = [*planned, *self._most_needed(group, MAX_OPTIONS - len(planned))]
        blocks = [self._why(group, why)]
        if lines := [f"- {line}" for outcome in group.outcomes[1:] if (line := self._short(outcome))]:
            blocks.append("\n".join(lines))
        return [*blocks, self._options(options), f"**{heads['evidence']}:** {self.evidence_line(group.lead.rule)}"]

    def _most_needed(self, group: Group, most: int) -> list[str]:
        """A card's options, each once. Of too many, the first of every finding with a line of its own is kept first."""
        texts = self._fullest([self._texts(outcome)[2] for outcome in group.outcomes])
        found = list(dict.fromkeys(option for options in texts for option in options))
        first = [options[0] for outcome, options in zip(group.outcomes, texts, strict=True) if self._short(outcome)]
        kept = sorted(found, key=lambda option: option not in first)[:most]
        return [option for option in found if option in kept]

    def _fullest(self, texts: Sequence[Sequence[str]]) -> list[list[str]]:
        """The options of each finding. One whose words all stand in another one of the card gives way to that."""
        every, small = sorted({one for options in texts for one in options}), self.library.wording.small_words
        said = {one: {*re.findall(r"[^\s,;:.?!]+", one.lower())} - small for one in every}
        fullest = {one: max((o for o in said if said[one] <= said[o]), key=lambda o: len(said[o])) for one in said}
        return [[fullest[option] for option in options] for options in texts]

    def _options(self, options: Sequence[str]) -> str:
        """The heading says "consider" once for all of them."""
        wording = self.library.wording
        plain = [sentence(option.removeprefix(wording.option_prefix)) for option in options[:MAX_OPTIONS]]
        return f"**{wording.headings['consider']}:**\n" + "\n".join(f"- {option}" for option in plain)

    def _day_blocks(self, group: Group) -> list[str]:
        """The card of several drugs and one plan: each distance with its evidence, the day, what to consider.

        Where it gets too long, first the rules' own options go, then the sources of the distances, then the table.
        """
        assert group.day is not None
        wording = self.library.wording
        heads = wording.headings
        names = [o.verdict.bindings["drug"] for o in group.outcomes if o.verdict]
        why = fill(wording.plan.why, {"drugs": self.display.few([self.display.title(name) for name in names])})
        if group.day.avoided:
            why = self._texts(group.lead)[1].strip()
        # A rule's option that gives hours says what its line says already.
        more = [] if group.day.avoided else [
            option
            for outcome in group.outcomes
            for template, option in zip(self._templates(outcome)[2], self._texts(outcome)[2], strict=True)
            if "{hours_" not in template
        ]  # fmt: skip
        if group.day.avoided:
            more = self._texts(group.lead)[2]
        evidence = f"**{heads['evidence']}:** {self.evidence_line(group.lead.rule)}"
        days = [plan_table(group.day, self.display)] if group.day.plan.possible else []
        shapes = ((2, False, 1), (1, False, 1), (1, True, 1), (0, True, 1), (0, True, 0))
        for options, short, table in shapes if group.day.token else shapes[:-1]:  # without a picture the table stays
            kept = more if group.day.avoided else list(dict.fromkeys(more))[:options]
            plan = plan_options(group.day, self.display, "table" if table else "picture")
            lines = plan_lines([(self._texts(o)[0], o.rule) for o in group.outcomes], self.display, short, group.day)
            blocks = [self._why(group, why), lines, *days[:table], self._options([*plan, *kept]), evidence]
            if len(WORD.findall(" ".join(blocks))) <= MAX_WORDS:
                break
        return blocks

    def evidence_line(self, rule: ActiveRule) -> str:
        """Certainty, strength, direction, source and year."""
        library, evidence = self.library, rule.loaded.rule.evidence
        certainty = library.evidence.certainty[evidence.certainty].label
        return fill(library.wording.evidence_line, {
            "certainty": certainty[0].upper() + certainty[1:],
            "strength": evidence.strength,
            "direction": library.evidence.direction[evidence.direction],
            "source": sentence(library.source(evidence.references[0])),
        })  # fmt: skip

    def _notes(self, group: Group) -> list[str]:
        """What has to be known about the facts of this card: how they were found, and whose limits were used."""
        wording = self.library.wording
        points: list[str] = []
        for outcome in group.outcomes:
            verdict = outcome.verdict
            assert verdict is not None
            for limit in verdict.limits:
                if limit.site and limit.default is not None:
                    points.append(fill(wording.notes["site_value"], {
                        "label": limit.label[0].lower() + limit.label[1:],
                        "value": self.display.limit(limit),
                        "default": self.display.quantity(limit.default, limit.unit),
                    }))  # fmt: skip
                elif told := self.display.regions(limit):
                    points.append(told)
            points += [wording.notes[note] for note in verdict.notes]
            points += whose(self.library, outcome.rule)
            hits = [value for value in verdict.bindings.values() if isinstance(value, LabHit)]
            points += [
                fill(
                    wording.notes["laboratory_disagrees"],
                    {"limit": self.display.lab_amount(hit.lab, hit.rule_limit.value)},
                )
                for hit in hits
                if hit.rule_disagrees
            ]
        return list(dict.fromkeys(points))

    def _not_proposed(self, group: Group) -> str:
        rules = [outcome.written for outcome in group.outcomes]
        if any(rule.separate for rule in rules) and not any(rule.avoid for rule in rules):
            return not_proposed(self.evaluation, self.display)
        return self.library.wording.not_proposed["giving"] if any(map(self._withdrawn, group.outcomes)) else ""

    def _withdrawn(self, outcome: Outcome) -> bool:
        return withdrawn(outcome, self._against)

    @cached_property
    def _against(self) -> list[Outcome]:
        return against_magnesium(self.evaluation)

    def _not_checked(self, group: Group, said: str) -> list[str]:
        """What these findings could not know, then why other rules were not evaluated; three at most.

        What is `said` already is left out, and that there is no result where a finding of this card is just that.
        """
        own = [self.display.reason(reason) for reason in self.evaluation.context.unidentified_drafts]
        own += plan_gaps(group.planned, self.display) if group.planned else []
        own += [self.display.reason(reason) for outcome in group.outcomes for reason in outcome.reasons]
        bound = [value for o in group.outcomes if o.verdict for value in o.verdict.bindings.values()]
        told = {self.display.reason(v) for v in bound if isinstance(v, Reason) and v.code in NOTHING_THERE}
        found = dict.fromkeys([*own, *self.open_reasons])
        return [text for text in found if text not in told and text not in said][:3]

    @cached_property
    def open_reasons(self) -> list[str]:
        """What is ordered and not known, then why shown rules were not evaluated, most frequent first."""
        ordered = map(self.display.reason, self.evaluation.context.unidentified_drafts)
        shown = [outcome for outcome in self.evaluation.of("not_evaluated") if outcome.rule.visibility == "shown"]
        counted = Counter(self.display.reason(reason) for outcome in shown for reason in outcome.reasons)
        return list(dict.fromkeys([*ordered, *(text for text, _ in counted.most_common())]))

    def not_evaluated_card(self) -> Shown:
        """What could not be looked at, and why. Never an all-clear."""
        library, reasons = self.library, self.open_reasons
        words = library.wording.not_evaluated
        values = {"reason": reasons[0] if reasons else "", "more": str(len(reasons) - 1)}
        summary = fill(words["summary_many" if len(reasons) > 1 else "summary"], values)
        lines = []
        for reason in reasons[:5]:
            titles = [
                o.written.title
                for o in self.evaluation.of("not_evaluated")
                if o.rule.visibility == "shown" and reason in map(self.display.reason, o.reasons)
            ]
            few = "; ".join(titles[:3]) + (f" (+{len(titles) - 3})" if len(titles) > 3 else "")
            lines.append("- " + fill(words["line"], {"rules": few, "reason": reason}))
        notice = [f"*{library.wording.dev_notice}*"] if self.style.dev else []
        detail = [words["detail"], "\n".join(lines), *notice]
        topic = self._topic("not_evaluated")
        card = {
            "uuid": str(uuid4()),
            "summary": summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1] + "…",
            "indicator": "info",
            "detail": "\n\n".join(detail),
            "source": {"label": library.wording.source_label, "url": f"{self.style.base_url}/evidence", "topic": topic},
            "extension": {EXTENSION: {"rule": "not_evaluated", "reasons": reasons}},
        }
        return Shown(card, ("not_evaluated",))
