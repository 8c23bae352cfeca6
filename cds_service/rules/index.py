"""Which rules of a service are worth trying for a patient: found by what is there, not by going through the rules.

A call costs what its findings cost, however many rules there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cds_service.content.rulebook import Rulebook
from cds_service.rules.context import Context
from cds_service.rules.prepared import Prepared, prepared

Closed = frozenset[str | None]
"""Statuses of medicines, and None for problems, of which all that is there is known: what is not found is absent."""


@dataclass(frozen=True, slots=True)
class _Ways:
    """Places of rules, in one state of the inputs: those that nothing rules out, and those that ask for a problem or a
    drug, by its name. `meetings`: of the first ones those about doses that meet, with the drug of each."""

    always: frozenset[int]
    problems: Mapping[str, Sequence[int]]
    drugs: Mapping[str, Sequence[int]]
    meetings: Sequence[tuple[int, str]]


class RuleIndex:
    """The rules of a service in the order of the rulebook, by what they ask for and by whom they are for.

    `scopes`: places of the rules that are not for everybody, by their `applies_to` with its limits.
    """

    def __init__(self, every: Sequence[Prepared]) -> None:
        self.every = tuple(every)
        self.places = {ready.rule.id: place for place, ready in enumerate(self.every)}
        self.scopes: dict[str, list[int]] = {}
        for place, ready in enumerate(self.every):
            if not ready.for_everybody:
                self.scopes.setdefault(ready.scope, []).append(place)
        self._statuses = frozenset(asked.status for ready in self.every for asked in ready.asked)
        self._ways: dict[Closed, _Ways] = {}  # one for each state of the inputs: sixteen at most

    def may_fire(self, context: Context) -> list[int]:
        """Places of the rules of which nothing that they need is certainly absent, in order; without those of
        `not_found`."""
        ways = self._ways_of(context)
        met = {place for place, drug in ways.meetings if drug in context.drugs}
        for concept in context.concepts & ways.problems.keys():
            met.update(ways.problems[concept])
        for drug in context.drugs & ways.drugs.keys():
            met.update(ways.drugs[drug])
        return sorted(ways.always.union(place for place in met if not self.every[place].cannot_fire(context)))

    def not_found(self, context: Context) -> list[int]:
        """Places of the rules about doses that meet whose drug was not found, and may be hidden."""
        return [place for place, drug in self._ways_of(context).meetings if drug not in context.drugs]

    def _ways_of(self, context: Context) -> _Ways:
        closed = frozenset(status for status in self._statuses if not _gap(context, status))
        ways = self._ways.get(closed)
        if ways is None:
            ways = self._ways[closed] = self._find_ways(closed)
        return ways

    def _find_ways(self, closed: Closed) -> _Ways:
        always: set[int] = set()
        meetings: list[tuple[int, str]] = []
        problems: dict[str, list[int]] = {}
        drugs: dict[str, list[int]] = {}
        for place, ready in enumerate(self.every):
            needed = [asked for asked in ready.asked if asked.status in closed]
            if not needed and (timing := ready.rule.loaded.rule.timing):
                meetings.append((place, timing.drug))
                continue
            if not needed:
                always.add(place)
                continue
            first = min(needed, key=lambda asked: len(asked.names))
            by_name = problems if first.status is None else drugs
            for name in first.names:
                by_name.setdefault(name, []).append(place)
        return _Ways(frozenset(always), problems, drugs, meetings)

    def among(self, rules: Iterable[str]) -> frozenset[int]:
        """Places of rules, by id; those that the service does not try are left out."""
        return frozenset(self.places[rule] for rule in rules if rule in self.places)


def _gap(context: Context, status: str | None) -> bool:
    return bool(context.condition_gap if status is None else context.medication_gaps(status))


@lru_cache(maxsize=64)
def index_of(rulebook: Rulebook, service: str) -> RuleIndex:
    """The index of the rules that a service tries."""
    return RuleIndex(prepared(rulebook, service))
