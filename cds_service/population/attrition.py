"""Attrition of a rule: how many patients fall at which of its tests, by the tree that says why for one patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cds_service.publish.why import Why

FIRED = "fired"
NOT_ASKED = "another hook: this rule is not tried there"
ANY = "any of: "


@dataclass(frozen=True, slots=True)
class Step:
    """A test, and how many came to it; of these it was false for `fell`, and not known for `unknown`."""

    test: str
    reached: int
    fell: int
    unknown: int


class Attrition:
    """Counts the trees of one rule."""

    def __init__(self) -> None:
        self.calls = 0
        self.fired = 0
        self._order: dict[str, None] = {}
        self._ends: Counter[tuple[str, str]] = Counter()

    def add(self, told: Why | None) -> None:
        """One call; None where its hook has no such rule."""
        self.calls += 1
        if told is None:
            self._order[NOT_ASKED] = None
            self._ends[NOT_ASKED, "false"] += 1
            return
        for name, _ in _tests(told):
            self._order.setdefault(name)
        if told.outcome == FIRED:
            self.fired += 1
            return
        # One that is false decides, whatever is not known before it; an unknown scope stops no rule.
        wanted = "unknown" if told.outcome == "not_evaluated" else "false"
        end = next(((name, verdict) for name, verdict in _tests(told) if verdict == wanted), None)
        if end is None:
            end = ("; ".join(told.reasons) or told.outcome.replace("_", " "), wanted)
            self._order.setdefault(end[0])
        self._ends[end] += 1

    def steps(self) -> list[Step]:
        """The tests in their order, each with who was left when it was tried."""
        left, found = self.calls, []
        for name in sorted(self._order, key=lambda name: name != NOT_ASKED):
            fell, unknown = self._ends[name, "false"], self._ends[name, "unknown"]
            found.append(Step(name, left, fell, unknown))
            left -= fell + unknown
        return found

    def told(self) -> dict[str, Any]:
        """As JSON."""
        steps = [
            {"test": each.test, "reached": each.reached, "fell": each.fell, "unknown": each.unknown}
            for each in self.steps()
        ]
        return {"calls": self.calls, "fired": self.fired, "steps": steps}


def _tests(told: Why) -> list[tuple[str, str]]:
    """The tests with what came of each towards a finding: a test under `none` is true where it found nothing. The
    alternatives under `any` are one test."""
    made = [(f"written for {each.test}", each.verdict) for each in told.written_for]
    either = [each for each in told.tests if each.part == "any"]
    for each in told.tests:
        if each.part == "any":
            if each is either[0]:
                verdicts = {one.verdict for one in either}
                best = next(word for word in ("true", "unknown", "false") if word in verdicts)
                made.append((ANY + "; ".join(one.test for one in either), best))
        elif each.part == "none":
            made.append((f"none of: {each.test}", {"true": "false", "false": "true"}.get(each.verdict, each.verdict)))
        else:
            made.append((each.test, each.verdict))
    return made
