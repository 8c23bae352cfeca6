"""Conditions by code: WHO ICD-10 beside ICD-10-CM and SNOMED CT, and the rule that a condition of two rules is for."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.library import default_root
from cds_service.content.test_words import ReasonTest
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW
from tests.fhir.charts import bundle, coded, read
from tests.fhir.charts import condition as problem
from tests.support.some import some

WHO, ICD, SNOMED = "http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10-cm", "http://snomed.info/sct"


@pytest.mark.parametrize(
    ("code", "concepts"),
    [
        ("E10.9", {"type_1_diabetes", "diabetes"}),
        ("E11", {"type_2_diabetes", "diabetes"}),
        ("E119", {"type_2_diabetes", "diabetes"}),
        ("E14.9", {"diabetes"}),
        ("E10.1", {"type_1_diabetes", "diabetes", "diabetic_ketoacidosis"}),
        ("E11.4", {"type_2_diabetes", "diabetes"}),
        ("G63.2", {"diabetic_polyneuropathy", "neuropathy"}),
        ("O24.4", {"pregnancy_problem"}),
        ("E83.4", {"disorder_of_magnesium_metabolism"}),
        ("E83.5", set()),
        ("E20.1", set()),
        ("G35X", {"multiple_sclerosis"}),
        ("G43.9", {"migraine"}),
        ("G70.0", {"myasthenia_gravis"}),
        ("G70.9", set()),
        ("I10", {"hypertension"}),
        ("I44.0", {"av_block_first_degree"}),
        ("I44.2", {"av_block_second_or_third_degree", "heart_block"}),
        ("I44.4", set()),
        ("I47.2", {"ventricular_tachycardia"}),
        ("K50.9", {"crohn_disease", "inflammatory_bowel_disease", "malabsorption"}),
        ("K51", {"ulcerative_colitis", "inflammatory_bowel_disease"}),
        ("K90.0", {"coeliac_disease", "malabsorption"}),
        ("K90.4", set()),
        ("K56.0", set()),
        ("O11", {"pre_eclampsia", "pregnancy_problem"}),
        ("O13", {"gestational_hypertension", "pregnancy_problem"}),
        ("O60.0", {"preterm_labour", "pregnancy_problem"}),
        ("O15.0", {"pre_eclampsia", "pregnancy_problem"}),
        ("M81.9", {"osteoporosis"}),
        ("M16.1", {"osteoarthritis"}),
        ("M06.9", {"rheumatoid_arthritis"}),
        ("M06.1", set()),
        ("N18.2", {"chronic_kidney_disease"}),
        ("N18.3", {"chronic_kidney_disease", "ckd_stage_3"}),
        ("N18.5", {"chronic_kidney_disease", "ckd_stage_5", "severe_kidney_disease"}),
        ("Z49.0", set()),
        ("Z49.1", {"dialysis", "severe_kidney_disease"}),
        ("R73.0", set()),
        ("F10.0", set()),
        ("F10.2", {"alcohol_use_disorder"}),
        ("Z39.1", {"lactation", "recent_birth"}),
        ("Z39.2", {"recent_birth"}),
        ("N19", {"chronic_kidney_disease"}),
        ("I12.0", {"chronic_kidney_disease"}),
        ("I12.9", set()),
        ("I13.2", {"chronic_kidney_disease"}),
        ("N99.0", {"acute_kidney_injury"}),
        ("O90.4", {"acute_kidney_injury", "recent_birth"}),
        ("T79.5", {"acute_kidney_injury"}),
        ("T82.4", {"dialysis", "severe_kidney_disease"}),
        ("Q24.6", {"heart_block"}),
    ],
)
def test_a_who_code_gives_its_concepts_and_no_more(vocabulary, code, concepts):
    assert vocabulary.condition_concepts(WHO, code) == concepts


@pytest.mark.parametrize("code", ["E11.42", "N18.30", "E83.42", "K50.90", "M81.0"])
def test_a_code_is_read_in_its_own_system_only(vocabulary, code):
    """ICD-10-CM splits what WHO has in one code, so the longer code means no more than its WHO parent there."""
    who, cm = vocabulary.condition_concepts(WHO, code), vocabulary.condition_concepts(ICD, code)
    assert who < cm if code in ("E11.42", "E83.42") else who == cm


def test_the_who_codes_of_a_rule_have_the_form_of_one():
    files = sorted((default_root() / "terminology").glob("*.yaml"))
    table = {file.stem: yaml.safe_load(Path(str(file)).read_text(encoding="utf-8")) for file in files}
    for name, code in some((name, code) for name, rule in table.items() for code in rule.get("icd10", [])):
        assert re.fullmatch(r"[A-Z][0-9]{2}(\.[0-9])?", code), (name, code)


@pytest.mark.parametrize(
    ("system", "code", "concepts"),
    [
        (SNOMED, "66978005", {"hypermagnesaemia", "disorder_of_magnesium_metabolism"}),
        (SNOMED, "5291005", {"hypocalcaemia"}),
        (SNOMED, "413712001", {"lactation"}),
        (SNOMED, "169741004", set()),  # the child was breast fed
        (ICD, "Z39.1", {"lactation", "recent_birth"}),
    ],
)
def test_codes_confirmed_later_mean_what_they_say(vocabulary, system, code, concepts):
    assert vocabulary.condition_concepts(system, code) == concepts


def test_breastfeeding_on_the_problem_list_is_a_state_of_the_person():
    feeding = read(conditions=bundle(problem(coded("413712001")))).facts.person
    other = read(conditions=bundle(problem(coded("38341003")))).facts.person
    assert (feeding.lactating, other.lactating) == (True, None)


def outcomes(client: FlaskClient, content: Content, reason: dict[str, str]) -> Any:
    """How the rules on diabetes and neuropathy end for magnesium oxide that is drafted for this reason."""
    scenario = Scenario.model_validate({
        "name": "a drafted magnesium", "kind": "fires", "hook": "order-select", "sex": "female", "age": 66,
        "labs": [{"lab": "egfr", "value": 88, "unit": "mL/min/{1.73_m2}"}],
        "drafts": [{"drug": "magnesium_oxide", "reason": reason}],
        "expect": {"outcome": "fired"},
    })  # fmt: skip
    templates = {key: need.template for key, need in all_needs(content.library).items()}
    body = Builder(content.library, NOW).request(scenario, templates)
    answer = client.post(
        "/cds-services/magnesium-order-select", data=orjson.dumps(body), content_type="application/json"
    )
    assert answer.status_code == 200, answer.json
    told = answer.json["extension"]["org.magnesium-cds"]["outcomes"]
    return {item["rule"]: item["outcome"] for item in told}


DIABETES, NEUROPATHY = "magnesium_for_diabetes", "magnesium_for_neuropathy"


@pytest.mark.parametrize(
    "condition",
    [
        {"icd10cm": "E11.42", "text": "Type 2 diabetes with polyneuropathy"},
        {"snomed": "713706002", "text": "Polyneuropathy due to type 2 diabetes"},
        {"snomed": "1511000119107", "text": "Peripheral neuropathy due to type 2 diabetes"},
        {"snomed": "368581000119106", "text": "Neuropathy due to type 2 diabetes"},
    ],
)
def test_a_reason_of_two_rules_is_for_the_narrower_one_too(client, content, condition):
    assert outcomes(client, content, condition)[NEUROPATHY] == "fired"


def test_a_reason_of_one_rule_is_for_that_rule(client, content):
    told = outcomes(client, content, {"icd10cm": "E11.9", "text": "Type 2 diabetes"})
    assert (told[NEUROPATHY], told[DIABETES]) == ("quiet", "fired")


def test_a_rule_that_may_have_read_the_wrong_reason_lets_the_clinician_say_so(content):
    reading = [
        loaded.rule
        for loaded in content.library.rules.values()
        if loaded.rule.when and any(isinstance(test, ReasonTest) for test in loaded.rule.when.all)
    ]
    assert reading
    for rule in reading:
        assert "meant_for_something_else" in rule.card.override_reasons, rule.title


@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        ("icd10cm", "I12.0", "magnesium_with_dialysis"),
        ("icd10cm", "I13.11", "magnesium_with_dialysis"),
        ("icd10cm", "I13.2", "magnesium_with_dialysis"),
        ("icd10cm", "O90.49", "magnesium_with_acute_kidney_injury"),
        ("icd10cm", "N99.0", "magnesium_with_acute_kidney_injury"),
        ("icd10cm", "O08.4", "magnesium_with_acute_kidney_injury"),
        ("icd10cm", "T82.41XA", "magnesium_with_dialysis"),
        ("icd10cm", "T85.71XA", "magnesium_with_dialysis"),
        ("icd10cm", "N19", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "I12.9", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "I13.0", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "I13.10", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "E11.22", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "D63.1", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "T86.12", "magnesium_with_unknown_kidney_function"),
        ("snomed", "90688005", "magnesium_with_unknown_kidney_function"),
        ("snomed", "42399005", "magnesium_with_unknown_kidney_function"),
        ("icd10cm", "Q24.6", "magnesium_with_heart_block"),
        ("icd10cm", "I44.39", "magnesium_with_heart_block"),
    ],
)
def test_magnesium_ordered_for_a_patient_whose_code_says_the_kidney_or_the_heart_beside_something_else(
    client, content, system, code, rule
):
    """Codes of two things at once, of a complication, or of care that only such a patient has."""
    by_vein = rule == "magnesium_with_heart_block"
    scenario = Scenario.model_validate({
        "name": "a drafted magnesium", "kind": "fires", "hook": "order-sign", "sex": "female", "age": 66,
        "conditions": [{system: code, "text": "as coded"}],
        "drafts": [{"drug": "magnesium_sulfate", "route": "intravenous"} if by_vein else "magnesium_oxide"],
        "expect": {"outcome": "fired"},
    })  # fmt: skip
    templates = {key: need.template for key, need in all_needs(content.library).items()}
    body = Builder(content.library, NOW).request(scenario, templates)
    answer = client.post("/cds-services/magnesium-order-sign", data=orjson.dumps(body), content_type="application/json")
    assert answer.status_code == 200, answer.json
    told = {item["rule"]: item["outcome"] for item in answer.json["extension"]["org.magnesium-cds"]["outcomes"]}
    assert told[rule] == "fired"
