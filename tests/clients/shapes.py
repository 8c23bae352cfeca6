"""Calls in the shapes that EHRs document (docs/ehrs/), made of any call of ours."""

from __future__ import annotations

import copy
import json
import re
from typing import Any
from uuid import uuid4

Body = dict[str, Any]
EPIC_BASE = "https://ehr.example/interconnect/api/FHIR/R4"
# Scopes as Epic's page prints them: names of APIs, some with blanks, one cut off.
EPIC_SCOPE = (
    "ALLERGYINTOLERANCE.READ Observation.Read (Labs) (R4) Observation.Search (Labs) (R4) PATIENT.READ CONDITION.SEARCH "
    "MedicationRequest.Search (R4) Medication.Read (R4) MedicationStatement.Search (R4) Encounter.Read (R4) "
    "EPIC.FHIR.R4.SERVICES.SERVICEREQUEST.CREATE condition.create(diagn"
)
ORDER_ID, MEDICATION_ID, CONDITION_ID = 216, 109, 88


def long_id(name: str, length: int = ORDER_ID) -> str:
    """An id of this length that begins with `name`: letters, digits, dot and hyphen."""
    return (name + ".-Br9gCwdOzQ8wSrsM04QFoz882hxQZKBulF4smVj2SxHWfesiTZ1qsgBez8Rdeb2Gpb" * 9)[:length]


def epic(body: Body, trigger: str = "23", order_id: int = ORDER_ID, medication_id: int = MEDICATION_ID) -> Body:
    """The same call as Epic sends it: long ids, its own extension and scopes, and the drug of an order as a Medication
    beside it."""
    call = copy.deepcopy(body)
    context = call["context"]
    context["userId"] = f"PractitionerRole/e-{uuid4()}"
    call["extension"] = {
        "com.epic.cdshooks.request.bpa-trigger-action": trigger,
        "com.epic.cdshooks.request.cds-hooks-specification-version": "1.0",
        "com.epic.cdshooks.request.fhir-version": "R4",
    }
    entries = context.get("draftOrders", {}).get("entry", [])
    for entry in list(entries):
        order = entry["resource"]
        entry.pop("fullUrl", None)
        order["id"] = long_id(order["id"], order_id)
        if concept := order.pop("medicationCodeableConcept", None):
            name = long_id("eMed" + order["id"][:8], medication_id)
            shown = concept.get("text") or next((c["display"] for c in concept.get("coding", ()) if "display" in c), "")
            order["medicationReference"] = {"reference": f"Medication/{name}"} | ({"display": shown} if shown else {})
            entries.append({"resource": {"resourceType": "Medication", "id": name, "code": concept}})
    if "selections" in context:
        context["selections"] = [
            re.sub("/(.*)", lambda found: "/" + long_id(found[1], order_id), reference)
            for reference in context["selections"]
        ]
    for entry in call.get("prefetch", {}).get("conditions", {}).get("entry", []):
        entry["resource"]["id"] = long_id(entry["resource"]["id"], CONDITION_ID)
    return call


def oracle(body: Body) -> Body:
    """The same call as Oracle Health sends it: no prefetch, and a token of SMART v1 for the patient."""
    call = {name: value for name, value in copy.deepcopy(body).items() if name != "prefetch"}
    scope = "patient/Patient.read,patient/Observations.read,patient/Condition.read,patient/MedicationRequest.read"
    token = {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "scope": scope, "subject": "cds"}
    return call | {"fhirAuthorization": token | {"patient": body["context"]["patientId"]}}


def sandbox(body: Body) -> Body:
    """The same call as the CDS Hooks Sandbox sends it: a Bundle without type, the category of a draft an object."""
    call: Body = json.loads(json.dumps(body))
    drafts = call["context"].get("draftOrders")
    if drafts:
        drafts.pop("type", None)
        for entry in drafts.get("entry", []):
            if isinstance(entry["resource"].get("category"), list):
                entry["resource"]["category"] = entry["resource"]["category"][0]
    return call
