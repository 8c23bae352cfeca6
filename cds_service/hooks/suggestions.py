"""Suggestions: a laboratory order to create, or the draft in the request updated whole. Nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from cds_service.content.shared import KeepApart, LabOrder
from cds_service.fhir import Chart
from cds_service.hooks.display import Display, fill
from cds_service.patient import Medication, Source
from cds_service.rules.evaluate import Outcome
from cds_service.rules.verdict import Pair

KEEP_APART = "urn:magnesium-cds:keep-apart"
LOINC = "http://loinc.org"


def suggestions_for(
    outcomes: Sequence[Outcome], chart: Chart, display: Display, no_magnesium: bool, phrase_in_text: bool
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
            elif not no_magnesium and (action := _keep_apart(suggestion, outcome, chart, display, phrase_in_text)):
                made.setdefault(name, action)
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
    suggestion: KeepApart, outcome: Outcome, chart: Chart, display: Display, phrase_in_text: bool
) -> dict[str, Any] | None:
    assert outcome.verdict is not None
    pairs: tuple[Pair, ...] = outcome.verdict.bindings.get("pairs", ())
    draft = next((pair.draft for pair in pairs if pair.draft), None)
    if draft is None:
        return None
    pair = next(pair for pair in pairs if pair.draft is draft)
    drug = outcome.verdict.bindings["drug"]
    values = display.placeholders(outcome.rule, outcome.verdict)
    same = values.get("hours_before") == values.get("hours_after")
    text = fill(suggestion.instruction_same if same else suggestion.instruction, values)
    other = drug if draft is pair.magnesium else "magnesium"
    resource = with_instruction(chart.resource(draft.source), text, other)
    phrase = fill(display.library.wording.keep_apart_phrase, {"drug": display.drug(other)}) if phrase_in_text else ""
    _name_the_drug(resource, draft, display, phrase)
    return _suggestion(suggestion.label, "update", fill(suggestion.description, values), resource)


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
    before = dosage.get("patientInstruction")
    joined = f"{before} {text}" if isinstance(before, str) and before else text
    return dosage | {"additionalInstruction": [*kept, coded], "patientInstruction": joined}


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
