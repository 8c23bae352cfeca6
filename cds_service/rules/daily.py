"""Elemental magnesium a day: from all products together, each counted once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from cds_service.content.rulebook import Rulebook
from cds_service.patient import Medication
from cds_service.rules.amounts import Reading, reading_a_day
from cds_service.rules.verdict import DailyMagnesium


def day_of(products: Iterable[Medication], rulebook: Rulebook, today: date) -> DailyMagnesium:
    """The day of these products. A statement that mirrors an order counts once."""
    counted: list[tuple[Medication, Reading]] = []
    missing: list[Medication] = []
    seen: set[tuple[object, ...]] = set()
    for medication in products:
        mirror = (medication.drugs, medication.components, medication.status == "draft")
        if medication.source.type == "MedicationStatement" and mirror in seen:
            continue
        seen.add(mirror)
        reading = reading_a_day(medication, rulebook, today)
        if reading is None:
            missing.append(medication)
        else:
            counted.append((medication, reading))
    as_needed = any(dosage.as_needed for medication, _ in counted for dosage in medication.dosages)
    return DailyMagnesium(tuple(counted), tuple(missing), as_needed)
