"""A patient of a scenario file as the FHIR that an EHR would send, and all the files that ship.

The codes of the concepts that a scenario names are written into real FHIR R4 resources.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from uuid import uuid4

import yaml

from cds_service.content.library import Library
from cds_service.sandbox.sample import moment
from cds_service.sandbox.scenario_family import FILE as FAMILY
from cds_service.sandbox.scenario_file import (
    KINDS,
    ConditionLine,
    DrugLine,
    Evidence,
    Expect,
    LabLine,
    Resource,
    Scenario,
    ScenarioFile,
    read_file,
)

LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"
ROUTES = {"oral": "26643006", "intravenous": "47625008", "topical": "6064005", "ophthalmic": "54485002"}
ROUTES |= {"intramuscular": "78421000"}
PATIENT = "scenario-patient"
WRITTEN_FOR = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
"""The moment at which all patients of scenarios are looked at: the dates that stand in their files are around it."""

__all__ = [
    "KINDS",
    "WRITTEN_FOR",
    "Builder",
    "ConditionLine",
    "DrugLine",
    "Evidence",
    "Expect",
    "LabLine",
    "Scenario",
    "ScenarioFile",
    "read_file",
    "scenario_file",
    "scenario_files",
]


@cache
def scenario_files() -> dict[str, ScenarioFile]:
    """Every scenario file that ships, by the id of its rule."""
    names = sorted(path.name for path in files("cds_service.scenarios").iterdir())
    rules = [name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and name != FAMILY]
    return {rule: scenario_file(rule) for rule in rules}


@cache
def scenario_file(rule: str) -> ScenarioFile:
    """The scenarios of one rule. FileNotFoundError where it has none."""
    text = (files("cds_service.scenarios") / f"{rule}.yaml").read_text("utf-8")
    return read_file(yaml.load(text, yaml.CSafeLoader))


def _concept(system: str, code: str | None, text: str) -> Resource:
    return ({"coding": [{"system": system, "code": code}]} if code else {}) | ({"text": text} if text else {})


class Builder:
    """Turns a scenario into a hook request at `now`."""

    def __init__(self, library: Library, now: datetime) -> None:
        self.library, self.now = library, now

    def request(self, scenario: Scenario, templates: dict[str, str]) -> Resource:
        """The call, with complete prefetch but for what the scenario leaves out."""
        resources = self.resources(scenario)
        prefetch: Resource = {}
        for key, template in templates.items():
            if key in scenario.without:
                continue
            if key in scenario.failed:
                issue = {"severity": "error", "code": "processing"}
                prefetch[key] = {"resourceType": "OperationOutcome", "issue": [issue]}
                continue
            prefetch[key] = self._answer(template, resources)
        context: Resource = {"patientId": PATIENT, "userId": f"Practitioner/{uuid4()}"}
        if scenario.hook != "patient-view":
            drafts = [self._drug(line, f"draft-{i}", draft=True) for i, line in enumerate(scenario.drafts)]
            entries = [{"resource": draft} for draft in drafts]
            context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
            chosen = range(len(drafts)) if scenario.selected is None else scenario.selected
            if scenario.hook == "order-select":
                context["selections"] = [f"MedicationRequest/draft-{i}" for i in chosen]
        return {"hook": scenario.hook, "hookInstance": str(uuid4()), "context": context, "prefetch": prefetch}

    def resources(self, scenario: Scenario) -> list[Resource]:
        """Everything on file."""
        made = [self._patient(scenario)]
        made += [self._condition(line, i) for i, line in enumerate(scenario.conditions)]
        made += [self._drug(line, f"drug-{i}") for i, line in enumerate(scenario.drugs)]
        made += [self._lab(line, i) for i, line in enumerate(scenario.labs)]
        if scenario.encounter:
            made.append(
                {
                    "resourceType": "Encounter",
                    "id": "stay",
                    "status": "in-progress",
                    "class": {"system": HL7 + "v3-ActCode", "code": scenario.encounter},
                    "subject": {"reference": f"Patient/{PATIENT}"},
                }
            )
        if scenario.pregnant:
            made.append(self._condition("pregnancy", 99))
        if scenario.intake:
            made.append(self._lab(LabLine(lab="dietary_magnesium_intake", **scenario.intake), 98))
        return made + [{"subject": {"reference": f"Patient/{PATIENT}"}, **resource} for resource in scenario.raw]

    def _answer(self, template: str, resources: list[Resource]) -> Resource:
        kind = template.split("?")[0].split("/")[0]
        if kind == "Patient":
            return resources[0]
        found = [item for item in resources if item["resourceType"] == kind]
        if kind == "Encounter" and found:
            return found[0]
        if "&code=" in template:
            wanted = set(template.split("&code=")[1].split("&")[0].split(","))
            found = [r for r in found if {f"{c.get('system')}|{c.get('code')}" for c in r["code"]["coding"]} & wanted]
        if "&status=" in template:
            statuses = template.split("&status=")[1].split("&")[0].split(",")
            found = [r for r in found if r.get("status") in statuses]
        return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": item} for item in found]}

    def _patient(self, scenario: Scenario) -> Resource:
        made: Resource = {"resourceType": "Patient", "id": PATIENT}
        if scenario.sex:
            made["gender"] = scenario.sex
        if scenario.age is not None:
            # In the middle of a whole year; parts of a year are meant exactly.
            years = scenario.age + 0.5 if isinstance(scenario.age, int) else scenario.age
            made["birthDate"] = (self.now - timedelta(days=int(years * 365.25))).date().isoformat()
        if scenario.deceased:
            made["deceasedBoolean"] = True
        return made

    def _condition(self, line: str | ConditionLine, index: int) -> Resource:
        line = ConditionLine(condition=line) if isinstance(line, str) else line
        system, code, text = SNOMED, line.snomed, line.text
        if line.condition:
            entry = self.library.terminology[line.condition]
            text = text or entry.title
            code = next(iter(self._narrow(line.condition, "snomed")), None)
            if code is None:
                system, code = ICD10CM, next(iter(self._narrow(line.condition, "icd10cm")), None)
        elif line.icd10cm:
            system, code = ICD10CM, line.icd10cm
        recorded = {"recordedDate": moment(line.recorded, self.now).date().isoformat()} if line.recorded else {}
        return recorded | {
            "resourceType": "Condition",
            "id": f"condition-{index}",
            "clinicalStatus": _concept(HL7 + "condition-clinical", line.clinical, ""),
            "verificationStatus": _concept(HL7 + "condition-ver-status", line.verification, ""),
            "code": _concept(system, code, text),
            "subject": {"reference": f"Patient/{PATIENT}"},
        }

    def _narrow(self, concept: str, field: str) -> list[str]:
        """Codes of a concept, or of the first one below it that has any."""
        entries = self.library.terminology
        below = (entry for name, entry in entries.items() if concept in self.library.broader[name])
        found = (codes for entry in (entries[concept], *below) if (codes := getattr(entry, field)))
        return next(found, [])

    def _drug(self, line: str | DrugLine, identifier: str, draft: bool = False) -> Resource:
        line = DrugLine(drug=line) if isinstance(line, str) else line
        text, code, system = line.text, line.rxnorm, RXNORM
        if line.drug:
            entry = self.library.terminology[line.drug]
            text = text or entry.title
            code = code or (entry.rxnorm_ingredients[0] if entry.rxnorm_ingredients and not line.atc else None)
        if line.atc:
            code, system = line.atc, "http://www.whocc.no/atc"
        dosage = self._dosage(line)
        kinds = {"statement": "MedicationStatement", "given": "MedicationAdministration"}
        usual = "in-progress" if line.kind == "given" else "active"
        made: Resource = {
            "resourceType": kinds.get(line.kind, "MedicationRequest"),
            "id": identifier,
            "status": line.status or ("draft" if draft else usual),
            "medicationCodeableConcept": _concept(system, code, text or ""),
            "subject": {"reference": f"Patient/{PATIENT}"},
        }
        if line.kind == "statement":
            made["dosage"] = [dosage]
            if line.since:
                made["effectivePeriod"] = {"start": moment(line.since, self.now).date().isoformat()}
        elif line.kind == "given":
            made["dosage"] = {name: dosage[name] for name in ("text", "route") if name in dosage}
            times = {"start": line.since, "end": line.until}
            made["effectivePeriod"] = {n: moment(text, self.now).isoformat() for n, text in times.items() if text}
        else:
            made |= {"intent": "order", "dosageInstruction": [dosage]}
            if line.since:
                made["authoredOn"] = moment(line.since, self.now).isoformat()
        if line.reason:
            made["reasonCode"] = [self._condition(line.reason, 0)["code"]]
        return made

    def _dosage(self, line: DrugLine) -> Resource:
        made: Resource = {"text": line.sig} if line.sig else {}
        repeat: Resource = {}
        if line.at:
            repeat["timeOfDay"] = [f"{moment_}:00" for moment_ in line.at]
        if line.when:
            repeat["when"] = line.when
        if line.days:
            repeat["dayOfWeek"] = line.days
        if line.times is not None and not line.sig:
            repeat |= {"frequency": line.times, "period": line.period, "periodUnit": line.period_unit}
        if line.ends:
            repeat["boundsPeriod"] = {"end": line.ends}
        if repeat:
            made["timing"] = {"repeat": repeat}
        if line.route:
            made["route"] = _concept(SNOMED, ROUTES[line.route], "")
        if line.as_needed:
            made["asNeededBoolean"] = True
        if line.amount is not None and not line.sig:
            quantity = {"value": line.amount, "unit": line.unit.strip("{}"), "system": UCUM, "code": line.unit}
            made["doseAndRate"] = [{"doseQuantity": quantity}]
        if line.kept_apart:
            made["additionalInstruction"] = [_concept("urn:magnesium-cds:keep-apart", line.kept_apart, "Keep apart")]
        return made

    def _lab(self, line: LabLine, index: int) -> Resource:
        entry = self.library.terminology[line.lab] if line.lab else None
        code = line.loinc
        if code is None and entry:
            wanted = "substance" if (line.unit or "").startswith(("mmol", "umol", "meq", "mEq")) else "mass"
            code = next((item.code for item in entry.codes if item.property == wanted), entry.codes[0].code)
        made: Resource = {
            "resourceType": "Observation",
            "id": f"lab-{index}",
            "status": line.status,
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "subject": {"reference": f"Patient/{PATIENT}"},
        }
        if line.taken:
            made["effectiveDateTime"] = moment(line.taken, self.now).isoformat()
        if line.value is not None:
            made["valueQuantity"] = self._quantity(line.value, line)
            if line.comparator:
                made["valueQuantity"]["comparator"] = line.comparator
        if line.text:
            made["valueString"] = line.text
        limits = {
            name: self._quantity(v, line) for name, v in (("low", line.low), ("high", line.high)) if v is not None
        }
        if limits:
            made["referenceRange"] = [limits]
        if line.flag:
            made["interpretation"] = [_concept(HL7 + "v3-ObservationInterpretation", line.flag, "")]
        if line.note:
            made["note"] = [{"text": line.note}]
        return made

    def _quantity(self, value: int | float, line: LabLine) -> Resource:
        made: Resource = {"value": value}
        if line.unit:
            made["unit"] = line.unit
        code = line.unit_code or line.unit
        if code:
            made |= {"system": UCUM, "code": {"mEq/L": "meq/L"}.get(code, code)}
        return made
