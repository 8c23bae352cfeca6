"""What it costs to try a change on many patients: little more than to give them advice once, and no more memory for
more of them."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from itertools import islice

from cds_service.population import Cohort, compare, scenarios_cohort
from cds_service.population.cases import Side
from cds_service.population.trying import advice_of
from tests.conftest import NOW, shipped
from tests.population.test_compare import SILENT, limit, rulebook

PATIENTS = 150
# One rule: its tests alone are tried again. All rules: read once, advised twice.
MOST_OF_ONE_RULE, MOST_OF_ALL = 1.4, 2.2


def cohort(patients: int = PATIENTS) -> Cohort:
    return Cohort("some", lambda: islice(scenarios_cohort(shipped(), NOW).cases(), 0, None, 6000 // patients))


def calls(work: Callable[[], object]) -> int:
    """How many functions are called: the same on a busy machine, where a ratio of seconds is not."""
    count = 0

    def called(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_comparison_costs_little_more_than_advice_once() -> None:
    content, now = shipped(), rulebook()
    side, silent, lower = Side(content, now, NOW), rulebook(SILENT.format("ciprofloxacin_timing")), limit("0.62")

    def once() -> None:
        for case in cohort().cases():
            advice_of(side, case, case.chart(side))

    works = (
        once,
        lambda: compare(cohort(), now, silent, content, NOW),
        lambda: compare(cohort(), now, lower, content, NOW),
    )
    for work in works:
        work()  # what is made once for a rulebook is no part of it
    alone, one, every = map(calls, works)
    one_rule, everything = one / alone, every / alone
    print(f"one rule {one_rule:.2f}, all rules {everything:.2f} times of advice once")
    assert one_rule < MOST_OF_ONE_RULE
    assert everything < MOST_OF_ALL


def test_memory_does_not_grow_with_the_patients() -> None:
    def peak(patients: int) -> int:
        tracemalloc.start()
        compare(cohort(patients), rulebook(), limit("0.62"), shipped(), NOW, examples=0)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)
    few, many = peak(50), peak(300)
    print(f"peak of 50: {few // 1024} kB, of 300: {many // 1024} kB")
    assert many < few + 8 * 1024 * 1024
