"""Examples that are shown work: each is taken from the service, sent to it, and gives the card that its page names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import Markup

from cds_service.publish.example_requests import examples
from cds_service.publish.refusals import refusals
from tests.conformance.calls import ROOT, Body, in_production, invoke, own
from tests.conformance.strict import faults
from tests.conftest import NOW


@pytest.fixture
def listed(client: FlaskClient) -> dict[str, Body]:
    return {item["name"]: item for item in json.loads(client.get("/examples.json").data)["examples"]}


@pytest.mark.parametrize("name", [name for name, example in examples().items() if example.call != "bundle"])
def test_an_example_is_answered_as_its_page_says(name: str, client: FlaskClient, listed: dict[str, Body]) -> None:
    told, example = listed[name], examples()[name]
    body = client.get(f"/examples/{name}.json")
    answer = client.post(told["url"].removeprefix("http://localhost"), data=body.data, content_type="application/json")
    assert answer.status_code == 200, answer.text
    if example.call == "hook":
        rules = [own(card)["rule"] for card in json.loads(answer.data)["cards"]]
        assert rules[:1] == ([example.shows] if example.shows else [])


def test_the_bundle_gives_its_card_on_the_command_line(
    client: FlaskClient, listed: dict[str, Body], tmp_path: Path
) -> None:
    (tmp_path / "bundle.json").write_bytes(client.get("/examples/bundle.json").data)
    words = shlex.split(listed["bundle"]["curl"].partition(" | ")[2])
    assert words[0] == "magnesium-cds"
    done = invoke(*words[1:-1], tmp_path / "bundle.json", "--json")
    assert done.returncode == 0, done.stderr
    assert f'"rule": "{examples()["bundle"].shows}"' in done.stdout


def test_every_hook_and_every_kind_of_call_has_an_example(client: FlaskClient) -> None:
    services = json.loads(client.get("/cds-services").data)["services"]
    hooks = [example.hook for example in examples().values() if example.call == "hook"]
    assert set(hooks) == {service["hook"] for service in services}
    assert {example.call for example in examples().values()} == {"hook", "feedback", "plan", "bundle"}
    bodies = [json.loads(client.get(f"/examples/{name}.json").data) for name in examples()]
    assert {item["outcome"] for body in bodies for item in body.get("feedback", ())} == {"accepted", "overridden"}
    select = json.loads(client.get("/examples/order-select.json").data)["context"]
    assert select["selections"] == [f"MedicationRequest/{select['draftOrders']['entry'][0]['resource']['id']}"]


@pytest.mark.parametrize("name", list(examples()))
def test_an_example_is_as_the_document_describes_it(name: str, client: FlaskClient) -> None:
    document = json.loads(client.get("/openapi.json").data)
    example = examples()[name]
    words = "".join(word.capitalize() for word in example.hook.split("-"))
    schema = {"hook": f"{words}Request", "feedback": "FeedbackRequest", "plan": "PlanQuestion", "bundle": "Bundle"}
    assert list(faults(document, schema[example.call], json.loads(client.get(f"/examples/{name}.json").data))) == []


@pytest.mark.parametrize("name", list(examples()))
def test_the_command_line_prints_what_the_service_serves(name: str, app: Flask) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, _: object = None) -> Then:
            return cls.fromtimestamp(NOW.timestamp(), UTC)

    with patch("cds_service.commands.openapi.datetime", Then):
        printed = json.loads(invoke("example", name).stdout)
    assert printed == json.loads(app.test_client().get(f"/examples/{name}.json").data)


def test_an_example_of_another_name_is_told_with_the_nearest(client: FlaskClient) -> None:
    assert client.get("/examples/none.json").status_code == 404
    done = invoke("example", "order-sing")
    assert done.returncode == 2
    assert "order-sign" in done.stderr
    assert invoke("example").stdout.split()[0] == "patient-view"


def test_the_one_line_shown_takes_the_example_and_sends_it(client: FlaskClient, listed: dict[str, Body]) -> None:
    page = Markup(client.get("/examples").text).unescape()
    for name, item in listed.items():
        assert item["curl"] in page
        first, _, second = item["curl"].partition(" | ")
        assert shlex.split(first) == ["curl", "-s", f"http://localhost/examples/{name}.json"]
        words = shlex.split(second)
        assert words[-1] == item.get("url", "-")
        assert words[0] == ("curl" if "url" in item else "magnesium-cds")


def test_feedback_on_the_card_that_an_example_gave_is_counted(make_app: Callable[..., Flask]) -> None:
    """As its page says: with the uuid of a card in place of the one that it shows."""
    client = make_app().test_client()
    call = client.get("/examples/patient-view.json").data
    answer = client.post("/cds-services/magnesium-patient-view", data=call, content_type="application/json")
    card = json.loads(answer.data)["cards"][0]
    accepted = json.loads(client.get("/examples/feedback-accepted.json").data)
    accepted["feedback"][0] |= {"card": card["uuid"], "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}
    overridden = json.loads(client.get("/examples/feedback-overridden.json").data)
    overridden["feedback"][0] |= {"card": card["uuid"]}
    for body in (accepted, overridden):
        assert client.post("/cds-services/magnesium-patient-view/feedback", json=body).status_code == 200
    rows = [json.loads(line) for line in client.get("/feedback").text.splitlines()]
    assert sorted(row["outcome"] for row in rows if row["card"] == card["uuid"]) == ["accepted", "overridden"]
    reason = overridden["feedback"][0]["overrideReason"]["reason"]
    assert reason in [{"code": one["code"], "system": one["system"]} for one in card["overrideReasons"]]


def test_the_lines_in_the_docs_are_those_that_the_service_shows(listed: dict[str, Body]) -> None:
    page = (ROOT / "docs" / "integration.md").read_text("utf-8").replace(" \\\n ", "")
    assert listed["order-select"]["curl"].replace("http://localhost", "http://127.0.0.1:8000") in page
    served = listed["bundle"]["curl"].partition(" | ")[2]
    assert f"magnesium-cds example bundle | {served}" in page


# The pages.


def test_each_refusal_has_a_page_that_says_what_to_change(client: FlaskClient) -> None:
    listed = client.get("/errors").text
    for code, refusal in refusals().items():
        assert f'href="/errors/{code}"' in listed
        page = Markup(client.get(f"/errors/{code}").text).unescape()
        for text in (refusal.title, refusal.means, refusal.change, refusal.says.replace('"', '\\"')):
            assert text.strip() in page, code
    assert client.get("/errors/none").status_code == 404


def test_the_address_in_a_refusal_leads_to_its_page(client: FlaskClient) -> None:
    refused = json.loads(client.post("/cds-services/magnesium-patient-view", json={}).data)["issue"][0]
    code = refused["details"]["coding"][0]["code"]
    assert refusals()[code].means in Markup(client.get(refused["diagnostics"]).text).unescape()


def test_the_reference_shows_every_operation_and_every_link_in_it_leads_somewhere(client: FlaskClient) -> None:
    page, document = client.get("/reference").text, json.loads(client.get("/openapi.json").data)
    ids = set(re.findall(r'id="([^"]+)"', page))
    for methods in document["paths"].values():
        assert {operation["operationId"] for operation in methods.values()} <= ids
    targets = set(re.findall(r'href="([^"]+)"', page))
    assert len(targets) > 100
    assert {target[1:] for target in targets if target.startswith("#")} <= ids
    for target in sorted(target for target in targets if target.startswith("/")):
        with client.get(target) as answer:
            assert answer.status_code == 200, target
    assert not [target for target in targets if not target.startswith(("#", "/"))]
    assert "<script" not in page


def test_the_commands_of_the_reference_work_where_all_is_filled_in(client: FlaskClient) -> None:
    page = Markup(client.get("/reference").text).unescape()
    reads = [
        line for line in re.findall(r'<pre class="command">(.*?)</pre>', page) if " | " not in line and "{" not in line
    ]
    assert len(reads) > 15
    for line in reads:
        words = shlex.split(line)
        assert words[:2] == ["curl", "-s"]
        assert client.get(words[-1].removeprefix("http://localhost")).status_code == 200, line


def test_in_production_the_pages_say_that_a_token_is_needed(make_app: Callable[..., Flask]) -> None:
    client = in_production(make_app).test_client()
    assert "This service asks for a token" in client.get("/examples").text
    assert "Bearer TOKEN" in client.get("/reference").text
    assert client.get("/examples/patient-view.json").status_code == 200
