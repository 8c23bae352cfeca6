"""Elemental magnesium a day: from all products together, each counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from cds_service.content.rulebook import Rulebook
from cds_service.patient import Medication, Source
from cds_service.rules.amounts import Reading, reading_a_day
from cds_service.rules.verdict import DailyMagnesium


def day_of(products: Sequence[Medication], rulebook: Rulebook, today: date) -> DailyMagnesium:
    """The day of these products. A statement that mirrors an order counts once. One of the same product and the same
    amount as what is being ordered may be what the order continues, or be taken beside it."""
    counted: list[tuple[Medication, Reading]] = []
    continued: list[tuple[Medication, Reading]] = []
    missing: list[Medication] = []
    seen: set[tuple[object, ...]] = set()
    for medication in products:
        reading = reading_a_day(medication, rulebook, today)
        product = (medication.drugs, medication.components)
        stated = medication.source.type == "MedicationStatement"
        if stated and (*product, medication.status) in seen:
            continue
        seen.add((*product, medication.status))
        if reading is None:
            missing.append(medication)
        elif stated and (*product, reading) in seen:
            continued.append((medication, reading))
        else:
            seen.add((*product, reading))
            counted.append((medication, reading))
    as_needed = any(dosage.as_needed for medication, _ in counted for dosage in medication.dosages)
    return DailyMagnesium(tuple(counted), tuple(missing), as_needed, tuple(continued))


def standing(products: Sequence[Medication]) -> list[Medication]:
    """The same without orders that another of them replaces, and without statements made from one of them."""
    there = {item.source for item in products}
    prior: dict[Source, Source] = {}
    replaced = set()
    for item in products:
        for source in item.replaces & there:
            if item.source.type == "MedicationStatement":
                replaced.add(item.source)
            else:
                prior[item.source] = source  # an order names one at most
    circles = _circles(prior)
    replaced.update(source for item, source in prior.items() if item not in circles)
    return [item for item in products if item.source not in replaced]


def _circles(prior: Mapping[Source, Source]) -> set[Source]:
    """Orders that say, each of the next, that they replace one another: nobody knows which is the latest."""
    found, seen = set[Source](), dict[Source, Source]()
    for first in prior:
        source = first
        while source in prior and source not in seen:
            seen[source] = first
            source = prior[source]
        if seen.get(source) == first:  # this walk came back to itself
            while source not in found:
                found.add(source)
                source = prior[source]
    return found
