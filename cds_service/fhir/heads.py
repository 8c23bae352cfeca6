"""The head of a resource: what it is and whose, and what else is asked of it before it is read as a whole."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from cds_service.fhir.elements import NOTHING, Reference
from cds_service.fhir.identity import UNREADABLE
from cds_service.fhir.repairs import as_dict, spelt


class Head(Struct, gc=False):
    """What may be of any JSON type in a resource that we do not read stands as it was sent."""

    resourceType: str
    id: str | None = None
    status: str | None = None
    subject: Reference | None = None
    patient: Reference | None = None
    contained: list[Raw] | None = None
    medicationReference: Reference | None = None
    specimen: Raw = NOTHING
    code: Raw = NOTHING
    category: Raw = NOTHING
    component: Raw = NOTHING

    @property
    def people(self) -> list[str]:
        """Whose it says that it is: each reference once."""
        named = (each.reference for each in (self.subject, self.patient) if each is not None)
        return list(dict.fromkeys(filter(None, named)))


class _Loose(Head, gc=False):
    """Of a resource that is not as FHIR has it: it may name several people."""

    named: list[str] = []

    @property
    def people(self) -> list[str]:
        return self.named


read_head = Decoder(Head).decode


def head_of(raw: bytes | Raw) -> Head | None:
    """The head of a resource, its type as FHIR spells it; None where it is no object.

    Of one that is not as FHIR has it, whatever looks like a patient is read: it is the reader's to say that the rest
    cannot be.
    """
    try:
        head = read_head(raw)
    except UNREADABLE:
        resource = as_dict(raw)
        if resource is None:
            return None
        head = _loosely(resource)
    head.resourceType = spelt(head.resourceType)
    return head


def _loosely(resource: dict[str, Any]) -> Head:
    kind, name, status = (text_of(resource.get(key)) for key in ("resourceType", "id", "status"))
    within = resource.get("contained")
    named = resource.get("medicationReference")
    medication = text_of(named.get("reference")) if isinstance(named, dict) else None
    return _Loose(
        kind or "",
        name,
        status,
        subject=None,
        patient=None,
        named=references_in(resource),
        contained=[Raw(orjson.dumps(each)) for each in (within if isinstance(within, list) else [within])],
        medicationReference=Reference(medication) if medication else None,
        **{key: Raw(orjson.dumps(resource[key])) for key in _AS_SENT if key in resource},
    )


_AS_SENT = ("specimen", "code", "category", "component")


def references_in(resource: dict[str, Any]) -> list[str]:
    """Whose a resource says that it is, each once: whatever looks like a reference is one."""
    found: dict[str, None] = {}
    for value in (resource.get("subject"), resource.get("patient")):
        for each in value if isinstance(value, list) else [value]:
            reference = each.get("reference") if isinstance(each, dict) else each
            if isinstance(reference, str) and reference:
                found[reference] = None
    return list(found)


def is_kind(name: str) -> bool:
    """Whether it may be the name of a type of FHIR's."""
    return name[:1].isupper() and name.isalpha()


def text_of(value: object) -> str | None:
    """The value where it is text, else None."""
    return value if isinstance(value, str) else None
