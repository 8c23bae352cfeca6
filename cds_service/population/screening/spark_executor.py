"""What runs on an executor before our package is there: only the standard library, sent to it by value.

Functions of this module are pickled whole (`spark_session.by_value`), since an executor may have no `cds_service` to
import them from. They find the package or take the one that was sent, check that it is the driver's byte for byte,
and only then call it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

FAULT = "magnesium-cds: "
"""What a message of ours begins with, so that the driver finds it in a report of Spark's."""
SENT = "magnesium-cds-code"
"""The name under which Spark unpacks the package that the driver sends."""
TASKS = "cds_service.population.screening.spark_tasks"
PROBE_SECONDS = 0.2


def digest_of_code() -> str | None:
    """SHA-256 over all Python of the package and all content, by path; None where there is no package.

    Raises ImportError where it is there and cannot be imported.
    """
    found = hashlib.sha256()
    for package, endings in (("cds_service", (".py",)), ("cds_service.cards", (".py", ".yaml", ".csv", ".md"))):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # the folder alone, without its version or its parent
            return None
        if spec is None or spec.origin is None:
            return None
        top = Path(spec.origin).parent
        # The wheel holds these inside of the package, the source tree elsewhere.
        elsewhere = {"cards", "docs", "scenarios"} if package == "cds_service" else set()
        files = [path for path in top.rglob("*") if path.suffix in endings and path.is_file()]
        for name in sorted(path.relative_to(top).as_posix() for path in files):
            if name.split("/")[0] not in elsewhere:
                raw = (top / name).read_bytes()
                found.update(f"{package}/{name} {len(raw)}\n".encode() + raw)
    return found.hexdigest()


def package_ready(sent: bool) -> str | None:
    """Make `cds_service` importable, as installed here, else as the driver sent it. Its digest, as digest_of_code."""
    known: str | None = getattr(sys.modules.get("cds_service"), "digest_on_executor", None)
    if known is None:
        known = digest_of_code()
        if known is None and sent:
            from pyspark import SparkFiles

            # A folder of that name may lie where Python looks first, without the content.
            for name in [name for name in sys.modules if name.split(".")[0] == "cds_service"]:
                del sys.modules[name]
            sys.path.insert(0, SparkFiles.get(SENT))
            importlib.invalidate_caches()
            known = digest_of_code()
        if known is not None:
            importlib.import_module("cds_service").digest_on_executor = known  # type: ignore[attr-defined]
    return known


def versions_of(names: Iterable[str]) -> dict[str, str | None]:
    """The installed version of each distribution; None where it is missing."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def here() -> str:
    """This executor's machine and its Python."""
    return f"{socket.gethostname()}, Python {platform.python_version()} at {sys.executable}"


def report(names: Sequence[str], sent: bool, files: Sequence[tuple[str, int]], token: str) -> dict[str, Any]:
    """What this executor has and sees. `files`: paths and their sizes in bytes; `token`: a file in the folder of the
    results. Keys: `here`, `versions`, `digest`, `error`, `not_seen` (paths), `not_written` (whether)."""
    told: dict[str, Any] = {"here": here(), "versions": versions_of(names), "digest": None, "error": ""}
    try:
        told["digest"] = package_ready(sent)
        if told["digest"] and None not in told["versions"].values():
            importlib.import_module(TASKS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver says it
        told["error"] = f"{type(error).__name__}: {error}"
    told["not_seen"] = [path for path, size in files if not _has_size(path, size)]
    told["not_written"] = not _writable(token)
    return told


def probe(
    names: Sequence[str], sent: bool, files: Sequence[tuple[str, int]], token: str, items: Iterator[Any]
) -> Iterator[Any]:
    """One report; then a moment's rest, so that other executors get tasks too."""
    yield report(names, sent, files, token)
    leave_none(items)
    time.sleep(PROBE_SECONDS)


def leave_none(items: Iterator[Any]) -> None:
    """Spark ends a Python that leaves records unread, and the next task would load the content anew."""
    for _ in items:
        pass


def part_of(part: int) -> int:
    """Spark's number of a part: ours."""
    return part


def _has_size(path: str, size: int) -> bool:
    try:
        return os.path.getsize(path) == size  # noqa: PTH202 - strings cross machines
    except OSError:
        return False


def _writable(token: str) -> bool:
    """Whether the driver's file is there, and one can be written beside it."""
    beside = Path(f"{token}.{socket.gethostname()}.{os.getpid()}")
    try:
        Path(token).read_bytes()
        beside.write_bytes(b"")
        beside.unlink()
    except OSError:
        return False
    return True


def run(task: str, sent: bool, digest: str, payload: bytes, items: Iterator[Any], index: int) -> Iterator[Any]:
    """`task(payload, items, index)`, a function of spark_tasks, with the driver's package.

    Raises RuntimeError in our own words: a message of Python's could hold what stands in a chart, and Spark logs it.
    """
    if package_ready(sent) != digest:
        raise RuntimeError(f"{FAULT}another version of magnesium-cds or of its rules is on {here()}")
    tasks = importlib.import_module(TASKS)
    function: Callable[[bytes, Iterator[Any], int], Iterator[Any]] = getattr(tasks, task)
    try:
        yield from function(payload, items, index)
        leave_none(items)
    except Exception as error:
        if str(error).startswith(FAULT):
            raise
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "an unknown place"
        raise RuntimeError(f"{FAULT}{type(error).__name__} at {line}, on {here()}") from None


def run_indexed(task: str, sent: bool, digest: str, payload: bytes, index: int, items: Iterator[Any]) -> Iterator[Any]:
    """`run` with the words in the order in which Spark gives them."""
    return run(task, sent, digest, payload, items, index)
