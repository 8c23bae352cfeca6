"""What values would do to a screened population: the answer of the preview page where a screening folder is named."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cds_service.advice.loaded_content import Content
from cds_service.console.pages import Column, Table, table
from cds_service.content.rulebook import Rulebook

if TYPE_CHECKING:
    from cds_service.population.screening.change import Change

WAYS: Final = (
    Column("title", "Rule"),
    Column("rule", "Its id"),
    Column("way", "Outcome before and after"),
    Column("patients", "Patients", "number"),
    Column("per_1000", "Per 1,000 patients", "number"),
)


class NoAnswer(ValueError):
    """The population cannot be asked; the text says why, and what to do."""


def change_of(
    folder: Path, content: Content, before: Rulebook, after: Rulebook, most_seconds: float, pause: float
) -> Change:
    """Who changes, in this process alone: hooks go first. Raises NoAnswer."""
    try:
        from cds_service.population.screening.change import compare_screened
        from cds_service.population.screening.screened import CannotCompare, asked_of, sides_of
    except ImportError:
        raise NoAnswer("The extra for screening is not installed on this machine: [screen].") from None
    try:
        sides = sides_of(asked_of(folder), content, before.site, after.site)
        return compare_screened(
            folder, sides[0].rulebook, sides[1].rulebook, content, sides[0].now,
            most_seconds=most_seconds, between=lambda: time.sleep(pause),
        )  # fmt: skip
    except CannotCompare as fault:
        raise NoAnswer(f"The screened population cannot answer this: {fault}.") from None


def ways_table(found: Change, titles: Mapping[str, str]) -> Table:
    """Who changes, which way, by rule."""
    per = 1000 / found.patients if found.patients else 0
    rows: list[dict[str, Any]] = [
        {"title": titles.get(rule, rule), "rule": rule, "way": way, "patients": number,
         "per_1000": round(number * per, 2)}
        for rule, ways in found.ways().items()
        for way, number in sorted(ways.items())
    ]  # fmt: skip
    return table("population", WAYS, rows, "Whose outcomes change, by rule")
