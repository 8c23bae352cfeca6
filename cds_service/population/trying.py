"""One chart under two rulebooks: the real advice of both, the second one only where it may differ.

A rule reads the patient's facts, its own limits and what all rules share. Where two rulebooks differ in some rules
alone, and none of these has anything to tell of these facts under either, everything that is made of the outcomes is
the same too: then the second advice is the first one, and is not made again. Where resources were taken out of a
chart because they are no valid FHIR, all is made twice: which ones go depends on all outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

from cds_service.advice.advise import Advice, advise
from cds_service.advice.card_text import CardStyle
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.population.cases import Case, Side
from cds_service.rules.evaluate import evaluate

STYLE = CardStyle()  # as many cards as a screen has room for: what is pushed out is an effect too
UNTOLD = ("quiet", "not_applicable")


@dataclass(frozen=True, slots=True)
class Pair:
    """The advice on one case before and after; one object where they cannot differ."""

    before: Advice
    after: Advice


def differing(before: Rulebook, after: Rulebook) -> frozenset[str] | None:
    """The rules in which two rulebooks differ; None where more differs than rules of their own."""
    mine, theirs = (book.site.document.model_dump(exclude={"rules", "site"}) for book in (before, after))
    own, other = before.site.document.rules, after.site.document.rules
    same = (
        before.library is after.library
        and before.day == after.day
        and before.shared == after.shared
        and before.not_available == after.not_available
        and before.rules.keys() == after.rules.keys()
        and mine == theirs
        and own.get("shared") == other.get("shared")
    )
    if not same:
        return None
    found = set()
    for name, rule in before.rules.items():
        new = after.rules[name]
        if (rule.limits, rule.visibility, own.get(name)) != (new.limits, new.visibility, other.get(name)):
            if "hidden" in (rule.visibility, new.visibility):
                return None  # what a service asks for, and what other rules leave to this one, may differ
            found.add(name)
    return frozenset(found)


class Trial:
    """Tries cases under both sides."""

    def __init__(self, before: Side, after: Side) -> None:
        self.before, self.after = before, after
        self._differing = differing(before.rulebook, after.rulebook)

    def of(self, case: Case) -> Pair:
        """Both advices on a case. Raises NotRead."""
        chart = case.chart(self.before)
        first = advice_of(self.before, case, chart)
        if not self.before.reads_as(self.after, case.hook):
            return Pair(first, advice_of(self.after, case, case.chart(self.after)))
        if first.evaluation.context.facts is chart.facts and self._same(case, first):
            return Pair(first, first)
        return Pair(first, advice_of(self.after, case, chart))

    def _same(self, case: Case, first: Advice) -> bool:
        """Whether the rules that differ say the same under both, and on no card: a finding may print a limit that no
        test read, and what was not evaluated is told of rules that are shown."""
        if self._differing is None:
            return False
        service, facts = self.after.services[case.hook], first.evaluation.context.facts
        rulebook = self.after.rulebook.at("", facts.person.encounter_class)
        found = evaluate(facts, rulebook, service, case.encounter_named, only=self._differing).outcomes
        known = {each.rule_id: each for each in first.evaluation.outcomes}
        return all(
            each.kind in UNTOLD and (each.kind, each.reasons) == (old.kind, old.reasons)
            for each in found
            if (old := known[each.rule_id])
        )


def advice_of(side: Side, case: Case, chart: Chart) -> Advice:
    """The advice on a case under one side."""
    return advise(
        chart,
        side.rulebook,
        side.services[case.hook],
        units=side.vocabulary.units,
        style=STYLE,
        encounter_named=case.encounter_named,
    )
