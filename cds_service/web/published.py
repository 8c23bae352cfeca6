"""Our content over HTTP for other machines: FHIR and JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.hooks.errors import FHIR_JSON
from cds_service.hooks.problems import Problem
from cds_service.publish.fhir import plan_definition, questionnaire, value_set
from cds_service.publish.rule_in_words import evidence_of


def artifacts_blueprint(current: CurrentRulebook, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Blueprint:
    """GET /fhir/PlanDefinition/<rule>, ValueSet/<concept>, Questionnaire/magnesium-intake; /evidence/<rule>.json."""
    blueprint = Blueprint("artifacts", __name__)

    def rulebook() -> Rulebook:
        return current.on(now().date())

    def rule_of(rule_id: str) -> LoadedRule:
        loaded = current.library.rules.get(rule_id)
        if loaded is None:
            raise Problem.of(404, "There is no rule with this id.")
        return loaded

    @blueprint.get("/fhir/PlanDefinition/<rule_id>")
    def plan(rule_id: str) -> Response:
        return _fhir(plan_definition(rule_of(rule_id), rulebook()))

    @blueprint.get("/fhir/ValueSet/<concept>")
    def value_set_of(concept: str) -> Response:
        entry = current.library.terminology.get(concept)
        if entry is None:
            raise Problem.of(404, "There is no concept with this id.")
        return _fhir(value_set(concept, entry, current.library))

    @blueprint.get("/fhir/Questionnaire/magnesium-intake")
    def screener() -> Response:
        return _fhir(questionnaire(current.library.screener))

    @blueprint.get("/evidence/<rule_id>.json")
    def evidence_json(rule_id: str) -> Response:
        body = orjson.dumps(evidence_of(rule_of(rule_id), rulebook()))
        return Response(body, content_type="application/json")

    return blueprint


def _fhir(resource: dict[str, Any]) -> Response:
    return Response(orjson.dumps(resource), content_type=FHIR_JSON)
