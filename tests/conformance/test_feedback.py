"""C47-C53: what a clinician did with a card, told as real clients tell it."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.hooks.errors import install_error_handlers
from cds_service.hooks.feedback import feedback_blueprint
from cds_service.hooks.problems import Problem
from cds_service.store import Store
from tests.conformance.calls import Body, answered, every_sample_call, own, places, problem, sample_call
from tests.conftest import NOW

WHEN = "2026-11-21T09:31:00.250Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def service(make_app: Callable[..., Flask], folder: Path) -> FlaskClient:
    """A service with a database of its own."""
    app = make_app(data_dir=folder)
    # A slow disk must not decide these tests: a call waits only a fifth of a second for what is known of its cards.
    return app.test_client()


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """What stands in the database file, read with nothing of ours."""
    file = next(file for file in folder.rglob("*") if file.suffix in (".db", ".sqlite", ".sqlite3"))
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def tell(client: FlaskClient, *items: Body, service: str = "magnesium-order-select") -> TestResponse:
    return client.post(f"/cds-services/{service}/feedback", json={"feedback": list(items)})


def shown(client: FlaskClient, patient: str = "levothyroxine", hook: str = "order-select") -> Body:
    card: Body = answered(client, sample_call(client, patient, hook))["cards"][0]
    return card


def accepted(card: Body) -> Body:
    return {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": WHEN,
    }


def overridden(card: Body, **reason: Any) -> Body:
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": WHEN}
    return item | ({"overrideReason": reason} if reason else {})


def test_c47_feedback_is_taken_at_each_service(service: FlaskClient) -> None:
    for hook in ("patient-view", "order-select", "order-sign"):
        response = tell(service, overridden({"uuid": str(uuid4())}), service=f"magnesium-{hook}")
        assert response.status_code == 200
        assert response.data == b"", "an empty object is forbidden, and no body is asked for"
    assert tell(service, overridden({"uuid": "x"}), service="no-such-service").status_code == 404


@pytest.mark.parametrize("member", ["card", "outcome", "outcomeTimestamp"])
def test_c48_an_item_without_a_required_member_is_refused_with_its_place(service: FlaskClient, member: str) -> None:
    item = overridden({"uuid": str(uuid4())})
    del item[member]
    assert f"feedback[0].{member}" in places(problem(tell(service, item), 400))


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-21", "2026-11-21T09:30:00", 1700000000])
def test_c48_a_time_that_is_not_rfc_3339_is_refused(service: FlaskClient, moment: Any) -> None:
    item = overridden({"uuid": str(uuid4())}) | {"outcomeTimestamp": moment}
    assert "feedback[0].outcomeTimestamp" in places(problem(tell(service, item), 400))


def test_c48_an_outcome_of_another_name_is_refused(service: FlaskClient) -> None:
    item = overridden({"uuid": str(uuid4())}) | {"outcome": "ignored"}
    assert "feedback[0].outcome" in places(problem(tell(service, item), 400))


def test_c49_an_acceptance_says_which_suggestion(service: FlaskClient, folder: Path) -> None:
    card = shown(service)
    item = accepted(card)
    without = {key: value for key, value in item.items() if key != "acceptedSuggestions"}
    assert "feedback[0].acceptedSuggestions" in places(problem(tell(service, without), 400))
    assert rows(folder, "feedback") == []
    assert tell(service, item).status_code == 200
    row = rows(folder, "feedback")[0]
    assert row["outcome"] == "accepted"
    assert card["suggestions"][0]["uuid"] in json.dumps(row, default=str)


def test_c49_what_was_accepted_is_not_suggested_again(service: FlaskClient) -> None:
    body = sample_call(service, "levothyroxine", "order-select")
    card = answered(service, body)["cards"][0]
    assert tell(service, accepted(card)).status_code == 200
    later = answered(service, body)
    assert card["summary"] not in [other["summary"] for other in later["cards"]]


def test_c49_a_suggestion_taken_into_the_draft_is_not_made_again(service: FlaskClient) -> None:
    body = sample_call(service, "levothyroxine", "order-select")
    card = answered(service, body)["cards"][0]
    changed = copy.deepcopy(body)
    changed["context"]["draftOrders"]["entry"] = [{"resource": card["suggestions"][0]["actions"][0]["resource"]}]
    assert card["summary"] not in [other["summary"] for other in answered(service, changed)["cards"]]


def test_c49_silence_after_an_acceptance_is_not_shown_as_an_all_clear(service: FlaskClient) -> None:
    # Real clients show an empty list as "All clear": it may stand only where every rule was evaluated.
    body = sample_call(service, "unmeasured")
    del body["prefetch"]["electrolytes"]
    card = answered(service, body)["cards"][0]
    assert tell(service, accepted(card), service="magnesium-patient-view").status_code == 200
    later = answered(service, body)
    kinds = {item["outcome"] for item in own(later)["outcomes"]}
    assert "not_evaluated" in kinds
    assert card["summary"] not in [other["summary"] for other in later["cards"]]
    assert later["cards"], "an empty list though rules were not evaluated"


def test_c49_an_accepted_card_makes_room_for_the_next_finding(service: FlaskClient) -> None:
    body = crowded(service)
    first = answered(service, body)["cards"]
    assert len(first) == 3
    assert "Further findings" in first[-1]["detail"]
    taken = [card for card in first if card.get("suggestions")][-1]
    assert tell(service, accepted(taken)).status_code == 200
    later = answered(service, body)["cards"]
    told = " ".join(card["detail"] for card in later)
    assert len(later) == 3 or "Further findings" in told, [card["summary"] for card in later]
    fired = [item for item in own(answered(service, body))["outcomes"] if item["outcome"] == "fired"]
    assert len(fired) > 3


def crowded(client: FlaskClient) -> Body:
    """A patient with kidney disease whose drafted magnesium meets more than three problems."""
    body = sample_call(client, "kidney", "order-select")
    entries = body["prefetch"]["medications"]["entry"]
    for name in ("amiloride", "levothyroxine", "digoxin"):
        more = copy.deepcopy(entries[0]["resource"]) | {"id": name, "medicationCodeableConcept": {"text": name}}
        entries.append({"resource": more})
    body["prefetch"]["medications"].pop("total", None)
    concept = {"coding": [{"system": "http://snomed.info/sct", "code": "27885002"}], "text": "Complete heart block"}
    condition = {"resourceType": "Condition", "id": "more", "subject": more["subject"], "code": concept}
    body["prefetch"]["conditions"].setdefault("entry", []).append({"resource": condition})
    body["prefetch"]["conditions"].pop("total", None)
    return body


def test_c50_a_reason_or_a_comment_is_stored_with_the_words_of_the_card(service: FlaskClient, folder: Path) -> None:
    card = shown(service)
    reason = card["overrideReasons"][0]
    sent = {key: reason[key] for key in ("code", "system")}
    assert tell(service, overridden(card, reason=sent)).status_code == 200
    row = json.dumps(rows(folder, "feedback")[0], default=str, ensure_ascii=False)
    assert reason["code"] in row
    assert reason["display"] in row, "a real client sends no display, so it is taken from the card"


def test_c50_a_comment_alone_is_enough_and_with_neither_the_dismissal_counts(service: FlaskClient) -> None:
    card = shown(service)
    assert tell(service, overridden(card, userComment="Taken at night already")).status_code == 200
    empty = overridden(card) | {"overrideReason": {}}
    assert tell(service, empty).status_code == 200


def test_c51_the_same_item_many_times_is_stored_once(service: FlaskClient, folder: Path) -> None:
    item = overridden(shown(service))
    for _ in range(3):
        assert tell(service, item, item).status_code == 200
    assert len(rows(folder, "feedback")) == 1


def test_c51_several_cards_in_one_post_and_a_later_change_of_mind_all_stand(service: FlaskClient, folder: Path) -> None:
    one, two = shown(service), shown(service, "ciprofloxacin")
    assert tell(service, overridden(one), overridden(two)).status_code == 200
    assert tell(service, accepted(one) | {"outcomeTimestamp": "2026-11-21T09:32:00Z"}).status_code == 200
    assert sorted(row["outcome"] for row in rows(folder, "feedback")) == ["accepted", "overridden", "overridden"]


def test_c51_one_bad_item_costs_the_others_of_the_body_nothing(service: FlaskClient, folder: Path) -> None:
    good, bad = overridden(shown(service)), {"card": "x"}
    assert "feedback[1].outcome" in places(problem(tell(service, good, bad), 400))
    assert [row["card"] for row in rows(folder, "feedback")] == [good["card"]]


def test_c52_every_shown_card_is_counted_without_patient_data(
    service: FlaskClient, folder: Path, make_app: Callable[..., Flask]
) -> None:
    ids, patients_seen = set(), set()
    for _, body in every_sample_call(service):
        patients_seen.add(body["context"]["patientId"])
        ids |= {card["uuid"] for card in answered(service, body)["cards"]}
    service.application.extensions["advisor"].store.close()
    written = rows(folder, "shown_cards")
    text = json.dumps(written, default=str)
    assert len(written) == len(ids)
    assert all(one in text for one in ids)
    assert not [name for name in patients_seen if f'"{name}"' in text]
    assert not [row for row in written if "Sample" in json.dumps(row, default=str)]


def test_c53_feedback_of_a_caller_that_is_refused_is_not_stored(folder: Path) -> None:
    def nobody() -> str:
        raise Problem.of(401, "Not authorised.")

    store = Store.open(data_dir=folder)
    try:
        app = Flask("refusing")
        install_error_handlers(app)
        app.register_blueprint(feedback_blueprint(store, ["magnesium-order-select"], client=nobody, now=lambda: NOW))
        problem(tell(app.test_client(), overridden({"uuid": str(uuid4())})), 401)
        assert rows(folder, "feedback") == []
    finally:
        store.close()
