"""The benchmarks run, and their requests are what they say they are. Nothing here is timed."""

from importlib import import_module
from pathlib import Path

import pytest

from cds_service.fhir import Chart
from tests.benchmarks import hook_calls, plan_cost, trust_cost
from tests.benchmarks.bodies import SIZES, body, count, fresh
from tests.conftest import NOW

SERVICE = "/cds-services/magnesium-patient-view"


@pytest.mark.parametrize("size", SIZES)
def test_requests_are_valid_and_cite_what_they_say(size, client, monkeypatch):
    cited: list[int] = []
    invalid = Chart.invalid

    def spy(chart, sources):
        sources = list(sources)
        cited.append(len(sources))
        assert not invalid(chart, chart.sources), "a resource of the benchmark is not valid FHIR"
        assert len(chart.sources) == count(size)
        return invalid(chart, sources)

    monkeypatch.setattr(Chart, "invalid", spy)
    answer = client.post(SERVICE, data=fresh(body(size, NOW), 1), content_type="application/json")
    assert answer.status_code == 200
    assert any("Low magnesium 0.62" in card["summary"] for card in answer.get_json()["cards"])
    states = answer.get_json()["extension"]["org.magnesium-cds"]["inputs"]
    assert set(states.values()) <= {"given", "empty"}, "an input is missing from the benchmark's requests"
    assert cited == [6 if size == "small" else 13]


def test_no_two_calls_share_a_resource():
    made = body("small")
    assert fresh(made, 1) != fresh(made, 2)
    assert fresh(made, 1).count(b"00000001") > count("small")


def test_results_that_no_rule_reads_change_no_card(client):
    few, many = (
        client.post(SERVICE, data=fresh(body("small", NOW, more), 1), content_type="application/json").get_json()
        for more in (0, 40)
    )
    assert [card["detail"] for card in few["cards"]] == [card["detail"] for card in many["cards"]]


# The peer runs in an environment of its own, which has what it imports.
FILES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "peer")


@pytest.mark.parametrize("name", FILES)
def test_every_file_finds_all_that_it_takes_from_the_service(name):
    assert import_module(f"tests.benchmarks.{name}").__doc__ or name == "__init__"


def test_benchmark_of_the_planner_runs(capsys, monkeypatch):
    for name in ("ROUNDS", "CALLS", "PLANS"):
        monkeypatch.setattr(plan_cost, name, 1)
    plan_cost.main()
    printed = capsys.readouterr().out
    for words in ("without: ratio", *plan_cost.REGIMENS, "answer: ", "draw: ", "open: "):
        assert words in printed


def test_benchmark_runs(capsys):
    hook_calls.main(["--rounds", "1", "--requests", "4", "--sizes", "small", "--no-peer", "--delay", "1"])
    printed = capsys.readouterr().out
    for words in (
        "ours new", "ours again", "floor new", "ours new: floor x", "small, 8 callers at once", "p99/p50",
        "a result that no rule reads", "ours / floor: start", "6 GETs / 1 GET",
    ):  # fmt: skip
        assert words in printed


def test_benchmark_of_the_trust_boundary_runs_and_each_way_refuses_what_it_says(capsys):
    trust_cost.main(["--rounds", "1", "--requests", "2", "--sizes", "small"])
    printed = capsys.readouterr().out
    for words in (
        "bare       refuses: nothing",
        "input      refuses: doubled",
        "signature  refuses: doubled, no token",
        "all        refuses: doubled, no token, used",
        "all checks add",
        "all / bare: p50 x",
    ):
        assert words in printed
