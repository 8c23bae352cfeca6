"""Web pages behind a card: what the page says, on what evidence, from which sources, with which limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, render_template

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import LoadedPage
from cds_service.content.rulebook import Rulebook
from cds_service.hooks.display import number
from cds_service.hooks.errors import Problem
from cds_service.hooks.logic import in_words

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def evidence_blueprint(
    current: CurrentRulebook, dev: bool, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Blueprint:
    """GET /evidence and /evidence/<page>: readable without JavaScript, without login."""
    blueprint = Blueprint("evidence", __name__, template_folder="templates", static_folder="static",
                          static_url_path="/static")  # fmt: skip

    @blueprint.get("/evidence")
    def index() -> Response:
        rulebook = current.on(now().date())
        folders: dict[str, list[LoadedPage]] = {}
        for loaded in sorted(rulebook.library.pages.values(), key=lambda item: item.page.title):
            folders.setdefault(loaded.folder, []).append(loaded)
        return page_response(
            "evidence_index.html", folders=folders, library=rulebook.library, rulebook=rulebook, dev=dev
        )

    @blueprint.get("/evidence/<page_id>")
    def one(page_id: str) -> Response:
        rulebook = current.on(now().date())
        loaded = rulebook.library.pages.get(page_id)
        if loaded is None:
            raise Problem.of(404, "There is no page with this id.")
        return page_response("evidence_page.html", dev=dev, **page_view(loaded, rulebook))

    return blueprint


def page_view(loaded: LoadedPage, rulebook: Rulebook) -> dict[str, Any]:
    """Everything that the web page of one page shows."""
    library, page = rulebook.library, loaded.page
    rule = rulebook.rules.get(loaded.id)
    limits = [
        {"limit": limit, "value": f"{number(limit.value)} {library.wording.units.get(limit.unit, limit.unit)}",
         "default": number(limit.default) if limit.default is not None else "",
         "threshold": page.thresholds.get(limit.name) or library.shared_thresholds.get(limit.name),
         "reference": library.references[limit.reference]}
        for limit in (rule.limits.values() if rule else ())
        if limit.name in page.thresholds or limit.name in used_shared(loaded)
    ]  # fmt: skip
    attributes = [
        (item, page.source_attributes.get(name, item.default))
        for name, item in sorted(library.source_attributes.items(), key=lambda pair: pair[1].number)
    ]
    return {
        "loaded": loaded,
        "page": page,
        "library": library,
        "rule": rule,
        "limits": limits,
        "logic": in_words(page, library, in_force(loaded, rulebook)),
        "references": [library.references[name] for name in page.evidence.references],
        "attributes": attributes,
        "claims": {name: library.claims[name] for name in page.claims},
    }


def in_force(loaded: LoadedPage, rulebook: Rulebook) -> dict[str, str]:
    """Thresholds of a page with their units, as they hold today; a retired page has its own values."""
    words = rulebook.library.wording.units
    thresholds = {**rulebook.library.shared_thresholds, **loaded.page.thresholds}
    rule = rulebook.rules.get(loaded.id)
    return {
        name: f"{number(rule.limits[name].value if rule else item.at(rulebook.day))} {words.get(item.unit, item.unit)}"
        for name, item in thresholds.items()
    }


def used_shared(loaded: LoadedPage) -> set[str]:
    """Names of the thresholds that the page's trigger uses."""
    return {item.name for item in loaded.page.named() if item.mark.what == "threshold"}


def page_response(template: str, **values: Any) -> Response:
    """A web page with a strict policy: nothing from elsewhere, no script, no framing."""
    response = Response(render_template(template, **values), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
