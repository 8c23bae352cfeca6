"""Schemathesis on the service's three endpoints: no 5xx and no unhandled exception, whatever is sent."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

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
CALL = {
    "type": "object",
    "required": ["hook", "hookInstance", "context"],
    "properties": {
        "hook": {"const": "patient-view"},
        "hookInstance": {"type": "string", "format": "uuid"},
        "fhirServer": {"type": "string"},
        "context": {
            "type": "object", "required": ["userId", "patientId"],
            "properties": {
                "userId": {"enum": ["Practitioner/a", "Patient/a"]}, "patientId": {"enum": ["a", "b"]},
                "encounterId": {"type": "string", "pattern": "^[A-Za-z0-9]{1,9}$"}, "draftOrders": FHIR,
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


def operation(schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "service", "in": "path", "required": True, "schema": {
        "enum": ["magnesium-patient-view"]}}  # fmt: skip
    answers = {code: {"description": code} for code in ("200", "400", "404", "405", "412", "413", "415")}
    return {
        "parameters": [named],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": answers,
    }


DESCRIPTION = {
    "openapi": "3.1.0",
    "info": {"title": "CDS Hooks", "version": "3.0.0"},
    "paths": {
        "/cds-services": {"get": {"responses": {"200": {"description": "services"}}}},
        "/cds-services/{service}": {"post": operation(CALL)},
        "/cds-services/{service}/feedback": {"post": operation(FEEDBACK)},
    },
}
schema = schemathesis.openapi.from_dict(DESCRIPTION)
EXAMPLES = 40


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "not so"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/cds-services"), ("POST", "/cds-services/{service}"), ("POST", "/cds-services/{service}/feedback")],
)
def test_a32_no_call_breaks_the_service(app: Flask, method: str, path: str, mode: GenerationMode) -> None:
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        mode = GenerationMode.POSITIVE  # there is nothing in it that could be wrong
    told: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call(app=app)
        told[answer.status_code] += 1
        assert answer.status_code in (200, 400, 404, 412, 413, 415), answer.text
        if answer.status_code >= 400:
            assert answer.json()["resourceType"] == "OperationOutcome"

    send()
    if method == "POST":
        assert sum(told.values()) >= EXAMPLES
        assert told[200 if mode is GenerationMode.POSITIVE else 400] > EXAMPLES / 10, told
