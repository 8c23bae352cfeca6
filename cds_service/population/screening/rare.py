"""Codes and units that few patients have: somebody may have typed a name there, so they are put together as one."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final

from cds_service.population.screening.folder import WORK, replaced
from cds_service.population.screening.small_cells import USUAL

if TYPE_CHECKING:
    import duckdb

RARE: Final = "rare"
"""What stands in place of such a code or unit."""
TYPED: Final = ("code_not_read", "unit_not_read")
"""Kinds of findings about quality whose code is the EHR's own text; that of others is in our words."""


def find_rare(database: duckdb.DuckDBPyConnection, counted: str, smallest: int) -> int:
    """Make a table `rare` of what fewer than `smallest` patients have, and give how many these are. `counted`: a query
    of what, input, code and patients, those of several parts perhaps in several rows."""
    typed = ", ".join(f"'{each}'" for each in TYPED)
    database.execute(f"""CREATE OR REPLACE TEMP TABLE rare AS
        SELECT what, input, code FROM ({counted}) WHERE what IN ({typed}) AND code IS NOT NULL AND code <> '{RARE}'
        GROUP BY ALL HAVING sum(patients) < {smallest}""")  # noqa: S608
    return int(database.execute("SELECT count(*) FROM rare").fetchall()[0][0])


def put_together(parts: str) -> str:
    """A query of key, what, input, code and count over the quality rows of `parts`, by the table `rare`."""
    return f"""SELECT key, what, input, if(known, '{RARE}', code) AS code, sum(count)::INTEGER AS count
        FROM (SELECT q.*, r.what IS NOT NULL AS known FROM {parts} q
              LEFT JOIN rare r ON q.what = r.what AND q.input IS NOT DISTINCT FROM r.input AND q.code = r.code)
        GROUP BY ALL"""  # noqa: S608


def put_rare_together(folder: Path, memory: int = 512 << 20) -> None:
    """Do so in the quality parts of a screening that is at its end. `memory`: bytes for DuckDB. Those that hold nothing
    rare stay as they are. Done again, it changes nothing: what is rare in all parts is rare in some."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from cds_service.population.screening import tables

    parts = sorted((folder / "quality").glob("part-*.parquet"))
    room = folder / WORK / "rare"
    with duckdb.connect(config={"memory_limit": f"{memory >> 10}KiB", "temp_directory": str(room)}) as database:
        read = f"read_parquet({[str(each) for each in parts]})" if parts else ""
        counted = f"SELECT what, input, code, count(DISTINCT key) AS patients FROM {read} GROUP BY ALL"  # noqa: S608
        if not parts or not find_rare(database, counted, USUAL):
            return
        for part in parts:
            one = f"read_parquet({[str(part)]})"
            if not database.execute(f"SELECT 1 FROM {one} SEMI JOIN rare USING (what, code) LIMIT 1").fetchall():  # noqa: S608
                continue
            rows = database.execute(f"{put_together(one)} ORDER BY key, what, input, code").fetchall()
            columns: list[Any] = list(zip(*rows, strict=True))
            arrays = [
                pa.array(each, field.type.value_type).dictionary_encode()
                if field.type == tables.TEXT
                else pa.array(each, field.type)
                for each, field in zip(columns, tables.QUALITY, strict=True)
            ]
            with replaced(part) as waiting:
                pq.write_table(pa.table(arrays, schema=tables.QUALITY), waiting, compression="zstd")
    rmtree(room, ignore_errors=True)
