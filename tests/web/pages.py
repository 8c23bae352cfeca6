"""Every public page, found by asking every address that the service has: a new page cannot be forgotten.

An address that holds a value needs one in `VALUES`. Views that differ by their query stand in `MORE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any
from unittest.mock import patch

from flask import Flask
from itsdangerous import TimestampSigner
from werkzeug.routing import Rule

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
# What may stand in an address, by the name of its place.
VALUES: dict[str, str] = {
    "rule_id": "low_serum_magnesium",
    "claim_id": "SC-003",
    "concept": "magnesium",
    "code": "not-checked",
    "name": "patient-view",
    "page": "index.html",
    "source_key": "alfred_rcpa_aacb",
}
MORE = (
    "/evidence/levothyroxine_timing",
    "/evidence/magnesium_with_dialysis",
    "/evidence?q=levothyroxine",
    "/evidence?q=nothing+of+this+name",
    "/evidence?q=warfarin",
    "/evidence?indicator=warning&kind=safety&certainty=low&strength=strong&drug=digoxin",
    "/claims?q=multiple+sclerosis",
    "/claims?q=nothing+of+this+name",
    "/claims?verdict=contradicted",
    "/sources?q=nothing+of+this+name",
    "/sources?q=label",
    "/nothing/here",
    "/evidence?kind=nothing",
    "/evidence/no_such_rule",
)


def plan_address(app: Flask) -> str:
    """The address of a plan that was asked for now."""
    body = {"medications": [{"name": "levothyroxine", "times": ["07:00"]}]}
    return str(app.test_client().post("/plan", json=body).json["link"])


def expired_plan(app: Flask) -> str:
    """The address of a plan from more than a week ago."""
    with patch.object(TimestampSigner, "get_timestamp", lambda _: int(time()) - 8 * 24 * 3600):
        return plan_address(app)


def addresses(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Every address that answers GET. KeyError for one that needs a value which `VALUES` has not got."""
    values: dict[str, Any] = {**VALUES, "text": plan_address(app).rpartition("/")[2]}
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.endpoint.startswith("console.") and "static" not in rule.endpoint:
            yield rule, adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments})


def public_pages(app: Flask) -> list[str]:
    """The addresses that answer a browser with a web page, and the views of `MORE`."""
    client = app.test_client()
    found = []
    for _, path in addresses(app):
        answer = client.get(path, headers=BROWSER)
        assert answer.status_code < 500, path
        if answer.content_type.startswith("text/html") and answer.status_code < 300:
            found.append(path)
    return [*found, *MORE, expired_plan(app)]
