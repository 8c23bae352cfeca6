"""The console on the app: every page in its place, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect

from cds_service.console import (
    alarms,
    comments,
    drafts,
    edits,
    errors,
    front,
    history,
    log_pages,
    oidc,
    people,
    preview_pages,
    quality,
    report,
    rules,
    sign_in,
    together,
    values,
    why_pages,
)
from cds_service.console.access import MARK, Person, from_elsewhere, who
from cds_service.console.accounts import Role
from cds_service.console.asked import WholeNumber
from cds_service.console.errors import error_page
from cds_service.console.pages import HEADERS
from cds_service.console.parts import Parts
from cds_service.console.session import ConsoleSessions, current_session
from cds_service.settings import SettingsError

PAGES: Final[tuple[ModuleType, ...]] = (
    front, alarms, rules, values, edits, drafts, together, preview_pages, history, why_pages, quality, comments, report,
    people, log_pages, sign_in, oidc,
)  # fmt: skip
"""The files of pages. Each has `add(blueprint, parts)`, and may have `on_front(parts)`, a card of the first page."""

NAVIGATION: Final[tuple[tuple[str, str, Role], ...]] = (
    ("front", "Today", "viewer"),
    ("rules", "Rules", "viewer"),
    ("values", "Values in force", "viewer"),
    ("drafts", "Drafts", "viewer"),
    ("preview", "What would change", "viewer"),
    ("history", "History", "viewer"),
    ("why", "Why this card", "viewer"),
    ("alarms", "Alarms", "viewer"),
    ("data_quality", "Data", "viewer"),
    ("comments", "Comments", "editor"),
    ("reports", "Reports", "viewer"),
    ("people", "People", "admin"),
    ("audit_log", "Log", "admin"),
)
"""Endpoint (without `console.`), words, role. One whose page is not there is left out."""

csrf = CSRFProtect()


def install_console(app: Flask) -> None:
    """Everything of the console on an app that serves the hooks already."""
    advisor = app.extensions["advisor"]
    if urlsplit(advisor.settings.console_base or "").path:
        told = "console_url" if advisor.settings.console_url else "public_url"
        raise SettingsError(
            f"{told} has a path, below which the console's own links would lead nowhere: give the console an address of"
            " its own with console_url, as https://cds-console.hospital.example"
        )
    parts = Parts(
        advisor.settings, advisor.current, advisor.vocabulary, advisor.store, advisor.now, advisor.version,
        advisor.plan_secret, frozenset(client.name for client in app.extensions["clients"]),
    )  # fmt: skip
    app.extensions["console"] = parts
    app.session_interface = ConsoleSessions(parts)
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # hooks have no forms; the console's are all checked, in `_admit`
    app.config["WTF_CSRF_SSL_STRICT"] = False  # the origin is checked in place of the referrer
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # as long as the session
    app.config["WTF_CSRF_SECRET_KEY"] = parts.store.finding_hash(["console csrf"])  # the same in every worker
    csrf.init_app(app)
    app.url_map.converters["whole"] = WholeNumber
    app.register_blueprint(console_blueprint(parts))
    _every_view_says_whom_it_is_for(app)


def console_blueprint(parts: Parts) -> Blueprint:
    """All pages below `console_path`."""
    blueprint = Blueprint(
        "console", __name__, url_prefix=parts.settings.console_path, template_folder="templates", static_folder="static"
    )
    blueprint.before_request(lambda: _admit(parts))
    blueprint.after_request(_with_headers)
    errors.add(blueprint, parts)
    for module in PAGES:
        module.add(blueprint, parts)
    errors.add_not_found(blueprint)
    front_cards: list[Callable[[Parts], Any]] = [module.on_front for module in PAGES if hasattr(module, "on_front")]
    blueprint.record_once(lambda state: state.app.extensions.update(console_front=front_cards))

    @blueprint.context_processor
    def _shared() -> dict[str, Any]:
        return {
            "dev": parts.settings.dev,
            "settings": parts.settings,
            "person": who(),
            "navigation": _navigation(who()),
            "read_only": parts.settings.managed_by == "file",
        }

    @blueprint.app_template_filter("moment")
    def moment(value: datetime | None, empty: str = "never") -> str:
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if value else empty

    return blueprint


def _navigation(person: Person) -> list[tuple[str, str, bool]]:
    """Address, words, and whether it is where we are."""
    found = []
    for endpoint, words, role in NAVIGATION:
        name = f"console.{endpoint}"
        if name in current_app.view_functions and person.may(role):
            address = url_for(name)
            below = endpoint != "front" and request.path.startswith(f"{address}/")
            found.append((address, words, request.path == address or below))
    return found


def _admit(parts: Parts) -> ResponseReturnValue | None:
    """Before each page: where the form comes from, who is there, what the role allows, and the form's own token."""
    own = parts.settings.console_url
    if own and request.host != urlsplit(own).netloc:
        return error_page(404)
    if request.endpoint == "console.static":
        return None
    changes = request.method not in ("GET", "HEAD")
    if changes and from_elsewhere(parts):
        raise errors.Elsewhere
    current = current_session()
    current.load(parts)
    g.console_person = current.person
    needed: Role | Literal[""] = getattr(current_app.view_functions[request.endpoint or ""], MARK)
    if needed:
        if not current.person.name:
            if changes:
                raise errors.SignedOut
            asked = request.full_path.rstrip("?")
            return redirect(url_for("console.sign_in", next=asked if asked != url_for("console.front") else None), 303)
        if not current.person.may(needed):
            raise errors.NotAllowed(needed)
    if changes:
        csrf.protect()
    return _what_no_database_takes()


def _what_no_database_takes() -> Response | None:
    """PostgreSQL has no such text, and no page has it either."""
    if any("\0" in value for value in (request.view_args or {}).values() if isinstance(value, str)):
        return error_page(404)
    if any("\0" in value for values in request.values.listvalues() for value in values):
        return error_page(400, text="What was sent holds a character that is in no text (NUL). Nothing was changed.")
    return None


def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint == "console.static":
        response.headers["Cache-Control"] = "no-cache"
    response.headers.add("Vary", "Cookie")
    return response


def _every_view_says_whom_it_is_for(app: Flask) -> None:
    for name, view in app.view_functions.items():
        if name.startswith("console.") and name != "console.static" and not hasattr(view, MARK):
            raise RuntimeError(f"the page {name} does not say whom it is for: @needs(role) or @open_to_all")
