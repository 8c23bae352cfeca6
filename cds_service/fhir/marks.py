"""What is looked for in the bytes of resources: it is rare, and may stand anywhere in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson
from msgspec import Raw

from cds_service.fhir.identity import split_reference
from cds_service.fhir.repairs import spelt

# The names of elements that may change what a resource means.
_MODIFIERS: Final = (b'"modifierExtension"', b'"implicitRules"')
_SUBSETTED: Final = b'"SUBSETTED"'
# An element that names a medicine or a supplement, in a resource or in what it contains.
_MEDICINE: Final = re.compile(
    rb'"(?:medication(?:CodeableConcept|Reference)?|supplement|additive(?:Type|ProductName)?)"\s*:'
)
_KIND: Final = re.compile(rb'"resourceType"\s*:\s*"([A-Za-z]+)"')
# Few clients write a letter as an escape, and it would hide a name.
_LETTER: Final = re.compile(rb"\\u00(?:4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa])")
# How resources name the orders that they group.
_GROUPED: Final = {"action": ("resource",), "activity": ("reference", "plannedActivityReference")}
ORDERS: Final = ("MedicationRequest", "MedicationStatement")
"""What says that a medicine is taken, or is to be."""


def _plain(raw: bytes | Raw) -> bytes:
    """The bytes, with every letter written as itself."""
    sent = bytes(raw)
    if b"\\u00" not in sent or not _LETTER.search(sent):
        return sent
    try:
        return orjson.dumps(orjson.loads(sent))
    except orjson.JSONDecodeError:
        return sent


def modifiers(raw: bytes | Raw) -> int:
    """How many elements anywhere in it may change what it means."""
    sent = _plain(raw)
    return sum(sent.count(mark) for mark in _MODIFIERS)


def is_subsetted(raw: bytes | Raw) -> bool:
    """Whether it says that only a part of a resource was sent."""
    return _SUBSETTED in _plain(raw)


def names_medicine(raw: bytes | Raw) -> bool:
    """Whether an element names a medicine or a supplement."""
    return _MEDICINE.search(_plain(raw)) is not None


def kinds_in(raw: bytes | Raw) -> set[str]:
    """The kinds of a resource and of all that it holds, as FHIR spells them."""
    return {spelt(kind.decode()) for kind in set(_KIND.findall(_plain(raw)))}


def grouped_orders(raw: bytes | Raw) -> set[str]:
    """The orders of medicines that a RequestGroup or CarePlan groups: `Type/id`, or what stands there where that is
    none, such as a `urn:`."""
    found = set()
    for value in _grouped(orjson.loads(memoryview(raw))):
        listed = value if isinstance(value, list) else [value]
        for each in listed:
            reference = each.get("reference") if isinstance(each, dict) else each
            if not isinstance(reference, str):  # by identifier or in words
                found.add(str(each))
            elif not reference.startswith("#"):  # what is contained is looked for by what it names
                parts = split_reference(reference)
                if parts is None or parts[0] in ORDERS:
                    found.add("/".join(parts) if parts else reference)
    return found


def _grouped(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _grouped(each)
    elif isinstance(value, dict):
        for name, part in value.items():
            for each in part if name in _GROUPED and isinstance(part, list) else ():
                if isinstance(each, dict):
                    yield from (each[key] for key in _GROUPED[name] if each.get(key) is not None)
            yield from _grouped(part)
