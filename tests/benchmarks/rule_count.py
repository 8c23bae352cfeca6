"""What a call costs with 100 rules and with 1,000: `python -m tests.benchmarks.rule_count`.

The 900 further rules are made in memory, by repeating rules of the content under other ids and on other drugs and
problems, as rules for a whole formulary would be. The patients take none of those drugs; nearly all rules of a large
rulebook are so for each patient. Both rulebooks are measured in turn. It prints milliseconds of CPU, and their ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel

from cds_service.advice.advise import advise
from cds_service.advice.card_text import CardStyle
from cds_service.advice.loaded_content import load_content
from cds_service.advice.needs import all_needs
from cds_service.content.current import CurrentRulebook
from cds_service.content.rule import Rule
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.fhir import Chart, read_chart
from cds_service.rules.evaluate import evaluate
from cds_service.rules.prepared import prepared
from tests.benchmarks.bodies import resources

FEW, MANY = 100, 1000
SERVICE = "magnesium-patient-view"
ROUNDS, CALLS = 15, 20


def _renamed(part: Any, names: dict[str, str]) -> Any:
    """The same part of a rule, written down, with drugs and problems under other names."""
    if isinstance(part, dict):
        return {key: _renamed(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [_renamed(value, names) for value in part]
    return names.get(part, part) if isinstance(part, str) else part


def _copy(rule: ActiveRule, names: frozenset[str], number: int) -> ActiveRule:
    """A rule on drugs and problems of its own, which no patient has."""
    written = rule.loaded.rule
    other = {name: f"{name}_{number}" for name in names}
    changes = {
        key: getattr(written, key).model_copy(update=_parts(getattr(written, key), other))
        for key in ("when", "separate", "avoid")
        if getattr(written, key) is not None
    }
    copied: Rule = written.model_copy(update=changes)
    return replace(rule, id=f"{rule.id}_{number}", loaded=replace(rule.loaded, id=f"{rule.id}_{number}", rule=copied))


def _parts(block: Any, names: dict[str, str]) -> dict[str, Any]:
    """The fields of a block of a rule, with other names. Its tests are copied; they are not read again."""
    found: dict[str, Any] = {}
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, list):
            found[key] = [
                each.model_copy(update=_parts(each, names)) if isinstance(each, BaseModel) else _renamed(each, names)
                for each in value
            ]
        elif isinstance(value, BaseModel):
            found[key] = value.model_copy(update=_parts(value, names))
        else:
            found[key] = _renamed(value, names)
    return found


def with_rules(rulebook: Rulebook, number: int) -> Rulebook:
    """The first rules of the rulebook, at most FEW, and copies of those that ask for a drug or a problem up to
    `number`."""
    rules = dict(list(rulebook.rules.items())[: min(FEW, number)])
    asking = {
        ready.rule.id: frozenset().union(*(asked.names for asked in ready.asked)) - {"magnesium"}
        for service in rulebook.library.services
        for ready in prepared(rulebook, service)
        if ready.asked and ready.rule.id in rules
    }
    asking = {rule: names for rule, names in asking.items() if names}
    while len(rules) < number:
        for rule, names in asking.items():
            if len(rules) < number:
                made = _copy(rulebook.rules[rule], names, len(rules))
                rules[made.id] = made
    return replace(rulebook, rules=rules, _others={})


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - began) / CALLS * 1000


def main() -> None:
    """Print the table."""
    now = datetime.now(UTC)
    content = load_content()
    needs = list(all_needs(content.library).values())
    rulebook = CurrentRulebook(content.library, None, frozenset(need.key for need in needs)).on(now.date())
    books = {number: with_rules(rulebook, number) for number in (FEW, MANY)}
    print("| body | what | 100 rules, ms CPU | 1,000 rules | ratio |\n|---|---|---|---|---|")
    for size in ("small", "typical"):
        rows = {
            key: orjson.dumps(
                found[0] if key == "patient" else {"resourceType": "Bundle", "entry": [{"resource": r} for r in found]}
            ).replace(b"@@@@@@@@", b"00000007")
            for key, found in resources(size, now).items()
        }

        def read(rows: dict[str, bytes] = rows) -> Chart:
            return read_chart(
                patient_id="person-00000007", needs=needs, prefetch=rows, draft_orders=None, selections=[],
                vocabulary=content.vocabulary, now=now, server=None,
            )  # fmt: skip

        chart = read()

        def rules(book: Rulebook, chart: Chart = chart) -> object:
            return evaluate(chart.facts, book, SERVICE)

        def whole(book: Rulebook, read: Callable[[], Chart] = read) -> object:
            made = advise(read(), book, SERVICE, units=content.vocabulary.units, style=CardStyle())
            return orjson.dumps(made.answer())

        for what, work in (("rules", rules), ("reading, rules and cards", whole)):
            times: dict[int, list[float]] = {number: [] for number in books}
            for _ in range(ROUNDS):
                for number, book in books.items():
                    times[number].append(_milliseconds(lambda work=work, book=book: work(book)))
            few, many = (min(times[number]) for number in (FEW, MANY))
            middle = statistics.median(b / a for a, b in zip(times[FEW], times[MANY], strict=True))
            print(f"| {size} | {what} | {few:.2f} | {many:.2f} | {middle:.2f} |")


if __name__ == "__main__":
    main()
