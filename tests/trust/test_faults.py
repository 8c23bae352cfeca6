"""Faults of the EHR's FHIR server (F1-F9, F12, F15): what breaks is said, in time, and is never read as normal."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask import Flask

from cds_service.fhir import FetchFailed, FhirServer
from cds_service.sandbox.mock_ehr import MockEhr
from cds_service.trust.addresses import LOCAL
from cds_service.trust.breaker import OPENS_AFTER, PAUSE, Breaker, RetryBudget
from cds_service.trust.outbound import CallSlots, GuardedAdapter, Server, guarded_session
from tests.support.timing import within
from tests.trust.support import SERVICE, Json, bare_body, body_for, inputs, reasons, states

Make = Callable[..., Flask]


@pytest.fixture
def app(make_app: Make, ehr: MockEhr) -> Flask:
    """A fresh service (its circuits closed) that may read the fake EHR."""
    return make_app(fhir_servers=(ehr.fhir,))


def post(app: Flask, ehr: MockEhr, status: int = 200, **changes: Any) -> Json:
    answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=ehr.fhir) | changes)
    assert answer.status_code == status, answer.text
    return dict(answer.json or {})


def nothing_claimed(answer: Json) -> None:
    """Nothing fired on what was not read, nothing was found normal, and a card says what was not checked."""
    assert "fired" not in states(answer).values()
    assert "not_evaluated" in states(answer).values()
    assert "not complete" in answer["cards"][0]["summary"]


def reader(ehr: MockEhr, **how: Any) -> FhirServer:
    return FhirServer(ehr.fhir, session=guarded_session([Server(ehr.fhir, LOCAL)]), **how)


def test_f1_a_server_that_refuses_the_connection_is_told_quickly(make_app: Make, ehr: MockEhr) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}/fhir"
        app = make_app(fhir_servers=(base,), fetch_seconds=10.0)
        with within(8.0):
            answer = post(app, ehr, fhirServer=base)
    nothing_claimed(answer)
    assert "serum magnesium could not be read: not reachable" in reasons(answer)


def test_f1_a_name_that_is_not_known_is_told_quickly(make_app: Make, ehr: MockEhr, monkeypatch: Any) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    app = make_app(fhir_servers=("http://ehr.example/fhir",), fetch_seconds=10.0)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with within(8.0):
        answer = post(app, ehr, fhirServer="http://ehr.example/fhir")
    nothing_claimed(answer)


@pytest.mark.parametrize(
    "fault", [{"delay": 60}, {"stall": 60}, {"drip": 2}, {"drip": 20}], ids=["late", "headers only", "drip", "dribble"]
)
def test_f2_a_slow_server_takes_no_more_than_the_time_for_all_reads(
    make_app: Make, ehr: MockEhr, fault: dict[str, Any]
) -> None:
    app = make_app(fhir_servers=(ehr.fhir,), fetch_seconds=1.2)
    ehr.fail("Observation", **fault)
    with within(20):
        answer = post(app, ehr)
    nothing_claimed(answer)
    assert "serum magnesium could not be read: timed out" in reasons(answer)
    assert inputs(answer)["conditions"] == "fetched", "what came in time is used"


def test_f2_slow_reads_end_and_leave_no_thread_behind(ehr: MockEhr) -> None:
    ehr.fail("Observation", drip=2)
    server = reader(ehr, total_seconds=0.4)
    with within(10), pytest.raises(FetchFailed):
        server.get("Observation?patient=x")  # in this very thread: it ends, and not only its caller's wait for it


def test_f2_headers_that_come_too_slowly_are_late_and_not_short(ehr: MockEhr) -> None:
    ehr.fail("Patient", drip=60)  # the status line comes in time, the end of the headers does not
    session = guarded_session([Server(ehr.fhir, LOCAL)])
    with pytest.raises(requests.exceptions.ReadTimeout):
        session.get(f"{ehr.fhir}/Patient/x", timeout=(0.3, 0.6), allow_redirects=False, stream=True)


def test_f2_twenty_calls_to_a_slow_server_do_not_slow_those_that_need_none(make_app: Make) -> None:
    with MockEhr() as ehr, ThreadPoolExecutor(24) as threads:
        app = make_app(fhir_servers=(ehr.fhir,), threads=64, fetch_seconds=5.0)
        full = body_for(app)
        app.test_client().post(SERVICE, json=full)
        ehr.fail("", delay=60)
        slow = [threads.submit(post, app, ehr) for _ in range(20)]
        time.sleep(0.2)
        assert app.test_client().post(SERVICE, json=full).status_code == 200
        assert not all(one.done() for one in slow), "it waited for the slow ones"
        for one in slow:
            nothing_claimed(one.result())


def test_f2_only_so_many_calls_wait_for_one_server_and_for_all_together() -> None:
    slots = CallSlots(each=2, together=3)
    with slots.slot("a") as one, slots.slot("a") as two, slots.slot("a") as three:
        assert (one, two, three) == (True, True, False)
        with slots.slot("b") as other, slots.slot("c") as last:
            assert (other, last) == (True, False)
    with slots.slot("a") as again:
        assert again


@pytest.mark.parametrize("status", [502, 503])
def test_f3_a_passing_error_is_asked_once_more(app: Flask, ehr: MockEhr, status: int) -> None:
    ehr.fail("Patient", status=status, times=1)
    assert inputs(post(app, ehr))["patient"] == "fetched"
    assert ehr.asked("Patient") == 2


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ({"status": 500}, 1), ({"status": 429, "headers": {"Retry-After": "1"}}, 1), ({"status": 404}, 1),
        ({"status": 503, "headers": {"Retry-After": "30"}}, 1), ({"status": 502, "body": "<html>bad gateway"}, 2),
        ({"status": 503, "headers": {"Retry-After": "Sat, 21 Nov 2026 10:00:00 GMT"}}, 1), ({"status": 503}, 2),
    ],
)  # fmt: skip
def test_f3_an_error_that_stays_is_a_failed_input_after_one_more_try_at_most(
    app: Flask, ehr: MockEhr, fault: dict[str, Any], asked: int
) -> None:
    ehr.fail("Patient", **fault)
    answer = post(app, ehr)
    assert ehr.asked("Patient") == asked
    assert inputs(answer)["patient"] == "failed"
    assert inputs(answer)["serum_magnesium"] == "fetched"


def test_f3_a_connection_that_is_reset_is_tried_once_more(ehr: MockEhr) -> None:
    ehr.fail("Patient", cut_at=0, times=1)
    assert reader(ehr).get("Patient/low-magnesium")
    ehr.fail("Patient", cut_at=0)
    with pytest.raises(FetchFailed, match="not reachable"):
        reader(ehr).get("Patient/low-magnesium")


def test_f3_retries_are_a_tenth_of_the_reads_at_most() -> None:
    budget = RetryBudget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(100):
        budget.earn()
    assert sum(budget.spend() for _ in range(20)) == 10


@pytest.mark.parametrize("status", [401, 403])
def test_f4_a_refused_token_is_not_tried_again(app: Flask, ehr: MockEhr, status: int) -> None:
    ehr.fail("Observation", status=status)
    answer = post(app, ehr)
    services = dict(app.test_client().get("/cds-services").json or {})["services"]
    templates = next(one["prefetch"] for one in services if one["hook"] == "patient-view").values()
    inputs_asked = sum(template.startswith("Observation?") for template in templates)
    assert ehr.asked("Observation") == inputs_asked, "one read for each input, none twice"
    nothing_claimed(answer)
    assert "serum magnesium could not be read: not permitted" in reasons(answer)


def test_f5_labs_allowed_and_medications_not(app: Flask, ehr: MockEhr) -> None:
    ehr.fail("Medication", status=403)
    answer = post(app, ehr)
    assert inputs(answer)["serum_magnesium"] == "fetched"
    assert inputs(answer)["medications"] == "failed"
    outcome = states(answer)
    assert outcome["low_serum_magnesium"] == "fired"
    assert "medication orders could not be read: not permitted" in reasons(answer)
    assert outcome["low_magnesium_with_depleting_drug"] == "not_evaluated", "not allowed is not none"


BROKEN: dict[str, dict[str, Any]] = {
    "an OperationOutcome": {"body": '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"x"}]}'},
    "nothing": {"body": ""},
    "a web page": {"body": "<html><body>Sign in</body></html>"},
    "a web page that says so": {"body": "<html>", "headers": {"Content-Type": "text/html"}},
    "half a Bundle": {"body": '{"resourceType":"Bundle","type":"searchset","entry":[{"resour'},
    "another type": {"body": '{"resourceType":"Patient","id":"low-magnesium"}'},
    "plain text": {"headers": {"Content-Type": "text/plain"}},
    "no type": {"headers": {"Content-Type": ""}},
    "compressed unasked": {"headers": {"Content-Encoding": "gzip"}},
    "cut": {"headers": {"Content-Length": "9999"}, "cut_at": 400},
    "a list": {"body": "[]"},
    "null": {"body": "null"},
    "NaN": {"body": '{"resourceType":"Bundle","total":NaN}'},
    "deep": {"body": "[" * 20_000},
    "announced as huge": {"headers": {"Content-Length": "99999999999"}},
    "no content": {"status": 204, "body": ""},
}


@pytest.mark.parametrize("name", BROKEN)
def test_f6_an_answer_that_is_no_result_is_a_failed_input_and_not_no_results(
    app: Flask, ehr: MockEhr, name: str
) -> None:
    ehr.fail("Observation", **BROKEN[name])
    answer = post(app, ehr)
    assert inputs(answer)["serum_magnesium"] == "failed", name
    nothing_claimed(answer)


ABSENT = object()


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (ABSENT, "absent"), (None, "empty"), ({"resourceType": "OperationOutcome", "issue": []}, "failed"),
        ({"resource": "<html>"}, "failed"), ({"resourceType": "Bundle", "type": "searchset"}, "empty"),
        ({"resourceType": "Bundle", "type": "searchset", "total": 3, "entry": []}, "incomplete"), ("<html>", "failed"),
        ([], "failed"), (7, "failed"),
    ],
)  # fmt: skip
def test_f7_each_state_of_a_prefetch_key_is_told_apart(app: Flask, value: Any, state: str) -> None:
    body = body_for(app)
    if value is ABSENT:
        del body["prefetch"]["serum_magnesium"]
    else:
        body["prefetch"]["serum_magnesium"] = value
    answer = app.test_client().post(SERVICE, json=body)
    assert answer.status_code == 200, answer.text
    assert inputs(dict(answer.json or {}))["serum_magnesium"] == state
    if state in ("absent", "failed", "incomplete"):
        assert states(dict(answer.json or {}))["low_serum_magnesium"] != "quiet"


def test_f7_what_is_absent_is_read_where_it_may_be(app: Flask, ehr: MockEhr) -> None:
    body = body_for(app)
    del body["prefetch"]["serum_magnesium"]
    answer = app.test_client().post(SERVICE, json=body | {"fhirServer": ehr.fhir})
    assert inputs(dict(answer.json or {}))["serum_magnesium"] == "fetched"
    assert [call.path.partition("?")[0] for call in ehr.calls] == ["/fhir/Observation"]


def test_f8_a_search_that_never_ends_is_left_after_ten_pages_and_is_incomplete(make_app: Make, ehr: MockEhr) -> None:
    app = make_app(fhir_servers=(ehr.fhir,), fetch_seconds=10)  # so that only the number of pages ends it
    ehr.fail("Condition", pages=1_000_000)
    answer = post(app, ehr)
    assert ehr.asked("Condition") == 10
    assert inputs(answer)["conditions"] == "incomplete"


def test_f8_a_page_that_is_its_own_next_is_read_once(app: Flask, ehr: MockEhr) -> None:
    ehr.fail("Condition", next_link="self")
    answer = post(app, ehr)
    assert ehr.asked("Condition") == 1
    assert inputs(answer)["conditions"] == "incomplete"


def test_f8_of_a_page_with_too_many_entries_none_is_called_the_latest(app: Flask, ehr: MockEhr) -> None:
    ehr.fail("Observation", entries=6_000)
    answer = post(app, ehr)
    assert inputs(answer)["serum_magnesium"] in ("incomplete", "failed")
    assert "not_evaluated" in states(answer).values()


def test_f8_an_answer_that_is_too_large_is_stopped(ehr: MockEhr) -> None:
    ehr.fail("Observation", body='{"a":"' + "x" * 3_000_000 + '"}')
    with pytest.raises(FetchFailed, match="too large"):
        reader(ehr, max_bytes=1_000_000).get("Observation")


@pytest.mark.parametrize("path", ["Patient", "Observation", "Condition", "MedicationRequest"])
def test_f9_a26_another_patients_answer_stops_the_evaluation(app: Flask, ehr: MockEhr, path: str) -> None:
    ehr.fail(path, patient="somebody-else")
    answer = post(app, ehr, 412)
    assert answer["issue"][0]["code"] == "conflict"
    assert "somebody-else" not in str(answer)


def test_f12_a_result_from_the_future_is_not_used_and_one_of_minutes_is(app: Flask) -> None:
    for ahead, fired in (("2026-11-21T09:40:00Z", True), ("2026-11-21T11:40:00Z", False)):
        body = body_for(app)
        for entry in body["prefetch"]["serum_magnesium"]["entry"]:
            entry["resource"]["effectiveDateTime"] = ahead
        answer = dict(app.test_client().post(SERVICE, json=body).json or {})
        assert (states(answer)["low_serum_magnesium"] == "fired") is fired


def test_f15_a_server_that_keeps_failing_is_not_asked_for_a_while(app: Flask, ehr: MockEhr) -> None:
    ehr.fail("", status=500)
    for _ in range(OPENS_AFTER):
        nothing_claimed(post(app, ehr))
    before = len(ehr.calls)
    answer = post(app, ehr)
    assert len(ehr.calls) == before
    nothing_claimed(answer)
    assert "serum magnesium could not be read: not reachable" in reasons(answer)


def test_f15_one_servers_failures_are_not_anothers(make_app: Make, ehr: MockEhr) -> None:
    with MockEhr() as other:
        app = make_app(fhir_servers=(ehr.fhir, other.fhir))
        other.fail("", status=500)
        for _ in range(OPENS_AFTER + 1):
            post(app, ehr, fhirServer=other.fhir)
        assert inputs(post(app, ehr))["patient"] == "fetched"


def test_f15_the_circuit_opens_probes_and_closes() -> None:
    clock = [0.0]
    breaker = Breaker(lambda: clock[0])

    def ask(good: bool) -> bool:
        clock[0] += 0.001
        entered = breaker.enter()
        if entered is not None:
            breaker.leave(entered, good=good)
        return entered is not None

    assert all(ask(False) for _ in range(OPENS_AFTER))
    assert not ask(True)
    clock[0] += PAUSE
    assert ask(False), "one probe"
    assert not ask(True)
    clock[0] += PAUSE
    probe = breaker.enter()
    assert probe is not None
    assert breaker.enter() is None, "and one only"
    breaker.leave(probe, good=True)
    assert ask(True)


def test_f15_ten_reads_that_fail_at_the_same_moment_are_one_failure() -> None:
    clock = [0.0]
    breaker = Breaker(lambda: clock[0])
    for _ in range(OPENS_AFTER - 1):
        clock[0] += 1
        entered = [breaker.enter() for _ in range(10)]
        assert None not in entered
        clock[0] += 1
        for moment in entered:
            breaker.leave(moment or 0.0, good=False)
    assert not breaker.open


@pytest.mark.parametrize("fault", [{"drip": 20}, {"cut_at": 150}, {"delay": 2}, {"status": 503}])
def test_f15_slow_and_cut_answers_count_as_failures(ehr: MockEhr, fault: dict[str, Any]) -> None:
    session = guarded_session([Server(ehr.fhir, LOCAL)])
    ehr.fail("Patient", **fault)
    for _ in range(OPENS_AFTER):
        with pytest.raises(FetchFailed):
            FhirServer(ehr.fhir, session=session, total_seconds=0.2).get("Patient/low-magnesium")
    adapter = session.get_adapter(ehr.fhir)
    assert isinstance(adapter, GuardedAdapter)
    assert adapter.breaker.open


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_f15_a_refusal_is_no_failure_of_the_server(ehr: MockEhr, status: int) -> None:
    session = guarded_session([Server(ehr.fhir, LOCAL)])
    ehr.fail("Patient", status=status)
    for _ in range(OPENS_AFTER + 3):
        with pytest.raises(FetchFailed):
            FhirServer(ehr.fhir, session=session).get("Patient/x")
    assert ehr.asked("Patient") == OPENS_AFTER + 3
