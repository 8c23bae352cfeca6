"""A screening folder of patients that ship, made in a test."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cds_service.population import shipped_cohort
from cds_service.population.cases import Side
from cds_service.population.kept_facts import keeper_of
from cds_service.population.screening.person import Call
from cds_service.population.screening.rows import Rows
from cds_service.population.screening.tables import FACTS
from cds_service.population.trying import advice_of
from tests.conftest import NOW, shipped
from tests.population.test_compare import rulebook


def fact_rows(every: int = 1, most: int | None = None) -> list[dict[str, Any]]:
    """Each `every`th of the patients that ship, as rows of FACTS."""
    side = Side(shipped(), rulebook(), NOW)
    rows = Rows([], keeper_of(shipped()))
    for number, case in enumerate(islice(shipped_cohort(shipped(), NOW).cases(), 0, most, every)):
        evaluation = advice_of(side, case, case.chart(side)).evaluation
        rows.add(f"p{number:07d}", "", [Call(case.hook, evaluation.context.facts, evaluation)])
    made: list[dict[str, Any]] = rows.tables()["facts"].to_pylist()
    return made


def write_folder(folder: Path, rows: list[dict[str, Any]], parts: int = 2) -> Path:
    """The rows as a screening folder of the patients that ship, screened with nothing set."""
    (folder / "facts").mkdir(parents=True)
    for number in range(parts):
        table = pa.Table.from_pylist(rows[number::parts], schema=FACTS)
        pq.write_table(table, folder / "facts" / f"part-{number:05d}.parquet", compression="zstd")
    return write_asked(folder)


def write_asked(folder: Path, **more: Any) -> Path:
    """What screening.json says: screened with nothing set, and `more`."""
    asked = {"now": NOW.isoformat(), "rules": shipped().library.digest, "site": "", "site_values": "", "finished": True}
    (folder / "screening.json").write_bytes(orjson.dumps(asked | more))
    return folder
