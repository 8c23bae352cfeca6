"""The planner over HTTP: POST /plan for developers, /plan/<token> as page and picture for everybody with the link."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import orjson
from flask import Blueprint, Response, current_app, request, url_for
from pydantic import ValidationError

from cds_service import planner
from cds_service.hooks.errors import read_body
from cds_service.hooks.problems import Issue, Problem
from cds_service.planner import picture, token
from cds_service.planner.model import Plan, PlanContent, PlanRequest, TooLarge
from cds_service.planner.plan import plan_day
from cds_service.planner.schedule import ScheduleError
from cds_service.web.pages import HEADERS, html_response
from cds_service.web.plan_page import page
from cds_service.web.plan_question import PlanQuestion, answer_of, request_of, schema

# The stand-alone picture carries its style in itself.
SVG_CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
WEEK_SECONDS = 7 * 24 * 3600
UNLISTED = {"X-Robots-Tag": "noindex"}
STATIC = Path(planner.__file__).parent / "static"
LARGEST_BODY = 64 * 1024
ICON = "content.static"
# Where the page of a plan leads to, as far as the service has it.
WAYS = (("home", "Magnesium CDS"), ("content.rules", "Evidence"))


def plan_blueprint(
    content: Callable[[date], PlanContent],
    secret: str,
    *,
    client: Callable[[], str],
    banner: str = "",
    max_age: int = WEEK_SECONDS,
    now: Callable[[], datetime],
) -> Blueprint:
    """POST /plan, GET /plan/schema.json, GET /plan/<token>, /plan/<token>.json and /plan/<token>.svg.

    `secret` signs the tokens, which hold for `max_age` seconds. `content` is asked at every call, so that a site's
    values are in force at once. `client` names who asks a question, or raises the Problem of refusal; a plan's address
    is open to everybody who has it. `banner` is shown on top of the page.
    """
    blueprint = Blueprint("plan", __name__, static_folder=STATIC, static_url_path="/plan/static")

    def opened(text: str) -> tuple[PlanRequest, Plan]:
        today = now().date()
        try:
            asked = token.read(text, secret, max_age, content(today), today)
        except token.ExpiredToken:
            words = "This plan's address has expired. Open it again from the order."
            raise Problem.of(410, words, error="plan-expired") from None
        except token.BadToken:
            raise Problem.of(404, "There is no plan at this address.", error="no-such-plan") from None
        return asked, plan_day(asked)

    @blueprint.post("/plan")
    def ask() -> Response:
        client()
        question = _question()
        today = now().date()
        try:
            asked, unknown = request_of(question, content(today), today)
            text = token.sign(asked, secret)
        except ScheduleError as error:
            words = f"The waking hours cannot be used: {error}."
            raise Problem.of(400, words, "waking", error="waking-hours") from error
        except TooLarge as error:
            words = f"medications hold {error}."
            raise Problem.of(400, words, "medications", error="plan-too-large", code="too-costly") from error
        link = url_for(".show", text=text)
        body = answer_of(plan_day(asked), asked, unknown, link).model_dump(exclude_none=True)
        return Response(orjson.dumps(body), content_type="application/json", headers=HEADERS | UNLISTED)

    @blueprint.get("/plan/schema.json")
    def published() -> Response:
        return Response(orjson.dumps(schema()), content_type="application/schema+json")

    @blueprint.get("/plan/<text>")
    def show(text: str) -> Response:
        asked, plan = opened(text)
        here = current_app.view_functions
        html = page(
            asked,
            plan,
            styles=url_for(".static", filename="").rstrip("/"),
            picture=url_for(".show", text=text),
            banner=banner,
            ways=[(url_for(endpoint), words) for endpoint, words in WAYS if endpoint in here],
            icon=url_for(ICON, filename="icon.svg") if ICON in here else "",
            data=url_for(".as_data", text=text),
        )
        return html_response(html, UNLISTED)

    @blueprint.get("/plan/<text>.json")
    def as_data(text: str) -> Response:
        """The plan as POST /plan answers it. Of medicines that were not recognised an address holds only the number."""
        asked, plan = opened(text)
        body = answer_of(plan, asked, [], url_for(".show", text=text)).model_dump(exclude_none=True)
        body["unknown"] = ["not named here"] * asked.unknown
        return Response(orjson.dumps(body), content_type="application/json", headers=HEADERS | UNLISTED)

    @blueprint.get("/plan/<text>.svg")
    def drawn(text: str) -> Response:
        headers = HEADERS | UNLISTED | {"Content-Security-Policy": SVG_CSP}
        return Response(picture.svg(*opened(text)), content_type="image/svg+xml; charset=utf-8", headers=headers)

    return blueprint


def _question() -> PlanQuestion:
    """The checked body. Raises Problem 400 and 415, and 413 as `read_body`."""
    request.max_content_length = min(request.max_content_length or LARGEST_BODY, LARGEST_BODY)
    try:
        return PlanQuestion.model_validate_json(read_body(request))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise Problem(400, [_issue(fault["type"], fault["loc"]) for fault in faults[:20]]) from None


def _issue(kind: str, place: tuple[int | str, ...]) -> Issue:
    """Our own words and the place; nothing that was sent is repeated, so an unknown member is named by its parent."""
    known = place[:-1] if kind == "extra_forbidden" else place
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in known).lstrip(".") or "body"
    words, error = {
        "missing": ("is missing", "member-missing"),
        "extra_forbidden": ("has a member that is not known", "member-unknown"),
        "json_invalid": ("is not JSON", "not-json"),
    }.get(kind, ("has a value that is not allowed here", "value-not-allowed"))
    return Issue(f"{path} {words}.", [path], error=error)
