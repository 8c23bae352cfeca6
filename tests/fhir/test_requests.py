"""What a real client sends: repaired by name and counted. The recorded calls themselves are golden tests."""

from typing import Any

from cds_service.patient import PatientFacts
from tests.fhir.charts import about, bundle, coded, order, read

DRAFT: dict[str, Any] = {
    "resourceType": "MedicationRequest",
    "id": "request-123",
    "status": "draft",
    "subject": about(),
    "authoredOn": "2026-11-21",
}


def facts(draft: dict[str, Any]) -> PatientFacts:
    return read(drafts={"resourceType": "Bundle", "entry": [{"resource": draft}]}).facts


def test_an_order_form_that_is_still_empty() -> None:
    read_back = facts(DRAFT)
    assert read_back.repairs == {"bundle_without_type": 1, "intent_missing": 1, "medication_missing": 1}
    assert read_back.inputs["draft_orders"].complete
    assert read_back.medications[0].drugs == frozenset()


def test_a_category_and_a_reason_as_objects() -> None:
    category = coded("community", "http://terminology.hl7.org/CodeSystem/medicationrequest-category")
    read_back = facts(order(category=category, reasonCode=coded("24700007")))
    assert read_back.repairs == {"bundle_without_type": 1, "category_as_object": 1, "reason_code_as_object": 1}
    assert "multiple_sclerosis" in read_back.medications[0].reasons


def test_a_mended_order_is_valid_and_is_handed_out_mended() -> None:
    chart = read(drafts=bundle(order(category=coded("community"), intent=None)))
    source = chart.facts.medications[0].source
    assert chart.invalid([source]) == {}
    assert isinstance(chart.resource(source)["category"], list)
    assert chart.resource(source)["intent"] == "order"


def test_a_single_dosage_and_a_single_coding_as_objects() -> None:
    medicine = {"coding": {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "10582"}}
    instruction = {"timing": {"repeat": {"timeOfDay": "08:00:00"}}}
    read_back = facts(order(medicationCodeableConcept=medicine, dosageInstruction=instruction))
    assert "levothyroxine" in read_back.medications[0].drugs
    assert str(read_back.medications[0].dosages[0].times[0]) == "08:00:00"
    assert read_back.repairs["dosage_instruction_as_object"] == 1


def test_an_object_as_a_list_of_one() -> None:
    read_back = facts(order(subject=[about()]))
    assert len(read_back.medications) == 1
    assert read_back.repairs["subject_as_list"] == 1


def test_a_good_request_needs_no_repair() -> None:
    assert read(drafts=bundle(order())).facts.repairs == {}
