"""Errors: an OperationOutcome that names the place and echoes no value, or a web page for who asks for one.

Each issue carries its code of `publish/refusals.yaml`, and the address of the page that says what to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import orjson
import structlog
from flask import Flask, Request, Response, render_template
from jinja2 import TemplateError
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.html import asks_for_html, html_response
from cds_service.hooks.problems import Issue, Problem
from cds_service.publish.refusals import ERROR_SYSTEM

log = structlog.get_logger("magnesium_cds.pages")
FHIR_JSON = "application/fhir+json"

# HTTP status -> FHIR issue type (http://hl7.org/fhir/issue-type).
ISSUE_TYPES = {400: "invalid", 401: "login", 403: "forbidden", 404: "not-found", 405: "not-supported",
               408: "timeout", 412: "incomplete", 413: "too-long", 415: "not-supported", 429: "throttled",
               431: "too-long", 500: "exception", 503: "transient"}  # fmt: skip

# HTTP status -> code of a refusal that says none, as those of the framework.
ERRORS = {401: "not-authenticated", 404: "unknown-address", 405: "method-not-allowed", 413: "body-too-large",
          415: "content-type", 429: "too-many-calls", 503: "busy"}  # fmt: skip

TEXTS: Final[Mapping[int, str]] = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not answer this method.",
    413: "The request body is larger than this service reads.",
    415: "Send JSON with Content-Type: application/json.",
}
# What a person reads: what happened, and what to do now.
PAGES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("This could not be read", "Go back, mend what is named here, and send it again."),
    401: ("This is for callers with a token", "It is for EHRs, not for browsers. What can be read is linked above."),
    404: ("Page not found", "The address may be mistyped, or what stood here is gone. Search, or start above."),
    405: (
        "This address is not for browsers",
        "EHRs and other programs send something to it; opening it shows nothing. What can be read is linked above.",
    ),
    410: (
        "This address has expired",
        "The address of a plan holds for a week, since the orders behind it change. Open the order again in the EHR:"
        " the card that comes then has a new link.",
    ),
    413: ("This is too large", "Send less at a time."),
    429: ("Too many calls", "Wait for a minute, then load the page again."),
    500: (
        "Something went wrong on our side",
        "Try again. If it goes on, tell whoever runs this service: its log says more. Nothing that was sent is in it.",
    ),
    503: ("This cannot be answered now", "Wait for a minute, then load the page again."),
}


def error_response(
    status: int, issues: Sequence[Issue], headers: Mapping[str, str] | None = None, base: str = ""
) -> Response:
    """The answer to a call that failed: a web page for who asks for one, an OperationOutcome for everybody else."""
    made = (_page(status, issues, headers) if asks_for_html() else None) or outcome_response(
        status, issues, headers, base
    )
    made.vary.add("Accept")
    return made


def _page(status: int, issues: Sequence[Issue], headers: Mapping[str, str] | None) -> Response | None:
    """The page of a fault; None where it cannot be made, which must not hide what went wrong before."""
    title, advice = PAGES.get(status, PAGES[400 if status < 500 else 500])
    told = [(issue.text, _code(status, issue)) for issue in issues]
    try:
        text = render_template("problem.html", status=status, title=title, told=told, advice=advice)
    except (TemplateError, OSError, RuntimeError) as error:
        log.error("page of a fault not made", kind=type(error).__name__)
        return None
    return html_response(text, headers, status)


def outcome_response(
    status: int, issues: Sequence[Issue], headers: Mapping[str, str] | None = None, base: str = ""
) -> Response:
    """An OperationOutcome as a response that nobody may cache. `base`: our own URL, as configured; "" for none."""
    body = {"resourceType": "OperationOutcome", "issue": [_issue(status, issue, base) for issue in issues]}
    response = Response(orjson.dumps(body), status, content_type=FHIR_JSON)
    response.headers["Cache-Control"] = "no-store"
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def _code(status: int, issue: Issue) -> str:
    """The code of a refusal in `publish/refusals.yaml`."""
    return issue.error or ERRORS.get(status, "request-unreadable" if status < 500 else "fault-of-ours")


def _issue(status: int, issue: Issue, base: str) -> dict[str, Any]:
    error = _code(status, issue)
    made = {
        "severity": issue.severity,
        "code": issue.code or ISSUE_TYPES.get(status, "processing"),
        "details": {"coding": [{"system": ERROR_SYSTEM, "code": error}], "text": issue.text},
        "diagnostics": f"{base}/errors/{error}",
    }
    return made | ({"expression": list(issue.expression)} if issue.expression else {})


class ReadRequest(Request):
    """A request whose body may break off, or come in chunks that are none: that is the caller's fault, not ours."""

    def _get_file_stream(self, *_: Any, **__: Any) -> BytesIO:
        """An uploaded file stays in memory: it may hold patients. What is sent is never more than `max_body`."""
        return BytesIO()

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """As Flask. Raises BadRequest where the body cannot be read to its end."""
        try:
            return super().get_data(*args, **kwargs)
        except HTTPException:
            raise
        except Exception as error:  # each server has exceptions of its own for this
            raise BadRequest from error


def read_body(request: Request) -> bytes:
    """The body of a JSON POST. Raises Problem 415 (type, encoding), 413 (size, by Flask) and 400 (not JSON, or
    not as strictness asks).
    """
    if request.mimetype not in ("application/json", "application/fhir+json", "application/json+fhir"):
        raise Problem.of(415, "Send JSON with Content-Type: application/json.", error="content-type")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        text = "Send the body without Content-Encoding; compressed requests are not read."
        raise Problem.of(415, text, error="content-encoding")
    most = request.max_content_length
    if request.content_length is None and most is not None:
        # Of a body in chunks that is too large, the framework gives the beginning: one byte more tells.
        request.max_content_length = most + 1
    body = request.get_data(cache=False)
    if most is not None and len(body) > most:
        raise RequestEntityTooLarge
    try:
        check(body)
    except NotStrict as fault:
        raise Problem.of(400, fault.text, "request", error=fault.error, code=fault.code) from None
    return body


def install_error_handlers(app: Flask, base: str = "") -> None:
    """Problems, and the framework's own HTTP errors, are told as `error_response` does. `base`: as there."""
    app.request_class = ReadRequest

    @app.errorhandler(Problem)
    def _problem(problem: Problem) -> Response:
        return error_response(problem.status, problem.issues, problem.headers, base)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        headers = {}
        allowed = getattr(error, "valid_methods", None)
        if status == 405 and allowed:
            headers["Allow"] = ", ".join(sorted(allowed))
        text = TEXTS.get(status, "The request could not be answered.")
        return error_response(status, [Issue(text)], headers, base)
