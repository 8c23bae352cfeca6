"""The benchmark of screenings runs, and prints what it is asked for."""

from __future__ import annotations

import subprocess
import sys


def test_the_table_is_printed() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.screening", "--patients", "30", "--one"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    *_, bare, _, row = told.stdout.splitlines()
    assert bare.startswith("bare parse: ")
    rate, start, _, _, held = (float(each) for each in row.removeprefix("one process").split())
    assert min(rate, start) > 0
    assert held > 50
