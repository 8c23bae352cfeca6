"""A patient of a scenario in plain words: who it is, and what the chart holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cds_service.advice.phrasing import lowered, sentence
from cds_service.content.library import Library
from cds_service.sandbox.scenario import ConditionLine, DrugLine, LabLine, Scenario
from cds_service.spelling import joined

HOOKS = {
    "patient-view": "The chart is opened.",
    "order-select": "An order is chosen.",
    "order-sign": "Orders are signed.",
}
STAYS = {"inpatient": "in hospital", "emergency": "in an emergency", "outpatient": "outpatient"}


def patient_in_words(case: Scenario, library: Library) -> list[str]:
    """What is so of the patient and in the chart, a sentence for each kind of thing."""
    said = [_person(case, library)]
    conditions = [_condition(line, library) for line in case.conditions]
    said += [f"On the problem list: {joined(conditions)}."] if conditions else []
    drugs = [_drug(line, library) for line in case.drugs]
    said += [f"Takes or was given: {joined(drugs)}."] if drugs else []
    drafts = [_drug(line, library) for line in case.drafts]
    said += [f"Being ordered: {joined(drafts)}."] if drafts else []
    said += [_lab(line, library) for line in case.labs]
    if case.intake:
        said.append(_lab(LabLine(lab="dietary_magnesium_intake", **case.intake), library))
    kinds = sorted({str(resource.get("resourceType", "resource")) for resource in case.raw})
    said += [f"Also in the chart, written as FHIR: {joined(kinds)}."] if kinds else []
    said += [f"Not sent by the EHR: {_inputs(case.without)}."] if case.without else []
    said += [f"Could not be read by the EHR: {_inputs(case.failed)}."] if case.failed else []
    return [*said, HOOKS[case.hook]]


def _inputs(keys: Sequence[str]) -> str:
    return joined(key.replace("_", " ") for key in keys)


def _person(case: Scenario, library: Library) -> str:
    age = "age not known" if case.age is None else f"{case.age:g} years old"
    facts = [case.sex or "sex not known", age]
    if case.pregnant is not None:
        facts.append("pregnant" if case.pregnant else "not pregnant")
    kind = library.encounter_kind(case.encounter)
    facts += [STAYS[kind]] if kind else []
    facts += ["has died"] if case.deceased else []
    return sentence(f"{', '.join(facts)}.")


def _condition(line: str | ConditionLine, library: Library) -> str:
    line = ConditionLine(condition=line) if isinstance(line, str) else line
    code = f"ICD-10-CM {line.icd10cm}" if line.icd10cm else f"SNOMED CT {line.snomed}" if line.snomed else "no code"
    name = line.text or (lowered(library.title(line.condition)) if line.condition else f"a problem coded as {code}")
    notes = [word for word in (line.clinical, line.verification) if word not in ("active", "confirmed")]
    notes += [f"since {line.recorded}"] if line.recorded else []
    return _noted(name, notes)


def _drug(line: str | DrugLine, library: Library) -> str:
    line = DrugLine(drug=line) if isinstance(line, str) else line
    code = f"ATC {line.atc}" if line.atc else f"RxNorm {line.rxnorm}" if line.rxnorm else ""
    title = lowered(library.title(line.drug)) if line.drug else ""
    name = line.text or title or (f"a drug coded as {code}" if code else "a medicine without a name")
    return _noted(name, list(_drug_notes(line)))


def _drug_notes(line: DrugLine) -> Iterator[str]:
    if line.sig:
        yield f"as written: {line.sig}"
    if line.at:
        yield f"at {joined(line.at)}"
    if line.when:
        yield f"when: {joined(line.when)}"
    if line.days:
        yield f"on {joined(line.days)}"
    if line.route not in ("oral", None):
        yield line.route
    if line.as_needed:
        yield "as needed"
    if line.status:
        yield line.status
    if line.kind != "order":
        yield {"statement": "said by the patient", "given": "given"}[line.kind]
    if line.reason:
        reason = line.reason if isinstance(line.reason, str) else line.reason.condition or line.reason.text
        yield f"for {reason.replace('_', ' ')}"
    if line.since:
        yield f"from {line.since}"
    if line.until:
        yield f"until {line.until}"
    if line.ends:
        yield f"ends {line.ends}"
    if line.kept_apart:
        yield "with an instruction to keep it apart"


def _lab(line: LabLine, library: Library) -> str:
    name = lowered(library.title(line.lab)) if line.lab else f"LOINC {line.loinc}"
    unit = library.wording.units.get(line.unit or "", line.unit or "without a unit")
    value = "no value" if line.value is None else f"{line.comparator or ''}{line.value} {unit}"
    value = line.text or value
    notes = [line.taken or "time not known"]
    if line.low is not None or line.high is not None:
        ends = [f"from {line.low}"] if line.low is not None else []
        ends += [f"to {line.high}"] if line.high is not None else []
        notes.append(f"the laboratory's range {' '.join(ends)}")
    notes += [f"flag {line.flag}"] if line.flag else []
    notes += [line.status] if line.status != "final" else []
    notes += [f"comment: {line.note}"] if line.note else []
    return sentence(f"{name} {value} ({'; '.join(notes)}).")


def _noted(name: str, notes: Sequence[str]) -> str:
    return f"{name} ({'; '.join(notes)})" if notes else name
