"""Calls without prefetch: everything is read from a FHIR server that nobody here wrote, and answered as if sent."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.needs import GIVEN
from cds_service.sandbox import patients
from cds_service.sandbox.mock_ehr import MockEhr
from cds_service.sandbox.search import prefetch
from tests.conformance.calls import answered, outcome, own, services
from tests.conftest import NOW
from tests.fhir_server.running import Json, SecondServer, bare_call
from tests.test_golden import normalised

CALLS = [
    ("low-magnesium", "patient-view"),
    ("unmeasured", "patient-view"),
    ("digoxin", "patient-view"),
    ("kidney", "patient-view"),
    ("kidney", "order-sign"),
    ("levothyroxine", "order-select"),
    ("alendronate", "order-select"),
]


def told(answer: Json) -> Any:
    """Cards and outcomes, without uuids of ours, and without the second in which a plan's address was signed."""
    found = normalised({"cards": answer["cards"], "outcomes": own(answer)["outcomes"]})
    for link in (link for card in found["cards"] for link in card["links"]):
        link["url"] = re.sub(r"/plan/.*", "/plan/(token)", link["url"])
    return found


def inputs(answer: Json) -> dict[str, str]:
    """State by input; whether it was sent or read makes no difference."""
    return {key: state.replace("given", "fetched") for key, state in own(answer)["inputs"].items()}


def low_magnesium() -> list[Json]:
    """The patient with low magnesium, the Patient first."""
    return patients.load()["low-magnesium"].resources(NOW)


@pytest.mark.parametrize(("name", "hook"), CALLS)
def test_what_is_read_from_a_server_is_answered_as_what_is_sent(
    name: str, hook: str, client: FlaskClient, server: SecondServer, fake: MockEhr, stored: dict[str, list[Json]]
) -> None:
    body = bare_call(client, server.url, stored[name], name, hook)
    read = answered(client, body)
    templates = services(client)[hook]["prefetch"]
    given = prefetch(stored[name], templates, {"patientId": stored[name][0]["id"]})
    del given[GIVEN]  # only in an encounter do we read it ourselves
    sent = answered(client, body | {"prefetch": given})
    from_fake = answered(client, body | {"fhirServer": fake.fhir})
    assert read["cards"]
    assert told(read) == told(sent) == told(from_fake)
    assert inputs(read) == inputs(sent) == inputs(from_fake)
    assert {key for key, state in inputs(read).items() if state == "absent"} == {"encounter", GIVEN}, "none was named"


def test_nothing_to_say_after_everything_was_read_is_an_empty_answer(
    client: FlaskClient, server: SecondServer, stored: dict[str, list[Json]]
) -> None:
    answer = answered(client, bare_call(client, server.url, stored["levothyroxine"], "levothyroxine"))
    assert answer["cards"] == []
    assert {item["outcome"] for item in own(answer)["outcomes"]} <= {"quiet", "not_applicable"}


def test_a_hospital_stay_is_read_and_its_results_age_faster(client: FlaskClient, server: SecondServer) -> None:
    resources = low_magnesium()
    stay = {
        "resourceType": "Encounter",
        "id": "stay",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": f"Patient/{resources[0]['id']}"},
    }
    stored = server.load([*resources, stay])
    body = bare_call(client, server.url, stored)
    assert outcome(answered(client, body), "low_serum_magnesium")["outcome"] == "fired"
    body["context"]["encounterId"] = stored[-1]["id"]
    answer = answered(client, body)
    assert own(answer)["inputs"]["encounter"] == "fetched"
    assert "repairs" not in own(answer)
    assert "10 days old" in outcome(answer, "low_serum_magnesium")["reason"]


def test_an_encounter_that_the_server_has_not_got_is_not_taken_for_a_visit(
    client: FlaskClient, server: SecondServer, stored: dict[str, list[Json]]
) -> None:
    body = bare_call(client, server.url, stored["low-magnesium"])
    body["context"]["encounterId"] = "unknown-here"
    answer = answered(client, body)
    assert own(answer)["inputs"]["encounter"] == "failed"
    assert "not found" in outcome(answer, "low_serum_magnesium")["reason"]


def test_a_medicine_that_is_only_referred_to_is_read_too(client: FlaskClient, server: SecondServer) -> None:
    sample = patients.load()["levothyroxine"]
    resources = deepcopy(sample.resources(NOW))
    order = next(one for one in resources if one["resourceType"] == "MedicationRequest")
    medication = {"resourceType": "Medication", "id": "m", "code": order.pop("medicationCodeableConcept")}
    order["medicationReference"] = {"reference": "Medication/m"}
    stored = server.load([*resources, medication])
    answer = answered(client, bare_call(client, server.url, stored, "levothyroxine", "order-select"))
    assert outcome(answer, "levothyroxine_timing")["outcome"] == "fired"
