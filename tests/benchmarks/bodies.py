"""Hook requests of three sizes about one made-up person, written from the lists below; nobody's record is in them.

    body     resources (patient + conditions + medicines + results)
    small      14 (1 + 5 + 5 + 3)
    typical   106 (1 + 25 + 30 + 50)
    large    1751 (1 + 100 + 150 + 1500)

The first entries of each list are what the cards cite, about thirteen resources; the others are what a chart holds too.
Results of tests that no rule reads are sent under `serum_magnesium`, as an EHR does that ignores the code filter.
Every id, reference and `lastUpdated` holds MARK. `fresh` puts a number there, so that no resource has the bytes of one
that was sent before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

import orjson

MARK = b"@@@@@@@@"
SIZES = {"small": (5, 5, 3), "typical": (25, 30, 50), "large": (100, 150, 1500)}
PATIENT = "person-@@@@@@@@"
ENCOUNTER = {"reference": "Encounter/9f0c7b1e-3d52-4a6b-8e14-55d2a7c0-@@@@@@@@"}
META = {
    "versionId": "1",
    "lastUpdated": "2026-01-05T10:00:00.@@@@@@@@+00:00",
    "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-example"],
    "tag": [{"system": "urn:example:tags", "code": "benchmark"}],
}
HL7 = "http://terminology.hl7.org/CodeSystem"

# SNOMED CT code, text.
CONDITIONS = (
    ("44054006", "Type 2 diabetes mellitus"),
    ("59621000", "Essential hypertension"),
    ("34486009", "Hyperthyroidism"),
    ("64859006", "Osteoporosis"),
    ("49436004", "Atrial fibrillation"),
)
OTHER_CONDITIONS = (
    ("444814009", "Viral sinusitis"),
    ("195662009", "Acute viral pharyngitis"),
    ("10509002", "Acute bronchitis"),
    ("271737000", "Anemia"),
    ("40055000", "Chronic sinusitis"),
    ("53741008", "Coronary heart disease"),
    ("22298006", "Myocardial infarction"),
    ("230690007", "Stroke"),
    ("233604007", "Pneumonia"),
    ("239873007", "Osteoarthritis of knee"),
    ("87433001", "Pulmonary emphysema"),
    ("195967001", "Asthma"),
    ("24079001", "Atopic dermatitis"),
    ("232353008", "Perennial allergic rhinitis"),
    ("55822004", "Hyperlipidemia"),
    ("302870006", "Hypertriglyceridemia"),
    ("237602007", "Metabolic syndrome X"),
    ("68496003", "Polyp of colon"),
    ("75498004", "Acute bacterial sinusitis"),
    ("62106007", "Concussion with no loss of consciousness"),
    ("44465007", "Sprain of ankle"),
    ("70704007", "Sprain of wrist"),
    ("65966004", "Fracture of forearm"),
    ("283371005", "Laceration of forearm"),
    ("65363002", "Otitis media"),
)

# RxNorm code, text, instruction.
MEDICINES = (
    ("313988", "Furosemide 40 MG Oral Tablet", 1),
    ("198051", "Omeprazole 20 MG Delayed Release Oral Capsule", 1),
    ("197604", "Digoxin 0.125 MG Oral Tablet", 1),
    ("966224", "Levothyroxine Sodium 0.125 MG Oral Tablet", 1),
    ("198741", "Magnesium Oxide 400 MG Oral Tablet", 2),
    ("310798", "Hydrochlorothiazide 25 MG Oral Tablet", 1),
    ("314200", "Pantoprazole 40 MG Delayed Release Oral Tablet", 1),
    ("198371", "Torsemide 20 MG Oral Tablet", 1),
    ("904589", "Sotalol Hydrochloride 240 MG Oral Tablet", 1),
    ("904419", "Alendronic acid 10 MG Oral Tablet", 1),
    ("309309", "Ciprofloxacin 500 MG Oral Tablet", 2),
)
OTHER_MEDICINES = (
    ("860975", "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", 2),
    ("314076", "Lisinopril 10 MG Oral Tablet", 1),
    ("197361", "Amlodipine 5 MG Oral Tablet", 1),
    ("312961", "Simvastatin 20 MG Oral Tablet", 1),
    ("313782", "Acetaminophen 325 MG Oral Tablet", 4),
    ("310965", "Ibuprofen 200 MG Oral Tablet", 3),
    ("849574", "Naproxen sodium 220 MG Oral Tablet", 2),
    ("308136", "Amlodipine 2.5 MG Oral Tablet", 1),
    ("259255", "Atorvastatin 80 MG Oral Tablet", 1),
    ("866514", "Metoprolol tartrate 50 MG Oral Tablet", 2),
    ("855332", "Warfarin Sodium 5 MG Oral Tablet", 1),
    ("617314", "Atorvastatin 20 MG Oral Tablet", 1),
    ("312938", "Sertraline 100 MG Oral Tablet", 1),
    ("1049630", "diphenhydrAMINE Hydrochloride 25 MG Oral Tablet", 1),
    ("895994", "120 ACTUAT Fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler", 2),
)

# LOINC code, text, the key under which it is asked for, value, unit.
RESULTS = (
    ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma", "serum_magnesium", 0.62, "mmol/L"),
    ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma", "serum_magnesium", 0.68, "mmol/L"),
    ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma", "serum_magnesium", 0.74, "mmol/L"),
    ("98979-8", "Glomerular filtration rate/1.73 sq M.predicted", "kidney", 74, "mL/min/{1.73_m2}"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "kidney", 1.1, "mg/dL"),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "electrolytes", 4.1, "mmol/L"),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "electrolytes", 9.2, "mg/dL"),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "serum_magnesium", 118, "mg/dL"),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "serum_magnesium", 6.9, "%"),
)
OTHER_RESULTS = tuple(
    (code, text, "serum_magnesium", value, unit)
    for code, text, value, unit in (
        ("8302-2", "Body Height", 171.2, "cm"),
        ("29463-7", "Body Weight", 78.4, "kg"),
        ("39156-5", "Body Mass Index", 26.7, "kg/m2"),
        ("8867-4", "Heart rate", 72, "/min"),
        ("9279-1", "Respiratory rate", 14, "/min"),
        ("8310-5", "Body temperature", 36.8, "Cel"),
        ("2947-0", "Sodium [Moles/volume] in Blood", 139, "mmol/L"),
        ("2069-3", "Chloride [Moles/volume] in Blood", 104, "mmol/L"),
        ("20565-8", "Carbon dioxide, total [Moles/volume] in Blood", 24, "mmol/L"),
        ("6299-2", "Urea nitrogen [Mass/volume] in Blood", 15, "mg/dL"),
        ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", 190, "mg/dL"),
        ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", 140, "mg/dL"),
        ("18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma", 110, "mg/dL"),
        ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", 52, "mg/dL"),
        ("718-7", "Hemoglobin [Mass/volume] in Blood", 14.1, "g/dL"),
        ("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", 42, "%"),
        ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", 6.4, "10*3/uL"),
        ("789-8", "Erythrocytes [#/volume] in Blood by Automated count", 4.7, "10*6/uL"),
        ("777-3", "Platelets [#/volume] in Blood by Automated count", 250, "10*3/uL"),
        ("1742-6", "Alanine aminotransferase [Enzymatic activity/volume]", 28, "U/L"),
        ("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume]", 24, "U/L"),
        ("6768-6", "Alkaline phosphatase [Enzymatic activity/volume]", 70, "U/L"),
        ("14959-1", "Microalbumin/Creatinine [Mass Ratio] in Urine", 12, "mg/g"),
        ("72166-2", "Tobacco smoking status", 0, "1"),
    )
)


def resources(size: str, now: datetime, more: int = 0) -> dict[str, list[dict[str, Any]]]:
    """The resources by prefetch key, results newest first; then `more` results of tests that no rule reads."""
    conditions, medicines, results = SIZES[size]
    found: dict[str, list[dict[str, Any]]] = {"patient": [_patient(now)], "medication_statements": []}
    for key, make, cited, others, wanted in (
        ("conditions", _condition, CONDITIONS, OTHER_CONDITIONS, conditions),
        ("medications", _medicine, MEDICINES, OTHER_MEDICINES, medicines),
    ):
        rows = islice((*cited, *islice(cycle(others), wanted)), wanted)
        found[key] = [make(n, *row, now) for n, row in enumerate(rows)]
    for key in (
        "ended_medications",
        "serum_magnesium",
        "kidney",
        "electrolytes",
        "glycaemia",
        "bone",
        "ecg",
        "pregnancy",
        "intake",
        "screener",
        "medication_administrations",
        "weight",
    ):
        found[key] = []
    every = (*RESULTS, *islice(cycle((*OTHER_RESULTS, *RESULTS[3:])), results))
    for n, row in enumerate(every[:results]):
        found[row[2]].append(_result(n, *row, now))
    for n, row in enumerate(islice(cycle(OTHER_RESULTS), more), results):
        found[row[2]].append(_result(n, *row, now))
    return found


def body(size: str, now: datetime | None = None, more: int = 0) -> bytes:
    """A patient-view request with everything prefetched, and `more` results of tests that no rule reads."""
    found = resources(size, now or datetime.now(UTC), more)
    prefetch: dict[str, Any] = {key: _searchset(rows) for key, rows in found.items() if key != "patient"}
    prefetch["encounter"] = None  # none is going on
    return orjson.dumps({
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/example", "patientId": PATIENT},
        "prefetch": {"patient": found["patient"][0], **prefetch},
    })  # fmt: skip


def count(size: str) -> int:
    """How many resources a body holds."""
    return 1 + sum(SIZES[size])


def fresh(request: bytes, number: int) -> bytes:
    """The request with ids and times that no other number has."""
    return request.replace(MARK, b"%08d" % number)


def _searchset(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(rows),
        "entry": [
            {
                "fullUrl": f"https://ehr.example/fhir/{row['resourceType']}/{row['id']}",
                "resource": row,
                "search": {"mode": "match"},
            }
            for row in rows
        ],
    }


def _coded(system: str, code: str, text: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": text}], "text": text}


def _status(name: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{HL7}/{name}", "code": code}]}


def _id(kind: str, number: int) -> str:
    return f"{kind}-{number:04d}-4c1e-9d7a-{MARK.decode()}"


def _patient(now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": PATIENT,
        "meta": META,
        "extension": [
            {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": "M"},
            {
                "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                "extension": [
                    {
                        "url": "ombCategory",
                        "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2131-1"},
                    },
                    {"url": "text", "valueString": "Other"},
                ],
            },
        ],
        "identifier": [
            {"type": _coded(f"{HL7}/v2-0203", "MR", "Medical Record Number"), "system": "urn:example", "value": PATIENT}
        ],
        "active": True,
        "name": [{"use": "official", "family": "Example", "given": ["Made", "Up"], "prefix": ["Mr."]}],
        "telecom": [{"system": "phone", "value": "555-0100", "use": "home"}],
        "gender": "male",
        "birthDate": f"{now.year - 58}-02-13",
        "address": [{"line": ["1 Example Street"], "city": "Example", "postalCode": "00000", "country": "US"}],
        "maritalStatus": _coded(f"{HL7}/v3-MaritalStatus", "M", "Married"),
        "multipleBirthBoolean": False,
        "communication": [{"language": _coded("urn:ietf:bcp:47", "en", "English")}],
    }


def _condition(number: int, code: str, text: str, now: datetime) -> dict[str, Any]:
    since = (now - timedelta(days=200 + 13 * number)).isoformat(timespec="seconds")
    return {
        "resourceType": "Condition",
        "id": _id("condition", number),
        "meta": META,
        "clinicalStatus": _status("condition-clinical", "active" if number % 3 != 2 else "resolved"),
        "verificationStatus": _status("condition-ver-status", "confirmed"),
        "category": [_coded(f"{HL7}/condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
        "code": _coded("http://snomed.info/sct", code, text),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "encounter": ENCOUNTER,
        "onsetDateTime": since,
        "recordedDate": since,
    }


def _medicine(number: int, code: str, text: str, doses: int, now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": _id("medicine", number),
        "meta": META,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _coded("http://www.nlm.nih.gov/research/umls/rxnorm", code, text),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "encounter": ENCOUNTER,
        "authoredOn": (now - timedelta(days=20 + number)).isoformat(timespec="seconds"),
        "requester": {"reference": "Practitioner/example", "display": "Dr. Example"},
        "dosageInstruction": [
            {
                "sequence": 1,
                "timing": {"repeat": {"frequency": doses, "period": 1, "periodUnit": "d"}},
                "asNeededBoolean": False,
                "doseAndRate": [
                    {
                        "type": _coded(f"{HL7}/dose-rate-type", "ordered", "Ordered"),
                        "doseQuantity": {"value": 1},
                    }
                ],
            }
        ],
    }


def _result(number: int, code: str, text: str, _key: str, value: float, unit: str, now: datetime) -> dict[str, Any]:
    at = now - timedelta(days=1 + number, hours=3)
    return {
        "resourceType": "Observation",
        "id": _id("result", number),
        "meta": META,
        "status": "final",
        "category": [_coded(f"{HL7}/observation-category", "laboratory", "Laboratory")],
        "code": _coded("http://loinc.org", code, text),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "encounter": ENCOUNTER,
        "effectiveDateTime": at.isoformat(timespec="seconds"),
        "issued": at.isoformat(timespec="milliseconds"),
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }
