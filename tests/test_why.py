"""Why a rule fired for a patient, or did not, as the command line tells it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from cds_service.advice.needs import all_needs
from cds_service.content.current import CurrentRulebook
from cds_service.population.cases import Side
from cds_service.population.shipped import shipped_cohort
from cds_service.population.trying import advice_of
from cds_service.publish.rule_in_words import steps_in_words
from cds_service.publish.why import tree
from cds_service.sandbox import patients
from tests.conformance.calls import invoke, sample_call
from tests.conftest import NOW, shipped


def told(folder: Path, sample: str, rule: str, *words: object, without: str = "") -> dict[str, Any]:
    """The tree for a sample patient, without the resources of one type."""
    bundle = patients.load()[sample].bundle(datetime.now(UTC))
    bundle["entry"] = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != without]
    file = folder / "patient.json"
    file.write_text(json.dumps(bundle, default=str), "utf-8")
    done = invoke("why", file, rule, "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_low_value_says_the_value_the_limit_and_its_source(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "low_serum_magnesium")
    assert (why["outcome"], why["reasons"]) == ("fired", [])
    (test,) = why["tests"]
    assert (test["part"], test["verdict"], test["sources"]) == ("all", "true", ["Observation"])
    assert test["found"]["serum_magnesium.value"] == "0.58 mmol/L"
    assert test["found"]["serum_magnesium.limit"] == "0.70 mmol/L (laboratory)"
    assert test["limits"][0]["value"] == "0.70 mmol/L"
    assert "Alfred" in test["limits"][0]["reference"]


def test_a_quiet_rule_says_which_number_kept_it_quiet(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "high_serum_magnesium")
    assert why["outcome"] == "quiet"
    (test,) = why["tests"]
    assert (test["verdict"], test["found"]["serum_magnesium.value"]) == ("false", "0.58 mmol/L")
    assert test["limits"][0]["value"] == "1.10 mmol/L"


def test_all_tests_are_tried_though_the_first_has_decided(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "no_recent_magnesium_with_two_risks")
    assert why["outcome"] == "quiet"
    assert [test["verdict"] for test in why["tests"] if test["part"] == "all"] == ["false"]
    found = [test["found"].get("matched", "") for test in why["tests"] if test["part"] == "any"]
    assert found[0] == "type 2 diabetes"
    assert "furosemide" in found


def test_without_a_result_the_rule_does_not_apply_and_the_test_says_that_there_is_none(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "low_serum_magnesium", without="Observation")
    assert why["outcome"] == "not_applicable"
    assert why["reasons"] == ["no serum magnesium result on record"]
    assert (why["tests"][0]["verdict"], why["tests"][0]["reasons"]) == ("unknown", why["reasons"])


def test_whom_a_rule_is_written_for_is_told_part_by_part_with_what_the_chart_says(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "low_magnesium_in_disputed_band")
    parts = {part["test"]: part for part in why["written_for"]}
    age, recent = parts["age 18 years or more"], parts["a Serum magnesium result within 30 days; 2 days in hospital"]
    assert (age["verdict"], age["found"], age["limits"][0]["value"]) == ("true", {"age": "58"}, "18 years")
    assert (recent["verdict"], recent["sources"]) == ("true", ["Observation"])
    assert recent["found"]["serum_magnesium"].startswith("0.58 mmol/L, ")
    # Nothing is recorded of a pregnancy; that keeps no rule from being tried.
    assert (parts["not in a recorded pregnancy"]["verdict"], why["outcome"]) == ("unknown", "quiet")


def test_the_part_that_a_patient_is_outside_of_is_false(tmp_path: Path) -> None:
    why = told(tmp_path, "low-magnesium", "low_magnesium_in_disputed_band", without="Observation")
    assert why["outcome"] == "not_applicable"
    assert [part["test"] for part in why["written_for"] if part["verdict"] == "false"] == [
        "a Serum magnesium result within 30 days; 2 days in hospital"
    ]


@pytest.mark.parametrize(("status", "verdict", "outcome"), [("draft", "true", "fired"), ("active", "false", "quiet")])
def test_on_an_order_hook_it_is_told_whether_one_of_the_drugs_is_being_ordered(
    tmp_path: Path, client: FlaskClient, status: str, verdict: str, outcome: str
) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    if status == "active":
        (entry,) = body["context"]["draftOrders"]["entry"]
        body["prefetch"]["medications"]["entry"].append({"resource": {**entry["resource"], "status": status}})
        body["context"]["draftOrders"]["entry"] = []
    file = tmp_path / "call.json"
    file.write_text(json.dumps(body, default=str), "utf-8")
    why = json.loads(invoke("why", file, "levothyroxine_timing", "--json").stdout)
    assert why["outcome"] == outcome
    assert [part["verdict"] for part in why["written_for"] if part["test"].startswith("an order")] == [verdict]


@pytest.mark.parametrize("place", ["card_text.Writer.card", "in_words.Display._fill_placeholders"])
def test_a_finding_whose_card_cannot_be_worded_is_told_as_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected_faults: list[Any], place: str
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(f"cds_service.advice.{place}", broken)
    why = told(tmp_path, "low-magnesium", "low_serum_magnesium")
    assert (why["outcome"], why["tests"][0]["verdict"]) == ("not_evaluated", "true")
    assert why["reasons"][0] == "it fired, and was withdrawn: its card could not be worded"
    assert expected_faults


def test_a_value_of_the_site_says_so_beside_the_default(tmp_path: Path) -> None:
    limit = {"lower_limit": {"value": 0.6, "reason": "Our laboratory's own interval"}}
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"site": "Test hospital", "rules": {"shared": {"thresholds": limit}}}), "utf-8")
    why = told(tmp_path, "low-magnesium", "low_serum_magnesium", "--site", site)
    told_of = why["tests"][0]["limits"][0]
    assert (told_of["value"], told_of["from"], told_of["default"]) == ("0.6 mmol/L", "this site", "0.70 mmol/L")


def test_an_input_that_was_not_sent_leaves_the_test_unknown_with_the_reason(
    tmp_path: Path, client: FlaskClient
) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    del body["prefetch"]["medication_statements"]
    del body["prefetch"]["medications"]
    file = tmp_path / "call.json"
    file.write_text(json.dumps(body, default=str), "utf-8")
    why = json.loads(invoke("why", file, "levothyroxine_timing", "--json").stdout)
    assert (why["outcome"], why["tests"][0]["verdict"]) == ("not_evaluated", "unknown")
    assert why["reasons"] == why["tests"][0]["reasons"] != []
    assert "medication statements not sent and not readable" in why["reasons"]


def test_two_doses_that_meet_say_the_drugs_and_the_hours(tmp_path: Path, client: FlaskClient) -> None:
    file = tmp_path / "call.json"
    file.write_text(json.dumps(sample_call(client, "levothyroxine", "order-select"), default=str), "utf-8")
    why = json.loads(invoke("why", file, "levothyroxine_timing", "--json").stdout)
    (test,) = why["tests"]
    assert (why["outcome"], test["part"], test["verdict"]) == ("fired", "trigger", "true")
    assert {limit["value"] for limit in test["limits"]} == {"4 h"}
    assert test["found"]["drug"] == "levothyroxine"
    assert "magnesium oxide" in test["found"]["magnesium"]


def test_a_fault_of_ours_is_told_as_the_engine_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected_faults: list[Any]
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("cds_service.rules.trying.lab", broken)
    why = told(tmp_path, "low-magnesium", "low_serum_magnesium")
    assert (why["outcome"], why["tests"][0]["verdict"]) == ("not_evaluated", "unknown")
    assert expected_faults


def test_a_rule_that_the_hook_has_not_got_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "patient.json"
    file.write_text(json.dumps(patients.load()["kidney"].bundle(datetime.now(UTC)), default=str), "utf-8")
    done = invoke("why", file, "low_serum_magnesum")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean low_serum_magnesium?" in done.stderr


@pytest.mark.parametrize(("rule", "parts"), [("low_serum_magnesium", 2), ("levothyroxine_timing", 1)])
def test_the_tree_in_words_names_rule_outcome_and_every_test(tmp_path: Path, rule: str, parts: int) -> None:
    file = tmp_path / "patient.json"
    file.write_text(json.dumps(patients.load()["low-magnesium"].bundle(datetime.now(UTC)), default=str), "utf-8")
    done = invoke("why", file, rule)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{rule}: ")
    assert done.stdout.count("    [") == parts


def test_a_screening_counts_a_patient_at_the_first_test_that_does_not_hold() -> None:
    content = shipped()
    keys = frozenset(need.key for need in all_needs(content.library).values())
    side = Side(content, CurrentRulebook(content.library, None, keys).on(NOW.date()), NOW)
    parts: Counter[str] = Counter()
    for case in islice(shipped_cohort(content, NOW).cases(), 0, None, 97):
        advice = advice_of(side, case, case.chart(side))
        for outcome in advice.evaluation.outcomes:
            if outcome.fell is None:
                continue
            assert outcome.kind == "quiet"
            words = steps_in_words(outcome.rule.loaded, side.rulebook)[outcome.fell - 1]
            tests = tree(advice, side.rulebook, side.services[case.hook], outcome.rule_id).tests
            first = next((test for test in tests if test.part in ("all", "trigger") and test.verdict == "false"), None)
            if first is not None:
                assert words == first.test, (case.name, outcome.rule_id)
                parts[first.part] += 1
                continue
            part = words.partition(":")[0]
            found = [test.verdict for test in tests if test.part == ("none" if part == "none of" else "any")]
            assert ("true" in found) if part == "none of" else ("false" in found), (case.name, outcome.rule_id)
            parts[part] += 1
    assert parts["all"] > 200 and parts["trigger"] and parts["any of"] and parts["at least 2 of"], parts
