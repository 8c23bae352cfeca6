"""A screening folder as the next question finds it: whether its kept facts can answer under other site values."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import SiteValues
from cds_service.population.cases import Side
from cds_service.population.screening.folder import ABOUT, read_about
from cds_service.population.screening.person import Recipe

READS_OTHERWISE = (
    "charts are read differently under these site values (codes of the site, inputs that it has not, or what rules ask"
    " for), and kept facts cannot answer that: screen under each, and compare the outcomes"
)


class CannotCompare(ValueError):
    """The question cannot be answered from this folder; the text says why, and what to do."""


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files of facts. Raises CannotCompare where there are none."""
    files = sorted((folder / "facts").glob("part-*.parquet"))
    if not files:
        raise CannotCompare(f"{folder} holds no facts/part-*.parquet: it is no screening folder, or not begun")
    return files


def asked_of(folder: Path) -> dict[str, Any]:
    """What was asked of a screening folder: screening.json. Raises CannotCompare."""
    try:
        found = read_about(folder)
    except ValueError as fault:
        raise CannotCompare(f"{folder / ABOUT} {fault}: screen anew") from None
    except OSError:
        found = None
    if found is None:
        raise CannotCompare(f"{folder / ABOUT} cannot be read: name a folder that magnesium-cds screen made")
    if found.get("finished") is False:
        raise CannotCompare("this screening is not finished: run it again, it goes on where it stopped")
    return found


def not_exported(asked: dict[str, Any]) -> list[str]:
    """Why the screening was not given all that the server has, a sentence each; none where nothing is known of it."""
    return list((asked.get("export") or {}).get("missing", ()))


def screened_at(asked: dict[str, Any]) -> datetime:
    """The time that a folder was screened for, with its zone. Raises CannotCompare."""
    try:
        now = datetime.fromisoformat(str(asked["now"]))
    except (KeyError, ValueError):
        now = None
    if now is None or now.tzinfo is None:
        raise CannotCompare(f"{ABOUT} does not say for which time this was screened: screen anew")
    return now


def sides_of(asked: dict[str, Any], content: Content, before: SiteValues, after: SiteValues) -> tuple[Side, Side]:
    """Both sides, for the day of the screening. Raises CannotCompare where its facts are not those that these would
    read."""
    now, library = screened_at(asked), content.library
    if asked.get("rules") != library.digest:
        raise CannotCompare("it was screened with another version of the rules and codes: screen anew")
    screened = Side(content, Recipe(now, asked.get("site_values") or None).rulebook(content), now)
    sides = tuple(Side(content, make_rulebook(library, values, now.date()), now) for values in (before, after))
    for side in sides:
        if not all(screened.reads_as(side, hook) for hook in side.services):
            raise CannotCompare(READS_OTHERWISE)
    return sides[0], sides[1]
