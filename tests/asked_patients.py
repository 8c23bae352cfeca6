"""Patients in a few words, as an EHR would send them, and what is asked of the answer to each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cds_service.advice.needs import all_needs
from tests.conftest import shipped

NOW = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
SUBJECT = {"reference": "Patient/p"}
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"
SYSTEMS = {"icd": "http://hl7.org/fhir/sid/icd-10-cm", "sn": "http://snomed.info/sct"}
LABS = {
    "mg": ("2601-3", "mmol/L"), "mgmass": ("19123-9", "mg/dL"), "k": ("2823-3", "mmol/L"),
    "crea": ("14682-9", "umol/L"), "creamg": ("2160-0", "mg/dL"), "egfr": ("98979-8", "mL/min/{1.73_m2}"),
    "qtc": ("8636-3", "ms"), "adjca": ("29265-6", "mmol/L"), "ica": ("1995-0", "mmol/L"),
    "weight": ("29463-7", "kg"),
}  # fmt: skip
ROUTES = {"po": "26643006", "iv": "47625008", "im": "78421000", "top": "6064005"}
LOUDNESS = ["none", "info", "warning", "critical"]
Resource = dict[str, Any]


class Asked(BaseModel):
    """What is asked of one answer; see the head of the YAML file."""

    model_config = ConfigDict(extra="forbid")

    least: Literal["info", "warning", "critical"] = "info"
    most: Literal["none", "info", "warning", "critical"] = "critical"
    first: list[str] = []
    says: list[str] = []
    never: list[str] = []
    cards: int | None = None
    open: str = ""

    def faults(self, cards: list[dict[str, Any]]) -> Iterator[str]:
        """What is wrong with these cards, each in a few words."""
        loudest = max((LOUDNESS.index(card["indicator"]) for card in cards), default=0)
        if loudest > LOUDNESS.index(self.most):
            yield f"louder than {self.most}"
        if "least" in self.model_fields_set and loudest < LOUDNESS.index(self.least):
            yield f"not even {self.least}"
        if self.cards is not None and len(cards) > self.cards:
            yield f"{len(cards)} cards"
        first = cards[0]["summary"] if cards else ""
        words = "\n".join(
            " ".join([card["summary"], card.get("detail", ""), *(s["label"] for s in card.get("suggestions", []))])
            for card in cards
        )
        yield from (f"not first: {text}" for text in self.first if not re.search(text, first, re.I))
        yield from (f"not said: {text}" for text in self.says if not re.search(text, words, re.I))
        yield from (f"said: {text}" for text in self.never if re.search(text, words, re.I))


def concept(text: str) -> Resource:
    system, bar, rest = text.partition("|")
    if not bar:
        return {"text": text}
    code, _, display = rest.partition("|")
    return {"coding": [{"system": SYSTEMS[system], "code": code, "display": display}], "text": display}


def condition(text: str, name: str) -> Resource:
    return {
        "resourceType": "Condition", "id": name, "subject": SUBJECT, "code": concept(text),
        "clinicalStatus": {"coding": [{"system": f"{HL7}condition-clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": f"{HL7}condition-ver-status", "code": "confirmed"}]},
    }  # fmt: skip


def order(drug: str | dict[str, Any], name: str, status: str) -> Resource:
    given: dict[str, Any] = {"text": drug} if isinstance(drug, str) else drug
    medicine: Resource = {"text": given["text"]}
    if "rx" in given:
        system = "http://www.nlm.nih.gov/research/umls/rxnorm"
        medicine["coding"] = [{"system": system, "code": str(given["rx"]), "display": given["text"]}]
    dosage: Resource = {"text": given["sig"]} if "sig" in given else {}
    repeat: Resource = {}
    if "times" in given:
        repeat = {
            "frequency": given["times"],
            "period": given.get("period", 1),
            "periodUnit": given.get("pu", "d"),
        }
    if "at" in given:
        repeat["timeOfDay"] = [f"{time}:00" for time in given["at"]]
    if repeat:
        dosage["timing"] = {"repeat": repeat}
    if route := given.get("route", "po"):
        dosage["route"] = {"coding": [{"system": SYSTEMS["sn"], "code": ROUTES[route]}]}
    if given.get("prn"):
        dosage["asNeededBoolean"] = True
    if "amt" in given:
        unit = given.get("unit", "tablet")
        coded = {} if unit == "tablet" else {"system": UCUM, "code": unit}
        dosage["doseAndRate"] = [{"doseQuantity": {"value": given["amt"], "unit": unit} | coded}]
    since = given.get("since", 400 if status == "active" else 0)
    return {
        "resourceType": "MedicationRequest", "id": name, "status": status, "intent": "order", "subject": SUBJECT,
        "medicationCodeableConcept": medicine, "authoredOn": (NOW - timedelta(days=since)).isoformat(),
        "dosageInstruction": [dosage],
    } | ({"reasonCode": [concept(given["reason"])]} if "reason" in given else {})  # fmt: skip


def result(row: list[Any], name: str) -> Resource:
    kind, value, days, *more = row
    code, unit = LABS[kind]

    def quantity(number: float) -> Resource:
        return {"value": number, "unit": unit, "system": UCUM, "code": unit}

    observation: Resource = {
        "resourceType": "Observation", "id": name, "status": "final", "subject": SUBJECT,
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "valueQuantity": quantity(value),
        "effectiveDateTime": (NOW - timedelta(days=days, hours=1)).isoformat(),
    }  # fmt: skip
    laboratory = more[0] if more else {}
    if "flag" in laboratory:
        flag = {"system": f"{HL7}v3-ObservationInterpretation", "code": laboratory["flag"]}
        observation["interpretation"] = [{"coding": [flag]}]
    if limits := {key: quantity(laboratory[key]) for key in ("low", "high") if key in laboratory}:
        observation["referenceRange"] = [limits]
    return observation


def answering(resources: list[Resource], template: str) -> Resource:
    """A search set of the resources that this search of the prefetch would find."""
    kind, _, query = template.partition("?")
    wanted = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
    found = [resource for resource in resources if resource["resourceType"] == kind]
    if "code" in wanted:
        codes = set(wanted["code"].split(","))
        found = [r for r in found if codes & {f"{c['system']}|{c['code']}" for c in r["code"].get("coding", [])}]
    if "status" in wanted:
        found = [resource for resource in found if resource.get("status") in wanted["status"].split(",")]
    entries = [{"resource": resource} for resource in found]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def request(given: dict[str, Any]) -> Resource:
    """A hook request with a complete prefetch."""
    hook = given.get("hook") or ("order-sign" if "drafts" in given else "patient-view")
    age = timedelta(days=given["age"] * 365.25 + (100 if given["age"] >= 1 else 0))
    chart = [
        *(condition(text, f"c{i}") for i, text in enumerate(given.get("conds", []))),
        *(order(drug, f"m{i}", "active") for i, drug in enumerate(given.get("meds", []))),
        *(order(drug, f"e{i}", "completed") for i, drug in enumerate(given.get("ended", []))),
        *(order(drug, f"s{i}", "stopped") for i, drug in enumerate(given.get("stopped", []))),
        *(order(drug, f"h{i}", "on-hold") for i, drug in enumerate(given.get("held", []))),
        *(result(row, f"l{i}") for i, row in enumerate(given.get("labs", []))),
    ]
    context: Resource = {"patientId": "p", "userId": "Practitioner/x"}
    prefetch: Resource = {}
    for key, need in all_needs(shipped().library).items():
        kind = re.split(r"[?/]", need.template)[0]
        if kind == "Patient":
            birth = (NOW - age).date().isoformat()
            sex = given.get("sex", "female")
            prefetch[key] = {"resourceType": "Patient", "id": "p", "gender": sex, "birthDate": birth}
        elif kind == "Encounter":
            if "inpatient" in given:
                context["encounterId"] = "e1"
                start = (NOW - timedelta(days=given["inpatient"])).isoformat()
                prefetch[key] = {
                    "resourceType": "Encounter", "id": "e1", "status": "in-progress", "subject": SUBJECT,
                    "class": {"system": f"{HL7}v3-ActCode", "code": "IMP"}, "period": {"start": start},
                }  # fmt: skip
        else:
            prefetch[key] = answering(chart, need.template)
    if "drafts" in given:
        drafts = [order(drug, f"d{i}", "draft") for i, drug in enumerate(given["drafts"])]
        context["draftOrders"] = {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": draft} for draft in drafts],
        }
        if hook == "order-select":
            context["selections"] = [f"MedicationRequest/{draft['id']}" for draft in drafts]
    instance = "7b5f6c1e-0000-4000-8000-000000000001"
    return {"hook": hook, "hookInstance": instance, "context": context, "prefetch": prefetch}
