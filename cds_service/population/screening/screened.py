"""A screening folder as the next question finds it: whether its kept facts can answer under other site values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from cds_service.content.library import Library
from cds_service.population.cases import Side

ASKED = "screening.json"


class CannotCompare(ValueError):
    """The question cannot be answered from this folder; the text says why, and what to do."""


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files of facts. Raises CannotCompare where there are none."""
    files = sorted((folder / "facts").glob("part-*.parquet"))
    if not files:
        raise CannotCompare(f"{folder} holds no facts/part-*.parquet: it is no screening folder, or not begun")
    return files


def reading_digest(side: Side) -> str:
    """Names what charts are read with: codes of the site, inputs that it has not, what each service asks for."""
    site, asked = side.rulebook.site, {hook: sorted(map(repr, side.needs(hook).items())) for hook in side.services}
    codes = {concept: sorted(map(repr, listed)) for concept, listed in site.codes.items()}
    parts = codes, sorted(side.rulebook.not_available), asked
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def asked_of(folder: Path) -> dict[str, Any]:
    """What was asked of a screening folder: screening.json. Raises CannotCompare."""
    try:
        found = orjson.loads((folder / ASKED).read_bytes())
    except OSError:
        raise CannotCompare(f"{folder / ASKED} cannot be read: name a folder that magnesium-cds screen made") from None
    except orjson.JSONDecodeError:
        raise CannotCompare(f"{folder / ASKED} is no JSON: screen anew") from None
    if not isinstance(found, dict):
        raise CannotCompare(f"{folder / ASKED} is of another version: screen anew")
    if found.get("finished") is False:
        raise CannotCompare("this screening is not finished: run it again, it goes on where it stopped")
    return found


def screened_at(asked: dict[str, Any]) -> datetime:
    """The time that a folder was screened for, with its zone. Raises CannotCompare."""
    try:
        now = datetime.fromisoformat(str(asked["now"]))
    except (KeyError, ValueError):
        now = None
    if now is None or now.tzinfo is None:
        raise CannotCompare(f"{ASKED} does not say for which time this was screened: screen anew")
    return now


def check(asked: dict[str, Any], library: Library, sides: Sequence[Side]) -> None:
    """Raises CannotCompare where the facts of this folder are not those that both sides would read."""
    if asked.get("rules") != library.digest:
        raise CannotCompare("it was screened with another version of the rules and codes: screen anew")
    if asked.get("reading") != reading_digest(sides[0]) and asked.get("site") != sides[0].rulebook.site_digest:
        raise CannotCompare(
            "it was screened under site values that read charts differently (codes of the site, inputs that it has"
            " not): screen anew under these"
        )
