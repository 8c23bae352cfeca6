"""What real clients get wrong, mended by name.

A mend never invents clinical content: it moves what was sent into the place where FHIR wants it. Each one is counted
under its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Raw
from msgspec.json import Decoder

from cds_service.fhir.elements import Bundle, Concept, DosageView, Entry
from cds_service.fhir.identity import UNREADABLE, UnsupportedFhirVersion

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
# Elements that name something; words in their place are its text.
_NAMED = frozenset({"medicationCodeableConcept", "route", "category", "note", "reasonCode"})
_ORDER = "MedicationRequest"
_DOSES = {_ORDER: "dosageInstruction", "MedicationStatement": "dosage"}
_read_dosage = Decoder(DosageView).decode
_read_concept = Decoder(Concept).decode
_SPELT = {
    name.lower(): name
    for name in (
        "Bundle", "OperationOutcome", "Patient", "Observation", "Condition", _ORDER, "MedicationStatement",
        "MedicationAdministration", "Medication", "Encounter", "QuestionnaireResponse", "ServiceRequest",
    )
}  # fmt: skip
_DEEPEST = 24


def spelt(kind: str) -> str:
    """A type of resource that is read, as FHIR spells it, whatever the case of its letters; any other as it is."""
    return _SPELT.get(kind.lower(), kind)


def mend(resource: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A mended copy and the names of what was mended (one per place)."""
    names: list[str] = []
    mended = _walk(resource, names, 0)
    kind = mended.get("resourceType")
    if isinstance(kind, str) and spelt(kind) != kind:
        mended["resourceType"] = spelt(kind)
        names.append("resource_type_case")
    if mended.get("resourceType") == _ORDER and not mended.get("intent"):
        mended["intent"] = "order"
        names.append("intent_missing")
    if mended.get("resourceType") == "MedicationStatement" and isinstance(mended.get("dosage"), dict):
        mended["dosage"] = [mended["dosage"]]
        names.append("dosage_as_object")
    for element in _DOSES.values():
        if isinstance(mended.get(element), list) and any(isinstance(each, str) for each in mended[element]):
            mended[element] = [{"text": each} if isinstance(each, str) else each for each in mended[element]]
            names.append("dosage_as_text")
        for dosage in mended[element] if isinstance(mended.get(element), list) else ():
            if isinstance(dosage, dict) and _move_dose(dosage):
                names.append("dose_in_old_place")
    return mended, names


def spare_doses(resource: dict[str, Any], shown: bool = True) -> dict[str, Any] | None:
    """The same order, in which instructions whose elements have other JSON types than FHIR gives them are marked as not
    read, or left out where they are not to be `shown`; None where there are none.

    Of such an instruction its words and its route stay, for whoever looks at what the order says; no dose is read.
    """
    element = _DOSES.get(str(resource.get("resourceType")), "")
    given = resource.get(element)
    if given is None:
        return None
    listed = given if isinstance(given, list) else [given]
    kept = [each for each in listed if _is_read(_read_dosage, each)]
    if isinstance(given, list) and len(kept) == len(listed):
        return None
    if not shown:
        rest = {key: value for key, value in resource.items() if key != element}
        return rest | ({element: kept} if kept else {})
    return resource | {element: [each if _is_read(_read_dosage, each) else _words_of(each) for each in listed]}


def _words_of(dosage: Any) -> dict[str, Any]:
    said = dosage if isinstance(dosage, Mapping) else {}
    found: dict[str, Any] = {"$unread": True}
    if isinstance(said.get("text"), str):
        found["text"] = said["text"]
    if _is_read(_read_concept, said.get("route")):
        found["route"] = said["route"]
    return found


def _is_read(decode: Any, value: Any) -> bool:
    try:
        decode(orjson.dumps(value))
    except UNREADABLE:
        return False
    return True


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
    elif isinstance(item, str) and (key in _NAMED or key == "timing"):
        names.append(f"{_snake(key)}_as_text")
        item = {"text": item} if key in _NAMED else {"code": {"text": item}}
    if isinstance(item, dict):
        return _walk(item, names, depth + 1)
    if isinstance(item, list):
        if key in _NAMED:
            item = [{"text": each} if isinstance(each, str) else each for each in item]
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


def as_bundle(raw: bytes | Raw) -> Bundle | None:
    """A list of resources where a Bundle belongs; an empty one says nothing."""
    try:
        resources = _read_list(raw)
    except UNREADABLE:
        return None
    return Bundle(entry=[Entry(resource=each) for each in resources]) if resources else None


_read_list = Decoder(list[Raw]).decode


def as_dict(raw: bytes | Raw) -> dict[str, Any] | None:
    """A resource as a dict, None where it is no object."""
    try:
        resource = orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError:
        return None
    return resource if isinstance(resource, dict) else None
