"""Spark's results are the local engine's, byte for byte, whatever happens to its executors."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from cds_service.advice.loaded_content import Content
from cds_service.population.screening import local, spark, spark_code, spark_executor, spark_tasks
from cds_service.population.screening.folder import Folder, Refused
from cds_service.population.screening.person import Recipe
from cds_service.population.screening.rare import put_rare_together
from cds_service.population.screening.sources import find
from cds_service.sandbox import patients
from tests.population import hospital
from tests.population.spark_cluster import Cluster
from tests.support.requires import require

PATIENTS = 300
RECIPE = Recipe(hospital.NOW, secret=b"of the tests alone")
PART = 128 * 1024
SMALL = {"spark.executor.memory": "512m", "spark.driver.host": "127.0.0.1", "spark.shuffle.io.retryWait": "1s"}


@dataclass
class Screened:
    """An input, and what the local engine makes of it."""

    inputs: Path
    files: dict[str, bytes]
    found: dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Several parts of few patients."""
    require("java", "Spark runs on it", "openjdk-17-jre-headless")
    with pytest.MonkeyPatch.context() as patched:
        for engine in (local, spark):
            patched.setattr(engine, "PART_SIZE", PART)
        patched.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield


def tables(folder: Path) -> dict[str, bytes]:
    """Every Parquet file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory, content: Content) -> Screened:
    """Generated patients, the sample patients as Bundles, lines that are broken."""
    inputs, out = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("local") / "out"
    hospital.write(inputs, PATIENTS)
    lines = [orjson.dumps(sample.bundle(hospital.NOW)) for sample in patients.load().values()]
    (inputs / "zz-samples.ndjson").write_bytes(b"\n".join([*lines, b"{broken", b'{"resourceType":"Condition"}']))
    folder = Folder(out)
    folder.begin({})
    found = local.screen(find([inputs], PART), folder, RECIPE, content, processes=1, memory=1 << 30)
    return Screened(inputs, tables(out), found)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and two worker processes."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


def on_spark(screened: Screened, content: Content, out: Path, master: str, **words: Any) -> dict[str, Any]:
    folder = Folder(out)
    folder.begin({})
    sources = find([screened.inputs], PART)
    return spark.screen(sources, folder, RECIPE, content, master=master, settings=SMALL, **words)


def test_on_this_machine_it_is_the_local_engine(
    screened: Screened, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    found = on_spark(screened, content, tmp_path / "out", "local[2]")
    assert found == screened.found
    assert found["patients"] >= PATIENTS
    assert found["lines_not_read"] >= 2
    assert len(screened.files) > 6
    assert tables(tmp_path / "out") == screened.files


def test_what_is_sorted_on_disk_is_the_same(
    screened: Screened, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record a piece of its own on disk; records are moved here as Spark would."""
    monkeypatch.setattr(spark_tasks, "SORTING_MIB", 0)
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    sources = find([screened.inputs], PART)
    parts = sources.size // PART
    plan = pickle.dumps(spark_tasks.Plan(tmp_path, RECIPE, content.library.digest, parts, 2, frozenset()))
    held: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}

    def hold(records: Iterator[tuple[int, tuple[Any, ...]]]) -> None:
        for record in records:
            held.setdefault(record[0], []).append(record)

    hold(spark_tasks.read(plan, iter([pickle.dumps(task) for task in sources.tasks]), 0))
    for number in range(parts, parts + 2):
        hold(spark_tasks.join(plan, iter(held[number]), number))
    hold((part, (spark_tasks.END,)) for part in range(parts))
    for part in range(parts):
        list(spark_tasks.screen(plan, iter(held[part]), part))
    put_rare_together(tmp_path)
    same = {name: raw for name, raw in screened.files.items() if not name.startswith("faults")}
    assert len(same) == 3 * parts
    assert tables(tmp_path) == same


def test_two_workers_of_which_one_loses_its_executor_give_the_same(
    screened: Screened, content: Content, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    killed: list[int] = []

    def kill(progress: local.Progress) -> None:
        if not killed and progress.stage == "rules":
            executor = children_of(cluster.workers[0].pid)[0]
            os.kill(executor, signal.SIGKILL)
            killed.append(executor)

    found = on_spark(screened, content, tmp_path / "out", cluster.master, say=kill)
    assert killed
    assert found == screened.found
    assert tables(tmp_path / "out") == screened.files


def test_a_part_whose_records_break_off_is_not_written(content: Content, tmp_path: Path) -> None:
    """The worker of an executor that was killed reads the break as an end, and has the folder before it still."""
    plan = pickle.dumps(spark_tasks.Plan(tmp_path, RECIPE, content.library.digest, 1, 1, frozenset()))
    raw = b'{"resourceType": "Patient", "id": "a"}'
    records = [(0, (RECIPE.key("a"), spark_tasks.RESOURCE, 0, 1, 1, "Patient", "a", raw))]
    with pytest.raises(RuntimeError, match="what a part is made of broke off"):
        list(spark_tasks.screen(plan, iter(records), 0))
    assert list(tmp_path.rglob("*")) == []
    ((_, _, found),) = spark_tasks.screen(plan, iter([*records, (0, (spark_tasks.END,))]), 0)
    assert found["patients"] == 1
    assert (tmp_path / "facts" / "part-00000.parquet").exists()


@pytest.mark.parametrize(("task", "partition"), [("join", 0), ("screen", 2)])
def test_a_task_that_has_nothing_to_do_leaves_no_record_unread(
    content: Content, tmp_path: Path, task: str, partition: int
) -> None:
    """Spark ends a Python that leaves one, and with it the content that the next task would need."""
    plan = pickle.dumps(spark_tasks.Plan(tmp_path, RECIPE, content.library.digest, 2, 1, frozenset()))
    digest = spark_executor.digest_of_code()
    assert digest
    records = iter([(partition, ("a record",)), (partition, ("another",))])
    assert list(spark_executor.run(task, False, digest, plan, records, partition)) == []
    assert list(records) == []


def test_an_executor_without_the_libraries_is_refused(
    screened: Screened, content: Content, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    venv.create(tmp_path / "bare", symlinks=True)
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "bare/bin/python"))
    with pytest.raises(Refused, match=r"cannot run the rules: fhir\.resources is missing, msgspec is missing") as said:
        on_spark(screened, content, tmp_path / "out", cluster.master)
    assert spark_code.HOW_TO_GIVE in str(said.value)


def children_of(parent: int) -> list[int]:
    """Processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            found.append(int(stat.parent.name))
    return sorted(found)
