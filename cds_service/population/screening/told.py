"""A summary as it is told: small counts hidden, in plain values for pages, tables and JSON."""

from __future__ import annotations

from typing import Any, Final

from cds_service.population.screening.screened import not_exported
from cds_service.population.screening.small_cells import hidden, one
from cds_service.population.screening.summary import FORMAT, KINDS, SEXES, Reasoned, RuleCounts, Summary, bands

WRITTEN_FOR: Final = "the rule applies to this patient"
ON_CHART: Final = "on the chart: {}"
KNOWN: Final = "what the rule needs is known"
CURRENT: Final = "what it asks for is not over; at an order, it is being ordered"


def per_1000(count: int | None, of: int) -> float | None:
    return None if count is None or not of else round(1000 * count / of, 2)


def told(summary: Summary, smallest: int) -> dict[str, Any]:
    """All of it, None for what is hidden. Numbers are patients."""
    asked = summary.asked
    named = {key: asked[key] for key in ("now", "engine", "rules", "site", "validated", "identified") if key in asked}
    # A number taken from one total may be told by another: patients who could not be read are never hidden as a whole,
    # since a report that keeps them back would read as complete.
    reasons = dict(zip(summary.not_read, hidden(list(summary.not_read.values()), smallest), strict=True))
    return {
        "format": FORMAT,
        "finished": summary.finished,
        "not_exported": not_exported(asked),
        "of_the_export": (asked.get("export") or {}).get("remarks", []),
        "smallest_cell": smallest,
        "screened": named,
        "patients": summary.patients,
        "read": summary.read,
        "could_not_be_read": summary.patients - summary.read,
        "could_not_be_read_by_reason": reasons,
        "partly_evaluated": one(summary.partly, smallest),
        "lines_not_read": sum(summary.faults.values()),
        "lines_not_read_by_reason": summary.faults,
        "patients_by_age": _over(bands(), summary.bands, smallest),
        "patients_by_sex": _over(list(SEXES), summary.sexes, smallest),
        "with_a_finding": {
            kind: {"patients": (count := one(number, smallest)), "per_1000": per_1000(count, summary.read)}
            for kind, number in summary.urgent.items()
        },
        "rules": [_rule(each, smallest) for each in summary.rules],
        "inputs": [{"input": name, "patients": one(number, smallest)} for name, number in summary.inputs],
        "quality": [
            row
            | {"patients": (seen := one(row["patients"], smallest)), "times": None if seen is None else row["times"]}
            for row in summary.quality
        ],
    }


def _over(names: list[str], counts: dict[str, int], smallest: int) -> dict[str, int | None]:
    return dict(zip(names, hidden([counts.get(name, 0) for name in names], smallest), strict=True))


def _rule(rule: RuleCounts, smallest: int) -> dict[str, Any]:
    outcomes = dict(zip(KINDS, hidden([rule.count(kind) for kind in KINDS], smallest), strict=True))
    return {
        "rule": rule.rule,
        "hook": rule.hook,
        "title": rule.title,
        "indicator": rule.indicator,
        "tried": rule.tried,
        **outcomes,
        "fired_per_1000": per_1000(outcomes["fired"], rule.tried),
        "by_age": _cut(rule, bands(), "band", outcomes["fired"], smallest),
        "by_sex": _cut(rule, list(SEXES), "sex", outcomes["fired"], smallest),
        "reasons": [
            {
                "outcome": each.outcome,
                "code": each.code,
                "words": each.words,
                "patients": _of_reason(each, outcomes, smallest),
            }
            for each in rule.reasons
        ],
        "attrition": steps(rule, outcomes, smallest),
    }


def _of_reason(each: Reasoned, outcomes: dict[str, int | None], smallest: int) -> int | None:
    """None also where the outcome is hidden: its reasons would tell it."""
    return None if outcomes[each.outcome] is None else one(each.patients, smallest)


def _cut(rule: RuleCounts, names: list[str], by: str, total: int | None, smallest: int) -> list[dict[str, Any]]:
    """Fired by age or by sex: nothing where the total itself is hidden."""

    def of(name: str, kind: str) -> int:
        return rule.of_band(name, kind) if by == "band" else rule.of_sex(name, kind)

    fired = [of(name, "fired") for name in names]
    tried = [sum(of(name, kind) for kind in KINDS) for name in names]
    said = hidden(fired, smallest) if total is not None else [None if each else 0 for each in tried]
    whole = hidden(tried, smallest)
    return [
        {"name": name, "tried": all_of, "fired": count, "per_1000": per_1000(count, all_of) if all_of else None}
        for name, count, all_of in zip(names, said, whole, strict=True)
    ]


def steps(rule: RuleCounts, outcomes: dict[str, int | None], smallest: int) -> list[dict[str, Any]]:
    """Where patients fall, in order: each falls at one step alone, so that these and what fired are all."""
    absent = [rule.absent[place] for place in range(len(rule.asked))]
    tests = [rule.fell[number] for number in range(1, len(rule.tests) + 1)]
    names = [WRITTEN_FOR, *(ON_CHART.format(words) for words in rule.asked), KNOWN, CURRENT, *rule.tests]
    over = rule.count("quiet") - sum(absent) - sum(tests)
    fell = [rule.count("not_applicable"), *absent, rule.count("not_evaluated"), over, *tests]
    said = hidden([*fell, rule.count("fired")], smallest)
    # What the outcomes hide is not told by the steps.
    known = 1 + len(absent)
    for place, kind in ((0, "not_applicable"), (known, "not_evaluated"), (len(fell), "fired")):
        said[place] = said[place] if outcomes[kind] is not None else None
    if outcomes["quiet"] is None:
        said[known + 1 : len(fell)] = [None] * (len(tests) + 1)
    made, left, open_ = [], rule.tried, 0
    for name, number, shown in zip(names, fell, said, strict=False):
        # How many reached a step tells who fell before it: not told while that would give away a hidden count.
        made.append({"step": name, "reached": None if 0 < open_ < smallest else left, "fell": shown})
        left -= number
        open_ = open_ + number if shown is None else open_
    if open_:  # a single hidden step between two told ones would be told by their difference
        for each in made[1:]:
            each["reached"] = None
    return made
