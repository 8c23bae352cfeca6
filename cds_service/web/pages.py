"""Web pages behind a card: what the rule says, on what evidence, from which sources, with which limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import Library, LoadedRule
from cds_service.content.shared import Claim
from cds_service.hooks.problems import Problem
from cds_service.publish.rule_in_words import rule_view

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def evidence_blueprint(
    current: CurrentRulebook, dev: bool, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Blueprint:
    """GET /evidence and /evidence/<rule>: readable without JavaScript, without login."""
    blueprint = Blueprint("evidence", __name__, template_folder="templates", static_folder="static",
                          static_url_path="/static")  # fmt: skip

    @blueprint.get("/evidence")
    def index() -> Response:
        rulebook = current.on(now().date())
        folders: dict[str, list[LoadedRule]] = {}
        for loaded in sorted(rulebook.library.rules.values(), key=lambda item: item.rule.title):
            folders.setdefault(loaded.folder, []).append(loaded)
        return page_response(
            "evidence_index.html", folders=folders, library=rulebook.library, rulebook=rulebook, dev=dev
        )

    @blueprint.get("/evidence/<rule_id>")
    def one(rule_id: str) -> Response:
        rulebook = current.on(now().date())
        loaded = rulebook.library.rules.get(rule_id)
        if loaded is None:
            raise Problem.of(404, "There is no rule with this id.")
        return page_response("evidence_page.html", dev=dev, **rule_view(loaded, rulebook))

    return blueprint


def page_response(template: str, **values: Any) -> Response:
    """A web page with a strict policy: nothing from elsewhere, no script, no framing."""
    response = Response(render_template(template, **values), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


MAX_QUERY = 100


def claims_blueprint(
    current: CurrentRulebook, dev: bool, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Blueprint:
    """GET /claims (searchable by ?q= and ?verdict=), /claims/<id>, and both as .json."""
    blueprint = Blueprint("claims", __name__, template_folder="templates")

    def found() -> tuple[Library, dict[str, Claim], str, str]:
        library = current.on(now().date()).library
        query = request.args.get("q", "")[:MAX_QUERY].strip()
        verdict = request.args.get("verdict", "")[:MAX_QUERY]
        return library, search(library, query, verdict), query, verdict

    @blueprint.get("/claims")
    def index() -> Response:
        library, claims, query, verdict = found()
        verdicts = sorted({claim.verdict for claim in library.claims.values()})
        return page_response(
            "claims.html", dev=dev, library=library, claims=claims, query=query, verdict=verdict, verdicts=verdicts
        )

    @blueprint.get("/claims.json")
    def index_json() -> Response:
        library, claims, _, _ = found()
        return _json({"claims": [claim_json(name, claim, library) for name, claim in claims.items()]})

    @blueprint.get("/claims/<claim_id>")
    def one(claim_id: str) -> Response:
        library = current.on(now().date()).library
        as_json = claim_id.endswith(".json")
        name = claim_id.removesuffix(".json")
        claim = library.claims.get(name)
        if claim is None:
            raise Problem.of(404, "There is no claim with this id.")
        if as_json:
            return _json(claim_json(name, claim, library))
        return page_response("claim.html", dev=dev, library=library, name=name, claim=claim)

    return blueprint


def search(library: Library, query: str, verdict: str = "") -> dict[str, Claim]:
    """Claims that hold every word of the query, and have the verdict where one is given."""
    words = query.lower().split()
    return {
        name: claim
        for name, claim in library.claims.items()
        if (not verdict or claim.verdict == verdict)
        and all(word in f"{name} {claim.topic} {claim.claim} {claim.statement}".lower() for word in words)
    }


def claim_json(name: str, claim: Claim, library: Library) -> dict[str, Any]:
    """A claim with its sources and their check status; only citable ones count as sources."""
    item = {"id": name, **claim.model_dump(mode="json", exclude_none=True, exclude={"references"})}
    item["sources"] = [
        {"key": key, "citable": library.references[key].citable,
         **library.references[key].model_dump(mode="json", exclude_none=True)}
        for key in claim.references
    ]  # fmt: skip
    return item


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), content_type="application/json")
