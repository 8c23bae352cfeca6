"""A session of Spark on a cluster that exists or on this machine: in bounded time, its failures in our words."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cds_service.population.screening.spark_executor import FAULT

if TYPE_CHECKING:
    from pyspark import SparkContext

JAVA = 17
"""The oldest Java that Spark 4 runs on."""
CONNECT_SECONDS = 5
LOG_FILE = "spark.log"
MASTERS = "local, local[2], local[*], spark://HOST:PORT, yarn or k8s://https://HOST:PORT"


class SparkFailed(Exception):
    """Spark could not be started or gave up. The message says why and what to change; no patient data."""


@contextmanager
def spark_context(master: str, settings: Mapping[str, str], scratch: Path, log: Path) -> Iterator[SparkContext]:
    """A context on `master` with these settings of Spark's (`spark....` -> value), ended afterwards.

    For a process of its own (`driven`), since PySpark keeps its Java until the process ends. `scratch`: folder of this
    machine for Spark's own files; `log`: the file that holds what Spark says. Raises SparkFailed.
    """
    from pyspark import SparkConf, SparkContext

    for name in ("py4j", "pyspark"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local = master.startswith("local")
    if local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Both of one Python: Spark compares versions of driver and executors.
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    log4j = Path(__file__).with_name("log4j2.xml")
    asked = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j.as_uri()}",
        **({"spark.local.dir": str(scratch), "spark.driver.host": "127.0.0.1"} if local else {}),
        **settings,
    }
    conf = SparkConf().setMaster(master).setAppName("magnesium-cds screen")
    for name, value in asked.items():
        conf.set(name, value)
    try:
        context = SparkContext(conf=conf)
    except Exception as error:  # noqa: BLE001 - Java's, py4j's and Spark's own, all alike here
        raise SparkFailed(f"Spark could not start on {master} ({_kind(error)}): see {log}") from None
    try:
        yield context
    finally:
        try:
            context.stop()
        except Exception as error:  # noqa: BLE001 - what is dead needs no end
            logging.getLogger(__name__).debug("at the end of Spark: %s", type(error).__name__)


def checked(master: str) -> None:
    """Refuse what could not start: no PySpark, no Java, a master that is not there. Raises SparkFailed."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        raise SparkFailed("The Spark engine needs PySpark and pyarrow. In a checkout: pip install '.[spark]'") from None
    _check_java()
    _check_master(master)


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin/java") if home else shutil.which("java")
    want = f"Spark needs Java {JAVA} or newer"
    install = "On Debian: apt-get install openjdk-17-jre-headless. Elsewhere set JAVA_HOME to the folder of a Java."
    if java is None or not Path(java).is_file():
        where = f"JAVA_HOME={home} holds no bin/java" if home else "none is on PATH and JAVA_HOME is not set"
        raise SparkFailed(f"{want}, and {where}. {install}")
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        raise SparkFailed(f"{want}, and {java} does not run. {install}") from None
    version = re.search(r'version "(\d+)', done.stderr)
    if version and int(version[1]) < JAVA:
        raise SparkFailed(f"{want}, and {java} is Java {version[1]}. {install}")


def _check_master(master: str) -> None:
    """Refuse a master of no known form, or where nothing listens: Spark itself would try for a minute."""
    if re.fullmatch(r"local(\[(\*|\d+)(,\d+)?\])?", master):
        return
    if master == "yarn":
        if not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
            raise SparkFailed("For --master yarn set HADOOP_CONF_DIR to the folder of the cluster's settings.")
        return
    spark = re.fullmatch(r"spark://(.+)", master)
    kubernetes = re.fullmatch(r"k8s://(?:https?://)?([^/]+)/?", master)
    found = spark or kubernetes
    if found is None:
        raise SparkFailed(f"--master {master} is none of: {MASTERS}.")
    faults = []
    for place in found[1].split(","):
        address, _, port = place.rpartition(":")
        if not address and kubernetes:
            address, port = place, "443"
        if not address or not port.isdigit() or not 0 < int(port) < 65536:
            raise SparkFailed(f"--master {master} is none of: {MASTERS}.")
        try:
            socket.create_connection((address.strip("[]"), int(port)), CONNECT_SECONDS).close()
            return
        except OSError as error:
            faults.append(f"{place}: {error.strerror or 'no answer'}")
    raise SparkFailed(f"Spark's master cannot be reached ({'; '.join(faults)}). Check --master and that it runs.")


@contextmanager
def _time_limit(seconds: float, stop: Callable[[], object]) -> Iterator[list[bool]]:
    """Call `stop` if the block takes longer; the list then holds an item."""
    late: list[bool] = []

    def end() -> None:
        late.append(True)
        stop()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


@contextmanager
def in_our_words(context: SparkContext, master: str, log: Path, seconds: float | None = None) -> Iterator[None]:
    """What a job of Spark's raises, as SparkFailed. With `seconds` the job must end in that time."""
    try:
        with _time_limit(seconds, context.cancelAllJobs) if seconds else _no_limit() as late:
            yield
    except SparkFailed:
        raise
    except Exception as error:  # noqa: BLE001 - py4j's, Spark's and sockets'
        if late:
            raise SparkFailed(
                f"{master} gave us no executor in {seconds:.0f} s. Check that its workers run and have a free core and "
                f"enough memory (spark.executor.memory), or give --wait more seconds; see {log}"
            ) from None
        text = str(error)
        if "PYTHON_VERSION_MISMATCH" in text:
            told = f"The executors have another Python than this one ({sys.version_info[0]}.{sys.version_info[1]})."
            raise SparkFailed(f"{told} Set PYSPARK_PYTHON to one of the same version.") from None
        if "Cannot run program" in text:
            python = os.environ.get("PYSPARK_PYTHON", "python3")
            raise SparkFailed(
                f"The executors cannot run {python}. Set PYSPARK_PYTHON to a Python that is at that path on each."
            ) from None
        if ours := re.search(re.escape(FAULT) + r"([^\n]+)", text):
            raise SparkFailed(f"Spark gave up after a task failed: {ours[1].strip()}") from None
        raise SparkFailed(f"Spark gave up ({_kind(error)}): see {log}") from None


@contextmanager
def _no_limit() -> Iterator[list[bool]]:
    yield []


def _kind(error: Exception) -> str:
    """What Spark calls a failure: the class of its Java exception, or of Python's. Never its text."""
    java = getattr(error, "java_exception", None)
    try:
        return str(java.getClass().getSimpleName()) if java is not None else type(error).__name__
    except Exception:  # noqa: BLE001 - Java is gone
        return type(error).__name__
