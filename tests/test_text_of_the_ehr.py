"""Text and names that come from the EHR: never on a card, in a link or in a log line, whatever they hold."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mistune
import pytest
import requests
import structlog
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from markdown_it import MarkdownIt

from cds_service.advice.loaded_content import Content
from tests.conformance.calls import Body, answered, every_sample_call, own, post, sample_call, serving, walk
from tests.support.some import some

NASTY = (
    'ZZQ<img src=x onerror=alert(1)><script>zzq()</script><iframe srcdoc="zzq"></iframe> [zzq](javascript:alert(1)) '
    "![zzq](http://zzq.example/a.png) http://zzq.example www.zzq.example zzq@zzq.example **zzq** `zzq` "
    "| zzq | zzq |\n|---|---|\n# zzq\n> zzq\n\u202ezzq\u200bzzq\x07 &lt;zzq&gt; " + "zzq" * 2000
)
MARK = "zzq"


def poisoned(value: Any, key: str = "") -> Any:
    """The request with every free text of the EHR made hostile; drugs' names stay recognisable at their start."""
    free = {"text", "display", "family", "patientInstruction", "unit", "valueString", "diagnostics", "title"}
    if isinstance(value, dict):
        return {name: poisoned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, "text" if key in ("given", "suffix", "prefix") else key) for item in value]
    return f"{value} {NASTY}" if isinstance(value, str) and key in free else value


@pytest.fixture(scope="module")
def hostile(app: Flask) -> list[tuple[str, Body]]:
    """The answers to calls whose every text is hostile."""
    client = app.test_client()
    found = []
    for name, body in every_sample_call(client):
        body["prefetch"] = poisoned(body["prefetch"])
        if "draftOrders" in body["context"]:
            body["context"]["draftOrders"] = poisoned(body["context"]["draftOrders"])
        found.append((name, answered(client, body)))
    assert sum(len(answer["cards"]) for _, answer in found) > 15
    return found


def test_hostile_texts_do_not_stop_the_cards(hostile: list[tuple[str, Body]], client: FlaskClient) -> None:
    plain = {name: answered(client, body) for name, body in every_sample_call(client)}
    for name, answer in hostile:
        for before, after in zip(own(plain[name])["outcomes"], own(answer)["outcomes"], strict=True):
            assert before["outcome"] == after["outcome"] or after["outcome"] == "not_evaluated", (name, after)


def test_no_text_of_the_ehr_is_on_any_card(hostile: list[tuple[str, Body]]) -> None:
    for name, answer in some(hostile):
        told = [(path, value) for path, value in walk(answer) if isinstance(value, str) and "resource" not in path]
        for path, value in some(told):
            assert MARK not in value.lower(), (name, path)
            assert MARK not in plan_in(value).lower(), (name, path)


def plan_in(url: str) -> str:
    """What the address of a plan holds, decoded; of any other text nothing."""
    if "/plan/" not in url:
        return ""
    payload = url.rpartition("/plan/")[2].rsplit(".", 2)[0]  # a long one is compressed
    return json.dumps(URLSafeTimedSerializer("").load_payload(payload.encode()))


def test_the_address_of_a_plan_names_drugs_of_ours_and_no_patient(client: FlaskClient, content: Content) -> None:
    plans = []
    for _, body in every_sample_call(client):
        for card in answered(client, secret_call(body))["cards"]:
            plans += [plan_in(link["url"]) for link in card.get("links", []) if "/plan/" in link["url"]]
    assert plans
    for plan in plans:
        assert "zzq" not in plan.lower()
        assert {drug[0] for drug in json.loads(plan)["d"]} <= set(content.library.terminology)


def test_a_suggestion_changes_a_draft_without_touching_its_texts(hostile: list[tuple[str, Body]]) -> None:
    kept = [
        action["resource"]
        for _, answer in hostile
        for card in answer["cards"]
        for suggestion in card.get("suggestions", [])
        for action in suggestion["actions"]
        if action["type"] == "update"
    ]
    assert kept
    for resource in kept:
        assert NASTY in resource["medicationCodeableConcept"]["text"]


RENDERERS: dict[str, Callable[[str], str]] = {
    "mistune with tables, autolinks and raw HTML": lambda text: str(
        mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough", "task_lists"])(text)
    ),
    "CommonMark with GFM autolinks and raw HTML": lambda text: str(
        MarkdownIt("gfm-like", {"html": True, "linkify": True}).render(text)
    ),
}


def inert(html: str, content: Content) -> bool:
    """Whether rendered Markdown holds paragraphs, emphasis, lists and plain tables, and nothing else.

    A renderer may take the name of one of our own sources for an address ("Drugs.com"); nothing else becomes a link.
    """
    sources = " ".join(f"{item.issuer} {item.title}" for item in content.library.references.values())
    link = re.compile(r'<a href="[^"<>]*">([^<>]*)</a>')
    html = link.sub(lambda found: found[1] if found[1] in sources else found[0], html)
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)", html))
    plain = {"p", "strong", "em", "ul", "li", "br", "table", "thead", "tbody", "tr", "th", "td"}
    return tags <= plain and not re.search(r"<[a-zA-Z]+\s", html)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_rendered_details_hold_only_paragraphs_emphasis_and_lists(
    renderer: str, hostile: list[tuple[str, Body]], content: Content
) -> None:
    for name, card in some((name, card) for name, answer in hostile for card in answer["cards"]):
        assert inert(RENDERERS[renderer](card["detail"]), content), (name, card["detail"])


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_renderers_would_show_what_gets_through(renderer: str, content: Content) -> None:
    html = RENDERERS[renderer]("a <img src=x> http://zzq.example [z](http://zzq.example)")
    assert "<img" in html and html.count("<a ") == 2
    assert not inert(html, content)


# What leaves the service besides cards.


def texts(card: Body) -> Iterator[str]:
    """Every text of a card that a client shows, without the resources that its suggestions carry."""
    for path, value in walk(card):
        if isinstance(value, str) and "resource" not in path and "extension" not in path:
            yield value


SECRETS = {"patient": "zzq-patient-4711", "user": "zzq-user-4711", "name": "Zzqfamily", "encounter": "zzq-visit-4711"}


def secret_call(body: Body) -> Body:
    """The call with ids and names that can be looked for."""
    old = body["context"]["patientId"]
    text = json.dumps(body).replace(f'"{old}"', f'"{SECRETS["patient"]}"')
    made: Body = json.loads(text.replace(f"Patient/{old}", f"Patient/{SECRETS['patient']}"))
    made["context"] |= {"userId": f"Practitioner/{SECRETS['user']}", "encounterId": SECRETS["encounter"]}
    made["prefetch"]["patient"]["name"] = [{"family": SECRETS["name"], "given": [SECRETS["name"]]}]
    return made


def test_no_link_and_no_text_of_a_card_names_the_patient(client: FlaskClient) -> None:
    answers = [(name, answered(client, secret_call(body))) for name, body in every_sample_call(client)]
    for name, card in some((name, card) for name, answer in answers for card in answer["cards"]):
        for text in [*texts(card), *(unquote(urlsplit(link["url"]).path) for link in card.get("links", []))]:
            assert "zzq" not in text.lower(), name
        assert "zzq" not in str(own(card)).lower(), name


def test_no_log_line_names_the_patient(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as lines:
        for _, body in every_sample_call(client):
            assert post(client, secret_call(body)).status_code == 200
        refused = secret_call(sample_call(client, "healthy"))
        refused["prefetch"]["patient"]["id"] = "zzq-another"
        assert post(client, refused).status_code == 412
        assert client.get(f"/cds-services/{SECRETS['patient']}").status_code in (404, 405)
        assert client.get(f"/evidence/{SECRETS['patient']}").status_code == 404
    assert len(lines) > 20, "nothing was logged, so this test would show nothing"
    assert "zzq" not in str(lines).lower()
    assert "zzq" not in caplog.text.lower()


def test_a_running_service_writes_json_lines_that_name_no_patient(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        assert service.call("low-magnesium").status_code == 200
        broken = service.call("low-magnesium", context={"patientId": "low-magnesium", "userId": "Zzq"})
        assert broken.status_code == 400
        other = service.call("low-magnesium", context={"patientId": "zzq-one", "userId": "Practitioner/zzq"})
        assert other.status_code == 412
        url = f"{service.base}/cds-services/magnesium-patient-view?patient=low-magnesium"
        assert requests.get(url, timeout=10).status_code == 405
        log = service.log()
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in told if line.get("event") == "request" and line["method"] == "POST"] == [
        200,
        400,
        412,
    ]
    assert not re.search(r"zzq|low-magnesium|Lowmagnesium", log, re.IGNORECASE)
