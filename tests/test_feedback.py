"""Feedback through HTTP: C47 to C53 of the specification's list, and what a careless or hostile client may send."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.hooks.errors import install_error_handlers
from cds_service.hooks.feedback import MAX_BYTES, MAX_ITEMS, feedback_blueprint
from cds_service.hooks.problems import Problem
from cds_service.store import Store
from tests.store.helpers import card, counts, locked, newest_outcome, rows
from tests.support.timing import within

SERVICE = "magnesium-patient-view"
URL = f"/cds-services/{SERVICE}/feedback"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("feedback-*.json"))
MOMENT = "2026-11-21T21:05:25.873Z"
SECRET = "Mona Testcase 4711"


class Sender:
    """Who the next call comes from; None is refused."""

    name: str | None = "ehr"

    def __call__(self) -> str:
        if self.name is None:
            raise Problem.of(401, "Not authenticated.")
        return self.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.open(data_dir=folder) as opened:
        yield opened


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def http(store: Store, sender: Sender) -> FlaskClient:
    app = Flask(__name__)
    install_error_handlers(app)
    app.register_blueprint(
        feedback_blueprint(
            store,
            [SERVICE],
            client=sender,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
        )
    )
    return app.test_client()


def item(**changes: Any) -> dict[str, Any]:
    """A dismissal, with members changed; None takes one out."""
    values = {"card": "13a5f9c3-ed00-448b-b692-b69bfb484c67", "outcome": "overridden", "outcomeTimestamp": MOMENT}
    return {name: value for name, value in (values | changes).items() if value is not None}


def send(http: FlaskClient, *items: Any, url: str = URL) -> TestResponse:
    return http.post(url, json={"feedback": list(items)})


def issues(answer: TestResponse, status: int) -> list[dict[str, Any]]:
    """The issues of a refusal, which is an OperationOutcome that nobody may cache."""
    assert answer.status_code == status
    assert answer.content_type == "application/fhir+json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.get_json(force=True)
    assert body["resourceType"] == "OperationOutcome"
    assert all(issue["severity"] == "error" and issue["details"]["text"] for issue in body["issue"])
    return body["issue"]


def stored(folder: Path) -> list[dict[str, Any]]:
    return rows(folder, "SELECT * FROM feedback ORDER BY id")


def test_the_recorded_bodies_of_a_real_client_are_here() -> None:
    assert len(GOLDEN) == 4


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_c47_c48_what_a_real_client_sends_is_stored_before_the_200(
    http: FlaskClient, store: Store, folder: Path, path: Path
) -> None:
    (sent,) = json.loads(path.read_text())["feedback"]
    suggestions = tuple(one["id"] for one in sent.get("acceptedSuggestions", ()))
    store.record_shown([card(card=sent["card"], suggestions=suggestions)])
    answer = http.post(URL, data=path.read_bytes(), content_type="application/json")
    assert answer.status_code == 200
    (row,) = stored(folder)
    reason = sent.get("overrideReason", {}).get("reason", {})
    assert (row["service"], row["client"], row["card_match"]) == (SERVICE, "ehr", "matched")
    assert (row["card"], row["outcome"]) == (sent["card"], sent["outcome"])
    assert json.loads(row["suggestions"]) == list(suggestions)
    assert (row["reason_code"], row["reason_system"]) == (reason.get("code"), reason.get("system"))
    assert row["reason_display"] == ("Patient refused" if reason else None)
    assert row["outcome_at"] == sent["outcomeTimestamp"].replace("T", " ").replace("Z", "000")


def test_the_answer_has_no_body_and_no_type(http: FlaskClient) -> None:
    """The specification names no body, and an empty object is forbidden (C2)."""
    answer = send(http, item())
    assert (answer.status_code, answer.data) == (200, b"")
    assert "Content-Type" not in answer.headers
    assert answer.headers["Content-Length"] == "0"


@pytest.mark.parametrize("body", [{}, [], {"feedback": None}, {"feedback": {}}, {"feedback": []}, "feedback", 1, None])
def test_c47_the_body_is_an_object_with_an_array_that_holds_something(http: FlaskClient, body: object) -> None:
    (issue,) = issues(http.post(URL, data=json.dumps(body), content_type="application/json"), 400)
    assert issue["code"] == "structure"
    assert issue["expression"] == ["feedback"]


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        ({"card": None}, "card", "required"),
        ({"outcome": None}, "outcome", "required"),
        ({"outcomeTimestamp": None}, "outcomeTimestamp", "required"),
        ({"card": ""}, "card", "value"),
        ({"card": 7}, "card", "value"),
        ({"card": "x" * 101}, "card", "value"),
        ({"card": "two words"}, "card", "value"),
        ({"card": "\u200b"}, "card", "value"),
        ({"outcome": "ignored"}, "outcome", "value"),
        ({"outcome": ["accepted"]}, "outcome", "value"),
        ({"outcomeTimestamp": "yesterday"}, "outcomeTimestamp", "value"),
        ({"outcomeTimestamp": 1_700_000_000}, "outcomeTimestamp", "value"),
        ({"outcomeTimestamp": "2026-11-21"}, "outcomeTimestamp", "value"),
        ({"outcomeTimestamp": "2026-11-21T21:05:25"}, "outcomeTimestamp", "value"),
        ({"outcomeTimestamp": "2026-02-30T21:05:25Z"}, "outcomeTimestamp", "value"),
        ({"acceptedSuggestions": {"id": "x"}}, "acceptedSuggestions", "value"),
        ({"acceptedSuggestions": [{}]}, "acceptedSuggestions[0].id", "required"),
        ({"acceptedSuggestions": [{"id": "x"}] * 101}, "acceptedSuggestions", "value"),
        ({"overrideReason": "no"}, "overrideReason", "value"),
        ({"overrideReason": {}}, "overrideReason", "value"),
        ({"overrideReason": {"reason": None, "userComment": None}}, "overrideReason", "value"),
        ({"overrideReason": {"userComment": "  "}}, "overrideReason", "value"),
        ({"overrideReason": {"userComment": 7}}, "overrideReason.userComment", "value"),
        ({"overrideReason": {"reason": {"system": "http://s"}}}, "overrideReason.reason.code", "required"),
        ({"overrideReason": {"reason": {"code": "x" * 201}}}, "overrideReason.reason.code", "value"),
    ],
)
def test_c48_c50_an_item_with_a_fault_is_named_by_its_place_and_nothing_is_stored(
    http: FlaskClient, folder: Path, changes: dict[str, Any], place: str, code: str
) -> None:
    """cds-fb-1 and cds-fb-3."""
    (issue,) = issues(send(http, item(), item(**changes)), 400)
    assert issue["expression"] == [f"feedback[1].{place}"]
    assert issue["code"] == code
    assert stored(folder) == []


def test_what_was_sent_is_never_sent_back(http: FlaskClient) -> None:
    """A value in the wrong place may be a patient's."""
    wrong = item(
        card=SECRET,
        outcome=SECRET,
        outcomeTimestamp=SECRET,
        acceptedSuggestions=[{"id": SECRET}, SECRET],
        overrideReason={"reason": SECRET, "userComment": [SECRET]},
    )
    answer = http.post(URL, json={"feedback": [wrong, SECRET, {SECRET: SECRET}]})
    assert len(issues(answer, 400)) == 11
    assert SECRET.encode() not in answer.data


def test_of_many_faults_the_first_twenty_are_told(http: FlaskClient) -> None:
    assert len(issues(send(http, *[item(card=None)] * 50), 400)) == 20


def test_c49_an_acceptance_names_its_suggestions(http: FlaskClient, folder: Path) -> None:
    """cds-fb-2."""
    bare = item(outcome="accepted")
    empty = item(outcome="accepted", acceptedSuggestions=[])
    named = item(outcome="accepted", acceptedSuggestions=[{"id": "6c9187b3-605a-48d8-9a35-97e31c06481d"}])
    for wrong in (bare, empty):
        (issue,) = issues(send(http, item(), named, wrong), 400)
        assert issue["expression"] == ["feedback[2].acceptedSuggestions"]
        assert issue["code"] == "required"
    assert stored(folder) == []
    assert send(http, named).status_code == 200
    assert [row["suggestions"] == "[]" for row in stored(folder)] == [False]


def test_c50_a_reason_a_comment_or_both(http: FlaskClient, folder: Path) -> None:
    reason = {"code": "patient-refused", "system": "http://example.org/or", "display": SECRET}
    whys: list[dict[str, Any]] = [
        {"reason": reason},
        {"userComment": " says no "},
        {"reason": reason, "userComment": "both"},
        {"reason": {"code": "no-system"}, "userComment": ""},
    ]
    items = [
        item(overrideReason=why, outcomeTimestamp=f"2026-11-21T21:05:0{second}Z") for second, why in enumerate(whys)
    ]
    assert send(http, *items).status_code == 200
    assert [(row["reason_code"], row["reason_system"], row["comment"]) for row in stored(folder)] == [
        ("patient-refused", "http://example.org/or", None),
        (None, None, "says no"),
        ("patient-refused", "http://example.org/or", "both"),
        ("no-system", None, None),
    ]


def test_the_display_that_a_client_sends_is_not_kept(http: FlaskClient, folder: Path) -> None:
    reason = {"code": "patient-refused", "system": "http://example.org/or", "display": SECRET}
    assert send(http, item(overrideReason={"reason": reason}, extension={"x": SECRET})).status_code == 200
    assert all(SECRET.encode() not in path.read_bytes() for path in folder.iterdir())


def test_c51_several_calls_in_one_post_and_a_card_many_times(http: FlaskClient, store: Store, folder: Path) -> None:
    one, other = card(), card()
    store.record_shown([one, other])
    took = item(card=one.card, outcome="accepted", acceptedSuggestions=[{"id": "suggestion-1"}])
    items = [
        took,
        took,
        item(card=one.card),
        item(card=one.card, outcomeTimestamp="2026-11-21T21:06:00Z"),
        item(card=other.card),
    ]
    for _ in range(2):
        assert send(http, *items).status_code == 200
    assert [(row["outcome"], row["received_count"]) for row in stored(folder)] == [
        ("accepted", 4),
        ("overridden", 2),
        ("overridden", 2),
        ("overridden", 2),
    ]
    assert counts(store) == {"low_magnesium": (2, 1, 2)}


def test_c51_fifty_clients_at_once_with_one_item_make_one_row(http: FlaskClient, folder: Path) -> None:
    """F23."""
    start = threading.Barrier(50)
    codes: list[int] = []

    def post() -> None:
        start.wait()
        codes.append(send(http.application.test_client(), item()).status_code)

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 50
    assert [row["received_count"] for row in stored(folder)] == [50]


def test_c51_a_card_that_nobody_knows_is_accepted_and_marked(http: FlaskClient, folder: Path) -> None:
    assert send(http, item(), item(card="not-one-of-ours")).status_code == 200
    assert [row["card_match"] for row in stored(folder)] == ["unknown_card", "unknown_card"]


def test_c52_a_card_that_was_ignored_is_counted_as_shown(http: FlaskClient, store: Store) -> None:
    ignored, dismissed = card(), card()
    store.record_shown([ignored, dismissed])
    assert send(http, item(card=dismissed.card)).status_code == 200
    assert counts(store) == {"low_magnesium": (2, 0, 1)}


def test_c53_an_unauthenticated_call_is_refused_before_anything_is_read(
    http: FlaskClient, sender: Sender, folder: Path
) -> None:
    sender.name = None
    for url in (URL, "/cds-services/unknown/feedback"):
        (issue,) = issues(http.post(url, data=b"{", content_type="application/json"), 401)
        assert issue["code"] == "login"
    assert stored(folder) == []


def test_c53_a_client_has_no_say_about_cards_of_another(http: FlaskClient, store: Store, sender: Sender) -> None:
    shown = card(client="ehr")
    store.record_shown([shown])
    sender.name = "another"
    assert send(http, item(card=shown.card)).status_code == 200
    assert counts(store)["low_magnesium"][2] == 0


def test_once_accepted_a_finding_is_known_to_be_accepted(http: FlaskClient, store: Store) -> None:
    subject, finding = store.subject_hash("ehr", "patient", "rule"), store.finding_hash(["0.55"])
    shown = card(subject_hash=subject, finding_hash=finding, shown_at=datetime(2026, 11, 21, tzinfo=UTC))
    store.record_shown([shown])
    took = item(card=shown.card, outcome="accepted", acceptedSuggestions=[{"id": "suggestion-1"}])
    since = datetime(2026, 11, 21, tzinfo=UTC)
    assert newest_outcome(store, subject, finding, since) is None
    assert send(http, took).status_code == 200
    past = newest_outcome(store, subject, finding, since)
    assert past is not None
    assert past.outcome == "accepted"
    worse = store.finding_hash(["0.40"])
    assert newest_outcome(store, subject, worse, since) is None


def test_a_text_with_nul_is_refused(http: FlaskClient, folder: Path) -> None:
    """PostgreSQL has no place for it: there it would be a 503 that comes again for ever."""
    for wrong in (
        item(card="x\0"),
        item(overrideReason={"userComment": "x\0"}),
        item(overrideReason={"reason": {"code": "x\0", "system": "\0"}}),
    ):
        issues(send(http, wrong), 400)
    assert stored(folder) == []


def test_an_unknown_service_is_not_found(http: FlaskClient) -> None:
    (issue,) = issues(send(http, item(), url="/cds-services/other/feedback"), 404)
    assert issue["code"] == "not-found"


def test_other_methods_are_not_allowed(http: FlaskClient) -> None:
    answer = http.get(URL)
    issues(answer, 405)
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert http.options(URL).status_code == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_is_not_json_by_its_type_is_refused(http: FlaskClient, kind: str | None) -> None:
    (issue,) = issues(http.post(URL, data=json.dumps({"feedback": [item()]}), content_type=kind), 415)
    assert issue["code"] == "not-supported"


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/fhir+json"])
def test_json_by_any_of_its_names_is_read(http: FlaskClient, kind: str) -> None:
    assert http.post(URL, data=json.dumps({"feedback": [item()]}), content_type=kind).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"feedback": NaN}',
        b'{"feedback": 1e400}',
        b'{"feedback": "\\ud800"}',
        b"[" * 100_000,
        b'{"feedback": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"feedback": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_json_is_refused_and_breaks_nothing(http: FlaskClient, body: bytes) -> None:
    issues(http.post(URL, data=body, content_type="application/json"), 400)


def test_a60_too_many_items_or_too_many_bytes_are_refused_unread(http: FlaskClient, folder: Path) -> None:
    (issue,) = issues(send(http, *[item()] * (MAX_ITEMS + 1)), 413)
    assert issue["code"] == "too-long"
    issues(http.post(URL, data=b" " * (MAX_BYTES + 1), content_type="application/json"), 413)
    hundred_thousand = b'{"feedback": [' + b"0," * 100_000 + b"0]}"
    issues(http.post(URL, data=hundred_thousand, content_type="application/json"), 413)
    assert stored(folder) == []


def test_a60_as_many_as_are_allowed_are_stored(http: FlaskClient, folder: Path) -> None:
    items = [item(card=f"card-{number}") for number in range(MAX_ITEMS)]
    assert send(http, *items).status_code == 200
    assert len(stored(folder)) == MAX_ITEMS


def test_a60_a_long_comment_is_cut(http: FlaskClient, folder: Path) -> None:
    assert send(http, item(overrideReason={"userComment": "x" * 900_000})).status_code == 200
    assert [(len(row["comment"]), row["comment_cut"]) for row in stored(folder)] == [(4096, 1)]


def test_a60_a_time_of_another_age_is_kept_as_told(http: FlaskClient, folder: Path) -> None:
    assert send(
        http, item(outcomeTimestamp="0001-01-01T00:00:00Z"), item(outcomeTimestamp="9999-12-31T23:59:59.9999999Z")
    )
    told = [(row["outcome_at"], row["acted_at"]) for row in stored(folder)]
    assert told == [
        ("0001-01-01 00:00:00.000000", "0001-01-01 00:00:00.000000"),
        ("9999-12-31 23:59:59.999999", "2026-11-22 00:00:00.000000"),
    ]


def test_f17_feedback_on_a_locked_database_is_refused_in_time_with_when_to_come_again(
    http: FlaskClient, folder: Path
) -> None:
    with locked(folder), within(20):
        answer = send(http, item())
    (issue,) = issues(answer, 503)
    assert issue["code"] == "transient"
    assert int(answer.headers["Retry-After"]) > 0
    assert send(http, item()).status_code == 200
    assert [row["received_count"] for row in stored(folder)] == [1]
