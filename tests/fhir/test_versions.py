"""R4 and R5 are read; DSTU2 and STU3 are refused where they are announced, else each resource of them costs itself."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.fhir import UnsupportedFhirVersion
from tests.fhir.charts import ME, about, bundle, condition, magnesium, order, patient, read, statement, without


@pytest.mark.parametrize("version", [None, "4.0.1", "4.3.0", "4", "5.0.0"])
def test_an_announced_version_that_is_read(version: str | None) -> None:
    assert read(fhir_version=version, conditions=bundle(condition())).facts.conditions


@pytest.mark.parametrize(
    ("version", "name"), [("1.0.2", "DSTU2"), ("3.0.2", "STU3"), ("6.0.0", "unknown"), ("x", "unknown")]
)
def test_an_announced_version_that_is_not(version: str, name: str) -> None:
    with pytest.raises(UnsupportedFhirVersion) as refused:
        read(fhir_version=version)
    assert (refused.value.where, refused.value.version) == ("fhirVersion", name)


@pytest.mark.parametrize(
    ("resource", "version"),
    [
        ({"resourceType": "MedicationOrder", "id": "m", "patient": about()}, "DSTU2"),
        (without(condition(patient=about()), "subject"), "DSTU2"),
        (condition(clinicalStatus="active"), "STU3"),
        (statement(taken="y"), "STU3"),
        (without(statement(patient=about(), wasNotTaken=False), "subject"), "DSTU2"),
        (order(context={"reference": "Encounter/1"}), "STU3"),
        (magnesium(comment="low"), "STU3"),
        (magnesium(comments="low"), "DSTU2"),
        (magnesium(related=[{"target": {}}]), "STU3"),
    ],
)
def test_a_resource_of_a_shape_from_before_r4_costs_itself_and_is_counted_by_its_version(
    resource: dict[str, Any], version: str
) -> None:
    for drafts, prefetch, key in (
        (None, {"conditions": bundle(resource)}, "conditions"),
        (bundle(resource), {}, "draft_orders"),
    ):
        facts = read(drafts=drafts, **prefetch).facts
        assert not (facts.conditions or facts.medications or facts.labs)
        assert facts.inputs[key].unreadable == 1
        assert facts.repairs[f"not_read_as_{version}"] == 1
    facts = read(conditions=bundle(condition(), resource)).facts
    assert [item.source.id for item in facts.conditions] == ["ms"]
    assert facts.inputs["conditions"].unreadable == 1


@pytest.mark.parametrize("make", [order, statement])
@pytest.mark.parametrize("stated", [None, {"doseQuantity": {"value": 5, "unit": "mL"}}])
@pytest.mark.parametrize("old", ["doseQuantity", "doseRange"])
def test_a_dose_in_the_place_of_stu3_is_read_there_and_counted(make: Any, stated: Any, old: str) -> None:
    amount = {"value": 5, "unit": "mL"}
    dosage = {old: amount if old == "doseQuantity" else {"low": amount, "high": amount}}
    dosage |= {"doseAndRate": [stated]} if stated else {}
    resource = make(**{"dosage" if make is statement else "dosageInstruction": [dosage]})
    facts = read(medications=bundle(resource), conditions=bundle(condition())).facts
    assert facts.medications[0].dosages[0].amount is not None
    assert str(facts.medications[0].dosages[0].amount.value) == "5"
    assert facts.repairs["dose_in_old_place"] == 1
    assert facts.conditions


def test_an_old_patient_is_not_read() -> None:
    facts = read(patient=patient(careProvider=[{"reference": "Organization/1"}])).facts
    assert (facts.inputs["patient"].state, facts.person.age_years) == ("failed", None)
    assert facts.repairs["not_read_as_DSTU2"] == 1


def test_a_call_of_nothing_but_old_shapes_is_answered_and_is_no_all_clear(client: FlaskClient) -> None:
    old = order(context={"reference": "Encounter/1"}, status="draft", id="o")
    body = {
        "hook": "order-sign",
        "hookInstance": "00000000-0000-4000-8000-000000000001",
        "context": {"patientId": ME, "userId": "Practitioner/1", "draftOrders": bundle(old)},
        "prefetch": {"patient": patient(), "medications": bundle(order(context={"reference": "Encounter/1"}))},
    }
    answered = client.post("/cds-services/magnesium-order-sign", json=body)
    assert answered.status_code == 200, answered.json
    (card,) = answered.get_json()["cards"]
    assert "something in draft orders could not be read" in card["detail"]
    assert answered.get_json()["extension"]["org.magnesium-cds"]["repairs"]["not_read_as_STU3"] == 2


def test_a_dose_of_stu3_in_the_only_order_is_read() -> None:
    dose = {"doseQuantity": {"value": 2, "unit": "tablet"}, "timing": {"repeat": {"frequency": 1, "period": 1}}}
    facts = read(drafts=bundle(order(dosageInstruction=[dose], status="draft"))).facts
    assert [str(dosage.amount.value) for item in facts.medications for dosage in item.dosages if dosage.amount] == ["2"]
    assert facts.inputs["draft_orders"].complete


def test_an_r4_statement_with_its_encounter_in_context_is_r4() -> None:
    stated = statement(context={"reference": "Encounter/1"})
    assert read(medication_statements=bundle(stated)).facts.medications
