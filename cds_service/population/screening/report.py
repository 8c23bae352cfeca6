"""What comes out of a screening: summary.json, tables as CSV, and a report that an administrator reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import Rulebook
from cds_service.population.screening.folder import replaced
from cds_service.population.screening.person import Recipe
from cds_service.population.screening.small_cells import USUAL
from cds_service.population.screening.summary import KINDS, NoScreening, read_asked, summed
from cds_service.population.screening.told import told
from cds_service.publish.csv_text import csv_lines, csv_text

URGENCY: Final = {"critical": "critical", "warning": "warning", "info": "information"}
HIDDEN: Final = "hidden"
FILES: Final = ("summary.json", "summary.csv", "attrition.csv", "quality.csv", "report.html")


def rulebook_of(folder: Path, cards: tuple[str, ...], content: Content | None = None) -> Rulebook:
    """The rulebook that a folder was screened with: its site values are kept with it. `cards`: folders of somebody
    else's rules; `content`: with them, where it is at hand. Raises NoScreening where the rules here are other ones."""
    asked = read_asked(folder)
    try:
        now = datetime.fromisoformat(asked["now"])
        recipe = Recipe(now, asked.get("site_values") or None, cards, False, False)
    except (KeyError, TypeError, ValueError):
        raise NoScreening(f"{folder / 'screening.json'} does not say when it was screened: screen again") from None
    content = content or recipe.content()
    if asked.get("rules") != content.library.digest:
        raise NoScreening(
            f"{folder} was screened with other rules than those of this version: take the version and the --cards "
            "that it was screened with, or screen again into a new folder"
        )
    return recipe.rulebook(content)


def write_report(
    folder: Path, rulebook: Rulebook, *, smallest_cell: int | None = None, memory: str = "512MB", outcomes: bool = False
) -> dict[str, Any]:
    """Write the files of a screening folder from its Parquet, and give what summary.json holds.

    `rulebook`: the one it was screened with. `smallest_cell`: counts below it are hidden; None: as usual, and none of
    an identified screening. `outcomes`: also outcomes.csv, one line for each patient and hook. Raises NoScreening.
    """
    smallest = smallest_cell
    if smallest is None:
        smallest = 0 if read_asked(folder).get("identified") is True else USUAL
    said = told(summed(folder, rulebook, memory, smallest), smallest)
    _write(folder / "summary.json", orjson.dumps(said, option=orjson.OPT_INDENT_2))
    _write(folder / "summary.csv", csv_text(*_summary(said)).encode())
    _write(folder / "attrition.csv", csv_text(*_attrition(said)).encode())
    _write(folder / "quality.csv", csv_text(*_quality(said)).encode())
    _write(folder / "report.html", page(said).encode())
    if outcomes:
        _outcomes(folder, memory)
    return said


def page(said: dict[str, Any]) -> str:
    """The report, in one file that asks for nothing else."""
    return _template().render(said=said, urgency=URGENCY, kinds=KINDS)


@cache
def _template() -> Template:
    loader = PackageLoader("cds_service.population.screening", ".")
    room = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    room.filters["number"] = _number
    return room.get_template("report.html")


def _number(value: float | None) -> str:
    return HIDDEN if value is None else f"{value:,}"


def _write(file: Path, content: bytes) -> None:
    with replaced(file) as waiting:
        waiting.write_bytes(content)


Made = tuple[Sequence[str], Iterator[Sequence[Any]]]


def _summary(said: dict[str, Any]) -> Made:
    """Each rule in all, by age and by sex."""
    head = ("rule", "title", "urgency", "hook", "by", "group", "tried", *KINDS, "fired_per_1000")

    def rows() -> Iterator[Sequence[Any]]:
        for rule in said["rules"]:
            same = (rule["rule"], rule["title"], rule["indicator"], rule["hook"])
            yield (*same, "all", "", rule["tried"], *(_cell(rule[kind]) for kind in KINDS), rule["fired_per_1000"])
            for by in ("age", "sex"):
                for each in rule[f"by_{by}"]:
                    cells = (_cell(each["tried"]), _cell(each["fired"]), "", "", "", each["per_1000"])
                    yield (*same, by, each["name"], *cells)

    return head, rows()


def _attrition(said: dict[str, Any]) -> Made:
    head = ("rule", "title", "hook", "step", "reached", "fell")
    rows = (
        (rule["rule"], rule["title"], rule["hook"], each["step"], _cell(each["reached"]), _cell(each["fell"]))
        for rule in said["rules"]
        for each in rule["attrition"]
    )
    return head, rows


def _quality(said: dict[str, Any]) -> Made:
    """Codes and units met and not read, charts and lines that could not be read, and what charts have."""
    head = ("what", "input", "code", "patients", "times")

    def rows() -> Iterator[Sequence[Any]]:
        for why, number in said["could_not_be_read_by_reason"].items():
            yield "chart could not be read", "", why, _cell(number), ""
        for why, number in said["lines_not_read_by_reason"].items():
            yield "line could not be read", "", why, "", number
        for row in said["inputs"]:
            yield "patients with", row["input"], "", _cell(row["patients"]), ""
        for row in said["quality"]:
            yield row["what"], row["input"], row["code"], _cell(row["patients"]), _cell(row["times"])

    return head, rows()


def _cell(value: int | None) -> int | str:
    return HIDDEN if value is None else value


def _outcomes(folder: Path, memory: str) -> None:
    """Every outcome of each patient. Keys and outcomes are ours: none begins as a formula but what a file smuggles in,
    so text is kept from running as in every table."""
    import duckdb

    parts = sorted(map(str, (folder / "outcomes").glob("*.parquet")))
    if not parts:
        return
    with (
        replaced(folder / "outcomes.csv") as waiting,
        duckdb.connect() as database,
        waiting.open("w", encoding="utf-8", newline="") as file,
    ):
        database.execute(f"SET memory_limit = '{memory}'; SET temp_directory = ''")
        found = database.execute("SELECT * FROM read_parquet(?)", [parts])
        file.write(csv_text([each[0] for each in found.description or ()], ()))
        while rows := found.fetchmany(2000):
            file.write(csv_lines(rows))
