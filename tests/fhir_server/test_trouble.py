"""What a FHIR server of other hands leaves out, refuses or does not live to answer is said, never taken for none."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox import patients
from tests.conformance.calls import answered, outcome, own
from tests.conftest import NOW
from tests.fhir_server.running import Json, SecondServer, bare_call, second_server

Make = Callable[..., Flask]


@pytest.fixture(scope="module")
def uncounted() -> Iterator[SecondServer]:
    """A server that tells no totals, and that has neither MedicationStatements nor a search by questionnaire."""
    options = ("--no-total", "--without", "MedicationStatement", "--without", "QuestionnaireResponse.questionnaire")
    with second_server(*options) as server:
        yield server


def service(make_app: Make, server: SecondServer) -> FlaskClient:
    return make_app(fhir_servers=(server.url,), fetch_seconds=10).test_client()


def low_magnesium(more: str = "", count: int = 0) -> list[Json]:
    """The patient with low magnesium, with `count` older copies of the first resource of type `more` before it."""
    resources = patients.load()["low-magnesium"].resources(NOW)
    place = next((index for index, one in enumerate(resources) if one["resourceType"] == more), 0)
    copies = []
    for number in range(count):
        one = deepcopy(resources[place]) | {"id": f"more-{number}"}
        if more == "Observation":
            one["effectiveDateTime"] = (NOW - timedelta(days=20 + number)).isoformat()
        copies.append(one)
    return [*resources[:place], *copies, *resources[place:]]


def states(answer: Json) -> dict[str, str]:
    """State by input."""
    return dict(own(answer)["inputs"])


def kinds(answer: Json) -> set[str]:
    """The outcomes there are."""
    return {item["outcome"] for item in own(answer)["outcomes"]}


def reasons(answer: Json) -> str:
    return "; ".join(item.get("reason", "") for item in own(answer)["outcomes"])


@pytest.mark.parametrize("counted", [True, False])
def test_the_newest_of_many_results_decides_though_not_all_were_given(
    counted: bool, make_app: Make, server: SecondServer, uncounted: SecondServer
) -> None:
    """20 of 27 are given, newest first, with no link to the others, and with or without a total."""
    chosen = server if counted else uncounted
    client = service(make_app, chosen)
    answer = answered(client, bare_call(client, chosen.url, chosen.load(low_magnesium("Observation", 25))))
    assert states(answer)["serum_magnesium"] == "incomplete"
    assert "0.58 mmol/L" in answer["cards"][0]["summary"]


@pytest.mark.parametrize("counted", [True, False])
def test_where_not_all_orders_were_given_no_drug_is_said_to_be_absent(
    counted: bool, make_app: Make, server: SecondServer, uncounted: SecondServer
) -> None:
    """200 of 203 active orders are given; furosemide, on which a card would rest, is among the others."""
    chosen = server if counted else uncounted
    client = service(make_app, chosen)
    resources = low_magnesium("MedicationRequest", 200)
    answer = answered(client, bare_call(client, chosen.url, chosen.load(resources)))
    assert states(answer)["medications"] == "incomplete"
    assert "medication orders arrived incomplete" in reasons(answer)
    timing = {item["outcome"] for item in own(answer)["outcomes"] if item["rule"].endswith("_timing")}
    assert timing == {"not_evaluated"}
    assert outcome(answer, "low_magnesium_with_digoxin")["outcome"] == "not_evaluated"
    assert "medication orders arrived incomplete" in answer["cards"][0]["detail"]


def test_fewer_entries_than_asked_for_are_all_without_a_total(make_app: Make, uncounted: SecondServer) -> None:
    client = service(make_app, uncounted)
    answer = answered(client, bare_call(client, uncounted.url, uncounted.load(low_magnesium())))
    assert {states(answer)[key] for key in ("conditions", "medications", "serum_magnesium")} == {"fetched"}


def test_what_a_server_does_not_support_is_not_taken_for_none(make_app: Make, uncounted: SecondServer) -> None:
    """MedicationStatement is answered by 404, QuestionnaireResponse?questionnaire= by 400 with an OperationOutcome."""
    client = service(make_app, uncounted)
    answer = answered(client, bare_call(client, uncounted.url, uncounted.load(low_magnesium())))
    assert states(answer)["medication_statements"] == "failed"
    assert states(answer)["screener"] == "failed"
    assert outcome(answer, "low_serum_magnesium")["outcome"] == "fired", "what was read is used"
    assert outcome(answer, "levothyroxine_timing")["reason"] == "medication statements could not be read: not found"
    assert outcome(answer, "intake_below_allowance")["outcome"] == "not_evaluated"
    assert "intake screener answers could not be read: refused" in answer["cards"][0]["detail"]


def test_a_patient_whom_the_server_does_not_know_has_no_findings(client: FlaskClient, server: SecondServer) -> None:
    """The searches find nothing, and are answered so; only the read of the Patient is a 404."""
    answer = answered(client, bare_call(client, server.url, [{"id": "somebody-of-another-hospital"}]))
    assert set(states(answer).values()) == {"failed", "absent"}
    assert kinds(answer) == {"not_evaluated"}
    assert "serum magnesium could not be read: patient not found" in reasons(answer)
    assert "not complete" in answer["cards"][0]["summary"]


def test_a_token_that_the_server_refuses_reads_nothing(
    client: FlaskClient, server: SecondServer, stored: dict[str, list[Json]]
) -> None:
    body = bare_call(client, server.url, stored["low-magnesium"])
    body["fhirAuthorization"]["access_token"] = "expired"
    answer = answered(client, body)
    assert set(states(answer).values()) == {"failed", "absent"}
    assert "serum magnesium could not be read: not permitted" in reasons(answer)


def test_a_server_killed_while_it_is_asked_has_answered_nothing(make_app: Make) -> None:
    with second_server() as server, ThreadPoolExecutor(1) as thread:
        client = service(make_app, server)
        body = bare_call(client, server.url, server.load(low_magnesium()))
        server.process.send_signal(signal.SIGSTOP)  # its port still takes calls, and none is answered
        answering = thread.submit(answered, client, body)
        time.sleep(0.5)
        server.process.kill()
        answer = answering.result(20)
    assert set(states(answer).values()) == {"failed", "absent"}
    assert kinds(answer) == {"not_evaluated"}
    assert "serum magnesium could not be read: not reachable" in reasons(answer)
    assert "not complete" in answer["cards"][0]["summary"]
