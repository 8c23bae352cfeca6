"""The benchmarks of screenings run, and print what they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks import change


def test_the_table_is_printed() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.screening", "--patients", "30", "--ways", "one", "--narrative", "50"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    *_, bare, _, row, same = told.stdout.splitlines()
    assert same == "results without validation: the same bytes"
    assert bare.startswith("bare parse: ")
    rate, start, _, _, held = (float(each) for each in row.removeprefix("one process").split())
    assert min(rate, start) > 0
    assert held > 50


def test_a_changed_threshold_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    change.main(["--patients", "60", "--some", "20", "--processes", "1"])
    *rows, held = capsys.readouterr().out.splitlines()
    assert len(rows) == len(change.CHANGES)
    assert all("calls in" in row and "a bare count" in row for row in rows)
    assert held.startswith("memory at most: ")
