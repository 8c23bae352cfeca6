"""The local engine: an export read in pieces, grouped by patient by DuckDB on disk, and tried in processes.

1. Each piece of input becomes a run: its resources by part, as Arrow.
2. Each part, some hundred patients, is sorted by patient out of all runs and tried; its rows are written.

What is done is not done again: a run or a part is whole or not there, and holds the same whenever it is made.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cds_service.advice.loaded_content import Content
from cds_service.fhir.at_hand import MEDICATION, PATIENT
from cds_service.fhir.opened import BUNDLE
from cds_service.population.kept_facts import keeper_of
from cds_service.population.screening.folder import WORK, Folder, Refused, replaced, write_json
from cds_service.population.screening.lines import STRAY, Line, Lines
from cds_service.population.screening.person import Recipe, Screener
from cds_service.population.screening.rare import put_rare_together
from cds_service.population.screening.rows import Rows
from cds_service.population.screening.sources import Sources, Task
from cds_service.population.screening.tables import FAULTS

PART_SIZE: Final = 4 * 1024 * 1024  # bytes of resources in a part, about
MOST_PARTS: Final = 512
FLUSH: Final = 24 * 1024 * 1024  # bytes of resources that are held before they are written to a run
OF_A_PROCESS: Final = 300 * 1024 * 1024  # bytes that Python, the rules and Arrow take
LEAST: Final = 64 * 1024 * 1024  # bytes that DuckDB works with
SHARED_MEDICATIONS: Final = -1  # the part in which Medication resources stand
Say = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: of which stage, how many of how many are done, and how much of what a second."""

    stage: str
    done: int
    of: int
    patients: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """What each process is given."""

    folder: Path
    recipe: Recipe
    parts: int
    memory: int  # bytes that DuckDB works with in one process


_content: Content | None = None
_screener: Screener | None = None


def screen(
    sources: Sources,
    folder: Folder,
    recipe: Recipe,
    content: Content,
    *,
    processes: int,
    memory: int,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """All patients of `sources`, into a folder that was begun. `memory`: bytes for all processes. Gives the counts.

    Raises Refused where a process was killed; what was done stays.
    """
    global _content
    _content = content  # processes that are forked have it at once
    parts = max(1, min(MOST_PARTS, sources.size // PART_SIZE))
    each = max(LEAST, memory // processes - OF_A_PROCESS)
    job = Job(folder.path, recipe, parts, each)
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=fork, initializer=_begin_process, initargs=(os.getpid(),)) as pool:
        try:
            counted = _stage(pool, "reading", _run, [(job, task) for task in sources.tasks], say)
            (folder.work / "sorting").mkdir(exist_ok=True)
            tried = _stage(pool, "rules", _part, [(job, part) for part in range(parts)], say)
        except BrokenProcessPool:
            raise Refused(
                "A process was ended from outside, perhaps for want of memory. Run the same command again to go on; "
                "with --processes 1 it takes less memory."
            ) from None
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    found = counts_of(counted, tried, sources)
    write_faults(folder, sources, counted, tried)
    if not recipe.identified:
        put_rare_together(folder.path, each)
    folder.finish({**found, "engine": "local", "parts": parts})
    return found


def _begin_process(parent: int) -> None:
    """Ctrl-C is the parent's to hear; the content is not gone through again by the collector of garbage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that is killed cannot end its processes: they would wait, and hold the folder, for ever."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _stage(
    pool: ProcessPoolExecutor,
    name: str,
    work: Callable[..., dict[str, Any]],
    given: Sequence[Any],
    say: Say,
) -> list[dict[str, Any]]:
    """What came of each, in order. Ends at the first that fails."""
    futures: list[Future[dict[str, Any]]] = [pool.submit(work, *each) for each in given]
    waiting, patients, done, begun = set(futures), 0, 0, time.monotonic()
    try:
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in ready:
                patients += each.result().get("patients", 0)
                done += 1
            say(Progress(name, done, len(futures), patients, time.monotonic() - begun))
    except BrokenProcessPool:
        raise
    except Exception:
        # Not at Ctrl-C: the pool ends what waits when its processes are ended, and trips over what was cancelled.
        for each in waiting:
            each.cancel()
        raise
    return [each.result() for each in futures]


# Reading ---------------------------------------------------------------------------------------------------------


def _run(job: Job, task: Task) -> dict[str, Any]:
    """One piece of input as a run."""
    path = job.folder / WORK / "runs" / f"run-{task.number:05d}.arrow"
    told = path.with_suffix(".json")
    if told.exists():
        return dict(orjson.loads(told.read_bytes()))
    lines = Lines()
    with replaced(path) as waiting:
        taken, batches = _write_run(waiting, _held(task.read(lines)), job, task.number)
    write_json(path.with_suffix(".parts"), batches)
    found = {
        "lines": lines.last,
        "resources": taken,
        "faults": lines.faults,
        "passed_over": dict(lines.passed_over),
    }
    write_json(told, found)
    return found


def _held(lines: Iterator[Line]) -> Iterator[list[Line]]:
    held: list[Line] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line.raw)
        if size > FLUSH:
            yield held
            held, size = [], 0
    yield held


def _write_run(path: Path, held: Iterable[list[Line]], job: Job, task: int) -> tuple[dict[str, int], list[int]]:
    """A batch for each part, so that a part is read without the others. Gives the count of each kind, and the part of
    each batch."""
    schema = pa.schema([
        ("key", pa.string()), ("task", pa.int32()), ("place", pa.int64()), ("line", pa.int64()), ("kind", pa.string()),
        ("patient", pa.string()), ("medication", pa.string()), ("raw", pa.binary()),
    ])  # fmt: skip
    taken: Counter[str] = Counter()
    keys: dict[str, str] = {}
    batches: list[int] = []
    place = 0
    packed = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1), use_threads=False)
    with pa.OSFile(str(path), "wb") as opened, pa.ipc.new_file(opened, schema, options=packed) as writer:
        for lines in held:
            by_part: dict[int, list[tuple[Any, ...]]] = {}
            for line in lines:
                taken[line.kind] += 1
                place += 1
                if line.kind == MEDICATION:
                    part, key = SHARED_MEDICATIONS, ""
                else:
                    key = keys.get(line.patient) or keys.setdefault(line.patient, job.recipe.key(line.patient))
                    part = part_of(key, job.parts)
                row = (key, task, place, line.number, line.kind, line.patient, line.medication, line.raw)
                by_part.setdefault(part, []).append(row)
            if len(keys) > 100_000:
                keys.clear()
            for part, rows in sorted(by_part.items()):
                columns = zip(*rows, strict=True)
                arrays = [pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                batches.append(part)
    return dict(sorted(taken.items())), batches


def _batches(job: Job, part: int, columns: Sequence[int] | None = None) -> Iterator[Any]:
    """All batches of a part, of each run those alone: memory is that of one batch. `columns`: numbers of those read."""
    read = pa.ipc.IpcReadOptions(included_fields=list(columns) if columns else None, use_threads=False)
    for path in sorted((job.folder / WORK / "runs").glob("run-*.arrow")):
        places = [place for place, of in enumerate(orjson.loads(path.with_suffix(".parts").read_bytes())) if of == part]
        if places:
            with pa.memory_map(str(path)) as opened:
                run = pa.ipc.open_file(opened, options=read)
                for place in places:
                    yield run.get_batch(place)


def part_of(key: str, parts: int) -> int:
    """The part in which a patient stands: parts are in the order of keys."""
    return int(key[:8], 16) * parts >> 32


# Trying ----------------------------------------------------------------------------------------------------------


def _part(job: Job, part: int) -> dict[str, Any]:
    """One part, tried."""
    told = job.folder / WORK / "parts" / f"{part:05d}.json"
    if told.exists():
        return dict(orjson.loads(told.read_bytes()))
    screener, content = screener_of(job.recipe)
    rows = Rows(screener.rules, keeper_of(content), identified=job.recipe.identified)
    strays: list[tuple[int, int, str]] = []
    for key, resources, medications in _patients(job, part):
        if not any(each.kind in (PATIENT, BUNDLE) for each in resources):
            strays += [(each.task, each.line, STRAY) for each in resources]
            continue
        calls = screener.screen(resources[0].patient, [each.raw for each in resources], medications)
        rows.add(key, resources[0].patient, calls)
    rows.write(job.folder, part)
    found = {**rows.counts, "not_read": dict(rows.not_read), "strays": strays}
    write_json(told, found)
    return found


def screener_of(recipe: Recipe) -> tuple[Screener, Content]:
    """What a recipe asks for, made once in a process, with its content."""
    global _content, _screener
    if _content is None:
        _content = recipe.content()
    if _screener is None or _screener.side.now != recipe.now or _screener.validate != recipe.validate:
        _screener = recipe.screener(_content)
    return _screener, _content


@dataclass(frozen=True, slots=True)
class _Row:
    task: int
    line: int
    kind: str
    patient: str
    raw: bytes


def _patients(job: Job, part: int) -> Iterator[tuple[str, list[_Row], list[bytes]]]:
    """Each patient of a part: key, resources in the order of the input, the Medications that they refer to."""
    named = _medications(job, part)
    sorting = job.folder / WORK / "sorting" / f"{part:05d}-{os.getpid()}"
    batches = _batches(job, part)
    first = next(batches, None)
    if first is None:
        return
    rows = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
    with duckdb.connect(
        config={"memory_limit": f"{job.memory // 1024}KiB", "threads": 1, "temp_directory": str(sorting)}
    ) as database:
        database.register("resources", rows)
        found = database.execute("SELECT key, task, line, kind, patient, raw FROM resources ORDER BY key, task, place")
        for key, theirs in groupby(_fetched(found), key=lambda row: row[0]):
            yield (
                key,
                [_Row(task, line, kind, patient, raw) for _, task, line, kind, patient, raw in theirs],
                [raw for _, raw in sorted(named.get(key, ()))],
            )
    rmtree(sorting, ignore_errors=True)


def _medications(job: Job, part: int) -> dict[str, set[tuple[str, bytes]]]:
    """The Medications that the patients of a part refer to, by key: their names and what they are."""
    wanted: dict[str, set[str]] = {}
    for batch in _batches(job, part, (0, 6)):
        for key, name in zip(batch["key"].to_pylist(), batch["medication"].to_pylist(), strict=True):
            if name:
                wanted.setdefault(name, set()).add(key)
    found: dict[str, set[tuple[str, bytes]]] = {}
    if not wanted:
        return found
    names = pa.array(list(wanted), pa.string())
    for batch in _batches(job, SHARED_MEDICATIONS, (6, 7)):
        some = batch.filter(pc.is_in(batch["medication"], value_set=names))
        for name, raw in zip(some["medication"].to_pylist(), some["raw"].to_pylist(), strict=True):
            for key in wanted[name]:
                found.setdefault(key, set()).add((name, raw))
    return found


def _fetched(found: Any) -> Iterator[tuple[Any, ...]]:
    while some := found.fetchmany(2000):
        yield from some


# Counting --------------------------------------------------------------------------------------------------------


def counts_of(counted: Sequence[dict[str, Any]], tried: Sequence[dict[str, Any]], sources: Sources) -> dict[str, Any]:
    """What runs and parts counted, for `screening.json`."""
    resources: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    not_read: Counter[str] = Counter()
    for run in counted:
        resources.update(run["resources"])
        passed_over.update(run["passed_over"])
    for part in tried:
        not_read.update(part["not_read"])
    faults = sum(len(run["faults"]) for run in counted) + sum(len(part["strays"]) for part in tried)
    return {
        "files": len(sources.files),
        "lines": sum(run["lines"] for run in counted),
        "resources": dict(sorted(resources.items())),
        "passed_over": dict(sorted(passed_over.items())),
        "lines_not_read": faults,
        "patients": sum(part.get("patients", 0) for part in tried),
        "calls": sum(part.get("calls", 0) for part in tried),
        "charts_not_read": dict(sorted(not_read.items())),
    }


def write_faults(
    folder: Folder, sources: Sources, counted: Sequence[dict[str, Any]], tried: Sequence[dict[str, Any]]
) -> None:
    """Faults by the line of the file: a task knows only those of its own piece."""
    before: list[int] = []
    last: Counter[int] = Counter()
    for task, run in zip(sources.tasks, counted, strict=True):
        before.append(last[task.file])
        last[task.file] += run["lines"]
    every = [(number, line, why) for number, run in enumerate(counted) for line, why in run["faults"]]
    every += [(task, line, why) for part in tried for task, line, why in part["strays"]]
    rows = sorted((sources.tasks[task].file, before[task] + line, why) for task, line, why in every)
    columns = [[sources.names[file] for file, _, _ in rows], [line for _, line, _ in rows], [why for *_, why in rows]]
    arrays = [
        pa.array(each, pa.string()).dictionary_encode() if number != 1 else pa.array(each, pa.int64())
        for number, each in enumerate(columns)
    ]
    with replaced(folder.path / "faults" / "part-00000.parquet") as waiting:
        pq.write_table(pa.table(arrays, schema=FAULTS), waiting, compression="zstd")
