"""Our content as FHIR R4: PlanDefinition of a page, ValueSet of a concept, the intake Questionnaire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import Library, LoadedPage
from cds_service.content.rulebook import Rulebook
from cds_service.content.screener import questionnaire
from cds_service.content.shared import Reference
from cds_service.content.terminology import TerminologyPage
from cds_service.hooks.errors import FHIR_JSON, Problem
from cds_service.hooks.evidence import in_force, page_view
from cds_service.hooks.logic import in_words

SYSTEMS = {
    "rxnorm_ingredients": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "atc": "http://www.whocc.no/atc",
    "snomed": "http://snomed.info/sct",
    "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
}
PREFIXES = {"atc_prefixes": SYSTEMS["atc"], "icd10cm_prefixes": SYSTEMS["icd10cm"]}
LOINC = "http://loinc.org"
PLAN_TYPES = "http://terminology.hl7.org/CodeSystem/plan-definition-type"
CANONICAL = "urn:magnesium-cds"
HOOK_TRIGGER = "named-event"


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


def evidence_of(loaded: LoadedPage, rulebook: Rulebook) -> dict[str, Any]:
    """What the page's web page shows, machine-readable: the 13 source attributes among it."""
    view, page, library = page_view(loaded, rulebook), loaded.page, rulebook.library
    return {
        "page": loaded.id,
        "version": loaded.version,
        "title": page.title,
        "status": page.status,
        "reviewed": page.reviewed.model_dump(mode="json"),
        "why": page.why.strip(),
        "knownLimits": page.known_limits.strip(),
        "evidence": page.evidence.model_dump(mode="json", exclude_none=True),
        "references": [
            {"key": key, **library.references[key].model_dump(mode="json", exclude_none=True)}
            for key in page.evidence.references
        ],
        "logic": [{"part": head, "lines": lines} for head, lines in view["logic"]],
        "thresholds": [
            {"name": row["limit"].name, "label": row["limit"].label, "value": str(row["limit"].value),
             "unit": row["limit"].unit, "site": row["limit"].site, "reference": row["limit"].reference}
            for row in view["limits"]
        ],
        "sourceAttributes": [
            {"number": item.number, "name": item.name, "value": value} for item, value in view["attributes"]
        ],
        "claims": page.claims,
    }  # fmt: skip


def plan_definition(loaded: LoadedPage, rulebook: Rulebook) -> dict[str, Any]:
    """An ECA rule (R4) with its citations, quality of evidence and strength of recommendation."""
    page, library = loaded.page, rulebook.library
    scale = library.evidence
    certainty, strength = scale.certainty[page.evidence.certainty], scale.strength[page.evidence.strength]
    lines = [f"{head}: {'; '.join(text)}" for head, text in in_words(page, library, in_force(loaded, rulebook))]
    hooks = [library.services[name].hook for name in page.services]
    return {
        "resourceType": "PlanDefinition",
        "id": loaded.id.replace("_", "-"),
        "url": f"{CANONICAL}:page:{loaded.id}",
        "version": loaded.version,
        "name": "".join(part.capitalize() for part in loaded.id.split("_")),
        "title": page.title,
        "type": {"coding": [{"system": PLAN_TYPES, "code": "eca-rule"}]},
        "status": page.status,
        "experimental": True,
        "description": page.why.strip(),
        "usage": page.known_limits.strip(),
        "lastReviewDate": page.reviewed.date.isoformat(),
        "relatedArtifact": [_citation(library.references[key]) for key in page.evidence.references],
        "action": [
            {
                "title": page.title,
                "description": " ".join(lines),
                "trigger": [{"type": HOOK_TRIGGER, "name": hook} for hook in hooks],
                "documentation": [
                    {
                        "extension": [
                            {"url": scale.certainty_extension,
                             "valueCodeableConcept": _coded(scale.certainty_system, certainty.code, certainty.display)},
                            {"url": scale.strength_extension,
                             "valueCodeableConcept": _coded(scale.strength_system, strength.code, strength.display)},
                        ],
                        **_citation(library.references[page.evidence.references[0]]),
                    }
                ],
            }
        ],
    }  # fmt: skip


def _coded(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _citation(reference: Reference) -> dict[str, Any]:
    parts = [
        reference.title,
        reference.publisher,
        str(reference.year) if reference.year else None,
        reference.identifier,
    ]
    made: dict[str, Any] = {"type": "citation", "citation": ". ".join(part for part in parts if part)}
    return made | ({"url": reference.url} if reference.url else {})


def value_set(concept: str, page: TerminologyPage, library: Library) -> dict[str, Any]:
    """The codes of a concept. Prefix matching is a regex filter on `code`; members are included by reference."""
    include: list[dict[str, Any]] = []
    for field, system in SYSTEMS.items():
        codes = getattr(page, field)
        if codes:
            include.append({"system": system, "concept": [{"code": code} for code in codes]})
    for field, system in PREFIXES.items():
        for prefix in getattr(page, field):
            pattern = prefix.replace(".", "\\.") + ".*"
            include.append({"system": system, "filter": [{"property": "code", "op": "regex", "value": pattern}]})
    if page.loinc:
        include.append({"system": LOINC, "concept": [{"code": item.code} for item in page.loinc]})
    members = [*page.members, *(name for name, other in library.terminology.items() if concept in other.member_of)]
    if members:
        include.append({"valueSet": [f"{CANONICAL}:concept:{name}" for name in dict.fromkeys(members)]})
    made: dict[str, Any] = {
        "resourceType": "ValueSet",
        "id": concept.replace("_", "-")[:64],
        "url": f"{CANONICAL}:concept:{concept}",
        "name": "".join(part.capitalize() for part in concept.split("_")),
        "title": page.title,
        "status": "active",
        "experimental": True,
        "date": page.checked.date.isoformat(),
        "description": f"Codes read in: {page.checked.source}",
    }
    return made | ({"compose": {"include": include}} if include else {})


def _fhir(resource: dict[str, Any]) -> Response:
    return Response(orjson.dumps(resource), content_type=FHIR_JSON)
