"""Accepting and dismissing a card on the try page: judged like any feedback, and never among what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from cds_service.cli import main
from tests.store.helpers import rows
from tests.watch.test_counting import store_of, written
from tests.web.support import bundle, cards, forms, paste

Maker = Callable[..., Flask]
KIDNEY = "/try?sample=kidney&hook=order-sign&draft=magnesium-oxide"
TABLES = ("rule_counts", "call_counts", "shown_cards", "screens", "feedback")


def send(app: Flask, fields: dict[str, str], **changed: str) -> Any:
    return app.test_client().post("/try/feedback", data={**fields, **changed}, headers={"Accept": "application/json"})


@pytest.fixture
def own(make_app: Maker, tmp_path: Path) -> Flask:
    return make_app(data_dir=tmp_path)


def test_accepting_and_dismissing_is_answered_like_real_feedback_and_leaves_nothing(own: Flask, tmp_path: Path) -> None:
    page = own.test_client().get(KIDNEY)
    accepts, dismisses = forms(page)
    done = send(own, accepts)
    assert (done.status_code, done.json["issues"]) == (200, [])
    item = json.loads(done.json["sent"])["feedback"][0]
    assert item["acceptedSuggestions"] == [{"id": accepts["suggestion"]}]
    done = send(own, dismisses, comment="seen elsewhere")
    assert done.status_code == 200
    item = json.loads(done.json["sent"])["feedback"][0]
    assert item["overrideReason"]["reason"]["code"] and item["overrideReason"]["userComment"] == "seen elsewhere"
    html = own.test_client().post("/try/feedback", data=dismisses)
    assert html.status_code == 200 and "neither stored nor counted" in html.text
    assert 'href="/try?sample=kidney' in html.text
    written(own)
    for table in TABLES:
        assert rows(tmp_path, f"SELECT * FROM {table}") == [], table
    assert store_of(own).counters().shown_written == 0


def test_what_is_sent_is_what_the_real_endpoint_takes_and_then_it_counts(own: Flask, tmp_path: Path) -> None:
    """The same body, sent by somebody else than the page, is stored: the mark makes the difference, not the body."""
    accepts, _ = forms(own.test_client().get(KIDNEY))
    body = json.loads(send(own, accepts).json["sent"])
    assert rows(tmp_path, "SELECT * FROM feedback") == []
    assert own.test_client().post("/cds-services/magnesium-order-sign/feedback", json=body).status_code == 200
    assert len(rows(tmp_path, "SELECT * FROM feedback")) == 1


def test_stats_know_nothing_of_a_trial(own: Flask, tmp_path: Path) -> None:
    for form in forms(own.test_client().get(KIDNEY)):
        assert send(own, form).status_code == 200
    written(own)
    own.extensions["advisor"].store.close()
    done = CliRunner().invoke(main, ["stats", "--data-dir", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert not any(value for value in _numbers(json.loads(done.stdout)))


def _numbers(told: Any) -> list[float]:
    """Every number in it, wherever it stands."""
    if isinstance(told, dict):
        return [number for value in told.values() for number in _numbers(value)]
    if isinstance(told, list):
        return [number for value in told for number in _numbers(value)]
    return [told] if isinstance(told, int | float) and not isinstance(told, bool) else []


def test_a_card_that_was_accepted_on_the_page_comes_again_there_and_at_the_ehr(own: Flask) -> None:
    chart = bundle("digoxin")
    accepts = forms(paste(own, chart))[0]
    assert accepts["outcome"] == "accepted" and send(own, accepts).status_code == 200
    assert len(cards(paste(own, chart))) == 1


@pytest.mark.parametrize(
    ("changed", "status", "place"),
    [
        ({"card": ""}, 400, "feedback[0].card"),
        ({"card": "a b"}, 400, "feedback[0].card"),
        ({"outcome": "Zq7"}, 400, "feedback[0].outcome"),
        ({"suggestion": ""}, 400, "feedback[0].acceptedSuggestions"),
        ({"service": "Zq7"}, 404, ""),
    ],
)
def test_feedback_that_the_real_endpoint_refuses_is_refused_in_its_words(
    own: Flask, changed: dict[str, str], status: int, place: str
) -> None:
    accepts, _ = forms(own.test_client().get(KIDNEY))
    done = send(own, accepts, **changed)
    assert done.status_code == status
    assert done.json["issues"][0][0].startswith(place)
    assert "Zq7" not in str(done.json["issues"])


@pytest.mark.parametrize("reason", ["{", "[]", "7", '{"a": 1}'])
def test_a_reason_that_is_none_is_refused(own: Flask, reason: str) -> None:
    _, dismisses = forms(own.test_client().get(KIDNEY))
    assert send(own, dismisses, reason=reason).status_code == 400
