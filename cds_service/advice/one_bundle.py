"""A FHIR Bundle of one patient as the hook requests that an EHR would have sent for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from cds_service.fhir import Need
from cds_service.fhir.at_hand import AtHand
from cds_service.fhir.opened import plain
from cds_service.fhir.repairs import spelt
from cds_service.fhir.searching import Search
from cds_service.terminology.index import Vocabulary


class NotOnePatient(ValueError):
    """The Bundle holds no Patient, or more than one."""


def is_hook_request(document: object) -> bool:
    """Whether a JSON document looks like a CDS Hooks call rather than FHIR."""
    return isinstance(document, dict) and "hook" in document and "context" in document


def hook_request(bundle: Mapping[str, Any], hook: str, needs: Iterable[Need], vocabulary: Vocabulary) -> dict[str, Any]:
    """The call of `hook` for the one patient in `bundle`, with a complete prefetch. `vocabulary`: with the codes of the
    site. Raises NotOnePatient, and TypeError where the Bundle holds what is no JSON of the wire."""
    held = AtHand(vocabulary)
    held.add(orjson.dumps({"resourceType": "Bundle", **bundle}))
    held.forget_deleted()
    people = {bytes(each.entry.resource) for each in held.people}
    if len(people) != 1:
        raise NotOnePatient(f"the Bundle holds {len(people)} Patient resources; it needs one")
    if held.of_several_servers:
        raise NotOnePatient("the Bundle names patients of more than one server; it needs one patient")
    found = held.answers([Search.of(need) for need in needs])
    prefetch = {key: orjson.loads(sent) if isinstance(sent, bytes) else plain(sent) for key, sent in found}
    context: dict[str, Any] = {"userId": "Practitioner/example", "patientId": held.people[0].id or ""}
    if hook != "patient-view":
        context["draftOrders"] = plain(held.orders())
    if hook == "order-select":
        context["selections"] = [f"{each.kind}/{each.id or ''}" for each in held.drafts]
    return {"hook": hook, "hookInstance": str(uuid4()), "context": context, "prefetch": prefetch}


def has_drafts(bundle: Mapping[str, Any]) -> bool:
    """Whether a Bundle holds an order that is not signed yet."""
    return any(_is_draft(each) for each in _resources(bundle))


def _resources(bundle: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = bundle.get("entry")
    for entry in listed if isinstance(listed, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            yield from _resources(resource) if resource.get("resourceType") == "Bundle" else (resource,)


def _is_draft(resource: Mapping[str, Any]) -> bool:
    return resource.get("status") == "draft" and spelt(str(resource.get("resourceType", ""))).endswith("Request")
