"""Whole patients over HTTP with complete prefetch: no 5xx, and nothing unread without a reason.

The ninety synthetic patients lie beside the project, not in it. In a clone without them the bundled sample patients
take their place, so that the same is held of fewer patients and no test is skipped.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from flask import Flask

from cds_service.advice.needs import needs_of
from cds_service.advice.one_bundle import hook_request
from cds_service.fhir import read_chart
from cds_service.sandbox import patients
from tests import report_patients
from tests.report_patients import HOOKS, PATIENTS, Report, bundles, needs, patient_files
from tests.support.some import some

# The folder's own count; a smaller number would mean that files were not found.
IN_THE_FOLDER = 90


@pytest.fixture(scope="module")
def report(make_app: Callable[..., Flask]) -> Iterator[Report]:
    """Every patient on patient-view, and on order-select with a draft of magnesium oxide 400 mg, on their own day."""
    clock = report_patients.Clock()
    made = report_patients.run(make_app(now=clock).test_client(), clock=clock)
    yield made
    print("\n" + "\n".join(made.lines()))


def test_every_patient_is_there(report: Report) -> None:
    wanted = IN_THE_FOLDER if PATIENTS.exists() else len(patients.load())
    assert {hook: len(report.of(hook)) for hook in HOOKS} == dict.fromkeys(HOOKS, wanted)


def test_every_patient_is_answered(report: Report) -> None:
    assert not [(r.patient, r.hook, r.answer) for r in report.results if r.status != 200]


def test_every_rule_has_an_outcome_and_every_open_one_a_reason(report: Report) -> None:
    for result in some(report.results):
        outcomes = result.own["outcomes"]
        assert outcomes
        for item in outcomes:
            assert item["outcome"] in ("fired", "quiet", "not_evaluated", "not_applicable")
            if item["outcome"] in ("not_evaluated", "not_applicable"):
                assert item["reason"].strip(), (result.patient, item)


def test_no_input_is_lost_on_the_way(report: Report) -> None:
    for result in some(report.results):
        states = {state for key, state in result.own["inputs"].items() if key != "encounter"}
        assert states <= {"given", "empty"}, (result.patient, result.own["inputs"])


def test_in_the_mixture_every_second_patient_has_results(app: Flask, tmp_path: Path) -> None:
    made = report_patients.run(app.test_client(), tmp_path, mixture=True)
    with_magnesium = [result.own["inputs"]["serum_magnesium"] == "given" for result in made.of("patient-view")]
    assert with_magnesium[1::2] == [True] * (len(with_magnesium) // 2)
    assert any("Cards per 100 of them: critical " in line for line in made.lines())


def test_an_entry_that_cannot_be_read_is_given_as_a_reason(app: Flask) -> None:
    client = app.test_client()
    bundle = patients.load()["levothyroxine"].bundle(report_patients.NOW)
    body = hook_request(bundle, "patient-view", needs(client, "patient-view"), app.extensions["advisor"].vocabulary)
    entries = body["prefetch"]["medications"]["entry"]
    broken = next(e["resource"] for e in entries if e["resource"]["resourceType"] == "MedicationRequest")
    broken["medicationCodeableConcept"] = 5
    response = client.post("/cds-services/magnesium-patient-view", json=body)
    result = report_patients.Result("levothyroxine", "patient-view", response.status_code, orjson.loads(response.data))
    assert result.status == 200
    assert "something in medication orders could not be read" in set(result.reasons())
    assert result.rules == ["not_evaluated"]


def test_resources_of_every_kind_sent_become_facts_or_reasons(app: Flask) -> None:
    # Read straight from the chart: nothing that was sent may vanish between the bundle and the facts.
    advisor = app.extensions["advisor"]
    client = app.test_client()
    rulebook = advisor.current.on(report_patients.NOW.date())
    counted: Counter[str] = Counter()
    for name, bundle in bundles():
        asked = needs(client, "patient-view")
        body = hook_request(bundle, "patient-view", asked, advisor.vocabulary)
        chart = read_chart(
            patient_id=body["context"]["patientId"],
            needs=list(needs_of(rulebook, "magnesium-patient-view").values()),
            prefetch={key: orjson.dumps(value) for key, value in body["prefetch"].items()},
            draft_orders=None,
            selections=[],
            vocabulary=advisor.vocabulary,
            now=report_patients.NOW,
            server=None,
        )
        for key, availability in chart.facts.inputs.items():
            counted["unreadable"] += availability.unreadable
            value = body["prefetch"][key]
            sent = len(value.get("entry", [])) if value["resourceType"] == "Bundle" else 1
            read = {(source.type, source.id) for source in chart.sources}
            counted["sent"] += sent
            for entry in value.get("entry", []) if value["resourceType"] == "Bundle" else [{"resource": value}]:
                resource = entry["resource"]
                kind = (resource["resourceType"], resource["id"])
                assert kind in read or resource["resourceType"] == "Medication" or availability.unreadable, (name, kind)
    assert counted["sent"] > 100
    assert counted["unreadable"] == 0


def test_a_card_never_comes_without_the_resource_it_rests_on(report: Report) -> None:
    seen: Counter[str] = Counter()
    for result in report.results:
        for card in result.answer["cards"]:
            made = card["extension"][report_patients.EXTENSION]
            seen[made["rule"]] += 1
            if made["rule"] != "not_evaluated":
                for item in made.get("inputs", []):
                    assert "/" in item["resource"], (result.patient, made["rule"])
    assert len(seen) > 2


def test_an_empty_answer_means_that_every_rule_was_evaluated(report: Report) -> None:
    for result in some(result for result in report.results if not result.answer["cards"]):
        kinds = {item["outcome"] for item in result.own["outcomes"]}
        assert kinds <= {"quiet", "not_applicable"}, result.patient


def test_a_drafted_magnesium_is_seen_in_every_adult(report: Report) -> None:
    told = [r for r in report.of("order-select") if any("magnesium" in rule for rule in r.rules)]
    assert len(told) > len(report.of("order-select")) / 4


def test_the_report_is_written_as_a_table(tmp_path: Path) -> None:
    sample = patients.load()["low-magnesium"].bundle(report_patients.NOW)
    (tmp_path / "one.json").write_bytes(orjson.dumps(sample))
    assert len(patient_files(tmp_path)) == 1
    script = Path(report_patients.__file__)
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for line in ("## patient-view: 1 patients", "| rule on a card | patients |", "| low_serum_magnesium | 1 |"):
        assert line in done.stdout
    assert "## order-select with a draft of magnesium oxide 400 mg: 1 patients" in done.stdout


def test_the_page_on_cards_a_day_tells_the_numbers_of_this_report(report: Report) -> None:
    text = (report_patients.ROOT / "docs" / "cards-per-day.md").read_text("utf-8")
    for hook in HOOKS:
        counted = Counter(len(result.answer["cards"]) for result in report.of(hook))
        (row,) = [line for line in text.splitlines() if line.startswith("|") and f"(`{hook}`)" in line]
        told = [int(cell) for cell in row.split("|")[2:6]]
        assert sum(told) == IN_THE_FOLDER
        if PATIENTS.exists():
            assert told == [counted[number] for number in range(4)], f"{hook}: {told} in the rule"
