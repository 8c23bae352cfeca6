"""What it costs to try a change on many patients: little more than to give them advice once, and no more memory for
more of them."""

from __future__ import annotations

import time
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
MOST_OF_ONE_RULE, MOST_OF_ALL = 1.6, 2.8


def cohort(patients: int = PATIENTS) -> Cohort:
    return Cohort("some", lambda: islice(scenarios_cohort(shipped(), NOW).cases(), 0, None, 6000 // patients))


def seconds(work: Callable[[], object]) -> float:
    """In time of this process alone."""
    began = time.process_time()
    work()
    return time.process_time() - began


def test_a_comparison_costs_little_more_than_advice_once() -> None:
    side = Side(shipped(), rulebook(), NOW)

    def once() -> None:
        for case in cohort().cases():
            advice_of(side, case, case.chart(side))

    silent = rulebook(SILENT.format("ciprofloxacin_timing"))
    once()  # what is found but once is no part of a round
    # What stands beside each other is measured side by side: the machine is not as fast at every moment.
    rounds = [
        (
            seconds(once),
            seconds(lambda: compare(cohort(), rulebook(), silent, shipped(), NOW)),
            seconds(lambda: compare(cohort(), rulebook(), limit("0.62"), shipped(), NOW)),
        )
        for _ in range(3)
    ]
    one_rule = min(one / alone for alone, one, _ in rounds)
    everything = min(every / alone for alone, _, every in rounds)
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
