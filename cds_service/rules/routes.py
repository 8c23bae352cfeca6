"""By which routes a product reaches the gut or the blood."""

from __future__ import annotations

from cds_service.patient import Medication

# Routes by which a product does not reach the gut or the blood in amounts that a rule is about.
LOCAL_ROUTES = frozenset({"topical", "ophthalmic", "otic", "nasal", "inhaled", "vaginal"})
ORAL_ROUTES = frozenset({"oral", "enteral", "unknown"})


def route_fits(medication: Medication, route: str) -> bool:
    """Whether a medicine is given by the route that a test names: "oral", "intravenous", "systemic", or any other."""
    if route == "systemic":
        return medication.route not in LOCAL_ROUTES
    fitting = {"oral": ORAL_ROUTES, "intravenous": ("intravenous", "injection")}.get(route)
    return fitting is None or medication.route in fitting
