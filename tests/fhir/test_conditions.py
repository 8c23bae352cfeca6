"""Problems on the list: active, unrefuted, known by code."""

import pytest

from tests.fhir.charts import bundle, coded, condition, read, without

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"


@pytest.mark.parametrize("status", ["active", "recurrence", "relapse"])
def test_an_active_problem_is_a_fact(status: str) -> None:
    facts = read(conditions=bundle(condition(clinicalStatus=coded(status, CLINICAL), recordedDate="2020-02-01"))).facts
    assert facts.conditions[0].concepts >= {"multiple_sclerosis"}
    assert str(facts.conditions[0].recorded) == "2020-02-01"
    assert not facts.conditions[0].provisional


@pytest.mark.parametrize("status", ["inactive", "remission", "resolved"])
def test_a_problem_that_is_over_is_not(status: str) -> None:
    facts = read(conditions=bundle(condition(clinicalStatus=coded(status, CLINICAL)))).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].complete


@pytest.mark.parametrize("status", ["refuted", "entered-in-error"])
def test_a_refuted_problem_is_not(status: str) -> None:
    refuted = condition(verificationStatus=coded(status, VERIFICATION), clinicalStatus=None)
    facts = read(conditions=bundle(refuted)).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].complete


@pytest.mark.parametrize("status", ["unconfirmed", "provisional", "differential"])
def test_an_unconfirmed_problem_is_provisional(status: str) -> None:
    unconfirmed = condition(verificationStatus=coded(status, VERIFICATION))
    assert read(conditions=bundle(unconfirmed)).facts.conditions[0].provisional


@pytest.mark.parametrize(
    "end", [{"abatementDateTime": "2020"}, {"abatementString": "last year"}, {"abatementAge": {"value": 40}}]
)
def test_a_problem_with_an_end_is_over_although_it_says_active(end: dict[str, object]) -> None:
    assert read(conditions=bundle(condition(**end))).facts.conditions == ()


def test_a_problem_without_a_clinical_status_is_taken_as_active_and_counted() -> None:
    facts = read(conditions=bundle(without(condition(), "clinicalStatus"))).facts
    assert len(facts.conditions) == 1
    assert facts.repairs["clinical_status_missing"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"clinicalStatus": coded("sleeping", CLINICAL)},
        {"verificationStatus": coded("perhaps", VERIFICATION)},
        {"code": None},
    ],
)
def test_a_problem_that_cannot_be_understood_is_counted_as_unreadable(change: dict[str, object]) -> None:
    facts = read(conditions=bundle(condition(**change))).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].unreadable == 1


def test_a_problem_that_is_only_written_is_never_matched_by_its_words_and_is_counted() -> None:
    facts = read(conditions=bundle(condition(code={"text": "Multiple sclerosis"}))).facts
    assert facts.conditions == ()
    assert facts.repairs["condition_without_code"] == 1


def test_a_problem_with_codes_of_two_systems_has_the_concepts_of_both() -> None:
    codes = {
        "coding": [coded("24700007")["coding"][0], coded("E11.9", "http://hl7.org/fhir/sid/icd-10-cm")["coding"][0]]
    }
    concepts = read(conditions=bundle(condition(code=codes))).facts.conditions[0].concepts
    assert {"multiple_sclerosis", "type_2_diabetes"} <= concepts


def test_a_problem_that_no_rule_knows_is_no_fact_and_no_fault() -> None:
    facts = read(conditions=bundle(condition(code="195662009"))).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].complete


def test_a_drafted_problem_is_not_on_the_list() -> None:
    assert read(drafts=bundle(condition())).facts.conditions == ()
