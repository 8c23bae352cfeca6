"""The test words about amounts and numbers of magnesium products: each from its model and the context to a Verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from cds_service.content.rulebook import Limit
from cds_service.content.test_words import DailyMagnesiumTest, MagnesiumProductsTest
from cds_service.content.word_fields import UPPER_LEVEL
from cds_service.patient import Component, Medication
from cds_service.rules.context import DRAFT_ORDERS, Context, medication_notes
from cds_service.rules.verdict import FALSE, DailyMagnesium, Reason, Verdict, unknown

Limits = Mapping[str, Limit]


def daily_magnesium(test: DailyMagnesiumTest, context: Context, limits: Limits) -> Verdict:
    """The day's elemental magnesium above a limit, or on both sides of it where an order can be read two ways."""
    ((word, name),) = test.daily_magnesium.items()
    used: tuple[Limit, ...] = ()
    notes: tuple[str, ...] = ()
    if name == UPPER_LEVEL:
        level = context.upper_level
        if level is None:
            known = context.facts.person.age_years is not None
            return unknown(Reason("no_upper_level") if known else context.person_gap("age_unknown"))
        limit = level
        notes += ("upper_level_eu",) if context.rulebook.site.dietary_region == "eu" else ()
    else:
        limit, used = limits[name].value, (limits[name],)
    total = context.daily_magnesium
    if test.repeated and total.single:
        return FALSE
    found = _above(total, limit, context) if word == "above" else _read_two_ways(total, limit, context)
    if found.truth is None:
        return found
    notes = _notes(total) + found.notes + notes
    bindings = {"daily_magnesium": total, **found.bindings, "daily_magnesium.limit": limit} if found.truth else {}
    return Verdict(found.truth, (), bindings, tuple(item.source for item in total.medications), notes, used)


def _notes(total: DailyMagnesium) -> tuple[str, ...]:
    notes = medication_notes(total.medications)
    notes += ("as_needed_counted",) if total.as_needed else ()
    notes += ("products_not_counted",) if total.unknown else ()
    drafted = [item for item, _ in total.counted if item.status == "draft"]
    beside = [item for item, _ in total.counted if item.status != "draft"]
    known = _Products(drafted)
    notes += ("counted_twice",) if any(item in known for item in beside) else ()
    return notes


def _gaps(total: DailyMagnesium, context: Context) -> tuple[Reason, ...]:
    """Why the day may hold more than was counted."""
    return context.medication_gaps("any") + ((Reason("magnesium_amount_unknown"),) if total.unknown else ())


def _above(total: DailyMagnesium, limit: Decimal, context: Context) -> Verdict:
    """The counted sum above the limit decides even where other products are unknown; below it they make it unknown."""
    open_amounts = [reading for _, reading in total.counted if reading.certain != reading.possible]
    in_turn = any(reading.in_turn for reading in open_amounts)
    of_salts = any(not reading.in_turn for reading in open_amounts)
    if total.value > limit:
        notes: tuple[str, ...] = ("counted_low",) if of_salts else ()
        notes += ("counted_in_turn",) if in_turn else ()
        notes += ("counted_once",) if total.continued else ()
        return Verdict(True, notes=notes)
    gaps = _gaps(total, context)
    if total.possible > limit:
        gaps += (Reason("magnesium_amount_doubtful"),) if of_salts else ()
        gaps += (Reason("magnesium_doses_in_turn"),) if in_turn else ()
        gaps += (Reason("magnesium_continued"),) if total.continued else ()
    return unknown(*gaps) if gaps else FALSE


def _read_two_ways(total: DailyMagnesium, limit: Decimal, context: Context) -> Verdict:
    """A drafted order may be a salt's weight or magnesium itself, and by one of the two alone the day is above the
    limit; or the order contradicts its product."""
    if not total.doubtful:
        gap = context.input_gap(DRAFT_ORDERS)
        return unknown(gap) if gap else FALSE
    mixed_up = [(item, reading) for item, reading in total.doubtful if reading.mixed_up]
    if not mixed_up and total.as_element <= limit:
        gaps = _gaps(total, context)
        return unknown(*gaps) if gaps else FALSE
    if not mixed_up and total.as_salt > limit:
        return FALSE
    item, reading = (mixed_up or total.doubtful)[0]
    bindings: dict[str, Any] = {
        "doubtful": item,
        "salt": reading.salt,
        "daily_magnesium.as_salt": total.as_salt,
        "daily_magnesium.as_element": total.as_element,
    }
    return Verdict(True, bindings=bindings, notes=("called_elemental",) if mixed_up else ())


class _Products:
    """Products, to ask whether an entry may be one of them: the same drugs, and the same strengths, or without any in
    one of two of which one is a statement."""

    def __init__(self, items: Iterable[Medication] = ()) -> None:
        self._exact: set[tuple[object, ...]] = set()
        self._kinds: set[tuple[object, ...]] = set()
        for item in items:
            self.add(item)

    def add(self, item: Medication) -> None:
        strengths = _strengths(item)
        self._exact.add((item.drugs, strengths))
        self._kinds.add((item.drugs, _is_stated(item), bool(strengths)))

    def __contains__(self, item: Medication) -> bool:
        strengths, stated = _strengths(item), _is_stated(item)
        return (item.drugs, strengths) in self._exact or any(
            (item.drugs, also_stated, known) in self._kinds
            for also_stated in ((True, False) if stated else (True,))
            for known in ((False,) if strengths else (True, False))
        )


def _strengths(item: Medication) -> tuple[Component, ...]:
    return tuple(part for part in item.components if part.strength)


def _is_stated(item: Medication) -> bool:
    return item.source.type == "MedicationStatement"


def magnesium_products(test: MagnesiumProductsTest, context: Context, limits: Limits) -> Verdict:
    """Different products by what they hold; a statement that mirrors an order is not a second product."""
    limit = limits[test.magnesium_products["at_least"]]
    found, known = list[Medication](), _Products()
    for item in context.standing_magnesium:
        if item not in known:
            known.add(item)
            found.append(item)
    if len(found) >= limit.value:
        sources = tuple(item.source for item in found)
        return Verdict(True, (), {"products": tuple(found)}, sources, medication_notes(found), (limit,))
    gaps = context.medication_gaps("any")
    return unknown(*gaps) if gaps else FALSE
