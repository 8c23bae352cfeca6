"""Which FHIR version is it? R4 and R5 are read; older shapes are named and refused, because their meaning differs."""

from __future__ import annotations

from typing import Any

from cds_service.fhir.problems import UnsupportedFhirVersion

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
}


def check_announced(version: str | None) -> None:
    """Raises UnsupportedFhirVersion unless the announced version is absent, 4.x or 5.x."""
    if version is None or version.startswith(("4.", "5.")) or version in ("4", "5"):
        return
    names = {"0": "DSTU1", "1": "DSTU2", "3": "STU3"}
    raise UnsupportedFhirVersion("fhirVersion", names.get(version.split(".")[0], "unknown"))


def check_shape(resource: dict[str, Any], where: str) -> None:
    """Raises UnsupportedFhirVersion if the resource has a shape from before R4."""
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return
    if kind in _OLD_TYPES:
        raise UnsupportedFhirVersion(where, _OLD_TYPES[kind])
    for field, version in _OLD_FIELDS.get(kind, {}).items():
        if resource.get(field):
            raise UnsupportedFhirVersion(where, version)
    if kind == "Condition" and isinstance(resource.get("clinicalStatus"), str):
        raise UnsupportedFhirVersion(where, "STU3")
    if kind == "MedicationRequest":
        dosages = resource.get("dosageInstruction")
        for dosage in dosages if isinstance(dosages, list) else ():
            if isinstance(dosage, dict) and (dosage.get("doseQuantity") or dosage.get("doseRange")):
                raise UnsupportedFhirVersion(where, "STU3")


def is_r5(resource: dict[str, Any], announced: str | None) -> bool:
    """Whether a resource is to be checked as R5: by its shape, else by what was announced."""
    kind = resource.get("resourceType")
    if kind in ("MedicationRequest", "MedicationStatement"):
        if "medicationCodeableConcept" in resource or "medicationReference" in resource:
            return False
        if "medication" in resource:
            return True
    if kind == "Encounter":
        return isinstance(resource.get("class"), list)
    return bool(announced and announced.startswith("5"))
