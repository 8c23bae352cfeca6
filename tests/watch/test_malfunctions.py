"""The known malfunctions, made in the real service, are found; more runs of the same print docs/firing-watch.md."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.watch.malfunctions import MALFUNCTIONS, Malfunction, Rates, Real, main, rates, replayed
from tests.watch.simulated import FLEET, PAST, calls, fleet

OTHERS = fleet(random.Random(3), calls(PAST + 8), FLEET[:40])
RUNS = 8


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    made = Real(tmp_path_factory.mktemp("real"))
    yield made
    made.close()


@pytest.mark.parametrize("each", MALFUNCTIONS, ids=lambda each: each.name)
def test_a_known_malfunction_is_found_within_a_day(real: Real, each: Malfunction) -> None:
    before, after = rates(real, each.rule, None), rates(real, each.rule, each)
    assert before.fired == pytest.approx(10 / 960), "ten times a day, before"
    assert after.fired == 0 or after.fired > 10 * before.fired
    dice = random.Random(14)
    times = [replayed(dice, OTHERS, before, after, each.hours, each.kinds)[0] for _ in range(RUNS)]
    assert sum(time is not None for time in times) >= RUNS - 2, times


def test_without_a_malfunction_nothing_is_found(real: Real) -> None:
    before = rates(real, MALFUNCTIONS[0].rule, None)
    dice = random.Random(15)
    found = [
        replayed(dice, OTHERS, before, before, 24, frozenset({"stopped", "storm", "fell", "rose"})) for _ in range(RUNS)
    ]
    assert sum(rule is not None or data is not None for rule, data in found) <= 1, found


@pytest.mark.parametrize("name", ["code changed", "unit changed", "prefetch key dropped"])
def test_what_is_wrong_with_data_is_told_of_data_within_hours(real: Real, name: str) -> None:
    each = next(each for each in MALFUNCTIONS if each.name == name)
    before, after = rates(real, each.rule, None), rates(real, each.rule, each)
    _, data = replayed(random.Random(3), OTHERS, before, after, 24, each.kinds)
    assert data is not None and data <= 3


def test_a_stream_of_rates_needs_no_service() -> None:
    assert (
        replayed(random.Random(1), OTHERS, Rates(10 / 960, {}), Rates(0, {}), 36, frozenset({"stopped"}))[0] is not None
    )


def test_the_command_prints_its_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["malfunctions", "--runs", "4", "--months", "0"])
    main()
    printed = capsys.readouterr().out
    assert all(f"| {each.name} |" in printed for each in MALFUNCTIONS)
    assert "false alarms of 190 quiet rules" in printed
