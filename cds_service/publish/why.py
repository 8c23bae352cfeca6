"""Why a rule fired for one patient, or why it did not: each test with what was found and what it was held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ParamSpec

from cds_service.advice.advise import Advice, advise
from cds_service.advice.card_text import CardStyle
from cds_service.advice.in_words import Display
from cds_service.content.base import Part, named
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.fhir import Chart
from cds_service.patient import Lab
from cds_service.publish.rule_in_words import DOSES_MEET, in_force, scopes_of, test_in_words
from cds_service.rules.evaluate import drafted
from cds_service.rules.faults import Fault, attempt
from cds_service.rules.prepared import prepared
from cds_service.rules.timing import try_timing
from cds_service.rules.trying import try_test
from cds_service.rules.verdict import LabHit, Reason, Verdict, unknown
from cds_service.terminology.units import UnitTable

P = ParamSpec("P")
HEADS = {"trigger": "fires when", "written for": "written for"}
TRUTHS = {True: "true", False: "false", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Tried:
    """One test: the list that it stands in, its words, what came of it and why, what was found, and its limits."""

    part: str
    test: str
    verdict: str
    reasons: list[str]
    found: dict[str, str]
    sources: list[str]
    limits: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Why:
    """The decision on one rule: its outcome with the reasons, each part of whom it is written for, and all its tests.

    All are tried, also where an earlier one has decided. An unknown part of whom it is written for stops no rule, but
    for the age.
    """

    rule: str
    title: str
    outcome: str
    reasons: list[str]
    written_for: list[Tried]
    tests: list[Tried]


def why(
    chart: Chart,
    rulebook: Rulebook,
    service: str,
    rule_id: str,
    units: UnitTable,
    encounter_named: bool = False,
    client: str = "",
) -> Why:
    """The tree of the decision. `rule_id` is one that the service tries, else KeyError. `client` as in `advise`."""
    advice = advise(
        chart, rulebook, service, units=units, style=CardStyle(), encounter_named=encounter_named, client=client
    )
    return tree(advice, rulebook, service, rule_id, client)


def tree(advice: Advice, rulebook: Rulebook, service: str, rule_id: str, client: str = "") -> Why:
    """The same of advice that was given under this rulebook already."""
    rulebook = rulebook.at(client, advice.evaluation.context.facts.person.encounter_class)
    rule = {each.id: each for each in rulebook.of_service(service)}[rule_id]
    context = advice.evaluation.context
    outcome = next(each for each in advice.evaluation.outcomes if each.rule_id == rule_id)
    written, labels = rule.loaded.rule, in_force(rule.loaded, rulebook)
    told, limits = _Telling(rule, advice.display), context.limits(rule.limits)
    if written.when is None:
        block = written.separate or written.avoid
        assert block is not None
        parts: list[tuple[str, str, Part]] = [("trigger", DOSES_MEET, block)]
        verdicts = [_attempt(try_timing, written, context, limits)]
    else:
        when = written.when
        listed = [(part, test) for part in ("all", "any", "none") for test in getattr(when, part)]
        parts = [(part, test_in_words(test, labels, rulebook.library), test) for part, test in listed]
        verdicts = [_attempt(try_test, test, context, limits) for _, test in listed]
    tests = [told.tried(*part, verdict) for part, verdict in zip(parts, verdicts, strict=True)]
    scopes: list[Tried] = []
    for words, test, wanted in scopes_of(written.applies_to, labels, rulebook.library):
        verdict = _attempt(try_test, test, context, limits)
        held = verdict if wanted or verdict.truth is None else replace(verdict, truth=not verdict.truth)
        scopes.append(told.tried("written for", words, test, held))
    ready = next(each for each in prepared(rulebook, service) if each.rule is rule)
    if ready.about_the_order and context.drafts_expected:
        words = "an order of one of its drugs: one that is only taken already does not count here"
        scopes.append(Tried("written for", words, TRUTHS[any(map(drafted, verdicts))], [], {}, [], []))
    reasons = advice.display.reasons(outcome.reasons)
    if outcome.fault and outcome.verdict:
        reasons = ["it fired, and was withdrawn: its card could not be worded", *reasons]
    return Why(rule_id, written.title, outcome.kind, reasons, scopes, tests)


def _attempt(work: Callable[P, Verdict], *given: P.args, **named: P.kwargs) -> Verdict:
    """As the engine: where a test meets a fault of ours, it is unknown."""
    found = attempt(work, *given, **named)
    return unknown(found.reason) if isinstance(found, Fault) else found


@dataclass(frozen=True, slots=True)
class _Telling:
    rule: ActiveRule
    display: Display

    def tried(self, part: str, words: str, test: Part, verdict: Verdict) -> Tried:
        reasons, found = self.display.reasons(verdict.reasons), self._found(verdict)
        # The kinds of the resources read: their ids are the patient's.
        places = list(dict.fromkeys(str(source.type) for source in verdict.sources))
        names = dict.fromkeys(item.name for item in named(test) if item.mark.what == "threshold")
        applied = self.display.context.limits(self.rule.limits)
        limits = [self._limit(applied[name]) for name in names if name in applied]
        return Tried(part, words, TRUTHS[verdict.truth], reasons, found, places, limits)

    def _found(self, verdict: Verdict) -> dict[str, str]:
        """What the test read, as cards say it; nothing where that cannot be worded."""
        filled = attempt(self.display.placeholders, self.rule, verdict)
        if isinstance(filled, Fault):
            return {}
        found = {name: filled[name] for name in sorted(filled) if filled[name] and not name.startswith("hours_")}
        for name, value in verdict.bindings.items():
            if isinstance(value, int) and not isinstance(value, bool):
                found[name] = str(value)
            elif isinstance(value, Lab):
                found[name] = f"{self.display.lab_value(value)}, {self.display.age(value.time)}"
            elif isinstance(value, Reason):
                found[name] = self.display.reason(value)
            elif isinstance(value, LabHit):
                found[f"{name}.limit"] += f" ({value.limit_from})"
        return found

    def _limit(self, limit: Limit) -> dict[str, str]:
        told = {"label": limit.label, "value": self.display.quantity(limit.value, limit.unit)}
        if limit.site and limit.default is not None:
            return told | {"from": "this site", "default": self.display.quantity(limit.default, limit.unit)}
        texts = f"{self.display.library.wording.regions[limit.region]} text" if limit.region else "the rule"
        told |= {"from": texts, "reference": self.display.library.references[limit.reference].title}
        both = self.display.regions(limit)
        return told | ({"regions": both} if both else {})


def lines(told: Why) -> list[str]:
    """The tree as lines of text, indented."""
    made = [f"{told.rule}: {told.outcome}", f"  {told.title}"]
    made += [f"  reason: {reason}" for reason in told.reasons]
    part = ""
    for tried in (*told.written_for, *told.tests):
        if tried.part != part:
            part = tried.part
            made.append(f"  {HEADS.get(part, f'{part} of')}")
        made.append(f"    [{tried.verdict}] {tried.test}")
        made += [f"      because: {reason}" for reason in tried.reasons]
        made += [f"      found: {name} = {value}" for name, value in tried.found.items()]
        made += [f"      read from: {', '.join(tried.sources)}"] if tried.sources else []
        for limit in tried.limits:
            origin = f"set by this site, default {limit['default']}" if "default" in limit else limit["reference"]
            origin += f"; {limit['regions']}" if "regions" in limit else ""
            made.append(f"      limit: {limit['label']}: {limit['value']} ({origin})")
    return made
