"""What somebody does on the try page, over HTTP."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from cds_service.sandbox import patients
from tests.conftest import NOW

FORM = {"way": "form", "age": "61", "sex": "male", "hook": "order-sign"}


def bundle(name: str, *drafts: str) -> dict[str, Any]:
    """The Bundle of a sample patient with drafts of theirs."""
    found = patients.load()[name].bundle(NOW)
    found["entry"] += [{"resource": patients.load()[name].draft(draft, NOW)} for draft in drafts]
    return found


def paste(app: Flask, body: Any, **fields: Any) -> TestResponse:
    """Pasted JSON, or any text."""
    text = body if isinstance(body, str) else json.dumps(body)
    return app.test_client().post("/try", data={"way": "text", "text": text, "hook": "patient-view", **fields})


def fill(app: Flask, **fields: Any) -> TestResponse:
    """The short form."""
    return app.test_client().post("/try", data={**FORM, **fields})


def cards(page: TestResponse) -> list[str]:
    """The summaries on the page, in order."""
    return [html.unescape(text) for text in re.findall(r'<h2 id="card-\d+">(.*?)</h2>', page.text)]


def request_of(page: TestResponse) -> dict[str, Any]:
    """The request that the page shows."""
    found = re.search(r'<pre id="request"[^>]*>(.*?)</pre>', page.text, re.DOTALL)
    assert found
    shown: dict[str, Any] = json.loads(html.unescape(found[1]))
    return shown


def forms(page: TestResponse) -> list[dict[str, str]]:
    """The hidden fields of each form on a card, with the first true choice of its menu."""
    made = []
    for text in re.findall(r'<form[^>]* class="done[^>]*>(.*?)</form>', page.text, re.DOTALL):
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text))
        if choice := re.search(r'<option value="([^"]+)"', text):
            fields["reason"] = html.unescape(choice[1])
        made.append(fields)
    return made
