"""A screening folder of patients that ship, made in a test."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cds_service.hooks.keeping import keeper_of
from cds_service.population import shipped_cohort
from cds_service.population.cases import Side
from cds_service.population.screening.index import lists_of
from cds_service.population.screening.screened import reading_digest
from cds_service.population.screening.tables import FACTS
from cds_service.population.trying import advice_of
from tests.conftest import NOW, shipped
from tests.population.test_compare import rulebook


def fact_rows(
    every: int = 1, most: int | None = None, wanted: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Each `every`th of the patients that ship, as rows of FACTS."""
    side, keeper, rows = Side(shipped(), rulebook(), NOW), keeper_of(shipped()), []
    cases = (case for case in shipped_cohort(shipped(), NOW).cases() if wanted(case.name))
    for number, case in enumerate(islice(cases, 0, most, every)):
        context = advice_of(side, case, case.chart(side)).evaluation.context
        person = context.facts.person
        rows.append({
            "key": f"p{number:07d}", "hook": case.hook, "age_years": person.age_years and min(person.age_years, 90),
            "sex": person.sex, "facts": keeper.kept(context.facts, case.hook, case.encounter_named),
        } | lists_of(context))  # fmt: skip
    return rows


def write_folder(folder: Path, rows: list[dict[str, Any]], parts: int = 2) -> Path:
    """The rows as a screening folder of the patients that ship, screened with nothing set."""
    (folder / "facts").mkdir(parents=True)
    for number in range(parts):
        table = pa.Table.from_pylist(rows[number::parts], schema=FACTS)
        pq.write_table(table, folder / "facts" / f"part-{number:05d}.parquet", compression="zstd")
    side = Side(shipped(), rulebook(), NOW)
    asked = {"now": NOW.isoformat(), "rules": shipped().library.digest, "site": "", "reading": reading_digest(side),
             "finished": True}  # fmt: skip
    (folder / "screening.json").write_bytes(orjson.dumps(asked))
    return folder
