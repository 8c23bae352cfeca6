"""What an integrator reads: the OpenAPI document, the same as a page, every refusal, and examples of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from flask import Blueprint, Response, render_template

from cds_service.advice.needs import needs_of
from cds_service.content.current import CurrentRulebook
from cds_service.content.rulebook import Rulebook
from cds_service.hooks.problems import Problem
from cds_service.publish.example_requests import Example, as_json, body_of, curl, examples
from cds_service.publish.openapi_view import schemas, sections
from cds_service.publish.refusals import as_json as refusal_json
from cds_service.publish.refusals import refusals
from cds_service.settings import Settings
from cds_service.web.described import described
from cds_service.web.pages import HEADERS, html_response

Json = dict[str, Any]


def api_blueprint(
    current: CurrentRulebook,
    settings: Settings,
    version: str,
    *,
    now: Callable[[], datetime],
    base: Callable[[], str],
    open_calls: bool,
) -> Blueprint:
    """GET /openapi.json, /reference, /errors and /examples, the last two as .json too, with one of each below.

    `base` gives the URL under which browsers reach us; `open_calls`: whether calls need no token.
    """
    blueprint = Blueprint("api", __name__, template_folder="templates")
    configured = settings.public_url or ""

    @lru_cache(maxsize=2)
    def document(rulebook: Rulebook) -> Json:
        return described(rulebook, settings, version, configured, open_calls)

    def in_force() -> Rulebook:
        return current.on(now().date())

    def page(template: str, **values: Any) -> Response:
        return html_response(render_template(template, dev=settings.dev, base=base(), **values))

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return _json(document(in_force()))

    @blueprint.get("/reference")
    def reference() -> Response:
        told = document(in_force())
        return page("reference.html", told=told, sections=sections(told, base()), schemas=schemas(told))

    @blueprint.get("/errors")
    def errors() -> Response:
        return page("errors.html", refusals=refusals())

    @blueprint.get("/errors.json")
    def errors_json() -> Response:
        return _json({"errors": [refusal_json(code, refusal, configured) for code, refusal in refusals().items()]})

    @blueprint.get("/errors/<code>")
    def error(code: str) -> Response:
        told = _known(refusals(), code, "error")
        shown = orjson.dumps(refusal_json(code, told, configured)["example"], option=orjson.OPT_INDENT_2).decode()
        return page("refusal.html", code=code, refusal=told, shown=shown)

    @blueprint.get("/errors/<code>.json")
    def error_json(code: str) -> Response:
        return _json(refusal_json(code, _known(refusals(), code, "error"), configured))

    def listed() -> dict[str, tuple[Example, str]]:
        """Every example, with the path that it is POSTed to."""
        ids: dict[str, str] = {service.hook: name for name, service in current.library.services.items()}
        return {name: (example, example.path(ids)) for name, example in examples().items()}

    @blueprint.get("/examples")
    def list_examples() -> Response:
        shown = [(name, example, path, curl(name, path, base())) for name, (example, path) in listed().items()]
        return page("examples.html", examples=shown, open_calls=open_calls)

    @blueprint.get("/examples.json")
    def examples_json() -> Response:
        return _json({"examples": [as_json(name, *each, base()) for name, each in listed().items()]})

    @blueprint.get("/examples/<name>.json")
    def example(name: str) -> Response:
        told, rulebook = _known(examples(), name, "example"), in_force()
        ids: dict[str, str] = {service.hook: id_ for id_, service in rulebook.library.services.items()}
        needs = needs_of(rulebook, ids[told.hook], settings.today_windows) if told.hook else {}
        body = body_of(name, told, {key: need.template for key, need in needs.items()}, now())
        return _json(body, orjson.OPT_INDENT_2)

    return blueprint


def _known(listed: Mapping[str, Any], name: str, kind: str) -> Any:
    """The one of this name. Raises Problem 404."""
    if name not in listed:
        raise Problem.of(404, f"There is no {kind} with this id.", error="no-such-entry")
    return listed[name]


def _json(body: Json, option: int = 0) -> Response:
    return Response(orjson.dumps(body, option=option), content_type="application/json", headers=HEADERS)
