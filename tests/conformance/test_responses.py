"""C31-C46 and C64: the answer, its cards, suggestions, links and override reasons."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from fhir.resources.R4B import get_fhir_model_class
from flask import Flask
from flask.testing import FlaskClient

from tests.conformance.calls import Body, answered, every_sample_call, own, post, problem, sample_call, services, walk
from tests.support.some import some


@pytest.fixture(scope="module")
def answers(app: Flask) -> list[tuple[Body, Body]]:
    """(call, answer) of every sample patient on every hook, and of a few more."""
    client = app.test_client()
    found = [(body, answered(client, body)) for _, body in every_sample_call(client)]
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def cards(answers: list[tuple[Body, Body]]) -> list[Body]:
    """All their cards."""
    found = [card for _, answer in answers for card in answer["cards"]]
    assert {card["indicator"] for card in found} == {"info", "warning", "critical"}, "too little to test on"
    return found


def suggestions(cards: list[Body]) -> Iterator[tuple[Body, Body]]:
    for card in cards:
        for suggestion in card.get("suggestions", []):
            yield card, suggestion


def actions(cards: list[Body]) -> Iterator[Body]:
    for _, suggestion in suggestions(cards):
        yield from suggestion["actions"]


def absolute(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def test_c31_the_answer_is_an_object_with_cards(answers: list[tuple[Body, Body]]) -> None:
    for _, answer in some(answers):
        assert set(answer) == {"cards", "extension"}
        assert isinstance(answer["cards"], list)


def test_c31_a_call_with_nothing_to_say_has_an_empty_list_of_cards(client: FlaskClient) -> None:
    answer = answered(client, sample_call(client, "healthy"))
    assert answer["cards"] == []
    assert {item["outcome"] for item in own(answer)["outcomes"]} <= {"quiet", "not_applicable"}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/cds-services/no-such-service", "post", 404),
        ("/nothing/here", "get", 404),
        ("/cds-services/magnesium-patient-view", "get", 405),
    ],
)
def test_c32_every_refusal_is_an_operation_outcome(client: FlaskClient, path: str, method: str, status: int) -> None:
    problem(getattr(client, method)(path, **({"json": {}} if method == "post" else {})), status)


def test_c32_a_body_that_is_too_large_is_a_413(make_app: Callable[..., Flask]) -> None:
    client = make_app(max_body=2048).test_client()
    problem(post(client, sample_call(client, "low-magnesium")), 413)


def test_c32_an_operation_outcome_is_valid_fhir(client: FlaskClient) -> None:
    body = post(client, {"hook": "patient-view", "hookInstance": 1}).json
    assert get_fhir_model_class("OperationOutcome").model_validate(body)


def test_c33_a_summary_is_one_line_of_fewer_than_140_characters(cards: list[Body]) -> None:
    for card in some(cards):
        assert 0 < len(card["summary"]) < 140
        assert "\n" not in card["summary"]


def test_c33_the_indicator_is_one_of_three_and_the_source_is_there(cards: list[Body]) -> None:
    for card in some(cards):
        assert card["indicator"] in ("info", "warning", "critical")
        assert isinstance(card["source"], dict)


def test_c34_every_card_has_its_own_uuid(cards: list[Body]) -> None:
    ids = [card["uuid"] for card in cards]
    assert len(set(ids)) == len(ids)
    for one in ids:
        assert str(UUID(one)) == one


def test_c34_the_same_call_twice_gives_new_uuids(client: FlaskClient) -> None:
    body = sample_call(client, "low-magnesium")
    first, second = answered(client, body), answered(client, body)
    assert {c["uuid"] for c in first["cards"]}.isdisjoint(c["uuid"] for c in second["cards"])


def test_c35_details_are_markdown_without_html(cards: list[Body]) -> None:
    for card in some(cards):
        assert not re.search(r"<[a-zA-Z/!]", card["detail"]), card["detail"]


def test_c36_the_source_has_label_address_and_coded_topic(cards: list[Body]) -> None:
    for card in some(cards):
        source = card["source"]
        assert source["label"].strip()
        assert absolute(source["url"])
        assert source["topic"]["code"] and source["topic"]["system"] and source["topic"]["display"]
        assert "icon" not in source


def test_c36_the_address_of_the_source_opens(client: FlaskClient, cards: list[Body]) -> None:
    for path in some({urlsplit(card["source"]["url"]).path for card in cards}):
        assert client.get(path).status_code == 200, path


def test_c37_selection_behavior_stands_with_suggestions_and_only_there(cards: list[Body]) -> None:
    assert any("suggestions" in card for card in cards)
    for card in cards:
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        assert card.get("selectionBehavior", "any") in ("at-most-one", "any")


def test_c38_at_most_one_suggestion_is_recommended(cards: list[Body]) -> None:
    for card in some(cards):
        recommended = [item for item in card.get("suggestions", []) if item.get("isRecommended")]
        assert len(recommended) <= 1


def test_c39_every_suggestion_has_label_uuid_and_actions(cards: list[Body]) -> None:
    ids = [suggestion["uuid"] for _, suggestion in suggestions(cards)]
    assert len(set(ids)) == len(ids) > 0
    for _, suggestion in suggestions(cards):
        assert suggestion["label"].strip()
        assert str(UUID(suggestion["uuid"])) == suggestion["uuid"]
        assert suggestion["actions"]


def test_c40_actions_create_or_update_with_a_valid_resource(cards: list[Body]) -> None:
    seen = set()
    for action in actions(cards):
        seen.add(action["type"])
        assert action["type"] in ("create", "update")
        assert action["description"].strip()
        resource = action["resource"]
        assert isinstance(resource, dict)
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        assert "resourceId" not in action
        assert ("id" in resource) == (action["type"] == "update")
    assert seen == {"create", "update"}


def test_c40_an_update_holds_the_whole_draft(answers: list[tuple[Body, Body]]) -> None:
    compared = 0
    for body, answer in answers:
        entries = body["context"].get("draftOrders", {}).get("entry", [])
        drafts = {entry["resource"]["id"]: entry["resource"] for entry in entries}
        for action in actions(answer["cards"]):
            if action["type"] == "update":
                compared += 1
                missing = lost(drafts[action["resource"]["id"]], action["resource"])
                assert not missing
    assert compared > 5


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """What stood in the draft and does not stand in the update. An instruction may be added to a text."""
    if isinstance(before, dict):
        return [item for key in before for item in lost(before[key], after.get(key), f"{path}.{key}")]
    if isinstance(before, list):
        if not isinstance(after, list) or len(after) < len(before):
            return [path]
        return [item for index, one in enumerate(before) for item in lost(one, after[index], f"{path}[{index}]")]
    if isinstance(before, str) and isinstance(after, str):
        return [] if after.startswith(before) else [path]
    return [] if before == after else [path]


def test_c40_suggested_orders_are_about_the_patient_of_the_call(answers: list[tuple[Body, Body]]) -> None:
    ordered = [
        (body["context"]["patientId"], action) for body, answer in answers for action in actions(answer["cards"])
    ]
    for patient, action in some(ordered):
        assert action["resource"]["subject"] == {"reference": f"Patient/{patient}"}


def test_c41_every_override_reason_has_code_system_and_display(cards: list[Body]) -> None:
    reasons = [reason for card in cards for reason in card.get("overrideReasons", [])]
    assert reasons
    for reason in reasons:
        assert set(reason) == {"code", "system", "display"}
        assert all(isinstance(text, str) and text.strip() for text in reason.values())


def test_c42_links_are_absolute_and_carry_no_app_context(cards: list[Body]) -> None:
    links = [link for card in cards for link in card.get("links", [])]
    assert links
    for link in links:
        assert link["type"] == "absolute"
        assert link["label"].strip()
        assert absolute(link["url"])
        assert "appContext" not in link


def test_c42_every_link_opens(client: FlaskClient, cards: list[Body]) -> None:
    paths = {urlsplit(link["url"]).path for card in cards for link in card.get("links", [])}
    assert len(paths) > 5
    for path in paths:
        assert client.get(path).status_code == 200, path


def test_c43_no_link_launches_itself(answers: list[tuple[Body, Body]]) -> None:
    assert not [path for _, answer in answers for path, _ in walk(answer) if path and path[-1] == "autolaunchable"]


def test_c44_there_are_no_system_actions(answers: list[tuple[Body, Body]]) -> None:
    assert not [path for _, answer in answers for path, _ in walk(answer) if path and path[-1] == "systemActions"]


def test_c46_action_selection_behavior_is_never_used(answers: list[tuple[Body, Body]]) -> None:
    keys = {path[-1] for _, answer in answers for path, _ in walk(answer) if path}
    assert "actionSelectionBehavior" not in keys


def test_c64_extensions_are_objects_with_reverse_domain_names(client: FlaskClient, cards: list[Body]) -> None:
    answer = answered(client, sample_call(client, "low-magnesium"))
    holders = [answer, *cards, *services(client).values()]
    for holder in holders:
        assert isinstance(holder["extension"], dict)
        for name, value in holder["extension"].items():
            assert re.fullmatch(r"[a-z]+(\.[a-z0-9-]+)+", name)
            assert isinstance(value, dict)


@pytest.mark.parametrize("extension", [[], "text", 5])
def test_c64_an_extension_that_is_no_object_is_refused(client: FlaskClient, extension: Any) -> None:
    problem(post(client, sample_call(client, "healthy", extension=extension)), 400)


def test_c64_extensions_of_others_are_passed_over(client: FlaskClient) -> None:
    body = sample_call(client, "healthy", extension={"com.example.tenant": {"ward": "7"}})
    assert answered(client, body)["cards"] == []
