"""What real clients get wrong, mended by name.

A mend never invents clinical content: it moves what was sent into the place where FHIR wants it. Each one is counted
under its name.
"""

from __future__ import annotations

import re
from typing import Any

from cds_service.fhir.identity import UnsupportedFhirVersion

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
_SPELT = {
    name.lower(): name
    for name in (
        "Bundle", "OperationOutcome", "Patient", "Observation", "Condition", _ORDER, "MedicationStatement",
        "MedicationAdministration", "Medication", "Encounter", "QuestionnaireResponse", "ServiceRequest",
    )
}  # fmt: skip
_DEEPEST = 24


def mend(resource: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A mended copy and the names of what was mended (one per place)."""
    names: list[str] = []
    mended = _walk(resource, names, 0)
    kind = mended.get("resourceType")
    if isinstance(kind, str) and (spelt := _SPELT.get(kind.lower(), kind)) != kind:
        mended["resourceType"] = spelt
        names.append("resource_type_case")
    if mended.get("resourceType") == _ORDER and not mended.get("intent"):
        mended["intent"] = "order"
        names.append("intent_missing")
    if mended.get("resourceType") == "MedicationStatement" and isinstance(mended.get("dosage"), dict):
        mended["dosage"] = [mended["dosage"]]
        names.append("dosage_as_object")
    for element in ("dosageInstruction", "dosage"):
        for dosage in mended[element] if isinstance(mended.get(element), list) else ():
            if isinstance(dosage, dict) and _move_dose(dosage):
                names.append("dose_in_old_place")
    return mended, names


def _move_dose(dosage: dict[str, Any]) -> bool:
    """Puts a dose that stands where STU3 has it into the place of R4, beside the others."""
    old = {name: dosage.pop(name) for name in ("doseQuantity", "doseRange") if dosage.get(name)}
    stated = dosage.get("doseAndRate")
    if old:
        dosage["doseAndRate"] = [*(stated if isinstance(stated, list) else ()), old]
    return bool(old)


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


_OLD_TYPES = {
    "MedicationOrder": "DSTU2",
    "DiagnosticOrder": "DSTU2",
    "DeviceUseRequest": "DSTU2",
    "ProcedureRequest": "STU3",
    "ReferralRequest": "STU3",
    "EligibilityRequest": "STU3",
}
_OLD_FIELDS = {
    "Patient": {"careProvider": "DSTU2", "animal": "STU3"},
    "Condition": {"patient": "DSTU2", "context": "STU3"},
    "Observation": {"comments": "DSTU2", "comment": "STU3", "related": "STU3", "context": "STU3"},
    "MedicationRequest": {"context": "STU3", "definition": "STU3"},
    "MedicationStatement": {"wasNotTaken": "DSTU2", "patient": "DSTU2", "taken": "STU3"},
    "MedicationAdministration": {
        "wasNotGiven": "DSTU2",
        "patient": "DSTU2",
        "notGiven": "STU3",
    },
}


def check_announced(version: str | None) -> None:
    """Raises UnsupportedFhirVersion unless the announced version is absent, 4.x or 5.x."""
    if version is None or version.startswith(("4.", "5.")) or version in ("4", "5"):
        return
    names = {"0": "DSTU1", "1": "DSTU2", "3": "STU3"}
    raise UnsupportedFhirVersion("fhirVersion", names.get(version.split(".")[0], "unknown"))


def old_version(resource: dict[str, Any]) -> str:
    """The FHIR version before R4 whose shape a resource has, "" for none."""
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return ""
    if kind == "Condition" and isinstance(resource.get("clinicalStatus"), str):
        return "STU3"
    fields = _OLD_FIELDS.get(kind, {}).items()
    return _OLD_TYPES.get(kind) or next((version for field, version in fields if resource.get(field)), "")


def is_r5(resource: dict[str, Any], announced: str | None) -> bool:
    """Whether a resource is to be checked as R5: by its shape, else by what was announced."""
    kind = resource.get("resourceType")
    if kind in ("MedicationRequest", "MedicationStatement", "MedicationAdministration"):
        if "medicationCodeableConcept" in resource or "medicationReference" in resource:
            return False
        if "medication" in resource:
            return True
    if kind == "Encounter":
        return isinstance(resource.get("class"), list)
    return bool(announced and announced.startswith("5"))
