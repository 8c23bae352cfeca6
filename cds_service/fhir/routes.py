"""Routes of administration, from `cards/terminology/routes.yaml`."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.fhir.elements import Concept, DosageView
from cds_service.patient import Route
from cds_service.spelling import fold
from cds_service.terminology.index import Vocabulary

# With several routes in one order, the one that matters to absorption decides.
_FIRST = ("oral", "enteral")


def route_of(instructions: Sequence[DosageView], product: Route, vocabulary: Vocabulary) -> Route:
    """The route of an order: what its instructions say, else that of the product."""
    found = [r for i in instructions if i.route is not None and (r := _read(i.route, vocabulary)) is not None]
    return next((r for r in found if r in _FIRST), found[0] if found else product)


def _read(concept: Concept, vocabulary: Vocabulary) -> Route | None:
    table = vocabulary.routes
    for coding in concept.coding or ():
        system = vocabulary.system_name(coding.system)
        if coding.code and system and (route := table.get((system, coding.code.strip()))):
            return route
    names = [concept.text, *(c.display for c in concept.coding or ())]
    return next((r for n in names if n and (r := table.get(("", fold(n.strip()))))), None)
