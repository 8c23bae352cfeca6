"""Elemental magnesium a day: from all products together, each counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from cds_service.content.rulebook import Rulebook
from cds_service.patient import Medication, Source
from cds_service.rules.amounts import Reading, reading_a_day
from cds_service.rules.verdict import DailyMagnesium


def day_of(products: Sequence[Medication], rulebook: Rulebook, today: date) -> DailyMagnesium:
    """The day of these products. A statement that mirrors an order counts once, and one that the order continues as it
    is: the same product and the same amount."""
    counted: list[tuple[Medication, Reading]] = []
    missing: list[Medication] = []
    seen: set[tuple[object, ...]] = set()
    for medication in products:
        reading = reading_a_day(medication, rulebook, today)
        product = (medication.drugs, medication.components)
        if medication.source.type == "MedicationStatement" and not seen.isdisjoint(
            ((*product, medication.status), (*product, reading))
        ):
            continue
        seen.add((*product, medication.status))
        if reading is None:
            missing.append(medication)
        else:
            seen.add((*product, reading))
            counted.append((medication, reading))
    as_needed = any(dosage.as_needed for medication, _ in counted for dosage in medication.dosages)
    return DailyMagnesium(tuple(counted), tuple(missing), as_needed)


def standing(products: Sequence[Medication]) -> list[Medication]:
    """The same without orders that another of them replaces, and without statements made from one of them."""
    by_source = {item.source: item for item in products}
    replaced = set()
    for item in products:
        for source in item.replaces & by_source.keys():
            if item.source.type == "MedicationStatement":
                replaced.add(item.source)
            elif not _leads_back(by_source, by_source[source], item.source):
                replaced.add(source)
    return [item for item in products if item.source not in replaced]


def _leads_back(by_source: Mapping[Source, Medication], first: Medication, to: Source) -> bool:
    """Whether an order, or what it replaces, says in turn that it replaces `to`: nobody knows then which is later."""
    seen, left = set[Source](), [first.source]
    while left:
        source = left.pop()
        if source == to:
            return True
        if source not in seen and source in by_source:
            seen.add(source)
            left += by_source[source].replaces
    return False
