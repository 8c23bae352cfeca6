"""The benchmark of slow senders runs. Nothing here is timed."""

import pytest

from tests.benchmarks import slow_senders


def test_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    slow_senders.main(["--rounds", "1", "--requests", "4", "--idle", "20", "--slow", "5"])
    printed = capsys.readouterr().out
    for words in ("alone", "without proxy", "20 idle", "5 heads", "5 bodies", "5 stayers", "x p99"):
        assert words in printed
