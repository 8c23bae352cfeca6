"""Schemathesis on every endpoint: no 5xx and no unhandled exception, whatever is sent.

FUZZ_EXAMPLES sets how many calls are made of each kind: `FUZZ_EXAMPLES=2000 pytest tests/trust/test_fuzz.py -s` prints
the counts by status.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from cds_service.web.plan_question import PlanQuestion

ANY: dict[str, Any] = {}
FHIR = {
    "type": "object",
    "properties": {
        "resourceType": {"enum": ["Bundle", "Observation", "Patient", "MedicationRequest", "Condition", "x"]},
        "type": {"enum": ["searchset", "collection", 1]},
        "entry": {"type": "array", "maxItems": 3, "items": {"type": "object", "properties": {"resource": {
            "type": "object", "properties": {
                "resourceType": {"enum": ["Observation", "MedicationRequest", "Condition", "Bundle"]},
                "id": {"type": "string", "maxLength": 5}, "status": {"enum": ["final", "active", "draft", 3]},
                "subject": {"enum": [{"reference": "Patient/a"}, {"reference": "Patient/b"}, None, 1]},
                "code": {"enum": [{"coding": [{"system": "http://loinc.org", "code": "19123-9"}]}, {"text": "x"}, []]},
                "valueQuantity": ANY, "effectiveDateTime": ANY, "medicationCodeableConcept": ANY,
                "dosageInstruction": ANY, "contained": ANY,
            }}}}},
    },
}  # fmt: skip


DRAFTS = {
    "type": "object", "required": ["resourceType", "entry"],
    "properties": {
        "resourceType": {"const": "Bundle"}, "type": {"const": "collection"},
        "entry": {"type": "array", "maxItems": 3, "items": {"type": "object", "required": ["resource"], "properties": {
            "resource": {
                "type": "object", "required": ["resourceType", "id", "status", "subject"],
                "properties": {
                    "resourceType": {"enum": ["MedicationRequest", "ServiceRequest"]},
                    "id": {"type": "string", "pattern": "^[a-z]{1,5}$"}, "status": {"const": "draft"},
                    "subject": {"const": {"reference": "Patient/a"}},
                    "medicationCodeableConcept": {"enum": [{"text": "Magnesium oxide 400 MG"}, {"text": "x"}, {}]},
                    "dosageInstruction": ANY, "contained": ANY,
                },
            },
        }}},
    },
}  # fmt: skip


def hook_call(hook: str) -> dict[str, Any]:
    orders = hook != "patient-view"
    return {
        "type": "object",
        "required": ["hook", "hookInstance", "context"],
        "properties": {
            "hook": {"const": hook},
            "hookInstance": {"type": "string", "format": "uuid"},
            "fhirServer": {"type": "string"},
            "context": {
                "type": "object",
                "required": ["userId", "patientId", *(["draftOrders"] if orders else []),
                             *(["selections"] if hook == "order-select" else [])],
                "properties": {
                    "userId": {"enum": ["Practitioner/a", "Patient/a"]}, "patientId": {"enum": ["a", "b"]},
                    "encounterId": {"type": "string", "pattern": "^[A-Za-z0-9]{1,9}$"},
                    "draftOrders": DRAFTS if orders else FHIR,
                    "selections": {"type": "array", "items": {"enum": ["MedicationRequest/a"]}},
                },
            },
            "prefetch": {"type": "object", "properties": {
                "patient": {"enum": [{"resourceType": "Patient", "id": "a"}, None, 1]}, "serum_magnesium": FHIR,
                "medications": FHIR, "conditions": FHIR, "kidney": FHIR, "screener": ANY,
            }},
        },
    }  # fmt: skip


FEEDBACK = {
    "type": "object", "required": ["feedback"],
    "properties": {"feedback": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
        "type": "object", "required": ["card", "outcome", "outcomeTimestamp", "overrideReason"],
        "properties": {
            "card": {"type": "string", "format": "uuid"}, "outcome": {"const": "overridden"},
            "outcomeTimestamp": {"enum": ["2026-11-21T09:30:00Z", "2026-11-21T09:30:00.5+01:00"]},
            "overrideReason": {"type": "object", "required": ["userComment"], "properties": {
                "userComment": {"type": "string", "pattern": "^[a-z<>&;'\"]{1,20}$"},
                "reason": {"type": "object", "required": ["code"], "properties": {
                    "code": {"type": "string", "pattern": "^[a-z]{1,9}$"}, "system": {"enum": ["urn:x"]}}},
            }},
        },
    }}},
}  # fmt: skip


PLAN = PlanQuestion.model_json_schema(ref_template="#/components/schemas/{model}")
ANSWERS = ("200", "400", "404", "405", "410", "412", "413", "415", "422")
SERVICES = ("patient-view", "order-select", "order-sign")
PATHS = (
    "/evidence/{it}", "/evidence/{it}.json", "/claims/{it}", "/fhir/PlanDefinition/{it}", "/fhir/ValueSet/{it}",
    "/plan/{it}", "/plan/{it}.svg",
)  # fmt: skip
TEXT = {"type": "string", "minLength": 1, "maxLength": 60}


def operation(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {code: {"description": code} for code in ANSWERS},
    }


def reading(place: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    named = {"name": name, "in": place, "required": True, "schema": values}
    return {"parameters": [named], "responses": {code: {"description": code} for code in ANSWERS}}


DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "CDS Hooks", "version": "3.0.0"},
    "components": {"schemas": PLAN.pop("$defs")},
    "paths": {
        "/cds-services": {"get": {"responses": {"200": {"description": "services"}}}},
        **{f"/cds-services/magnesium-{hook}": {"post": operation(hook_call(hook))} for hook in SERVICES},
        "/cds-services/magnesium-patient-view/feedback": {"post": operation(FEEDBACK)},
        "/plan": {"post": operation(PLAN)},
        "/claims": {"get": reading("query", "q", {"type": "string"})},
        **{path: {"get": reading("path", "it", TEXT)} for path in PATHS},
    },
}
schema = schemathesis.openapi.from_dict(DESCRIPTION)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
# Any text is as described for a GET.
CALLS = [
    pytest.param(method.upper(), path, mode, id=f"{method} {path} {mode.value}")
    for path, item in DESCRIPTION["paths"].items()
    for method in item
    for mode in ([GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if method == "post" else [GenerationMode.POSITIVE])
]


@pytest.mark.parametrize(("method", "path", "mode"), CALLS)
def test_a32_no_call_breaks_the_service(app: Flask, method: str, path: str, mode: GenerationMode) -> None:
    told: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call(app=app)
        told[answer.status_code] += 1
        assert answer.status_code in (*map(int, ANSWERS), 308), answer.text
        if answer.status_code >= 400 and method == "POST":
            assert answer.json()["resourceType"] == "OperationOutcome"

    send()
    print(method, path, mode.value, dict(told))
    if method == "POST":
        assert sum(told.values()) >= EXAMPLES
        assert told[200 if mode is GenerationMode.POSITIVE else 400] > EXAMPLES / 10, told
