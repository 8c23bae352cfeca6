"""Our content as FHIR R4: PlanDefinition of a rule, ValueSet of a concept, the intake Questionnaire."""

from __future__ import annotations

from typing import Any

from cds_service.content.concept import Concept
from cds_service.content.library import Library, LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.content.screener import Screener
from cds_service.content.shared import Reference
from cds_service.publish.rule_in_words import in_force, in_words


def questionnaire(screener: Screener) -> dict[str, Any]:
    """The screener as a FHIR R4 Questionnaire; `experimental`, since it is not validated."""
    options = [
        {"valueCoding": {"system": screener.answer_system, "code": code, "display": answer.display}}
        for code, answer in screener.answers.items()
    ]
    return {
        "resourceType": "Questionnaire",
        "id": "magnesium-intake",
        "url": screener.canonical,
        "name": "MagnesiumIntake",
        "title": screener.title,
        "status": "active",
        "experimental": True,
        "subjectType": ["Patient"],
        "description": screener.description.strip(),
        "item": [
            {"linkId": name, "text": item.text, "type": "choice", "required": True, "answerOption": options}
            for name, item in screener.items.items()
        ],
    }


# Lists of codes of a concept, and of beginnings of codes, by the code system.
CODES = {"rxnorm": "rxnorm_ingredients", "atc": "atc", "snomed": "snomed", "icd10cm": "icd10cm", "icd10": "icd10"}
PREFIXES = {"atc": "atc_prefixes", "icd10cm": "icd10cm_prefixes", "icd9cm": "icd9cm"}
PLAN_TYPES = "http://terminology.hl7.org/CodeSystem/plan-definition-type"
CANONICAL = "urn:magnesium-cds"
HOOK_TRIGGER = "named-event"


def plan_definition(loaded: LoadedRule, rulebook: Rulebook) -> dict[str, Any]:
    """An ECA rule (R4) with its citations, quality of evidence and strength of recommendation."""
    rule, library = loaded.rule, rulebook.library
    scale = library.evidence
    certainty, strength = scale.certainty[rule.evidence.certainty], scale.strength[rule.evidence.strength]
    lines = [f"{head}: {'; '.join(text)}" for head, text in in_words(rule, library, in_force(loaded, rulebook))]
    hooks = [library.services[name].hook for name in rule.services]
    return {
        "resourceType": "PlanDefinition",
        "id": loaded.id.replace("_", "-"),
        "url": f"{CANONICAL}:rule:{loaded.id}",
        "version": loaded.version,
        "name": _computable(loaded.id),
        "title": rule.title,
        "type": {"coding": [{"system": PLAN_TYPES, "code": "eca-rule"}]},
        "status": rule.status,
        "experimental": True,
        "description": rule.why.strip(),
        "usage": rule.known_limits.strip(),
        **({"publisher": loaded.package.publisher} if loaded.package else {}),
        "lastReviewDate": rule.reviewed.date.isoformat(),
        "relatedArtifact": [_citation(library.references[key]) for key in rule.evidence.references],
        "action": [
            {
                "title": rule.title,
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
                        **_citation(library.references[rule.evidence.references[0]]),
                    }
                ],
            }
        ],
    }  # fmt: skip


def _computable(name: str) -> str:
    """A name that programs may use: no underscore, no hyphen."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))


def _coded(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _citation(reference: Reference) -> dict[str, Any]:
    parts = [
        reference.title,
        reference.issuer,
        str(reference.year) if reference.year else None,
        reference.version,
        f"Section {reference.section}" if reference.section else None,
        reference.identifier,
    ]
    made: dict[str, Any] = {"type": "citation", "citation": ". ".join(part for part in parts if part)}
    return made | ({"url": reference.url} if reference.url else {})


def value_set(concept: str, entry: Concept, library: Library) -> dict[str, Any]:
    """The codes of a concept. Prefix matching is a regex filter on `code`; members are included by reference."""
    include: list[dict[str, Any]] = []
    for name, row in library.code_systems.items():
        codes = getattr(entry, CODES[name]) if name in CODES else []
        if codes := [*codes, *(item.code for item in entry.codes if item.system == name)]:
            include.append({"system": row.uris[0], "concept": [{"code": code} for code in codes]})
        for prefix in getattr(entry, PREFIXES[name]) if name in PREFIXES else ():
            pattern = prefix.replace(".", "\\.") + ".*"
            include.append({"system": row.uris[0], "filter": [{"property": "code", "op": "regex", "value": pattern}]})
    others = library.terminology.items()
    if members := [name for name, other in others if name in entry.members or concept in other.member_of]:
        include.append({"valueSet": [f"{CANONICAL}:concept:{name}" for name in members]})
    made: dict[str, Any] = {
        "resourceType": "ValueSet",
        "id": concept.replace("_", "-")[:64],
        "url": f"{CANONICAL}:concept:{concept}",
        "name": _computable(concept),
        "title": entry.title,
        "status": "active",
        "experimental": True,
        "date": entry.checked.date.isoformat(),
        "description": f"Codes read in: {entry.checked.source}",
    }
    return made | ({"compose": {"include": include}} if include else {})
