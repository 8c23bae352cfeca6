"""Routes of administration by code and name, from `cards/terminology/routes.yaml`."""

from __future__ import annotations

from collections.abc import Mapping

from cds_service.content.tables import RouteRow
from cds_service.patient import Route
from cds_service.spelling import fold

RouteTable = Mapping[tuple[str, str], Route]
"""(short name of a code system, code) to route; names stand under the system "", folded."""


def route_table(rows: Mapping[Route, RouteRow]) -> RouteTable:
    """The table of the rows of `terminology/routes.yaml`."""
    table: dict[tuple[str, str], Route] = {}
    for route, row in rows.items():
        table |= {("", fold(name)): route for name in row.names}
        table |= {(system, code): route for system, codes in row.codes.items() for code in codes}
    return table
