"""Our content over HTTP: web pages of rules and claims, and the same as JSON and FHIR for other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Response, render_template, request

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import Library, LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.content.shared import Claim
from cds_service.hooks.errors import FHIR_JSON
from cds_service.hooks.problems import Problem
from cds_service.publish import fhir
from cds_service.publish.changes import feed, feed_json, title_of
from cds_service.publish.rule_in_words import evidence_of, rule_view

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
MAX_QUERY = 100
T = TypeVar("T")


def html_response(text: str, more: Mapping[str, str] | None = None) -> Response:
    """A web page with a strict policy: nothing from or to elsewhere, no script, no framing. `more`: more headers."""
    headers = {**HEADERS, "Content-Security-Policy": CSP, **(more or {})}
    return Response(text, content_type="text/html; charset=utf-8", headers=headers)


def content_blueprint(
    current: CurrentRulebook, dev: bool, now: Callable[[], datetime], base: Callable[[], str]
) -> Blueprint:
    """GET /evidence, /claims (searchable by ?q= and ?verdict=), one of each below it, all as .json too;
    /evidence/changes, also as .atom, with addresses below `base`; and
    /fhir/PlanDefinition/<rule>, /fhir/ValueSet/<concept>, /fhir/Questionnaire/magnesium-intake.

    The pages are readable without JavaScript and without login.
    """
    blueprint = Blueprint("content", __name__, template_folder="templates", static_folder="static",
                          static_url_path="/static")  # fmt: skip

    def rulebook() -> Rulebook:
        return current.on(now().date())

    def page(template: str, **values: Any) -> Response:
        return html_response(render_template(template, dev=dev, library=current.library, **values))

    @blueprint.get("/evidence")
    def rules() -> Response:
        folders: dict[str, list[LoadedRule]] = {}
        for loaded in sorted(current.library.rules.values(), key=lambda item: item.rule.title):
            folders.setdefault(loaded.folder, []).append(loaded)
        return page("evidence_index.html", folders=folders)

    @blueprint.get("/evidence/changes")
    def changes() -> Response:
        return page("changes.html", entries=feed(current.library))

    @blueprint.get("/evidence/changes.atom")
    def changes_atom() -> Response:
        text = render_template("changes.atom.xml", library=current.library, entries=feed(current.library), base=base(),
                               title_of=title_of)  # fmt: skip
        return Response(text, content_type="application/atom+xml; charset=utf-8")

    @blueprint.get("/evidence/changes.json")
    def changes_json() -> Response:
        return _json(feed_json(current.library, base()))

    @blueprint.get("/evidence/<rule_id>")
    def rule(rule_id: str) -> Response:
        return page("evidence_page.html", **rule_view(_known(current.library.rules, rule_id, "rule"), rulebook()))

    @blueprint.get("/evidence/<rule_id>.json")
    def rule_json(rule_id: str) -> Response:
        return _json(evidence_of(_known(current.library.rules, rule_id, "rule"), rulebook()))

    def asked(name: str) -> str:
        return request.args.get(name, "")[:MAX_QUERY].strip()

    @blueprint.get("/claims")
    def claims() -> Response:
        query, verdict = asked("q"), asked("verdict")
        verdicts = sorted({claim.verdict for claim in current.library.claims.values()})
        found = search(current.library, query, verdict)
        return page("claims.html", claims=found, query=query, verdict=verdict, verdicts=verdicts)

    @blueprint.get("/claims.json")
    def claims_json() -> Response:
        found = search(current.library, asked("q"), asked("verdict"))
        return _json({"claims": [claim_json(name, claim, current.library) for name, claim in found.items()]})

    @blueprint.get("/claims/<claim_id>")
    def claim(claim_id: str) -> Response:
        return page("claim.html", name=claim_id, claim=_known(current.library.claims, claim_id, "claim"))

    @blueprint.get("/claims/<claim_id>.json")
    def one_claim_json(claim_id: str) -> Response:
        return _json(claim_json(claim_id, _known(current.library.claims, claim_id, "claim"), current.library))

    @blueprint.get("/fhir/PlanDefinition/<rule_id>")
    def plan_definition(rule_id: str) -> Response:
        return _json(fhir.plan_definition(_known(current.library.rules, rule_id, "rule"), rulebook()), FHIR_JSON)

    @blueprint.get("/fhir/ValueSet/<concept>")
    def value_set(concept: str) -> Response:
        entry = _known(current.library.terminology, concept, "concept")
        return _json(fhir.value_set(concept, entry, current.library), FHIR_JSON)

    @blueprint.get("/fhir/Questionnaire/magnesium-intake")
    def questionnaire() -> Response:
        return _json(fhir.questionnaire(current.library.screener), FHIR_JSON)

    return blueprint


def _known(listed: Mapping[str, T], name: str, kind: str) -> T:
    """The one of this name. Raises Problem 404."""
    if name not in listed:
        raise Problem.of(404, f"There is no {kind} with this id.", error="no-such-entry")
    return listed[name]


def search(library: Library, query: str, verdict: str) -> dict[str, Claim]:
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


def _json(body: dict[str, Any], kind: str = "application/json") -> Response:
    return Response(orjson.dumps(body), content_type=kind)
