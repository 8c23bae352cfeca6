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


ENDS: list[dict[str, object]] = [
    {"abatementDateTime": "2020"}, {"abatementPeriod": {"end": "2020-03"}}, {"abatementString": "not resolved"},
    {"abatementAge": {"value": 90}}, {"abatementPeriod": {"start": "2020"}}, {"abatementBoolean": True},
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_problem_that_is_active_and_has_an_end_is_one_of_the_two(end: dict[str, object]) -> None:
    facts = read(conditions=bundle(condition(**end))).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].unreadable == 1


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_problem_without_a_status_is_over_when_its_end_has_come(end: dict[str, object]) -> None:
    facts = read(conditions=bundle(without(condition(**end), "clinicalStatus"))).facts
    assert facts.conditions == () and facts.inputs["conditions"].complete


@pytest.mark.parametrize("end", [{"abatementDateTime": "2027-12-31"}, {"abatementPeriod": {"end": "2027"}}])
def test_a_problem_whose_end_is_to_come_goes_on(end: dict[str, object]) -> None:
    assert len(read(conditions=bundle(condition(**end))).facts.conditions) == 1


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


def concepts_of(code: object) -> frozenset[str]:
    found = read(conditions=bundle(condition(code))).facts.conditions
    return found[0].concepts if found else frozenset()


def test_a_problem_that_is_only_written_is_counted() -> None:
    facts = read(conditions=bundle(condition({"text": "Multiple sclerosis"}))).facts
    assert facts.conditions == ()
    assert facts.repairs["condition_without_code"] == 1


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("Myasthenia gravis", "myasthenia_gravis"),
        ("MYASTHENIA GRAVIS ", "myasthenia_gravis"),
        ("Generalized myasthenia gravis", "myasthenia_gravis"),
        ("Myasthénie", "myasthenia_gravis"),
        ("ESRD", "ckd_stage_5"),
        ("ESRD on dialysis", "ckd_stage_5"),
        ("ESRD on dialysis", "dialysis"),
        ("End-stage renal disease", "ckd_stage_5"),
        ("CKD stage 4", "ckd_stage_4"),
        ("Chronic kidney disease, stage IV", "ckd_stage_4"),
        ("CKD 3b", "ckd_stage_3"),
        ("Dialysepflichtige Niereninsuffizienz", "dialysis"),
        ("Complete heart block", "av_block_second_or_third_degree"),
        ("2nd degree AV block", "av_block_second_or_third_degree"),
        ("Hypomagnesemia", "hypomagnesaemia"),
    ],
)
def test_a_few_problems_are_known_by_their_whole_text(text: str, concept: str) -> None:
    local = {"system": "http://ehr.example/problems", "code": "4711"}
    assert concept in concepts_of({"text": text})
    assert concept in concepts_of({"coding": [local], "text": text})
    assert concept in concepts_of({"coding": [local | {"display": text}]})
    # A code of a system that names problems says what it is, and the words do not.
    assert concepts_of({"coding": [coded("195662009")["coding"][0]], "text": text}) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "no myasthenia",
        "No myasthenia gravis",
        "not ESRD",
        "FH: myasthenia gravis",
        "Family history of myasthenia gravis",
        "Father: ESRD on dialysis",
        "Myasthenia gravis?",
        "? myasthenia gravis",
        "r/o ESRD",
        "(-) ESRD",
        "ESRD -",
        "-ESRD",
        "H/o heart block",
        "history of dialysis",
        "Lambert-Eaton myasthenia",
        "CKD stage 4 excluded",
        "CKD stage",
        "MG",
        "Kidney",
        "keine Myasthenie",
        "Ausschluss Myasthenia gravis",
        "Dialysis access care",
        "ESRD in brother",
        "",
    ],
)
def test_a_denial_a_doubt_or_a_relative_is_no_problem(text: str) -> None:
    assert concepts_of({"text": text}) == frozenset()
    assert (
        concepts_of({"coding": [{"system": "http://ehr.example/problems", "code": "1", "display": text}]})
        == frozenset()
    )


@pytest.mark.parametrize(
    ("system", "code", "concept"),
    [
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "G70.0", "myasthenia_gravis"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "N18.5", "ckd_stage_5"),
        ("http://fhir.de/CodeSystem/dimdi/icd-10-gm", "N18.4", "ckd_stage_4"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "I10.00", "hypertension"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "E11.20", "type_2_diabetes"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm|2026", "Z99.2", "dialysis"),
        ("http://hl7.org/fhir/sid/icd-10-nl", "N18.5", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-10-se", "N185", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-10-am", "G70.0", "myasthenia_gravis"),
        ("http://hl7.org/fhir/sid/icd-10-am", "E11.13", "type_2_diabetes"),
        ("http://hl7.org/fhir/sid/icd-10-ca", "N18.4", "ckd_stage_4"),
        ("urn:oid:2.16.578.1.12.4.1.1.7110", "G700", "myasthenia_gravis"),
        ("http://hl7.org/fhir/sid/icd-10", "E83.4", "disorder_of_magnesium_metabolism"),
        ("http://snomed.info/sct/83821000000107/version/20250101", "91637004", "myasthenia_gravis"),
        ("http://snomed.info/sct|http://snomed.info/sct/731000124108", "91637004", "myasthenia_gravis"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "585.6", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "5854", "ckd_stage_4"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "358.01", "myasthenia_gravis"),
        ("urn:oid:2.16.840.1.113883.6.103", "V45.11", "dialysis"),
        ("http://hl7.org/fhir/sid/icd-9-cm/diagnosis", "250.02", "diabetes"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "250.13", "type_1_diabetes"),
    ],
)
def test_a_problem_is_known_by_the_code_of_its_country(system: str, code: str, concept: str) -> None:
    assert concept in concepts_of(coded(code, system))


@pytest.mark.parametrize(
    ("system", "code", "concept"),
    [
        # Lactic acidosis in Australia and Canada, neurological or kidney complications of two kinds in Germany.
        ("http://hl7.org/fhir/sid/icd-10-am", "E11.13", "diabetic_ketoacidosis"),
        ("http://hl7.org/fhir/sid/icd-10-ca", "E11.11", "diabetic_ketoacidosis"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "E11.42", "diabetic_polyneuropathy"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "E83.42", "hypomagnesaemia"),
        ("http://hl7.org/fhir/sid/icd-10-am", "N18.6", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "250.02", "type_1_diabetes"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "403.10", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "584.5", "chronic_kidney_disease"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "N18.5", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-10", "585.6", "ckd_stage_5"),
        ("http://hl7.org/fhir/sid/icd-10-pcs", "G70.0", "myasthenia_gravis"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm-local", "G70.0", "myasthenia_gravis"),
    ],
)
def test_a_code_that_means_something_else_in_its_country_is_not_read_as_ours(
    system: str, code: str, concept: str
) -> None:
    assert concept not in concepts_of(coded(code, system))


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
