"""A patient in a few lines of YAML, as the FHIR that an EHR would send.

A scenario names concepts of `cards/terminology/`; their codes are written into real FHIR R4 resources. Keys:
name, kind, hook, sex, age, pregnant, encounter (its HL7 class, such as IMP), conditions, drugs, drafts, selected, labs,
intake, raw, without, failed, site, expect. `given` in a file holds what all its scenarios share; its `expect` is what
every card says that the rule leads.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.sample import moment
from tests.family import Family, expand

LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"
ROUTES = {"oral": "26643006", "intravenous": "47625008", "topical": "6064005", "ophthalmic": "54485002"}
ROUTES |= {"intramuscular": "78421000"}
KINDS = ("fires", "at_the_limit", "no_data", "stale", "other_coding", "near_miss", "contraindication", "site_value")
PATIENT = "scenario-patient"
Resource = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConditionLine(_Strict):
    """`condition` is a concept; or codes outright; `text` alone is one in words. `recorded`: when it was listed."""

    condition: str | None = None
    snomed: str | None = None
    icd10cm: str | None = None
    text: str = ""
    clinical: str = "active"
    recorded: str | None = None
    verification: str = "confirmed"
    recorded: str | None = None


class DrugLine(_Strict):
    """`drug` is a concept (sent with its ingredient code and title); `text` alone is a name without code. `since`, like
    '3 days ago', is when it was ordered, or for a statement when it was begun. What is `given` goes on since then, or
    was given then or until `until`, by its status."""

    drug: str | None = None
    text: str | None = None
    rxnorm: str | None = None
    atc: str | None = None
    route: str | None = "oral"
    amount: float | None = 1
    unit: str = "{tablet}"
    times: int | None = 1
    period: float = 1
    period_unit: str = "d"
    at: list[str] = []
    when: list[str] = []
    days: list[str] = []
    as_needed: bool = False
    sig: str | None = None
    status: str | None = None
    kind: Literal["order", "statement", "given"] = "order"
    reason: str | ConditionLine | None = None
    kept_apart: str | None = None
    ends: str | None = None
    since: str | None = None
    until: str | None = None


class LabLine(_Strict):
    """`lab` is a concept; `loinc` another code. `taken` is like '3 days ago', '' for no time."""

    lab: str | None = None
    loinc: str | None = None
    value: int | float | None = None
    unit: str | None = None
    unit_code: str | None = None
    comparator: str | None = None
    taken: str = "1 day ago"
    low: float | None = None
    high: float | None = None
    flag: str | None = None
    status: str = "final"
    note: str | None = None
    text: str | None = None


class Evidence(_Strict):
    """What a card says of its evidence."""

    certainty: Literal["high", "moderate", "low", "very_low"]
    strength: Literal["strong", "conditional"]
    direction: Literal["for", "against"]


class Expect(_Strict):
    """Of the rule that the file is named after; `others` of other rules.

    `shown` says where a rule that fired is told: it `leads` its card, stands `beneath` the rule `under` on that one's
    card, is `named` in a line because there are too many cards, or is `silent`. All words are those of the card that
    tells it. `options` and `reasons` (codes) are whole lists, in order. With `offers_magnesium: false` no card of the
    answer changes an order or plans times for magnesium.
    """

    outcome: Literal["fired", "quiet", "not_evaluated", "not_applicable"]
    reason: str | None = None
    shown: Literal["leads", "beneath", "named", "silent"] = "leads"
    under: str | None = None
    indicator: str | None = None
    summary: list[str] | str = []
    detail: list[str] | str = []
    absent: list[str] | str = []
    evidence: Evidence | None = None
    options: list[str] | None = None
    suggestions: list[str] | None = None
    reasons: list[str] | None = None
    offers_magnesium: bool = True
    others: dict[str, str] = {}
    cards: int | None = None

    def missing(self, *, first: bool) -> list[str]:
        """What a rule that fired has to say of its card, and does not. The first scenario of a file says all of it."""
        needed = {"leads": ["indicator", "summary"], "beneath": ["indicator", "under"]}.get(self.shown, [])
        lacking = [name for name in needed if not getattr(self, name)]
        whole = ["evidence", "options", "suggestions", "reasons"] if first else []
        return lacking + [name for name in whole if getattr(self, name) is None]


class Scenario(_Strict):
    """One patient and what the rule says of them.

    `fires_for` guards lists. Under `drugs`, `drafts` or `conditions` it holds every concept that makes the rule fire
    when it stands first in that list; under `reason`, as the reason of the first draft. A class stands for each of its
    members. All other concepts of the kind together do not make it fire: see tests/variants.py.
    """

    name: Annotated[str, Field(min_length=10)]
    kind: Literal[
        "fires",
        "at_the_limit",
        "no_data",
        "stale",
        "other_coding",
        "near_miss",
        "contraindication",
        "site_value",
        "quiet",
    ]
    hook: Literal["patient-view", "order-select", "order-sign"] = "patient-view"
    sex: Literal["female", "male"] | None = "female"
    age: int | float | None = 58
    pregnant: bool | None = None
    deceased: bool = False
    encounter: str | None = None
    conditions: list[str | ConditionLine] = []
    drugs: list[str | DrugLine] = []
    drafts: list[str | DrugLine] = []
    selected: list[int] | None = None
    labs: list[LabLine] = []
    intake: dict[str, Any] | None = None
    raw: list[Resource] = []
    without: list[str] = []
    failed: list[str] = []
    site: dict[str, Any] | None = None
    fires_for: dict[Literal["drugs", "drafts", "conditions", "reason"], Annotated[list[str], Field(min_length=1)]] = {}
    expect: Expect


class ScenarioFile(_Strict):
    """`not_here` names kinds that make no sense for the rule, each with the reason.

    `family` fills the shapes of tests/family.py; the scenarios made of them stand behind those of the file.
    `in_pregnancy` is the outcome for the first scenario's patient, were she pregnant.
    """

    given: dict[str, Any] = {}
    not_here: dict[str, Annotated[str, Field(min_length=10)]] = {}
    in_pregnancy: Literal["fired", "not_evaluated", "not_applicable"] = "fired"
    family: Family | None = None
    scenarios: Annotated[list[Scenario], Field(min_length=1)]

    @model_validator(mode="after")
    def _says_what_cards_say(self) -> ScenarioFile:
        if self.scenarios[0].expect.outcome != "fired" or self.scenarios[0].expect.shown != "leads":
            raise ValueError("in the first scenario the rule fires and leads its card")
        for index, case in enumerate(self.scenarios):
            missing = case.expect.missing(first=index == 0) if case.expect.outcome == "fired" else []
            if missing:
                raise ValueError(f"{case.name}: expect lacks {', '.join(missing)}")
        return self


def read_file(data: dict[str, Any]) -> ScenarioFile:
    """The file with the scenarios of its family, `given` filled into every scenario, and its `expect` into those in
    which the rule leads a card."""
    given = dict(data.get("given", {}))
    said = given.pop("expect", {})
    family = expand(Family.model_validate(data["family"]), given.get("sex", "female")) if "family" in data else []
    filled = [{**given, **item} for item in [*data.get("scenarios", []), *family]]
    for item in filled:
        if item["expect"].get("outcome") == "fired" and item["expect"].get("shown", "leads") == "leads":
            item["expect"] = {**said, **item["expect"]}
    return ScenarioFile.model_validate({**data, "scenarios": filled})


def _concept(system: str, code: str | None, text: str) -> Resource:
    return ({"coding": [{"system": system, "code": code}]} if code else {}) | ({"text": text} if text else {})


class Builder:
    """Turns a scenario into a hook request at `now`."""

    def __init__(self, content: Content, now: datetime) -> None:
        self.library, self.vocabulary, self.now = content.library, content.vocabulary, now

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
