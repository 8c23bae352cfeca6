"""Who may see and do what: every route with every role, forms from elsewhere, and where a sign-in leads."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.routing import Rule

from cds_service.console.access import needs
from cds_service.console.accounts import ROLES
from cds_service.console.blueprint import _every_view_says_whom_it_is_for
from tests.console.routes import PLACES, SOMEBODY
from tests.console.support import PASSWORD, Visitor, person, visitor

CHANGES = {"POST", "PUT", "PATCH", "DELETE"}


def routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Name, method and address of each route of the console, but for files that everybody may read."""
    adapter = app.url_map.bind("localhost")
    options: set[str] = set()  # the framework's own answer, which an address gives once
    for rule in app.url_map.iter_rules():
        name = rule.endpoint.removeprefix("console.")
        if not rule.endpoint.startswith("console.") or name == "static":
            continue
        assert name in PLACES, f"{rule.rule} ({name}) has no line in tests/console/routes.py"
        values = PLACES[name].values | ({"kind": "csv"} if "kind" in rule.arguments else {})
        path = built(adapter, rule, values)
        methods = rule.methods - {"HEAD"} - ({"OPTIONS"} if path in options else set())
        options.add(path)
        yield from ((name, method, path) for method in sorted(methods))


def built(adapter, rule: Rule, values: dict[str, str]) -> str:
    found = rule.build({**(rule.defaults or {}), **values}, append_unknown=False)
    assert found, f"{rule.rule}: tests/console/routes.py gives no values for {rule.arguments}"
    return found[1]


def outcome(visitor: Visitor, method: str, path: str) -> str:
    """What became of a request: let in, refused for the role, or asked to sign in."""
    form = {"csrf_token": visitor.token()} if method in CHANGES else {}
    answer = visitor.http.open(path, method=method, data=form, headers={"Origin": visitor.base})
    if answer.status_code == 401 and "You are signed out" in answer.text:
        return "asked"
    if answer.status_code == 303 and answer.headers["Location"].startswith("/console/sign-in?next="):
        return "asked"
    if answer.status_code == 303 and answer.headers["Location"] == "/console/sign-in" and path == "/console":
        return "asked"
    refused = answer.status_code == 403 and "Your role does not allow this" in answer.text
    return "refused" if refused else "let in"


@pytest.mark.parametrize("roles", [(), *((role,) for role in ROLES)], ids=lambda roles: "".join(roles) or "nobody")
def test_each_route_is_open_to_its_roles_and_to_no_other(console: Flask, roles: tuple[str, ...]) -> None:
    for name in ("keeper", SOMEBODY):
        person(console.extensions["advisor"].store, name, "admin", "viewer")
    wrong, seen = {}, visitor(console, "tester" if roles else "", roles)
    for name, method, path in routes(console):
        # What is done on the way (signing out, removing a person) changes nothing for the others.
        if roles and not seen.signed_in():
            seen = visitor(console, "tester")
        if seen.store.person(SOMEBODY) is None:
            person(seen.store, SOMEBODY, "viewer")
        needed = PLACES[name].role
        due = "let in" if not needed or needed in roles or (roles and needed == "viewer") else "refused"
        if method != "OPTIONS" and PLACES[name].either and not {*PLACES[name].either} & {*roles}:
            due = "refused"
        due = "asked" if needed and not roles else due
        if (found := outcome(seen, "GET" if method == "OPTIONS" and due == "asked" else method, path)) != due:
            wrong[method, path] = f"{found}, not {due}"
    assert wrong == {}


def test_every_place_is_a_route(console: Flask) -> None:
    assert {name for name, _, _ in routes(console)} == set(PLACES)


def test_a_view_that_does_not_say_whom_it_is_for_keeps_the_service_from_starting(console: Flask) -> None:
    console.view_functions["console.new"] = lambda: ""
    with pytest.raises(RuntimeError, match=r"console\.new"):
        _every_view_says_whom_it_is_for(console)
    console.view_functions["console.new"] = needs("viewer")(lambda: "")
    _every_view_says_whom_it_is_for(console)


def test_every_change_is_a_post_and_is_refused_without_its_token_or_from_elsewhere(anna: Visitor) -> None:
    person(anna.store, SOMEBODY, "viewer")
    token = anna.token()
    ways = {
        "no token": ({}, {"Origin": anna.base}),
        "a wrong token": ({"csrf_token": "x"}, {"Origin": anna.base}),
        "the token of another session": ({"csrf_token": visitor(anna.app, "other").token()}, {"Origin": anna.base}),
        "no origin": ({"csrf_token": token}, {}),
        "another origin": ({"csrf_token": token}, {"Origin": "https://evil.example"}),
        "an origin that is hidden": ({"csrf_token": token}, {"Origin": "null"}),
        "an origin that begins as ours": ({"csrf_token": token}, {"Origin": f"{anna.base}.evil.example"}),
        "another site, says the browser": (
            {"csrf_token": token}, {"Origin": anna.base, "Sec-Fetch-Site": "cross-site"}),
        "a sibling site": ({"csrf_token": token}, {"Origin": anna.base, "Sec-Fetch-Site": "same-site"}),
    }  # fmt: skip
    before = anna.store.people(), len(anna.store.audit_lines())
    for name, method, path in routes(anna.app):
        if method not in CHANGES:
            continue
        for way, (form, headers) in ways.items():
            answer = anna.http.open(path, method=method, data={**form, "name": "mallory", "roles": "admin"},
                                    headers=headers)  # fmt: skip
            assert answer.status_code == 403, (name, method, way)
    assert (anna.store.people(), len(anna.store.audit_lines())) == before
    assert anna.get().status_code == 200


def test_a_get_never_changes_anything(anna: Visitor) -> None:
    person(anna.store, SOMEBODY, "viewer")
    before = anna.store.people(), len(anna.store.audit_lines())
    for _, method, path in routes(anna.app):
        if method == "GET":
            anna.get(path)
    assert (anna.store.people(), len(anna.store.audit_lines())) == before


def test_the_allowance_of_the_hooks_for_other_origins_does_not_open_the_console(worker) -> None:
    app = worker(origins=("https://ehr.example",))
    http = app.test_client()
    headers = {"Origin": "https://ehr.example", "Access-Control-Request-Method": "POST"}
    assert http.options("/cds-services", headers=headers).headers["Access-Control-Allow-Origin"]
    for method in ("GET", "OPTIONS", "POST"):
        for path in ("/console", "/console/sign-in", "/console/nothing", "/console/static/console.css"):
            with http.open(path, method=method, headers=headers) as answer:
                assert not [name for name in dict(answer.headers) if name.startswith("Access-Control")], (method, path)


HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def test_every_answer_has_the_headers_that_keep_it_in_its_place(anna: Visitor) -> None:
    person(anna.store, SOMEBODY, "viewer")
    nobody = visitor(anna.app)
    asked = [(method, path) for _, method, path in routes(anna.app) if "sign-out" not in path]
    assert len(asked) > 30
    for method, path in asked:
        for who in (nobody, anna):
            answer = who.http.open(path, method=method, headers={"Origin": who.base})
            assert HEADERS.items() <= dict(answer.headers).items(), (method, path)
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy or answer.mimetype == "image/svg+xml"
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            own = "" if answer.mimetype == "image/svg+xml" else r"|\sstyle=|<style"  # of a picture's own document
            assert not re.search(rf"<script(?![^>]* src=)|\son\w+={own}", answer.text), (method, path)
            assert "Werkzeug" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/console//evil.example",
     "javascript:alert(1)", "/console@evil.example", "/evidence", "/console/../evidence", "/console\r\nX: y",
     "/console/%2e%2e/evidence", "console", " /console", ""],
)  # fmt: skip
def test_a_sign_in_leads_to_a_page_of_the_console_whatever_is_asked(console: Flask, wanted: str) -> None:
    seen = visitor(console)
    person(seen.store, "anna")
    assert seen.sign_in("anna", next=wanted).headers["Location"] == "/console"
    assert seen.get("/sign-in", query_string={"next": wanted}).headers["Location"] == "/console"


def test_a_sign_in_leads_to_the_page_that_was_asked_for(console: Flask) -> None:
    seen = visitor(console)
    person(seen.store, "anna")
    answer = seen.get("/log?person=anna")
    page = seen.get(answer.headers["Location"]).text
    wanted = re.findall(r'name="next"[^>]* value="([^"]*)"', page)[0]
    assert wanted == "/console/log?person=anna"
    assert seen.sign_in("anna", next=wanted).headers["Location"] == wanted


def test_fields_that_a_form_does_not_have_do_nothing(console: Flask) -> None:
    viewer = visitor(console, "viewer", ("viewer",))
    new = "ten more green apples"
    viewer.post("/account", current=PASSWORD, password=new, again=new, roles="admin", name="admin", epoch="0",
                subject="x", approved_by="viewer")  # fmt: skip
    found = viewer.store.person("viewer")
    assert (found.roles, found.subject) == (("viewer",), None)
    assert viewer.get("/people").status_code == 403


def test_a_role_that_there_is_none_of_is_refused(anna: Visitor) -> None:
    assert anna.post("/people", name="eve", roles=["king"]).status_code == 400
    assert anna.post("/people", name="eve").status_code == 400
    assert anna.store.person("eve") is None
