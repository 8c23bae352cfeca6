"""Suggestions: a laboratory order to create, or the draft in the request updated whole. Nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from cds_service.content.shared import KeepApart, LabOrder
from cds_service.fhir import Chart
from cds_service.hooks.display import Display, fill, joined
from cds_service.hooks.planning import DayPlan, plan_times, with_times
from cds_service.patient import Medication, Source
from cds_service.rules.context import MAGNESIUM
from cds_service.rules.evaluate import Outcome

KEEP_APART = "urn:magnesium-cds:keep-apart"
LOINC = "http://loinc.org"


def suggestions_for(
    outcomes: Sequence[Outcome],
    chart: Chart,
    display: Display,
    day: DayPlan | None,
    no_magnesium: bool,
    phrase_in_text: bool,
) -> list[dict[str, Any]]:
    """The suggestions of one card, each once. With `no_magnesium` none that presumes giving magnesium is made."""
    library = display.library
    made: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for name in outcome.rule.loaded.page.card.suggest:
            suggestion = library.suggestions[name]
            if isinstance(suggestion, LabOrder):
                if not _already_drafted(suggestion, chart, display):
                    made.setdefault(f"lab:{suggestion.lab}", _lab_order(suggestion, chart, display))
            elif not no_magnesium and name not in made:
                drafted = [item for item in outcomes if name in item.rule.loaded.page.card.suggest]
                if action := _keep_apart(suggestion, drafted, chart, display, day, phrase_in_text):
                    made[name] = action
    return list(made.values())


def _lab_order(suggestion: LabOrder, chart: Chart, display: Display) -> dict[str, Any]:
    order = display.library.terminology[suggestion.lab].order
    assert order is not None  # checked at load
    resource = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": [{"system": LOINC, "code": order.code, "display": order.display}], "text": order.display},
        "subject": {"reference": f"Patient/{chart.patient_id}"},
        "reasonCode": [{"text": suggestion.reason}],
    }
    return _suggestion(suggestion.label, "create", suggestion.description, resource)


def _already_drafted(suggestion: LabOrder, chart: Chart, display: Display) -> bool:
    """Whether a draft in the request orders the test already, so that it is not proposed again."""
    codes = {item.code for item in display.library.terminology[suggestion.lab].loinc}
    return any((LOINC, code) in chart.drafted_codes for code in codes)


def _keep_apart(
    suggestion: KeepApart,
    outcomes: Sequence[Outcome],
    chart: Chart,
    display: Display,
    day: DayPlan | None,
    phrase_in_text: bool,
) -> dict[str, Any] | None:
    """One update of one draft that speaks of every drug it meets, with the plan's times where there are any."""
    pairs = [
        (pair, outcome)
        for outcome in outcomes
        if outcome.verdict
        for pair in outcome.verdict.bindings.get("pairs", ())
        if pair.draft
    ]
    if not pairs:
        return None
    draft: Medication = pairs[0][0].draft
    resource = chart.resource(draft.source)
    if day is not None and day.writable and draft.source == day.product.source:
        resource = with_times(resource, day.plan)
        times = fill(display.library.wording.plan.instruction, {"times": plan_times(day)})
        resource["dosageInstruction"] = [_with_patient_text(item, times) for item in resource["dosageInstruction"]]
    names: list[str] = []
    for pair, outcome in pairs:
        if pair.draft is not draft:
            continue
        assert outcome.verdict is not None
        drug: str = outcome.verdict.bindings["drug"]
        other = drug if draft is pair.magnesium else MAGNESIUM
        if other in names:
            continue
        names.append(other)
        values = display.placeholders(outcome.rule, outcome.verdict)
        same = values.get("hours_before") == values.get("hours_after")
        text = fill(suggestion.instruction_same if same else suggestion.instruction, values)
        resource = with_instruction(resource, text, other)
    template = display.library.wording.keep_apart_phrase if phrase_in_text else ""
    _name_the_drug(resource, draft, display, "".join(fill(template, {"drug": display.drug(name)}) for name in names))
    description = fill(suggestion.description, {"drug": joined(display.drug(name) for name in names)})
    return _suggestion(suggestion.label, "update", description, resource)


def _with_patient_text(dosage: dict[str, Any], text: str) -> dict[str, Any]:
    before = dosage.get("patientInstruction")
    return dosage | {"patientInstruction": f"{before} {text}" if isinstance(before, str) and before else text}


def with_instruction(resource: dict[str, Any], text: str, other: str) -> dict[str, Any]:
    """The draft with our coded instruction added to every dosage instruction; all else as it was."""
    coded = {"coding": [{"system": KEEP_APART, "code": other, "display": text}], "text": text}
    dosages = resource.get("dosageInstruction")
    dosages = [dict(item) for item in dosages if isinstance(item, dict)] if isinstance(dosages, list) else []
    updated = dict(resource)
    updated["dosageInstruction"] = [_instructed(item, coded, text) for item in dosages or [{}]]
    return updated


def _instructed(dosage: dict[str, Any], coded: dict[str, Any], text: str) -> dict[str, Any]:
    present = dosage.get("additionalInstruction")
    kept = [item for item in present if isinstance(item, dict)] if isinstance(present, list) else []
    return _with_patient_text(dosage | {"additionalInstruction": [*kept, coded]}, text)


def _name_the_drug(resource: dict[str, Any], draft: Medication, display: Display, phrase: str) -> None:
    """A client swaps in the drug of an update, so it needs a text (ours where the draft has none).

    `phrase` goes behind it where a client keeps nothing of an update but the drug's text: the next call reads it there.
    """
    concept = resource.get("medicationCodeableConcept")
    if not isinstance(concept, dict):
        return
    codings = concept.get("coding")
    displays = [item.get("display") for item in codings if isinstance(item, dict)] if isinstance(codings, list) else []
    text = concept.get("text") or next((name for name in displays if name), None) or display.medication(draft)
    resource["medicationCodeableConcept"] = concept | {"text": f"{text}{phrase}"}


def pruned(value: Any) -> Any:
    """Without null, empty text, empty lists and empty objects: the wire allows none of them."""
    if isinstance(value, dict):
        kept = {key: pruned(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [item for item in map(pruned, value) if item not in (None, "", [], {})]
    return value


def _suggestion(label: str, kind: str, description: str, resource: dict[str, Any]) -> dict[str, Any]:
    action = {"type": kind, "description": description, "resource": pruned(resource)}
    return {"label": label, "uuid": str(uuid4()), "actions": [action]}


def sources_cited(outcomes: Sequence[Outcome]) -> list[Source]:
    """Every resource that the findings rest on, each once."""
    return list(dict.fromkeys(source for o in outcomes if o.verdict for source in o.verdict.sources))
