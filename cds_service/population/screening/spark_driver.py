"""Spark's driver in a process of its own.

PySpark keeps its Java, and what belongs to it, until its process ends. Here that process ends with the screening, at
any time, whatever Java does, and nothing of it stays behind. What it and Java say goes to a file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from cds_service.population.screening.spark_session import SparkFailed

START_SECONDS: Final = 120
END_SECONDS: Final = 30
STARTED: Final = "started"
Tell = Callable[[Any], None]


def driven(work: Callable[[Tell], Any], log: Path, master: str, told: Tell, seconds: float = START_SECONDS) -> Any:
    """What `work` gives, run in a process of its own. It has to tell STARTED within `seconds`; whatever else it tells
    is given to `told`. `work` and all that it tells can be pickled. Raises SparkFailed, as `work` does."""
    context = multiprocessing.get_context("spawn")  # with neither our threads nor our open files
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(work, theirs, str(log)), name="spark-driver")
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            raise SparkFailed(f"Spark's master {master} did not take us in {seconds:.0f} s: see {log}")
        while True:
            kind, what = ours.recv()
            if kind == "failed":
                raise SparkFailed(what)
            if kind == "made":
                process.join(END_SECONDS)
                return what
            if what != STARTED:
                told(what)
    except EOFError:
        raise SparkFailed(f"Spark's process on this machine was ended from outside: see {log}") from None
    finally:
        ours.close()
        if process.is_alive():
            process.kill()  # its Java ends too: it reads from a pipe that breaks
        process.join()


def _run(work: Callable[[Tell], Any], pipe: Connection, log: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to hear
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        answer = ("made", work(lambda what: pipe.send(("told", what))))
    except SparkFailed as fault:
        answer = ("failed", str(fault))
    except Exception as fault:  # noqa: BLE001 - a text of Python's could hold what stands in a chart
        answer = ("failed", f"Spark gave up ({type(fault).__name__}): see {log}")
    with suppress(OSError):
        pipe.send(answer)


def _end_with_parent(pipe: Connection) -> None:
    """The parent sends nothing: what comes is its end, also where it was killed."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os._exit(1)
