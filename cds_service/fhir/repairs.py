"""What real clients get wrong, mended by name.

A mend never invents clinical content: it moves what was sent into the place where FHIR wants it. Each one is counted
under its name.
"""

from __future__ import annotations

import re
from typing import Any

# Element names that are lists wherever they occur in the resources that we read.
_LISTS = frozenset(
    {
        "additionalInstruction", "appliesTo", "category", "coding", "component", "contained", "dayOfWeek",
        "doseAndRate", "dosageInstruction", "entry", "hasMember", "interpretation", "link", "note", "reasonCode",
        "reasonReference", "referenceRange", "timeOfDay", "when",
    }
)  # fmt: skip
# Element names that are single objects wherever they occur there.
_SINGLE = frozenset(
    {
        "boundsDuration", "boundsPeriod", "clinicalStatus", "dispenseRequest", "doseQuantity", "effectivePeriod",
        "medicationCodeableConcept", "medicationReference", "repeat", "route", "subject",
        "timing", "validityPeriod", "valueQuantity", "verificationStatus",
    }
)  # fmt: skip
_ORDER = "MedicationRequest"
_DEEPEST = 24


def mend(resource: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A mended copy and the names of what was mended (one per place)."""
    names: list[str] = []
    mended = _walk(resource, names, 0)
    if mended.get("resourceType") == _ORDER and not mended.get("intent"):
        mended["intent"] = "order"
        names.append("intent_missing")
    if mended.get("resourceType") == "MedicationStatement" and isinstance(mended.get("dosage"), dict):
        mended["dosage"] = [mended["dosage"]]
        names.append("dosage_as_object")
    return mended, names


def _walk(value: dict[str, Any], names: list[str], depth: int) -> dict[str, Any]:
    return {key: _mend(key, item, names, depth) for key, item in value.items()}


def _mend(key: str, item: Any, names: list[str], depth: int) -> Any:
    if depth > _DEEPEST:
        return item
    if key in _LISTS and isinstance(item, dict | str):
        names.append(f"{_snake(key)}_as_object" if isinstance(item, dict) else f"{_snake(key)}_as_text")
        item = [item]
    elif key in _SINGLE and isinstance(item, list) and len(item) == 1:
        names.append(f"{_snake(key)}_as_list")
        item = item[0]
    if isinstance(item, dict):
        return _walk(item, names, depth + 1)
    if isinstance(item, list):
        return [_walk(each, names, depth + 1) if isinstance(each, dict) else each for each in item]
    return item


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), name)
