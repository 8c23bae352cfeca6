"""Routes of administration, from `cards/terminology/routes.yaml`."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.fhir.elements import Concept, DosageView
from cds_service.patient import Route
from cds_service.terminology.routes import RouteTable

# With several routes in one order, the one that matters to absorption decides.
_FIRST = ("oral", "enteral")


def route_of(instructions: Sequence[DosageView], product: Route, table: RouteTable) -> Route:
    """The route of an order: what its instructions say, else that of the product."""
    found = [r for i in instructions if i.route is not None and (r := _read(i.route, table)) is not None]
    return next((r for r in found if r in _FIRST), found[0] if found else product)


def _read(concept: Concept, table: RouteTable) -> Route | None:
    for coding in concept.coding or ():
        route = table.get((coding.system or "", coding.code or "")) if coding.code and coding.system else None
        if route is not None:
            return route
    names = [concept.text, *(c.display for c in concept.coding or ())]
    return next((r for n in names if n and (r := table.get(("", n.strip().casefold())))), None)
