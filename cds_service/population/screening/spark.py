"""The Spark engine: the same reading, parts and rules as the local one, over the partitions of a cluster.

Pieces of input are read where an executor is free; Spark moves each resource to its patient's part, and by a join each
Medication to the patients who refer to it; a part is tried and written by one task. Rows are those of the local engine,
in the same order: parts are cut by the same keys.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from cds_service.advice.loaded_content import Content
from cds_service.population.screening import spark_executor
from cds_service.population.screening.folder import Folder, Refused
from cds_service.population.screening.local import MOST_PARTS, PART_SIZE, Progress, Say, counts_of, write_faults
from cds_service.population.screening.person import Recipe
from cds_service.population.screening.rare import put_rare_together
from cds_service.population.screening.sources import Sources
from cds_service.population.screening.spark_code import by_value, send_or_refuse
from cds_service.population.screening.spark_driver import STARTED, Tell, driven
from cds_service.population.screening.spark_session import LOG_FILE, SparkFailed, checked, in_our_words, spark_context
from cds_service.population.screening.spark_tasks import END, Plan

WAIT_SECONDS: Final = 120
POLL_SECONDS: Final = 0.5
MOST_JOINS: Final = 64
ALWAYS: Final = {"spark.speculation": "false", "spark.python.worker.reuse": "true"}


def screen(
    sources: Sources,
    folder: Folder,
    recipe: Recipe,
    content: Content,
    *,
    master: str,
    settings: Mapping[str, str] | None = None,
    wait: float = WAIT_SECONDS,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """As `local.screen`, on Spark's `master` with further `settings` of Spark's; `wait` seconds for an executor.

    Parts that are there are kept; the input is read again for the others. Raises Refused.
    """
    out = folder.path.resolve()
    parts = max(1, min(MOST_PARTS, sources.size // PART_SIZE))
    done = frozenset(part for part in range(parts) if (out / "work/parts" / f"{part:05d}.json").exists())
    joins = max(1, min(MOST_JOINS, parts // 8))
    plan = Plan(out, replace(recipe, cards=_absolute(recipe.cards)), content.library.digest, parts, joins, done)
    scratch, log, token = out / "work" / "spark", out / LOG_FILE, out / "work" / "seen-by-executors"
    scratch.mkdir(parents=True, exist_ok=True)
    token.write_bytes(b"")
    seen = [(str(path.resolve()), path.stat().st_size) for path in sources.files]
    digest = spark_executor.digest_of_code()
    if digest is None:
        raise Refused("The content of magnesium-cds is not installed.")
    begun = time.monotonic()
    work = partial(_driven, master, {**ALWAYS, **(settings or {})}, plan, sources, seen, (scratch, log, token), wait)
    try:
        checked(master)
        told = driven(partial(work, digest), log, master, lambda at: say(replace(at, seconds=time.monotonic() - begun)))
    except SparkFailed as fault:
        raise Refused(str(fault)) from None
    runs = {number: found for kind, number, found in told if kind == "run"}
    tried = {number: found for kind, number, found in told if kind == "part"}
    if len(runs) != len(sources.tasks) or len(tried) != parts:
        raise Refused("Spark lost a part of the results. Give the same command again to go on.")
    counted = [runs[number] for number in sorted(runs)]
    made = [tried[number] for number in sorted(tried)]
    found = counts_of(counted, made, sources)
    write_faults(folder, sources, counted, made)
    if not recipe.identified:
        put_rare_together(folder.path)
    folder.finish({**found, "engine": "spark", "parts": parts})
    return found


def _driven(
    master: str,
    settings: Mapping[str, str],
    plan: Plan,
    sources: Sources,
    seen: Sequence[tuple[str, int]],
    files: tuple[Path, Path, Path],
    wait: float,
    digest: str,
    tell: Tell,
) -> list[tuple[str, int, dict[str, Any]]]:
    """What Spark's own process does. `files`: the folder for Spark's own, the log, the file that executors look for."""
    scratch, log, token = files
    with spark_context(master, settings, scratch, log) as context:
        tell(STARTED)
        by_value()
        with in_our_words(context, master, log, wait):
            sent, _ = send_or_refuse(context, seen, token, scratch, digest)
        with in_our_words(context, master, log), _progress(context, tell):
            return _job(context, plan, sources, sent, digest)


def _job(context: Any, plan: Plan, sources: Sources, sent: bool, digest: str) -> list[tuple[str, int, dict[str, Any]]]:
    payload, partitions = pickle.dumps(plan), plan.counts + 1

    def over(records: Any, task: str) -> Any:
        return records.mapPartitionsWithIndex(partial(spark_executor.run_indexed, task, sent, digest, payload))

    pieces = [replace(task, path=str(Path(task.path).resolve())) for task in sources.tasks]
    # Sent as bytes: an executor can unpickle them only when our package is ready.
    listed = context.parallelize([pickle.dumps(piece) for piece in pieces], max(1, len(pieces)))
    shuffled = over(listed, "read").partitionBy(partitions, spark_executor.part_of)
    joined = over(shuffled, "join").partitionBy(partitions, spark_executor.part_of)
    ends = context.parallelize([(part, (END,)) for part in range(plan.parts)], 1)
    ends = ends.partitionBy(partitions, spark_executor.part_of)
    # All were cut alike, so that their union has the same partitions and moves nothing; it gives one after the other.
    together = shuffled.union(joined).union(ends)
    if together.getNumPartitions() != partitions:
        raise SparkFailed("This version of Spark moves data at a union, which the engine does not expect.")
    found: list[tuple[str, int, dict[str, Any]]] = over(together, "screen").collect()
    return found


def _absolute(cards: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(Path(each).resolve()) for each in cards)


@contextmanager
def _progress(context: Any, tell: Tell) -> Iterator[None]:
    """Tell what the running stage of Spark's has done, twice a second."""
    ended = threading.Event()
    tracker = context.statusTracker()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            try:
                jobs = [tracker.getJobInfo(number) for number in tracker.getActiveJobsIds()]
                last = max((number for job in jobs if job for number in job.stageIds), default=-1)
                running = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
            except Exception:  # noqa: BLE001 - Spark is ending: the job itself says why
                return
            for stage in (each for each in running if each and each.numCompletedTasks):
                name = "rules" if stage.stageId == last else "reading"
                tell(Progress(name, stage.numCompletedTasks, stage.numTasks, 0, 0.0))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5)
