"""Feedback comes out as it went in, by command and by endpoint, for the client whose it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.sandbox.mock_ehr import Signer
from tests.conformance.calls import Body, answered, invoke, sample_call, until
from tests.conftest import NOW
from tests.trust.support import BASE, client_entry, clients_file

FEEDBACK = "/cds-services/magnesium-patient-view/feedback"
EPIC = "com.epic.cdshooks.feedback.overrideReason"


@pytest.fixture
def service(make_app: Callable[..., Flask], tmp_path: Path) -> FlaskClient:
    app = make_app(data_dir=tmp_path)
    return app.test_client()


def answer(client: FlaskClient, *whys: Any) -> list[Body]:
    """One card shown for each, dismissed with what is given; the first suggestion taken where that is None."""
    cards = []
    for why in whys:
        card = answered(client, sample_call(client, "low-magnesium"))["cards"][0]
        item: Body = {"card": card["uuid"], "outcomeTimestamp": NOW.isoformat()}
        if why is None:
            item |= {"outcome": "accepted", "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}
        else:
            item |= {"outcome": "overridden", "overrideReasons": why}
        assert client.post(FEEDBACK, json={"feedback": [item]}).status_code == 200
        cards.append(card)
    return cards


def lines(text: str) -> list[Body]:
    return [json.loads(line) for line in text.splitlines()]


WHYS = (
    {"reason": {"code": "already-addressed", "system": "urn:magnesium-cds:override-reason"}, "userComment": "=1+1, äh"},
    {"extension": {f"{EPIC}.reasonCategory": "45", f"{EPIC}.reasonTitle": "Does not meet criteria"}},
    {},
)


def test_what_came_in_comes_out_whole(service: FlaskClient) -> None:
    shown = answer(service, *WHYS, None)
    rows = lines(service.get("/feedback").text)
    assert [row["card"] for row in rows] == [card["uuid"] for card in shown]
    assert [row["reason_code"] for row in rows] == ["already-addressed", "45", None, None]
    assert [row["reason_display"] for row in rows] == ["Already taken care of", "Does not meet criteria", None, None]
    assert [row["comment"] for row in rows] == ["=1+1, äh", None, None, None]
    assert [row["outcome"] for row in rows] == ["overridden"] * 3 + ["accepted"]
    assert rows[3]["suggestions"] == [shown[3]["suggestions"][0]["uuid"]]
    first = rows[0]
    assert (first["client"], first["service"], first["hook"]) == ("dev", "magnesium-patient-view", "patient-view")
    assert first["rule"] == shown[0]["extension"]["org.magnesium-cds"]["rule"]
    assert first["outcome_at"] == NOW.isoformat()
    assert first["card_match"] == "matched"


def test_csv_holds_the_same_and_nothing_that_a_spreadsheet_computes(service: FlaskClient) -> None:
    answer(service, *WHYS, None)
    response = service.get("/feedback?format=csv")
    assert response.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    plain = lines(service.get("/feedback").text)
    assert list(rows[0]) == list(plain[0])
    assert rows[0]["comment"] == "'=1+1, äh"
    assert [row["card"] for row in rows] == [row["card"] for row in plain]
    assert rows[3]["suggestions"] == plain[3]["suggestions"][0]


def test_the_command_prints_what_the_endpoint_gives(service: FlaskClient, tmp_path: Path) -> None:
    answer(service, *WHYS)
    for form in ("jsonl", "csv", "crd"):
        done = invoke("feedback", "--format", form, "--data-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.replace("\r\n", "\n") == service.get(f"/feedback?format={form}").text.replace("\r\n", "\n")
    assert invoke("feedback", "--data-dir", tmp_path, "--client", "nobody").stdout == ""
    assert invoke("feedback", "--data-dir", tmp_path, "--since", "tomorrow").returncode == 2
    assert invoke("feedback").returncode == 2


def test_crd_counts_each_card_and_what_was_done_with_it(service: FlaskClient) -> None:
    answer(service, {}, None)
    ignored = answered(service, sample_call(service, "levothyroxine", "order-sign"))["cards"]
    assert ignored
    until(lambda: service.get("/feedback?format=crd").text.count("order-sign") == len(ignored), 20)
    rows = lines(service.get("/feedback?format=crd").text)
    told = [(row["hookType"], row["request"][0]["response"][0]["engagement"]) for row in rows]
    assert told.count(("patient-view", "override")) == 1
    assert told.count(("patient-view", "accept")) == 1
    assert told.count(("order-sign", "ignored")) == len(ignored)
    assert all(row["httpResponse"] == 200 and row["source"] == "payer-src" for row in rows)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ("since=2026-01-01", 1), ("since=2999-01-01", 0), ("until=2999-01-01", 1), ("until=2026-01-01", 0),
        (f"since={NOW.date()}&until=2999-01-01T00:00:00%2B02:00", 1),
    ],
)  # fmt: skip
def test_a_time_chooses(service: FlaskClient, asked: str, count: int) -> None:
    answer(service, {})
    assert len(lines(service.get(f"/feedback?{asked}").text)) == count


@pytest.mark.parametrize(
    ("asked", "place"), [("format=xml", "format"), ("since=x", "since"), ("until=2026-01-01T00:00:00", "until")]
)
def test_what_cannot_be_asked_is_refused_with_its_place(service: FlaskClient, asked: str, place: str) -> None:
    response = service.get(f"/feedback?{asked}")
    assert response.status_code == 400
    assert json.loads(response.data)["issue"][0]["expression"] == [place]


def test_a_client_gets_its_own_with_a_token_and_nobody_elses(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    north, south = Signer("https://north.example"), Signer("https://south.example")
    file = clients_file(
        tmp_path,
        client_entry(north, name="north", issuer=north.issuer),
        client_entry(south, name="south", issuer=south.issuer),
    )
    client = make_app(profile="production", public_url=BASE, clients=file).test_client()
    assert client.get("/feedback").status_code == 401
    item = {"card": "x", "outcome": "overridden", "outcomeTimestamp": NOW.isoformat()}
    sent = client.post(
        FEEDBACK, json={"feedback": [item]}, headers={"Authorization": f"Bearer {north.token(BASE + FEEDBACK)}"}
    )
    assert sent.status_code == 200
    found = {}
    for signer in (north, south):
        token = {"Authorization": f"Bearer {signer.token(BASE + '/feedback')}"}
        found[signer.issuer] = [row["client"] for row in lines(client.get("/feedback", headers=token).text)]
    assert found == {north.issuer: ["north"], south.issuer: []}
    wrong = {"Authorization": f"Bearer {north.token(BASE + FEEDBACK)}"}
    assert client.get("/feedback", headers=wrong).status_code == 401, "a token for another address"
