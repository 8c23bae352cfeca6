"""A sample patient as FHIR R4 resources (plain dicts)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from .sample import Dose, Drug, Problem, Result, Sample, moment

Resource = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"

# The user that the CDS Hooks Sandbox names in every request.
PRACTITIONER: Resource = {
    "resourceType": "Practitioner",
    "id": "COREPRACTITIONER1",
    "name": [{"family": "Prescriber", "given": ["Sample"]}],
}


def _concept(system: str, code: str, display: str | None = None, text: str | None = None) -> Resource:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return {"coding": [coding]} | ({"text": text} if text else {})


def _quantity(value: float, unit: str) -> Resource:
    """A Quantity in UCUM. A pure annotation such as {tablet} is shown without its braces."""
    shown = unit[1:-1] if unit.startswith("{") else unit
    return {"value": value, "unit": shown, "system": UCUM, "code": unit}


def _birth_date(age: int, now: datetime) -> date:
    """A day in the middle of the year in which this age holds."""
    return (now - timedelta(days=round((age + 0.5) * 365.25))).date()


def patient(sample: Sample, now: datetime) -> Resource:
    """The Patient, labelled as test data."""
    return {
        "resourceType": "Patient",
        "id": sample.id,
        "meta": {"security": [{"system": HL7 + "v3-ActReason", "code": "HTEST"}]},
        "active": True,
        "name": [{"use": "official", "family": sample.name.family, "given": [sample.name.given]}],
        "gender": sample.sex,
        "birthDate": _birth_date(sample.age, now).isoformat(),
    }


def condition(problem: Problem, subject: str, identifier: str, now: datetime) -> Resource:
    """A Condition on the problem list."""
    code = _concept(SNOMED, problem.snomed, problem.text, problem.text)
    if problem.icd10cm:
        code["coding"].append({"system": ICD10CM, "code": problem.icd10cm})
    since = moment(problem.since, now).date().isoformat()
    return {
        "resourceType": "Condition",
        "id": identifier,
        "clinicalStatus": _concept(HL7 + "condition-clinical", "active"),
        "verificationStatus": _concept(HL7 + "condition-ver-status", "confirmed"),
        "category": [_concept(HL7 + "condition-category", "problem-list-item")],
        "code": code,
        "subject": {"reference": f"Patient/{subject}"},
        "onsetDateTime": since,
        "recordedDate": since,
    }


def _dosage(dose: Dose) -> Resource:
    repeat: Resource = {"frequency": dose.times, "period": dose.period, "periodUnit": dose.period_unit}
    if dose.at:
        repeat["timeOfDay"] = [f"{time}:00" for time in dose.at]
    if dose.days:
        repeat["dayOfWeek"] = list(dose.days)
    return {
        "text": dose.text,
        "timing": {"repeat": repeat},
        "route": _concept(SNOMED, "26643006", "Oral route"),
        "doseAndRate": [{"doseQuantity": _quantity(dose.amount, dose.unit)}],
    }


def medication(drug: Drug, subject: str, identifier: str, now: datetime, status: str = "active") -> Resource:
    """A MedicationRequest, active or draft, or a MedicationStatement for what the patient says they take."""
    shared = {
        "id": identifier,
        "status": status,
        "medicationCodeableConcept": _concept(RXNORM, drug.rxnorm, drug.text, drug.text),
        "subject": {"reference": f"Patient/{subject}"},
    }
    since = moment(drug.since, now).date().isoformat()
    if drug.kind == "statement":
        return {
            "resourceType": "MedicationStatement",
            **shared,
            "effectivePeriod": {"start": since},
            "dosage": [_dosage(drug.dose)],
        }
    return {
        "resourceType": "MedicationRequest",
        **shared,
        "intent": "order",
        "category": [_concept(HL7 + "medicationrequest-category", "community")],
        "authoredOn": since,
        "requester": {"reference": f"Practitioner/{PRACTITIONER['id']}"},
        "dosageInstruction": [_dosage(drug.dose)],
    }


def observation(result: Result, subject: str, identifier: str, now: datetime) -> Resource:
    """A final Observation with its unit, and with reference range and flag where the file gives limits."""
    taken = moment(result.taken, now).isoformat()
    resource: Resource = {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "category": [_concept(HL7 + "observation-category", result.category)],
        "code": _concept(LOINC, result.loinc, text=result.text),
        "subject": {"reference": f"Patient/{subject}"},
        "effectiveDateTime": taken,
        "issued": taken,
        "valueQuantity": _quantity(result.value, result.unit),
    }
    given = {"low": result.low, "high": result.high}
    limits = {name: _quantity(limit, result.unit) for name, limit in given.items() if limit is not None}
    if limits:
        flag = "N"
        if result.low is not None and result.value < result.low:
            flag = "L"
        elif result.high is not None and result.value > result.high:
            flag = "H"
        resource["referenceRange"] = [limits]
        resource["interpretation"] = [_concept(HL7 + "v3-ObservationInterpretation", flag)]
    return resource


def resources(sample: Sample, now: datetime) -> list[Resource]:
    """Everything on file for one sample patient at `now` (with a time zone), the Patient first."""
    of = sample.id
    return [
        patient(sample, now),
        *(condition(p, of, f"{of}-problem-{i}", now) for i, p in enumerate(sample.problems, 1)),
        *(medication(d, of, f"{of}-drug-{i}", now) for i, d in enumerate(sample.drugs, 1)),
        *(observation(r, of, f"{of}-result-{i}", now) for i, r in enumerate(sample.results, 1)),
    ]
