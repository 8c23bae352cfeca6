"""Routes of administration, from `cards/terminology/routes.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import cast, get_args

import yaml

from cds_service.fhir.views import Concept, DosageView
from cds_service.patient import Route

# With several routes in one order, the one that matters to absorption decides.
_FIRST = ("oral", "enteral")


@lru_cache(maxsize=1)
def route_table() -> Mapping[tuple[str, str], Route]:
    """(code system, code) to route; names stand under the system "" in lower case. Raises ValueError if malformed."""
    page = yaml.safe_load(files("cds_service.cards").joinpath("terminology", "routes.yaml").read_text("utf-8"))
    table: dict[tuple[str, str], Route] = {}
    for route, row in page["routes"].items():
        if route not in get_args(Route):
            raise ValueError(f"routes: {route!r} is not a route")
        names = {"": [name.casefold() for name in row.get("names", [])]}
        for system, codes in {**row.get("codes", {}), **names}.items():
            for code in codes:
                if (system, code) in table:
                    raise ValueError(f"routes: {code!r} is named twice")
                table[system, code] = cast(Route, route)
    return table


def route_of(instructions: Sequence[DosageView], product: Route) -> Route:
    """The route of an order: what its instructions say, else that of the product."""
    found = [r for i in instructions if i.route is not None and (r := _read(i.route)) is not None]
    return next((r for r in found if r in _FIRST), found[0] if found else product)


def _read(concept: Concept) -> Route | None:
    table = route_table()
    for coding in concept.coding or ():
        route = table.get((coding.system or "", coding.code or "")) if coding.code and coding.system else None
        if route is not None:
            return route
    names = [concept.text, *(c.display for c in concept.coding or ())]
    return next((r for n in names if n and (r := table.get(("", n.strip().casefold())))), None)
