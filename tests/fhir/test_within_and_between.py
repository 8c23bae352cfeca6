"""What stands within other resources, and what comes under one id or address twice."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.fhir import IdentityMismatch
from tests.fhir.charts import LOINC, ME, Json, about, answer, bundle, coded, condition, magnesium, order, patient, read
from tests.fhir.test_contradictions import quantity
from tests.fhir.test_never_silent import LOW, MYASTHENIA, SEVERE, injected, outcomes, severe

CARE_PLAN = {"resourceType": "CarePlan", "id": "plan", "status": "active", "intent": "plan", "subject": about()}
DISPENSE = {"resourceType": "MedicationDispense", "id": "d", "status": "completed", "subject": about()}


def states(told: Json) -> Json:
    found: Json = told["extension"]["org.magnesium-cds"]["inputs"]
    return found


def good(**more: Any) -> Json:
    return severe | {"id": "good", "valueQuantity": quantity(0.9)} | more


@pytest.mark.parametrize("mode", ["match", "include"])
@pytest.mark.parametrize("holder", [CARE_PLAN, DISPENSE, DISPENSE | {"resourceType": "Claim"}])
def test_an_order_within_a_resource_that_is_not_read_is_no_medicine_that_is_not_there(
    client: FlaskClient, holder: Json, mode: str
) -> None:
    """Wherever it stands: nobody knows what the order is of."""
    for key in ("medications", "conditions"):
        sent = bundle(order()) if key == "medications" else bundle(condition())
        sent["entry"].append({"resource": holder | {"contained": [order(id="within")]}, "search": {"mode": mode}})
        told = answer(client, "order-sign", drafts=[injected()], **{key: sent})
        assert states(told)["medications"] in ("incomplete", "unreadable")
    sent["entry"][-1]["resource"] = holder | {"contained": [{"resourceType": "Medication", "id": "m"}]}
    told = answer(client, "order-sign", drafts=[injected()], conditions=sent)
    assert states(told)["medications"] == "empty"


@pytest.mark.parametrize(
    "holder",
    [
        CARE_PLAN,
        condition(),
        order(),
        order(category={"text": "not as FHIR has it"}),
        {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": about()},
    ],
)
def test_a_result_within_another_resource_may_be_the_newest(client: FlaskClient, holder: Json) -> None:
    """A finding stands, and says that more is there; nothing is called normal."""
    held = holder | {"contained": [magnesium(0.2, "mmol/L", id="within")]}
    key = {"MedicationRequest": "medications", "Encounter": "encounter"}.get(holder["resourceType"], "conditions")
    for result, said in ((good(), "not_evaluated"), (severe, "fired")):
        told = answer(client, serum_magnesium=bundle(result), **{key: bundle(held)})
        assert outcomes(told)[SEVERE] == said
    told = answer(client, serum_magnesium=bundle(good()), **{key: bundle(holder)})
    assert outcomes(told)[SEVERE] == "quiet"


def test_a_panel_that_holds_its_results_is_not_a_panel_without_results(client: FlaskClient) -> None:
    panel = good(id="panel", code=coded("24323-8", LOINC), hasMember=[{"reference": "#within"}])
    held = panel | {"contained": [magnesium(0.2, "mmol/L", id="within")]}
    assert outcomes(answer(client, serum_magnesium=bundle(good(), panel)))[SEVERE] == "quiet"
    assert outcomes(answer(client, serum_magnesium=bundle(good(), held)))[SEVERE] == "not_evaluated"


def test_the_problem_for_which_something_is_ordered_takes_nothing_away(client: FlaskClient) -> None:
    ordered = order(contained=[condition(id="reason")], reasonReference=[{"reference": "#reason"}])
    told = answer(client, "order-sign", drafts=[injected()], medications=bundle(ordered))
    assert (states(told)["conditions"], states(told)["medications"]) == ("empty", "given")
    assert outcomes(told)[MYASTHENIA] == "quiet"


SERUM = {"resourceType": "Specimen", "id": "s", "subject": about(), "type": {"text": "Serum"}}
URINE = SERUM | {"type": {"text": "Urine"}}


@pytest.mark.parametrize("reference", ["Specimen/s", "Specimen/s/_history/2", "https://ehr.example/fhir/Specimen/s"])
@pytest.mark.parametrize("specimens", [[SERUM, URINE], [URINE, SERUM], [URINE, SERUM, SERUM]])
def test_of_two_specimens_of_one_id_none_is_that_of_the_result(
    client: FlaskClient, specimens: list[Json], reference: str
) -> None:
    sent = bundle(severe | {"specimen": {"reference": reference}})
    sent["entry"] += [{"resource": each, "search": {"mode": "include"}} for each in specimens]
    assert outcomes(answer(client, serum_magnesium=sent))[SEVERE] == "not_evaluated"
    sent["entry"][1:] = [{"resource": SERUM, "search": {"mode": "include"}}] * 2
    assert outcomes(answer(client, serum_magnesium=sent))[SEVERE] == "fired"


@pytest.mark.parametrize("specimens", [[SERUM, URINE], [SERUM | {"type": "Urine"}], [SERUM, SERUM | {"note": "x"}]])
def test_a_contained_specimen_that_is_told_twice_or_cannot_be_read_is_not_that_of_serum(
    client: FlaskClient, specimens: list[Json]
) -> None:
    held = severe | {"specimen": {"reference": "#s"}, "contained": specimens}
    assert outcomes(answer(client, serum_magnesium=bundle(held)))[SEVERE] == "not_evaluated"
    assert outcomes(answer(client, serum_magnesium=bundle(held | {"contained": [SERUM]})))[SEVERE] == "fired"
    facts = read(serum_magnesium=bundle(held)).facts
    assert facts.labs["serum_magnesium"][0].problem == "its specimen is not clear"


@pytest.mark.parametrize("total", [-1, 0.5, 1.5, "many", "", "-2", 10**12, True, [], {"value": 3}])
def test_a_total_that_can_be_none_is_one_that_was_not_read(client: FlaskClient, total: Any) -> None:
    facts = read(serum_magnesium=bundle(magnesium(), total=total)).facts
    assert (facts.inputs["serum_magnesium"].state, facts.inputs["serum_magnesium"].reason) == (
        "incomplete",
        "its total cannot be read",
    )
    told = answer(client, serum_magnesium=bundle(good(), total=total))
    assert outcomes(told)[LOW] == "not_evaluated"
    inner = read(serum_magnesium=bundle(bundle(magnesium(), total=total))).facts.inputs["serum_magnesium"]
    assert inner.reason == "its total cannot be read"


@pytest.mark.parametrize("total", [1, "1", 1.0, None])
def test_a_total_that_is_a_count_is_read(client: FlaskClient, total: Any) -> None:
    assert outcomes(answer(client, serum_magnesium=bundle(good(), total=total)))[LOW] == "quiet"


def test_two_addresses_of_the_patient_are_two_patients() -> None:
    known = [bundle(patient()), bundle(condition(), patient())]
    for one, server in zip(known, ("a", "b"), strict=True):
        one["entry"][-1]["fullUrl"] = f"https://{server}.example/fhir/Patient/{ME}"
    with pytest.raises(IdentityMismatch) as stopped:
        read(patient=known[0], conditions=known[1])
    assert stopped.value.where == "prefetch.conditions.entry[1]"


@pytest.mark.parametrize(
    "base", ["https://ehr.example/fhir", "https://ehr.example/fhir/", "https://ehr.example/fhir//"]
)
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_too_many_is_no_other_server(base: str, slashes: str) -> None:
    """Of an EHR whose fhirServer ends in a slash, and that adds one more."""
    named = {"subject": {"reference": f"https://ehr.example/fhir{slashes}Patient/{ME}"}}
    facts = read(base=base, conditions=bundle(condition(**named))).facts
    assert facts.conditions and facts.inputs["conditions"].complete
    both = read(conditions=bundle(condition(**named)), serum_magnesium=bundle(magnesium(subject={
        "reference": f"https://ehr.example/fhir/Patient/{ME}"
    })))  # fmt: skip
    assert both.facts.labs


@pytest.mark.parametrize(
    "reference", [f"https://ehr.example//fhir/Patient/{ME}", f"https://ehr.example/fhir/x//Patient/{ME}"]
)
def test_a_slash_elsewhere_in_an_address_is_another_server(reference: str) -> None:
    facts = read(base="https://ehr.example/fhir", conditions=bundle(condition(subject={"reference": reference}))).facts
    assert not facts.conditions and facts.inputs["conditions"].unreadable == 1
