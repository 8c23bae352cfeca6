"""How many patients a second a screening reads and tries, beside a bare parse of the same bytes.

`python -m tests.benchmarks.screening` from the top of the project; `--ways one two valid spark` for some of them.
Start-up is measured with one patient and taken away. Quote the ratios: times differ from machine to machine. All ways
that do not validate have to give the same bytes: it ends with 1 where they do not. Ten times as much input as memory:
`--ways two --patients 60000 --narrative 2000 --memory 256`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from tests.population import hospital
from tests.population.kills import parts_of

NOW = "2026-11-28T12:00:00+0000"
MIB = 1024 * 1024


WAYS = {
    "one": ("one process", ("--processes", "1")),
    "two": ("two processes", ("--processes", "2")),
    "valid": ("two, cited resources validated", ("--processes", "2", "--validate")),
    "spark": ("Spark, local[2]", ("--engine", "spark", "--master", "local[2]")),
}


def processor() -> float:
    """Seconds of this process and of all that it started and that ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def memory_of(session: int) -> int:
    """Bytes that the processes of a session hold now; what several share is counted once."""
    held = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                held += 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration, ValueError):
            continue
    return held


@contextmanager
def watched(session: int) -> Iterator[list[int]]:
    """The most that a session held, looked at four times a second, at the end."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            most[0] = max(most[0], memory_of(session))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def screened(source: Path, out: Path, options: Sequence[str] = ()) -> tuple[float, float, int]:
    """Seconds, seconds of processors, and bytes held at most, of one screening."""
    asked = [sys.executable, "-m", "cds_service", "screen", str(source), "--out", str(out), "--now", NOW, *options]
    begun, used = time.monotonic(), processor()
    process = subprocess.Popen(
        asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with watched(process.pid) as most:
        _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said)
    return time.monotonic() - begun, processor() - used, most[0]


def parsed(source: Path) -> float:
    """Seconds of processors for `orjson.loads` of every line."""
    begun = time.process_time()
    for path in source.iterdir():
        with path.open("rb") as lines:
            for line in lines:
                orjson.loads(line)
    return time.process_time() - begun


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--patients", type=int, default=6000)
    options.add_argument("--ways", nargs="+", choices=WAYS, default=["one", "two", "valid"])
    options.add_argument("--narrative", type=int, default=0, help="characters of text in each resource")
    options.add_argument("--memory", type=int, default=1024, help="MiB that the local engine may take")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_bytes(b"k" * 32)
        hospital.write(folder / "one", 1)
        hospital.write(folder / "all", given.patients, narrative=given.narrative)
        files = list((folder / "all").iterdir())
        size = sum(path.stat().st_size for path in files)
        resources = sum(sum(1 for _ in path.open("rb")) for path in files)
        print(f"{given.patients} patients, {resources / given.patients:.0f} resources each, {size / MIB:.0f} MiB")
        bare = parsed(folder / "all") / given.patients
        print(f"bare parse: {1e6 * bare:.0f} microseconds of a processor for a patient")
        print(f"{'':<32}{'patients/s':>12}{'start s':>9}{'CPU ms':>9}{'of bare':>9}{'MiB':>7}")
        alike: list[dict[str, bytes]] = []
        for number, way in enumerate(given.ways):
            words, asked = WAYS[way]
            flags = ("--key", str(folder / "key"), "--memory", str(given.memory), *asked)
            start, start_cpu, _ = screened(folder / "one", folder / f"one-{number}", flags)
            took, cpu, most = screened(folder / "all", folder / f"all-{number}", flags)
            each = (cpu - start_cpu) / given.patients
            rate = given.patients / max(took - start, 1e-9)
            # What Java starts is Java's: its processors' time does not come to us.
            used = ("-", "-") if "spark" in asked else (f"{1e3 * each:.2f}", f"{each / bare:.0f}")
            print(f"{words:<32}{rate:12.0f}{start:9.1f}{used[0]:>9}{used[1]:>9}{most / MIB:7.0f}")
            if "--validate" not in flags:
                alike.append(parts_of(folder / f"all-{number}"))
        same = all(each == alike[0] for each in alike)
        print(f"results without validation: {'the same bytes' if same else 'NOT THE SAME'}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
