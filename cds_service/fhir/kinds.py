"""The types of resources that are read, each with its view."""

from __future__ import annotations

from typing import get_args

from msgspec.json import Decoder

from cds_service.fhir import elements

AnyResource = (
    elements.Bundle
    | elements.OperationOutcome
    | elements.Patient
    | elements.Observation
    | elements.Condition
    | elements.MedicationRequest
    | elements.MedicationStatement
    | elements.MedicationAdministration
    | elements.MedicationView
    | elements.Encounter
    | elements.QuestionnaireResponse
    | elements.ServiceRequest
    | elements.Specimen
)
read_resource = Decoder(AnyResource).decode
TYPES: dict[type, str] = {each: str(each.__struct_config__.tag) for each in get_args(AnyResource)}
VIEWS: dict[str, type[elements.Resource]] = {name: each for each, name in TYPES.items()}
# What is asked for by its id comes as it is; all else is the result of a search, and belongs in a Bundle.
READ_BY_ID = frozenset({"Patient", "Encounter"})
# What makes facts wherever it stands.
READ_ANYWHERE = (
    elements.Observation,
    elements.Condition,
    elements.MedicationRequest,
    elements.MedicationStatement,
    elements.MedicationAdministration,
    elements.QuestionnaireResponse,
)
FACTS = frozenset(TYPES[each] for each in READ_ANYWHERE)
