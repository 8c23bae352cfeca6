"""What Spark's tasks do with our package: read a piece of input, join Medications, try a part. See `spark`.

A task may be tried again, on another machine, perhaps twice at once: it gives and writes the same each time.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final
from zlib import crc32

import orjson

from cds_service.fhir.at_hand import MEDICATION, PATIENT
from cds_service.fhir.opened import BUNDLE
from cds_service.population.kept_facts import keeper_of
from cds_service.population.screening import local
from cds_service.population.screening.folder import WORK, write_json
from cds_service.population.screening.lines import STRAY, Lines
from cds_service.population.screening.person import Recipe
from cds_service.population.screening.rows import Rows
from cds_service.population.screening.spark_executor import FAULT

# What stands first in a record of a part, in this order: resources, then Medications that they refer to.
RESOURCE, REFERRED = 0, 1
# And in a record of the join: the Medication itself, then who refers to it.
ITSELF, ASKED = 0, 1
# The last record of each part, in place of a key: a worker whose executor dies reads the break as an end.
END: Final = ""
SORTING_MIB: Final = 128
OF_A_RECORD: Final = 600  # bytes that Python takes for a record, beside its texts
Record = tuple[int, tuple[Any, ...]]


@dataclass(frozen=True)
class Plan:
    """What each task is given. Spark's partitions: `parts`, then `joins` of Medications, then one of counts."""

    folder: Path
    recipe: Recipe
    rules: str  # digest of the content
    parts: int
    joins: int
    done: frozenset[int]

    @property
    def counts(self) -> int:
        return self.parts + self.joins

    def join_of(self, medication: str) -> int:
        return self.parts + crc32(medication.encode()) % self.joins


def read(payload: bytes, items: Iterator[Any], _: int) -> Iterator[Record]:
    """Records of pieces of input: resources to their parts, Medications and references to joins, counts to the last."""
    plan: Plan = pickle.loads(payload)  # noqa: S301 - made by our own driver
    for piece in items:
        task = pickle.loads(piece)  # noqa: S301 - as above
        lines, taken, place = Lines(), Counter[str](), 0
        for line in task.read(lines):
            taken[line.kind] += 1
            place += 1
            if line.kind == MEDICATION:
                yield plan.join_of(line.medication), (line.medication, ITSELF, line.raw)
                continue
            key = plan.recipe.key(line.patient)
            part = local.part_of(key, plan.parts)
            if part in plan.done:
                continue
            yield part, (key, RESOURCE, task.number, place, line.number, line.kind, line.patient, line.raw)
            if line.medication:
                yield plan.join_of(line.medication), (line.medication, ASKED, key)
        found = {
            "lines": lines.last,
            "resources": dict(sorted(taken.items())),
            "faults": lines.faults,
            "passed_over": dict(lines.passed_over),
        }
        yield plan.counts, (task.number, found)


def join(payload: bytes, items: Iterator[Record], index: int) -> Iterator[Record]:
    """Medications to the parts of the patients who refer to them."""
    plan: Plan = pickle.loads(payload)  # noqa: S301 - as above
    if not plan.parts <= index < plan.counts:
        return
    for name, records in groupby(_sorted(record for _, record in items), key=lambda record: record[0]):
        found: set[bytes] = set()
        told = ""
        for _, what, value in records:
            if what == ITSELF:
                found.add(value)
            elif value != told:
                told = value
                for raw in found:
                    yield local.part_of(value, plan.parts), (value, REFERRED, name, raw)


def screen(payload: bytes, items: Iterator[Record], index: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """A part, tried and written: `("part", its number, its counts)`; of the last partition `("run", piece, counts)`."""
    plan: Plan = pickle.loads(payload)  # noqa: S301 - as above
    if index == plan.counts:
        yield from (("run", number, found) for _, (number, found) in items)
    elif index < plan.parts:
        yield "part", index, _part(plan, _whole(record for _, record in items), index)


def _whole(records: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The records of a part. Raises RuntimeError where they break off before END: nothing of it may be written."""
    ended = False
    for record in records:
        if record[0] == END:
            ended = True
        else:
            yield record
    if not ended:
        raise RuntimeError(f"{FAULT}what a part is made of broke off")


def _part(plan: Plan, records: Iterable[tuple[Any, ...]], part: int) -> dict[str, Any]:
    told = plan.folder / WORK / "parts" / f"{part:05d}.json"
    if told.exists():
        return dict(orjson.loads(told.read_bytes()))
    screener, content = local.screener_of(plan.recipe)
    if content.library.digest != plan.rules:
        raise RuntimeError(f"{FAULT}an executor has other rules than this command: the folders of --cards differ")
    rows = Rows(screener.rules, keeper_of(content), identified=plan.recipe.identified)
    strays: list[tuple[int, int, str]] = []
    for key, theirs in groupby(_sorted(records), key=lambda record: record[0]):
        resources: list[tuple[Any, ...]] = []
        medications: dict[bytes, None] = {}
        for record in theirs:
            if record[1] == RESOURCE:
                resources.append(record[2:])
            else:
                medications[record[3]] = None
        if not any(kind in (PATIENT, BUNDLE) for _, _, _, kind, _, _ in resources):
            strays += [(task, line, STRAY) for task, _, line, *_ in resources]
            continue
        patient = resources[0][4]
        rows.add(key, patient, screener.screen(patient, [raw for *_, raw in resources], list(medications)))
    rows.write(plan.folder, part)
    found = {**rows.counts, "not_read": dict(rows.not_read), "strays": strays}
    write_json(told, found)
    return found


def _sorted(records: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """In order; what is more than SORTING_MIB waits on this machine's disk, in pieces that are in order."""
    with ExitStack() as opened:
        pieces: list[Iterator[tuple[Any, ...]]] = []
        held: list[tuple[Any, ...]] = []
        size = 0
        for record in records:
            held.append(record)
            size += OF_A_RECORD + sum(len(each) for each in record if isinstance(each, str | bytes))
            if size > SORTING_MIB << 20:
                held.sort()
                file = opened.enter_context(TemporaryFile(dir=_scratch()))
                for each in held:
                    pickle.dump(each, file, pickle.HIGHEST_PROTOCOL)
                file.seek(0)
                pieces.append(_read_back(file))
                held, size = [], 0
        held.sort()
        yield from merge(*pieces, held)


def _scratch() -> str | None:
    """Where Spark keeps its own files on this machine."""
    return os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None


def _read_back(file: IO[bytes]) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            record: tuple[Any, ...] = pickle.load(file)  # noqa: S301 - written above
        except EOFError:
            return
        yield record
