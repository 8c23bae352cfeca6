"""A FHIR Bundle of one patient as the hook requests that an EHR would have sent for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from cds_service.fhir import Need
from cds_service.fhir.searching import Search, codes_of

Entry = dict[str, Any]


class NotOnePatient(ValueError):
    """The Bundle holds no Patient, or more than one."""


def is_hook_request(document: object) -> bool:
    """Whether a JSON document looks like a CDS Hooks call rather than FHIR."""
    return isinstance(document, dict) and "hook" in document and "context" in document


def hook_request(bundle: Mapping[str, Any], hook: str, needs: Iterable[Need]) -> dict[str, Any]:
    """The call of `hook` for the one patient in `bundle`, with a complete prefetch. Raises NotOnePatient."""
    resources = _entries(bundle)
    patients = [entry for entry in resources if entry["resource"].get("resourceType") == "Patient"]
    if len(patients) != 1:
        raise NotOnePatient(f"the Bundle holds {len(patients)} Patient resources; it needs one")
    patient = patients[0]["resource"]
    drafts = [entry for entry in resources if _is_draft(entry["resource"])]
    kept = [entry for entry in resources if not _is_draft(entry["resource"])]
    prefetch: dict[str, Any] = {}
    for search in map(Search.of, needs):
        if search.kind == "Patient":
            prefetch[search.key] = patient
            continue
        alike = [entry for entry in kept if entry["resource"].get("resourceType") == search.kind]
        found_by = [
            entry
            for entry in alike
            if search.finds(entry["resource"].get("status"), codes_of(entry["resource"].get("code")))
        ]
        matches = [{**entry, "search": {"mode": "match"}} for entry in found_by]
        # The Patient comes along as an include where references may name it by its fullUrl.
        included = [{**patients[0], "search": {"mode": "include"}}] if "fullUrl" in patients[0] else []
        found = [*included, *matches]
        if search.kind.startswith("Medication"):
            found += [entry for entry in kept if entry["resource"].get("resourceType") == "Medication"]
        # However many were asked for, these are all.
        prefetch[search.key] = {"resourceType": "Bundle", "type": "searchset", "total": len(matches), "entry": found}
    context: dict[str, Any] = {"userId": "Practitioner/example", "patientId": patient.get("id", "")}
    if hook != "patient-view":
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": drafts}
    if hook == "order-select":
        context["selections"] = [
            f"{entry['resource']['resourceType']}/{entry['resource'].get('id', '')}" for entry in drafts
        ]
    return {"hook": hook, "hookInstance": str(uuid4()), "context": context, "prefetch": prefetch}


def has_drafts(bundle: Mapping[str, Any]) -> bool:
    """Whether a Bundle holds an order that is not signed yet."""
    return any(_is_draft(entry["resource"]) for entry in _entries(bundle))


def _entries(bundle: Mapping[str, Any]) -> list[Entry]:
    listed = bundle.get("entry")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry.get("resource"), dict)]


def _is_draft(resource: Mapping[str, Any]) -> bool:
    return resource.get("status") == "draft" and str(resource.get("resourceType", "")).endswith("Request")
