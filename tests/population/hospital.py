"""A hospital of patients that nobody knows: generated from a seed, as a FHIR Bulk Data export.

`python -m tests.population.hospital FOLDER --patients N` writes one. Charts are mixed: common problems, medicines and
results, codes and units that nobody reads, contained and referred Medications, draft orders, things that are old.
"""

from __future__ import annotations

import argparse
import gzip
import random
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import orjson

from cds_service.advice.loaded_content import load_content
from cds_service.content.concept import Concept

Resource = dict[str, Any]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
XHTML = "http://www.w3.org/1999/xhtml"
# Of a usual chart: nothing here is ours.
OTHER_PROBLEMS = [
    ("J45.909", "Asthma"),
    ("M54.50", "Low back pain"),
    ("Z87.891", "Past smoker"),
    ("H52.4", "Presbyopia"),
]
OTHER_RESULTS = [
    ("718-7", "Haemoglobin", "g/dL", 13.1),
    ("8867-4", "Heart rate", "/min", 72),
    ("8310-5", "Temperature", "Cel", 36.8),
]


@lru_cache(maxsize=1)
def _concepts() -> dict[str, list[tuple[str, Concept]]]:
    library = load_content().library
    found: dict[str, list[tuple[str, Concept]]] = defaultdict(list)
    for name, entry in sorted(library.terminology.items()):
        if entry.kind == "drug" and entry.rxnorm_ingredients:
            found["drug"].append((name, entry))
        elif entry.kind == "condition" and entry.snomed:
            found["condition"].append((name, entry))
        elif entry.kind == "lab" and entry.unit and any(code.system == "loinc" for code in entry.codes):
            found["lab"].append((name, entry))
    return found


def _narrative(characters: int) -> str:
    start = random.randrange(len(_words()) - characters)
    return f'<div xmlns="{XHTML}">{_words()[start : start + characters]}</div>'


@lru_cache(maxsize=1)
def _words() -> str:
    """Of no meaning, and long enough that no two resources have the same."""
    return "".join(random.choices(ascii_lowercase + " ", k=100_000))


def patient(number: int, seed: int = 0) -> list[Resource]:
    """All resources of one patient: the Patient first, about thirty."""
    luck = random.Random(f"{seed}-{number}")
    name = f"p{seed}-{number}"
    subject = {"reference": f"Patient/{name}"}
    born = NOW.date() - timedelta(days=luck.randrange(200, 95 * 365))
    person: Resource = {"resourceType": "Patient", "id": name, "birthDate": born.isoformat()}
    if luck.random() < 0.97:
        person["gender"] = luck.choice(
            ["female", "male", "other", "unknown"] if luck.random() < 0.05 else ["female", "male"]
        )
    made = [person]

    def add(kind: str, **elements: Any) -> None:
        made.append({"resourceType": kind, "id": f"{name}-{len(made)}", "subject": subject, **elements})

    for _ in range(luck.randrange(1, 5)):
        _, entry = luck.choice(_concepts()["condition"])
        code, system = luck.choice(entry.snomed), "http://snomed.info/sct"
        text = entry.title
        if luck.random() < 0.7:
            code, text = luck.choice(OTHER_PROBLEMS)
            system = ICD10
        status = luck.choice(["active"] * 5 + ["resolved"])
        add(
            "Condition",
            clinicalStatus={
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": status}]
            },
            code={"coding": [{"system": system, "code": code}], "text": text},
            recordedDate=_day(luck),
        )
    for _ in range(luck.randrange(0, 6)):
        add("MedicationRequest", **_order(luck, name, len(made)))
    for _ in range(luck.randrange(10, 20)):
        add("Observation", **_result(luck))
    if luck.random() < 0.1:
        add(
            "Encounter",
            status="finished",
            **{"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}},
        )
    return made


def _day(luck: random.Random) -> str:
    return (NOW.date() - timedelta(days=luck.randrange(1, 900))).isoformat()


def _order(luck: random.Random, name: str, number: int) -> Resource:
    title, entry = luck.choice(_concepts()["drug"])
    coding = {"system": RXNORM, "code": luck.choice(entry.rxnorm_ingredients), "display": entry.title}
    made: Resource = {
        "status": luck.choice(["active"] * 12 + ["completed", "stopped", "draft"]),
        "intent": "order",
        "authoredOn": _day(luck),
        "dosageInstruction": [{"text": luck.choice(["1 tablet daily", "one tablet twice a day", "as directed"])}],
    }
    fate = luck.random()
    if fate < 0.6:
        made["medicationCodeableConcept"] = {"coding": [coding], "text": entry.title}
    elif fate < 0.7:
        made["medicationCodeableConcept"] = {"text": entry.title}
    elif fate < 0.75:
        made["medicationCodeableConcept"] = {
            "coding": [{"system": "urn:oid:1.2.3", "code": "X1"}],
            "text": "House mixture 7",
        }
    elif fate < 0.85:
        made["contained"] = [{"resourceType": "Medication", "id": "m", "code": {"coding": [coding]}}]
        made["medicationReference"] = {"reference": "#m"}
    else:
        made["medicationReference"] = {"reference": f"Medication/shared-{title.replace('_', '-')}"}
    return made


def _result(luck: random.Random) -> Resource:
    when = NOW - timedelta(days=luck.randrange(0, 500), minutes=luck.randrange(1440))
    made: Resource = {"status": luck.choice(["final"] * 9 + ["preliminary"]), "effectiveDateTime": when.isoformat()}
    fate = luck.random()
    if fate < 0.75:
        code, text, unit, usual = luck.choice(OTHER_RESULTS)
        value: float = round(usual * luck.uniform(0.9, 1.1), 1)
    else:
        _, entry = luck.choice(_concepts()["lab"])
        listed = [each for each in entry.codes if each.system == "loinc"]
        code, text, unit = (
            (luck.choice(listed) if luck.random() < 0.1 else listed[-1]).code,
            entry.title,
            str(entry.unit),
        )
        low, high = (float(each) for each in entry.plausible or (1, 10))
        value = round(low + (high - low) * luck.betavariate(2, 5), 2)
        if fate > 0.97:
            unit = luck.choice(["arb.u.", ""])
    made["code"] = {"coding": [{"system": LOINC, "code": code}], "text": text}
    if 0.74 < fate < 0.75:
        made["code"] = {"coding": [{"system": "urn:oid:9.9.9", "code": "MG-LOCAL"}], "text": "Laborwert 12"}
    made["valueQuantity"] = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    return made


@lru_cache(maxsize=1)
def medications() -> list[Resource]:
    """The shared Medication resources."""
    return [
        {
            "resourceType": "Medication",
            "id": f"shared-{title.replace('_', '-')}",
            "code": {"coding": [{"system": RXNORM, "code": entry.rxnorm_ingredients[0], "display": entry.title}]},
        }
        for title, entry in _concepts()["drug"]
    ]


def bundle(resources: list[Resource]) -> Resource:
    """All of one patient, as one Bundle, with the Medications that they refer to."""
    named = {each.get("medicationReference", {}).get("reference") for each in resources}
    shared = [each for each in medications() if f"Medication/{each['id']}" in named]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": each} for each in (*resources, *shared)],
    }


def write(
    folder: Path, patients: int, seed: int = 0, *, packed: bool = False, files: int = 1, narrative: int = 0
) -> None:
    """One or more files for each type, in no order of patients. `narrative`: characters of text in each resource of
    theirs, as records have them and no rule reads."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        opened: dict[str, Any] = {}

        def line(name: str, resource: Resource) -> None:
            if name not in opened:
                path = folder / f"{name}.ndjson{'.gz' if packed else ''}"
                plain = stack.enter_context(path.open("wb"))
                opened[name] = stack.enter_context(gzip.open(plain, "wb", 1)) if packed else plain
            opened[name].write(orjson.dumps(resource) + b"\n")

        for number in range(patients):
            for resource in patient(number, seed):
                if narrative:
                    resource["text"] = {"status": "generated", "div": _narrative(narrative)}
                line(f"{resource['resourceType']}-{number % files}", resource)
        for resource in medications():
            line("Medication-0", resource)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--patients", type=int, default=2000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    write(given.folder, given.patients, given.seed)


if __name__ == "__main__":
    main()
