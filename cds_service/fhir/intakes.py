"""Documented dietary magnesium intake: Observations in mass or substance a day, and answers to our screener."""

from __future__ import annotations

from typing import cast

from cds_service.fhir.building import Building, has_subject
from cds_service.fhir.bundles import Item
from cds_service.fhir.labs import NOT_USED, USED, read_value
from cds_service.fhir.screener import read_screeners
from cds_service.fhir.views import Observation
from cds_service.fhir.vocabulary import LabConcept
from cds_service.patient import Intake

INTAKE = "dietary_magnesium_intake"


def read_intakes(building: Building) -> tuple[Intake, ...]:
    """Newest first; those that cannot be used come first with their problem."""
    found = [
        _intake(building, item, cast(Observation, item.view), concept)
        for item, concept in building.observed.get(INTAKE, ())
        if _counts(building, item, cast(Observation, item.view))
    ]
    found += read_screeners(building)
    found.sort(key=lambda i: i.time.timestamp() if i.time else float("inf"), reverse=True)
    return tuple(found)


def _counts(building: Building, item: Item, view: Observation) -> bool:
    if view.status in NOT_USED:
        return False
    if view.status not in USED or not has_subject(view):
        building.lost(item)
        return False
    return True


def _intake(building: Building, item: Item, view: Observation, concept: LabConcept) -> Intake:
    read = read_value(view, view, concept, building.now, building.vocabulary.units)
    problem = read.problem or ("only a limit is given" if read.comparator else "")
    return Intake(
        source=item.source,
        mg_per_day=None if problem else read.value,
        time=read.moment.at if read.moment else None,
        problem=problem,
    )
