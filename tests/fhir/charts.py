"""FHIR resources in short, and a chart read from them, for tests that read as patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from cds_service.fhir import Chart, FhirServer, Need, read_chart
from tests.conftest import shipped

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ME = "mona"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"
MG_MASS, MG_SUBSTANCE = "19123-9", "2601-3"
LEVOTHYROXINE = {"system": RXNORM, "code": "10582", "display": "levothyroxine"}
Json = dict[str, Any]

NEEDS = (
    Need("patient", "Patient", "Patient/{{context.patientId}}"),
    Need("conditions", "Condition", "Condition?patient={{context.patientId}}&_count=500"),
    Need("medications", "MedicationRequest", "MedicationRequest?patient={{context.patientId}}&status=active"),
    Need(
        "medication_administrations",
        "MedicationAdministration",
        "MedicationAdministration?patient={{context.patientId}}",
    ),
    Need("medication_statements", "MedicationStatement", "MedicationStatement?patient={{context.patientId}}"),
    Need(
        "serum_magnesium",
        "Observation",
        "Observation?patient={{context.patientId}}&code=http://loinc.org|19123-9,http://loinc.org|2601-3&_sort=-date",
    ),
    Need("kidney", "Observation", "Observation?patient={{context.patientId}}&code=http://loinc.org|2160-0"),
    Need("pregnancy", "Observation", "Observation?patient={{context.patientId}}&code=http://loinc.org|82810-3"),
    Need("intake", "Observation", "Observation?patient={{context.patientId}}&code=http://loinc.org|81005-1"),
)


def coded(code: str, system: str = SNOMED, **more: str) -> Json:
    return {"coding": [{"system": system, "code": code, **more}]}


def about(who: str = ME) -> Json:
    return {"reference": f"Patient/{who}"}


def patient(**more: Any) -> Json:
    return {"resourceType": "Patient", "id": ME, "gender": "female", "birthDate": "1968-03-04"} | more


def quantity(value: Any, coded_as: str | None = "mg/dL", /, **more: Any) -> Json:
    coded_unit = {"unit": coded_as, "system": UCUM, "code": coded_as} if coded_as else {}
    return {"value": value, **coded_unit} | more


def magnesium(value: Any = 1.8, unit: str | None = "mg/dL", *, code: str = MG_MASS, **more: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": "mg",
        "status": "final",
        "subject": about(),
        "code": coded(code, LOINC),
        "effectiveDateTime": "2026-11-10T08:00:00Z",
        "valueQuantity": quantity(value, unit),
    } | more


def observation(code: str, **more: Any) -> Json:
    base = magnesium(code=code, id="obs")
    del base["valueQuantity"]
    return base | more


def condition(code: Any = "24700007", **more: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "ms",
        "subject": about(),
        "clinicalStatus": coded("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "code": coded(code) if isinstance(code, str) else code,
    } | more


def order(**more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "thyroxine",
        "status": "active",
        "intent": "order",
        "subject": about(),
        "medicationCodeableConcept": {"coding": [LEVOTHYROXINE], "text": "Levothyroxine"},
    } | more


def statement(**more: Any) -> Json:
    base = order(resourceType="MedicationStatement", id="stated")
    del base["intent"]
    return base | more


def bundle(*resources: Any, **more: Any) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]} | more


def without(resource: Json, *names: str) -> Json:
    return {key: value for key, value in resource.items() if key not in names}


def raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def read(
    *,
    drafts: Any = None,
    selections: Sequence[str] = (),
    server: FhirServer | None = None,
    patient_id: str = ME,
    needs: Sequence[Need] = NEEDS,
    now: datetime = NOW,
    encounter_id: str | None = None,
    not_available: frozenset[str] = frozenset(),
    validate_all: bool = False,
    fhir_version: str | None = None,
    base: str | None = None,
    **prefetch: Any,
) -> Chart:
    """A chart of what is given by key; keys that are not given are absent. `drafts` is the Bundle of draft orders."""
    return read_chart(
        patient_id=patient_id,
        needs=needs,
        prefetch={key: raw(value) for key, value in prefetch.items()},
        draft_orders=None if drafts is None else raw(drafts),
        selections=selections,
        vocabulary=shipped().vocabulary,
        now=now,
        server=server,
        encounter_id=encounter_id,
        not_available=not_available,
        validate_all=validate_all,
        fhir_version=fhir_version,
        base=base,
    )


def answer(
    client: FlaskClient,
    hook: str = "patient-view",
    *,
    drafts: Sequence[Json] = (),
    encounter_id: str | None = None,
    written: Callable[[bytes], bytes] = lambda body: body,
    **prefetch: Any,
) -> Json:
    """What the service of a hook answers on Mona; keys that are not given are searches that found nothing. `written`:
    how else the body is written."""
    service = next(each for each in client.get("/cds-services").get_json()["services"] if each["hook"] == hook)
    nothing: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": []}
    context: Json = {"userId": "Practitioner/example", "patientId": ME}
    if encounter_id is not None:
        context["encounterId"] = encounter_id
    if hook != "patient-view":
        context["draftOrders"] = bundle(*drafts, type="collection")
    keys = {key: nothing for key in service["prefetch"] if key != "encounter"} | {"patient": patient()}
    asked = {"hook": hook, "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "context": context}
    body = written(json.dumps(asked | {"prefetch": keys | prefetch}).encode())
    told = client.post(f"/cds-services/{service['id']}", data=body, content_type="application/json")
    assert told.status_code == 200, told.get_json()
    return told.get_json()


def outcomes(told: Json) -> dict[str, str]:
    """What an answer says of each rule."""
    return {each["rule"]: each["outcome"] for each in told["extension"]["org.magnesium-cds"]["outcomes"]}


def fired(answered: Json) -> set[str]:
    """The rules whose finding is in an answer."""
    return {rule for rule, outcome in outcomes(answered).items() if outcome == "fired"}


def mg(*observations: Json, **more: Any) -> Any:
    """The newest magnesium result of a patient with these observations."""
    return read(serum_magnesium=bundle(*observations), **more).facts.labs["serum_magnesium"][0]
