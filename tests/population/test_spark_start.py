"""Spark that cannot be started: each time a sentence that says what to change, and soon."""

from __future__ import annotations

import builtins
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cds_service.population.screening.spark_session import SparkFailed, spark_context
from tests.population.spark_cluster import free_port


def said(master: str, folder: Path) -> str:
    """Why no context could be had."""
    with pytest.raises(SparkFailed) as caught, spark_context(master, {}, folder, folder / "spark.log"):
        pass
    return str(caught.value)


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A Java that says which version it is, and does nothing else."""

    def make(version: str) -> None:
        program = tmp_path / "jdk/bin/java"
        program.parent.mkdir(parents=True)
        program.write_text(f"""#!/bin/sh\necho 'openjdk version "{version}"' >&2\n""")
        program.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    return make


def test_without_java_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "needs Java 17 or newer, and none is on PATH" in said("local[2]", tmp_path)
    assert "apt-get install openjdk-17-jre-headless" in said("local[2]", tmp_path)


def test_an_old_java_is_named(tmp_path: Path, java: Callable[[str], None]) -> None:
    java("11.0.2")
    assert "is Java 11" in said("local[2]", tmp_path)


def test_a_java_home_without_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "holds no bin/java" in said("local[2]", tmp_path)


def test_without_pyspark_it_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *words: Any) -> Any:
        if name.split(".")[0] == "pyspark":
            raise ModuleNotFoundError(name)
        return real(name, *words)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install '.[spark]'" in said("local[2]", tmp_path)


def test_a_master_that_is_not_there_is_named_within_seconds(tmp_path: Path, java: Callable[[str], None]) -> None:
    java("17.0.1")
    master, start = f"spark://127.0.0.1:{free_port()}", time.monotonic()
    assert re.search(r"cannot be reached \(127\.0\.0\.1:\d+: Connection refused\)", said(master, tmp_path))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "master", ["mesos://here:5050", "spark://here", "sc://here:15002", "local[many]", "spark://h:99999"]
)
def test_a_master_of_no_known_form_is_refused(master: str, tmp_path: Path, java: Callable[[str], None]) -> None:
    java("17.0.1")
    assert f"--master {master} is none of: local, " in said(master, tmp_path)


def test_yarn_wants_its_settings(tmp_path: Path, java: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    java("17.0.1")
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert "set HADOOP_CONF_DIR" in said("yarn", tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # PySpark leaves its pipe open
def test_a_java_that_ends_at_once_is_no_traceback(tmp_path: Path, java: Callable[[str], None]) -> None:
    java("17.0.1")
    assert "Spark could not start on local[2] (" in said("local[2]", tmp_path)
    gc.collect()
