"""How fast a changed threshold is answered over a screened population, beside a bare count of the same Parquet.

    python -m tests.benchmarks.change [--patients 1000000] [--processes 2]

Patients are those of the generated hospital (tests/population/hospital.py), screened once and repeated under new keys.
It prints calls a second of all, the rate of those really tried, what DuckDB alone needs to filter and count the same
files, and the memory of all processes.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.population.kept_facts import keeper_of
from cds_service.population.screening.change import compare_screened
from cds_service.population.screening.person import Recipe
from cds_service.population.screening.rows import Rows
from tests.population.hospital import NOW, medications, patient
from tests.population.screened import write_asked

PART = 50_000
CHANGES = {
    "a limit that many rules share (lower_limit 0.80)": ("shared", "lower_limit", "0.80"),
    "a limit of one lab (severe_upper_limit 1.70)": ("shared", "severe_upper_limit", "1.70"),
}


def made(content: Content, some: int) -> Any:
    """The facts of `some` patients, screened."""
    screener = Recipe(NOW).screener(content)
    rows = Rows(screener.rules, keeper_of(content))
    referred = [orjson.dumps(each) for each in medications()]
    for number in range(some):
        person = patient(number)
        rows.add(f"{number:09d}", "", screener.screen(person[0]["id"], [orjson.dumps(one) for one in person], referred))
    return rows.tables()["facts"]


def write(folder: Path, facts: Any, patients: int, some: int) -> None:
    """The facts again and again under new keys, in parts."""
    (folder / "facts").mkdir(parents=True)
    copies, place = -(-patients // some), facts.schema.get_field_index("key")
    each = max(1, PART // some)
    for part, first in enumerate(range(0, copies, each)):
        tables = [
            facts.set_column(
                place, facts.schema.field("key"), pa.array([f"{copy:05d}{key}" for key in facts["key"].to_pylist()])
            )
            for copy in range(first, min(first + each, copies))
        ]
        pq.write_table(pa.concat_tables(tables), folder / "facts" / f"part-{part:05d}.parquet", compression="zstd")
    write_asked(folder)


def rulebook(content: Content, owner: str, name: str, value: str) -> Rulebook:
    text = f"site: Bench\nrules:\n  {owner}:\n    thresholds:\n      {name}: {{value: {value}, reason: A trial}}\n"
    values = read_site(text, "bench", content.library, frozenset(all_needs(content.library)))
    return make_rulebook(content.library, values, NOW.date())


def measure(folder: Path, content: Content, processes: int) -> list[dict[str, Any]]:
    """A row of figures for each change."""
    before, told = make_rulebook(content.library, NO_SITE, NOW.date()), []
    for words, change in CHANGES.items():
        began = time.monotonic()
        with duckdb.connect() as base:
            base.execute(f"set threads = {processes}")
            base.execute(
                "select count(*) from read_parquet(?) where list_contains(labs, 'serum_magnesium')",
                [str(folder / "facts" / "*.parquet")],
            ).fetchall()
        bare = time.monotonic() - began
        found = compare_screened(folder, before, rulebook(content, *change), content, NOW, processes=processes)
        told.append({
            "change": words, "calls": found.rows, "tried": found.found.tried, "seconds": found.seconds,
            "a_second": found.rows / found.seconds, "tried_a_second": found.found.tried / found.seconds,
            "bare_seconds": bare, "changed": len(found.found.changed),
        })  # fmt: skip
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--patients", type=int, default=1_000_000)
    asked.add_argument("--some", type=int, default=2000, help="patients that are generated, then repeated")
    asked.add_argument("--processes", type=int, default=2)
    options = asked.parse_args(arguments)
    content = load_content()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, made(content, options.some), options.patients, options.some)
        for row in measure(folder, content, options.processes):
            print(f"{row['change']}: {row['calls']} calls in {row['seconds']:.1f} s = {row['a_second']:.0f} a second;"
                  f" {row['tried']} tried = {row['tried_a_second']:.0f} a second; {row['changed']} outcomes change;"
                  f" a bare count {row['bare_seconds']:.2f} s")  # fmt: skip
    sizes = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"memory at most: {sizes[0]} MiB here, {sizes[1]} MiB in the largest other process")


if __name__ == "__main__":
    main()
