"""Our content over HTTP for other machines: FHIR and JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import LoadedPage
from cds_service.content.rulebook import Rulebook
from cds_service.hooks.errors import FHIR_JSON, Problem
from cds_service.publish.fhir import plan_definition, questionnaire, value_set
from cds_service.publish.rule_in_words import evidence_of


def artifacts_blueprint(current: CurrentRulebook, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Blueprint:
    """GET /fhir/PlanDefinition/<page>, ValueSet/<concept>, Questionnaire/magnesium-intake; /evidence/<page>.json."""
    blueprint = Blueprint("artifacts", __name__)

    def rulebook() -> Rulebook:
        return current.on(now().date())

    def page_of(page_id: str) -> LoadedPage:
        loaded = current.library.pages.get(page_id)
        if loaded is None:
            raise Problem.of(404, "There is no page with this id.")
        return loaded

    @blueprint.get("/fhir/PlanDefinition/<page_id>")
    def plan(page_id: str) -> Response:
        return _fhir(plan_definition(page_of(page_id), rulebook()))

    @blueprint.get("/fhir/ValueSet/<concept>")
    def value_set_of(concept: str) -> Response:
        page = current.library.terminology.get(concept)
        if page is None:
            raise Problem.of(404, "There is no terminology page with this id.")
        return _fhir(value_set(concept, page, current.library))

    @blueprint.get("/fhir/Questionnaire/magnesium-intake")
    def screener() -> Response:
        return _fhir(questionnaire(current.library.screener))

    @blueprint.get("/evidence/<page_id>.json")
    def evidence_json(page_id: str) -> Response:
        body = orjson.dumps(evidence_of(page_of(page_id), rulebook()))
        return Response(body, content_type="application/json")

    return blueprint


def _fhir(resource: dict[str, Any]) -> Response:
    return Response(orjson.dumps(resource), content_type=FHIR_JSON)
