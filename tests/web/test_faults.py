"""What a browser is told where something goes wrong, and what an EHR is told: a page, and an OperationOutcome."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, render_template
from flask.testing import FlaskClient
from jinja2 import TemplateError

from tests.web.pages import BROWSER, expired_plan

WRONG = (
    ("GET", "/nothing/here", 404, "Page not found"),
    ("GET", "/evidence/no_such_rule", 404, "There is no rule with this id."),
    ("GET", "/evidence?kind=x", 400, "kind is one of"),
    ("GET", "/cds-services/magnesium-patient-view", 405, "This address is not for browsers"),
    ("POST", "/evidence", 405, "This address is not for browsers"),
    ("POST", "/plan", 415, "application/json"),
)


@pytest.mark.parametrize(("method", "path", "status", "says"), WRONG)
def test_a_browser_gets_a_page_that_says_what_to_do_and_an_ehr_gets_an_operation_outcome(
    client: FlaskClient, method: str, path: str, status: int, says: str
) -> None:
    page = client.open(path, method=method, headers=BROWSER)
    assert (page.status_code, page.content_type) == (status, "text/html; charset=utf-8")
    assert says in page.text and 'href="/evidence"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    for accept in ("application/json", "application/fhir+json", "*/*", "", "application/json, text/html;q=0.9"):
        told = client.open(path, method=method, headers={"Accept": accept})
        assert told.status_code == status and told.json["resourceType"] == "OperationOutcome", accept
        assert "Accept" in told.vary, accept
    assert page.headers.get("Allow") == told.headers.get("Allow")


def test_an_expired_plan_says_how_to_come_by_a_new_one(client: FlaskClient, app: Flask) -> None:
    answer = client.get(expired_plan(app), headers=BROWSER)
    assert answer.status_code == 410
    assert "This address has expired" in answer.text and "Open the order again in the EHR" in answer.text


def test_nothing_of_the_address_or_the_body_stands_on_the_page_of_a_fault(client: FlaskClient) -> None:
    for path in (
        "/Patient/Jane-Roe-1961",
        "/evidence/Jane-Roe-1961",
        "/evidence?kind=Jane-Roe-1961",
        "/plan/Jane-Roe-1961",
    ):
        assert "Jane" not in client.get(path, headers=BROWSER).text, path
    answer = client.post("/plan", json={"medications": "Jane-Roe-1961"}, headers=BROWSER)
    assert answer.status_code == 400 and "Jane" not in answer.text and "medications" in answer.text


def _broken(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    app = make_app()

    def fail() -> str:
        raise ValueError("Jane Roe, born 1961")

    monkeypatch.setitem(app.view_functions, "content.claims", fail)
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = False, False
    return app.test_client()


def test_a_fault_of_ours_is_a_page_without_a_word_of_it(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, expected_faults: list[object]
) -> None:
    client = _broken(make_app, monkeypatch)
    page = client.get("/claims", headers=BROWSER)
    assert page.status_code == 500 and "Something went wrong on our side" in page.text
    assert not any(word in page.text for word in ("Jane", "Traceback", "ValueError"))
    assert client.get("/claims").json["resourceType"] == "OperationOutcome"


def test_a_page_that_cannot_be_made_hides_no_fault(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, expected_faults: list[object]
) -> None:
    def fail(name: str, **values: object) -> str:
        if name == "problem.html":
            raise TemplateError("broken")
        return render_template(name, **values)

    monkeypatch.setattr("cds_service.hooks.errors.render_template", fail)
    answer = _broken(make_app, monkeypatch).get("/claims", headers=BROWSER)
    assert answer.status_code == 500 and answer.json["resourceType"] == "OperationOutcome"


def test_a_service_that_is_too_busy_is_a_page_too(app: Flask, client: FlaskClient) -> None:
    from cds_service.hooks.errors import error_response
    from cds_service.hooks.problems import Issue

    with app.test_request_context("/", headers=BROWSER):
        answer = error_response(503, [Issue("Too many calls at the same time. Try again later.")], {"Retry-After": "1"})
    assert answer.status_code == 503 and b"This cannot be answered now" in answer.data
    assert answer.headers["Retry-After"] == "1"


def test_the_icon_is_there_for_who_was_told_of_it_and_for_who_only_asks(client: FlaskClient) -> None:
    for path in ("/favicon.ico", "/static/icon.svg"):
        answer = client.get(path, buffered=True)
        assert answer.status_code == 200 and answer.content_type.startswith("image/svg+xml")
    assert '<link rel="icon" href="/static/icon.svg"' in client.get("/evidence").text
