"""Schemathesis on the service's three endpoints: no 5xx and no unhandled exception, whatever is sent."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings

from tests.trust.support import body_for

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
        "hook": {"enum": ["patient-view", "order-select", "order-sign"]},
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
        "type": "object", "required": ["card", "outcome", "outcomeTimestamp"],
        "properties": {
            "card": {"type": "string", "format": "uuid"}, "outcome": {"enum": ["accepted", "overridden"]},
            "outcomeTimestamp": {"type": "string", "format": "date-time"},
            "acceptedSuggestions": {"type": "array", "items": {
                "type": "object", "properties": {"id": {"type": "string"}}}},
            "overrideReason": {"type": "object", "properties": {"userComment": {"type": "string"}, "reason": ANY}},
        },
    }}},
}  # fmt: skip


def operation(schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "service", "in": "path", "required": True, "schema": {
        "enum": ["magnesium-patient-view", "magnesium-order-select", "magnesium-order-sign"]}}  # fmt: skip
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
SENT: Counter[int] = Counter()


@pytest.fixture(scope="module")
def fuzzed(app: Flask) -> Flask:
    assert body_for(app)
    return app


@schema.parametrize()
@settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_a32_no_call_breaks_the_service(case: Any, fuzzed: Flask) -> None:
    answer = case.call(app=fuzzed)
    SENT[answer.status_code] += 1
    assert answer.status_code < 500, answer.text
    assert answer.status_code in (200, 204, 400, 404, 405, 412, 413, 415)
    if answer.status_code >= 400 and answer.content:
        assert answer.json()["resourceType"] == "OperationOutcome"


def test_enough_was_sent_and_some_of_it_was_answered() -> None:
    assert sum(SENT.values()) > 100
    assert SENT[200] > 10
    assert SENT[400] > 10
