"""Spark that cannot be started: each time a sentence that says what to change, and soon."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cds_service.population.screening.spark_driver import STARTED, Tell, driven
from cds_service.population.screening.spark_session import SparkFailed, checked, spark_context
from tests.population.spark_cluster import free_port


def start(master: str, folder: Path, tell: Tell) -> None:
    with spark_context(master, {}, folder, folder / "spark.log"):
        tell(STARTED)


def said(master: str, folder: Path) -> str:
    """Why no context could be had."""
    with pytest.raises(SparkFailed) as caught:
        checked(master)
        driven(partial(start, master, folder), folder / "spark.log", master, print)
    return str(caught.value)


def wait_for_ever(folder: Path, tell: Tell) -> None:
    (folder / "process").write_text(str(os.getpid()))
    print("at work", flush=True)
    time.sleep(600)


def tell_and_wait(folder: Path, tell: Tell) -> None:
    tell(STARTED)
    wait_for_ever(folder, tell)


def has_ended(process: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


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


def test_a_java_that_ends_at_once_is_no_traceback(tmp_path: Path, java: Callable[[str], None]) -> None:
    java("17.0.1")
    assert "Spark could not start on local[2] (" in said("local[2]", tmp_path)


def test_a_master_that_does_not_take_us_is_given_up_and_nothing_runs_on(tmp_path: Path) -> None:
    with pytest.raises(SparkFailed, match=r"^Spark's master spark://h:1 did not take us in 8 s: see .*spark.log$"):
        driven(partial(wait_for_ever, tmp_path), tmp_path / "spark.log", "spark://h:1", print, seconds=8)
    assert has_ended(int((tmp_path / "process").read_text()))
    assert (tmp_path / "spark.log").read_text() == "at work\n"


def test_the_driver_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    asked = f"""if __name__ == "__main__":
        from functools import partial
        from pathlib import Path
        from cds_service.population.screening.spark_driver import driven
        from tests.population.test_spark_start import tell_and_wait
        driven(partial(tell_and_wait, Path({str(tmp_path)!r})), Path({str(tmp_path / "log")!r}), "m", print)"""
    command = subprocess.Popen([sys.executable, "-c", asked])
    until = time.monotonic() + 60
    while not (tmp_path / "process").exists() or not (tmp_path / "process").read_text():
        assert command.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    command.kill()
    command.wait()
    assert has_ended(int((tmp_path / "process").read_text()))
