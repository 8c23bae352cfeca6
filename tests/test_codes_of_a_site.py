"""Codes of a site's own: what they mean is set in the site file, searched for and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conformance.calls import Body, invoke, until
from tests.fhir import charts
from tests.test_site_values import site_of, with_site, write

__all__ = ["with_site"]
LOCAL = "urn:oid:1.2.3"
OWN_CODES: dict[str, Any] = {
    "serum_magnesium": [{"system": LOCAL, "code": "MG"}, {"code": "MAGN"}],
    "myasthenia_gravis": [{"system": "https://ehr.example/problems", "code": "4711"}],
    "levothyroxine": [{"system": LOCAL, "code": "THY100"}],
}


@pytest.mark.parametrize("code", [{"system": LOCAL, "code": "MG"}, {"code": "MAGN"}])
def test_a_result_under_a_code_of_the_sites_own_is_read(
    with_site: Callable[..., FlaskClient], client: FlaskClient, code: Body
) -> None:
    result = charts.magnesium(0.37, "mmol/L", effectiveDateTime="2026-11-20T08:00:00Z") | {"code": {"coding": [code]}}
    low = "severely_low_serum_magnesium"
    assert low in charts.fired(charts.answer(with_site(codes=OWN_CODES), serum_magnesium=charts.bundle(result)))
    assert low not in charts.fired(charts.answer(client, serum_magnesium=charts.bundle(result)))
    result["valueQuantity"] = {"value": 0.9, "unit": "mg/dL"}
    assert low in charts.fired(charts.answer(with_site(codes=OWN_CODES), serum_magnesium=charts.bundle(result)))
    result["valueQuantity"] = {"value": 0.37}
    told = charts.answer(with_site(codes=OWN_CODES), serum_magnesium=charts.bundle(result))
    assert low not in charts.fired(told) and "unit missing" in str(told["cards"])


def test_problems_and_drugs_under_codes_of_the_sites_own_are_read(with_site: Callable[..., FlaskClient]) -> None:
    problem = charts.condition({"coding": [OWN_CODES["myasthenia_gravis"][0]]})
    given = {"route": {"text": "IV"}, "doseAndRate": [{"doseQuantity": {"value": 2, "unit": "g"}}]}
    sulfate = {"text": "Magnesium sulfate 2 g/50 mL"}
    draft = charts.order(id="d", status="draft", medicationCodeableConcept=sulfate, dosageInstruction=[given])
    told = charts.answer(with_site(codes=OWN_CODES), "order-sign", drafts=[draft], conditions=charts.bundle(problem))
    assert "intravenous_magnesium_with_myasthenia_gravis" in charts.fired(told)
    oxide = charts.order(id="d", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"})
    thyroxine = charts.order(medicationCodeableConcept={"coding": [OWN_CODES["levothyroxine"][0]]})
    told = charts.answer(with_site(codes=OWN_CODES), "order-sign", drafts=[oxide], medications=charts.bundle(thyroxine))
    assert "levothyroxine_timing" in charts.fired(told)


def searched(asked: FlaskClient) -> set[str]:
    """What patient-view searches magnesium results by."""
    service = next(each for each in asked.get("/cds-services").get_json()["services"] if each["hook"] == "patient-view")
    return set(str(service["prefetch"]["serum_magnesium"]).partition("code=")[2].partition("&")[0].split(","))


def test_discovery_asks_for_codes_of_the_sites_own(with_site: Callable[..., FlaskClient], client: FlaskClient) -> None:
    assert searched(with_site(codes=OWN_CODES)) - searched(client) == {"urn:oid:1.2.3|MG", "|MAGN"}
    assert "http://loinc.org|2601-3" in searched(client)


def test_codes_of_the_sites_own_are_in_force_without_a_new_start(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    file = write(tmp_path / "site.yaml", site_of())
    asked = make_app(site=file).test_client()
    assert "|MAGN" not in searched(asked)
    write(file, site_of(codes=OWN_CODES))
    until(lambda: "|MAGN" in searched(asked), 10)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"serum_magnesum": [{"code": "MG"}]}, "did you mean serum_magnesium"),
        ({"rbc_magnesium": [{"code": "MG"}]}, "no test, problem or drug takes codes as rbc_magnesium"),
        ({"diuretics": [{"code": "MG"}]}, "no test, problem or drug takes codes as diuretics"),
        ({"serum_magnesium": [{"system": "our lab", "code": "MG"}]}, "no address of a code system"),
        ({"serum_magnesium": [{"system": "loinc", "code": "MG"}]}, "no address of a code system"),
        ({"serum_magnesium": [{"code": "MG"}, {"code": "MG"}]}, "MG means serum_magnesium already"),
        ({"serum_magnesium": [{"code": "MG"}], "potassium": [{"code": "MG"}]}, "MG means serum_magnesium already"),
        (
            {"serum_magnesium": [{"system": "http://loinc.org", "code": "2593-2"}]},
            "means whole_blood_magnesium already",
        ),
        ({"serum_magnesium": [{"system": "https://loinc.org/", "code": "2601-3"}]}, "means serum_magnesium already"),
        ({"dialysis": [{"system": "http://snomed.info/sct", "code": "91637004"}]}, "means myasthenia_gravis already"),
        ({"serum_magnesium": [{"code": "M G|x"}]}, "pattern"),
        ({"serum_magnesium": [{"code": ""}]}, "pattern"),
        ({"serum_magnesium": []}, "at least 1 item"),
        ({"serum_magnesium": [{"system": LOCAL}]}, "field required"),
    ],
)
def test_a_code_that_cannot_be_the_sites_own_is_a_fault_with_its_line(tmp_path: Path, codes: Body, words: str) -> None:
    done = invoke("site", "validate", write(tmp_path / "site.yaml", site_of(codes=codes)))
    assert done.returncode == 78
    assert words in done.stderr
    assert "site.yaml:" in done.stderr and "site.yaml:0" not in done.stderr


def test_show_and_diff_name_the_codes_of_the_sites_own(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old.yaml", site_of()), write(tmp_path / "new.yaml", site_of(codes=OWN_CODES))
    assert "codes.serum_magnesium = urn:oid:1.2.3|MG, |MAGN" in invoke("site", "show", new).stdout
    assert "codes.levothyroxine: not set -> urn:oid:1.2.3|THY100" in invoke("site", "diff", old, new).stdout


CLASSES = "urn:oid:1.2.840.99"


@pytest.mark.parametrize(
    ("code", "outcome"), [("13", "fired"), ("12", "fired"), ("5", "quiet"), ("99", "not_evaluated")]
)
@pytest.mark.parametrize("as_r5", [False, True])
def test_a_class_of_encounters_of_the_sites_own_says_who_is_in_hospital(
    with_site: Callable[..., FlaskClient], code: str, outcome: str, as_r5: bool
) -> None:
    own = {kind: [{"system": CLASSES, "code": each}] for kind, each in
           (("inpatient", "13"), ("emergency", "12"), ("outpatient", "5"))}  # fmt: skip
    coding = {"system": CLASSES, "code": code}
    encounter = {"resourceType": "Encounter", "id": "e", "subject": charts.about(), "status": "in-progress",
                 "class": [{"coding": [coding]}] if as_r5 else coding}  # fmt: skip
    told = charts.answer(
        with_site(encounters=own), encounter_id="e", encounter=encounter,
        conditions=charts.bundle(charts.condition("31722008")), serum_magnesium=charts.bundle(charts.magnesium(2.1)),
    )  # fmt: skip
    outcomes = {each["rule"]: each["outcome"] for each in told["extension"]["org.magnesium-cds"]["outcomes"]}
    assert outcomes["ventricular_arrhythmia_without_magnesium_test"] == outcome


@pytest.mark.parametrize(
    ("encounters", "words"),
    [
        ({"inpatient": [{"code": "13"}], "outpatient": [{"code": "13"}]}, "13 means inpatient already"),
        (
            {"outpatient": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}]},
            "IMP means inpatient already",
        ),
        ({"inpatient": [{"system": "our classes", "code": "13"}]}, "is no address of a code system"),
        ({"ward": [{"code": "13"}]}, "encounters"),
    ],
)
def test_a_class_of_encounters_that_cannot_be_told_apart_is_refused(
    tmp_path: Path, encounters: dict[str, Any], words: str
) -> None:
    done = invoke("site", "validate", write(tmp_path / "site.yaml", site_of(encounters=encounters)))
    assert done.returncode == 78
    assert words in done.stdout + done.stderr
