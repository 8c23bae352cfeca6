"""Errors on the wire: every non-2xx answer is an OperationOutcome that names the place and echoes no value.

Each issue carries its code of `publish/refusals.yaml`, and the address of the page that says what to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import orjson
from flask import Flask, Request, Response
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.problems import Issue, Problem
from cds_service.publish.refusals import ERROR_SYSTEM

FHIR_JSON = "application/fhir+json"

# HTTP status -> FHIR issue type (http://hl7.org/fhir/issue-type).
ISSUE_TYPES = {400: "invalid", 401: "login", 403: "forbidden", 404: "not-found", 405: "not-supported",
               408: "timeout", 412: "incomplete", 413: "too-long", 415: "not-supported", 429: "throttled",
               431: "too-long", 500: "exception", 503: "transient"}  # fmt: skip

# HTTP status -> code of a refusal that says none, as those of the framework.
ERRORS = {401: "not-authenticated", 404: "unknown-address", 405: "method-not-allowed", 413: "body-too-large",
          415: "content-type", 429: "too-many-calls", 503: "busy"}  # fmt: skip


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


def _issue(status: int, issue: Issue, base: str) -> dict[str, Any]:
    error = issue.error or ERRORS.get(status, "request-unreadable" if status < 500 else "fault-of-ours")
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
    """Problems, and the framework's own HTTP errors, become OperationOutcomes. `base`: as `outcome_response`."""
    app.request_class = ReadRequest

    @app.errorhandler(Problem)
    def _problem(problem: Problem) -> Response:
        return outcome_response(problem.status, problem.issues, problem.headers, base)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        words = {
            400: "The request cannot be read.",
            404: "There is nothing at this address.",
            405: "This address does not answer this method.",
            413: "The request body is larger than this service reads.",
            415: "Send JSON with Content-Type: application/json.",
        }
        headers = {}
        allowed = getattr(error, "valid_methods", None)
        if status == 405 and allowed:
            headers["Allow"] = ", ".join(sorted(allowed))
        text = words.get(status, "The request could not be answered.")
        return outcome_response(status, [Issue(text)], headers, base)
