"""What the check of a body costs beside a bare parse of it: `python -m tests.benchmarks.body_cost` from the top.

For each body: the time of `strictness.check` as a multiple of that of `orjson.loads`, the median of rounds in which
both take turns, and the most memory that Python's objects have in each. The hostile bodies are made to cost as much as
they can within the limits.
"""

from __future__ import annotations

import json
import statistics
import tracemalloc
from collections.abc import Callable, Sequence
from time import process_time

import orjson

from cds_service.fhir.strict_json import MOST_ODD_NAMES, MOST_TEXTS, NotStrict, check
from tests.benchmarks.bodies import body

ROUNDS = 7
NAMES = {f"n{number}": 0 for number in range(MOST_TEXTS - MOST_ODD_NAMES - 10)}
ODD = {f"é{number}": 0 for number in range(MOST_ODD_NAMES)}


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "typical": lambda: body("typical"),
    "large": lambda: body("large"),
    "as many names as may be": lambda: _compact({"prefetch": NAMES}),
    "and an odd one": lambda: _compact({"prefetch": NAMES | {"é": 0}}),
    "and as many odd ones": lambda: _compact({"prefetch": NAMES | ODD}),
    "4,000,000 numbers": lambda: _compact({"extension": [0] * 4_000_000}),
    "700,000 names: refused": lambda: _compact({"prefetch": {f"n{number}": 0 for number in range(700_000)}}),
}


def checked(raw: bytes) -> None:
    try:
        check(raw)
    except NotStrict:
        return


def seconds(work: Callable[[bytes], object], raw: bytes) -> float:
    start = process_time()
    work(raw)
    return process_time() - start


def memory(work: Callable[[bytes], object], raw: bytes) -> float:
    """MiB at the highest, beside the body."""
    tracemalloc.start()
    work(raw)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def main(names: Sequence[str] = tuple(BODIES)) -> None:
    print(f"{'':<30}{'MB':>6}{'time x':>8}{'MiB':>7}{'of a parse':>12}")
    for name in names:
        raw = BODIES[name]()
        ratios = [seconds(checked, raw) / seconds(orjson.loads, raw) for _ in range(ROUNDS)]
        grown = memory(checked, raw), memory(orjson.loads, raw)
        print(f"{name:<30}{len(raw) / 1e6:6.1f}{statistics.median(ratios):8.2f}{grown[0]:7.0f}{grown[1]:12.0f}")


if __name__ == "__main__":
    main()
