"""Whether the patient is in hospital, where results count for less long."""

from __future__ import annotations

from dataclasses import replace

from cds_service.patient import ENCOUNTER, PatientFacts
from cds_service.rules.context import Context
from cds_service.rules.verdict import Reason


def stay_gap(context: Context) -> Reason | None:
    """Why that is not known, where an encounter is named; else None."""
    if not context.encounter_named:
        return None
    code = context.facts.person.encounter_class
    known = code is None or context.rulebook.library.encounter_kind(code) is not None
    return context.input_gap(ENCOUNTER) or (None if known else Reason("encounter_kind_unknown"))


def in_hospital(context: Context) -> PatientFacts:
    """The same patient in a hospital stay, of whose encounter nothing is left open."""
    person = replace(context.facts.person, encounter_class=context.rulebook.library.inpatient_classes[0])
    inputs = {key: state for key, state in context.facts.inputs.items() if key != ENCOUNTER}
    return replace(context.facts, person=person, inputs=inputs)
