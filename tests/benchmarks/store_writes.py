"""How long a durable write of the store takes, beside the disk's own floor: `python tests/benchmarks/store_writes.py`.

The floor is one fdatasync of 4 kB appended to a file on the same disk, by one thread. Every line is p50 and p99 of one
call, in milliseconds and as multiples of the floor's p50 and p99 in the same round; the middle round of --rounds is
shown. --dir chooses the disk, --url another database (postgresql://...).

The last lines are feedback while records of cards come in, --flood calls a second of three cards each, from this worker
and from another process on the same database; their multiples are of feedback alone, in the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cds_service.store import FeedbackItem, Reason, ShownCard, Store

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REASONS = tuple(Reason(f"reason-{n}", "urn:example:reasons", f"Reason number {n}, in some words") for n in range(6))


def shown() -> ShownCard:
    """A card with what a real one has: two suggestions, six reasons; about 0.9 kB as a row."""
    return ShownCard(
        card=str(uuid.uuid4()),
        rule="low_magnesium",
        rule_version="2026-01-01",
        service="magnesium-patient-view",
        hook="patient-view",
        indicator="warning",
        client="https://ehr.example/fhir",
        shown_at=NOW,
        software_version="0.1.0",
        content_version="0123456789abcdef",
        site_revision="0",
        subject_hash=f"01234567.{uuid.uuid4().hex * 2}",
        finding_hash=f"01234567.{uuid.uuid4().hex * 2}",
        suggestions=(str(uuid.uuid4()), str(uuid.uuid4())),
        override_reasons=REASONS,
    )


def item() -> FeedbackItem:
    return FeedbackItem(
        service="magnesium-patient-view",
        client="https://ehr.example/fhir",
        card=str(uuid.uuid4()),
        outcome="overridden",
        outcome_at=NOW,
        received_at=NOW,
        reason_code="reason-1",
        reason_system="urn:example:reasons",
    )


def timed(action: Callable[[], object], threads: int, seconds: float) -> tuple[float, float, float]:
    """(p50 ms, p99 ms, calls per second) of `action`, called by `threads` threads for so long."""
    lists: list[list[float]] = [[] for _ in range(threads)]
    start = threading.Barrier(threads)

    def run(mine: list[float]) -> None:
        start.wait()
        end = time.perf_counter() + seconds
        before = time.perf_counter()
        while before < end:
            action()
            after = time.perf_counter()
            mine.append(after - before)
            before = after

    running = [threading.Thread(target=run, args=(mine,)) for mine in lists]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    cuts = statistics.quantiles([one for mine in lists for one in mine], n=100)
    return cuts[49] * 1000, cuts[98] * 1000, sum(map(len, lists)) / seconds


def floor(folder: Path, seconds: float) -> tuple[float, float, float]:
    descriptor = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    block = os.urandom(4096)

    def write() -> None:
        os.write(descriptor, block)
        os.fdatasync(descriptor)

    try:
        return timed(write, 1, seconds)
    finally:
        os.close(descriptor)


@contextmanager
def flood(store: Store, rate: float) -> Iterator[None]:
    """Records of three cards each, `rate` times a second, that nobody waits for."""
    stop = threading.Event()

    def run() -> None:
        due = time.perf_counter()
        while not stop.wait(max(0.0, due - time.perf_counter())):
            store.record_shown([shown() for _ in range(3)], wait=False)
            due += 1 / rate

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def other_worker(words: list[str]) -> Iterator[None]:
    """The same flood from a process of its own."""
    command = [sys.executable, __file__, *words, "--only-flood"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.communicate(b"\n")


def only_flood(store: Store, rate: float) -> None:
    with flood(store, rate):
        print("begun", flush=True)
        sys.stdin.readline()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one cell")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    parser.add_argument("--url", default=None, help="a database instead of SQLite")
    parser.add_argument("--flood", type=float, default=300.0, help="calls a second whose cards are recorded")
    parser.add_argument("--only-flood", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cells: dict[str, list[tuple[float, ...]]] = {}
    if options.only_flood:
        with Store.open(options.url, data_dir=options.dir) as store:
            only_flood(store, options.flood)
        return 0
    with tempfile.TemporaryDirectory(dir=options.dir) as made:
        folder = Path(made)
        # A long wait: a cell that gave up would look fast.
        with Store.open(options.url, data_dir=folder / "data", shown_wait=30.0, feedback_wait=30.0) as store:
            actions: dict[str, Callable[[], object]] = {
                "record_shown": lambda: store.record_shown([shown()]),
                "record_feedback": lambda: store.record_feedback([item()]),
                "past_outcomes": lambda: store.past_outcomes([("01234567.x", "01234567.y")], NOW),
            }
            words = ["--dir", str(folder / "data"), "--flood", str(options.flood)]
            words += ["--url", options.url] if options.url else []
            for _ in range(options.rounds):
                base = floor(folder, options.seconds)
                cells.setdefault("fdatasync 4 kB, 1 thread", []).append((*base, 1.0, 1.0))
                for name, action in actions.items():
                    for threads in (1, 8):
                        p50, p99, rate = timed(action, threads, options.seconds)
                        line = (p50, p99, rate, p50 / base[0], p99 / base[1])
                        cells.setdefault(f"{name}, {threads} thread{'s' * (threads > 1)}", []).append(line)
                alone = timed(actions["record_feedback"], 1, options.seconds)
                for where, flooding in (("here", flood(store, options.flood)), ("in another", other_worker(words))):
                    with flooding:
                        p50, p99, rate = timed(actions["record_feedback"], 1, options.seconds)
                    line = (p50, p99, rate, p50 / alone[0], p99 / alone[1])
                    cells.setdefault(f"feedback, flood {where}", []).append(line)
            counters = store.counters()
    print(f"{'':28}{'p50 ms':>10}{'p99 ms':>10}{'calls/s':>10}{'p50 x':>8}{'p99 x':>8}")
    for name, rounds in cells.items():
        p50, p99, rate, times50, times99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:28}{p50:10.3f}{p99:10.3f}{rate:10.0f}{times50:8.1f}{times99:8.1f}")
    if counters.shown_late or counters.shown_dropped or counters.reads_failed:
        print(f"not a clean run: {counters}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
