"""Foods that hold magnesium, for the patient of one call."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from cds_service.content.library import Library
from cds_service.rules.context import Context
from cds_service.rules.verdict import Reason
from cds_service.spelling import joined


def foods(library: Library, context: Context, gap: Decimal, unit: str) -> str:
    """Up to three foods, one serving each, richest first among those that do not overshoot the gap (mg a day) by
    far. `unit`: the word for mg."""
    careful = _careful(context)
    listed = [food for food in library.foods.values() if not (food.kidney_caution and careful)]
    fitting = [food for food in listed if food.magnesium <= max(gap, library.intakes.small_serving)]
    best = sorted(fitting or listed, key=lambda food: (-food.magnesium, food.name))[:3]
    return joined(f"{food.name}, {food.serving} ({food.magnesium:f} {unit})" for food in best)


def _careful(context: Context) -> bool:
    """Whether the kidneys may not clear potassium: reduced, not known, known too long ago, or disease on record."""
    kidney, limit = context.kidney, context.limit
    if isinstance(kidney, Reason) or kidney.lab.time is None:
        return True
    old = context.facts.now - kidney.lab.time > timedelta(days=float(limit("oldest_kidney").value))
    below = kidney.may_be_below(limit("kidney_reduced").value)
    return old or below or not context.concepts.isdisjoint(("chronic_kidney_disease", "dialysis"))
