"""One folder for the numbers of all workers of one start: made fresh, held by a lock, and gone at the end.

Each process writes its own files in it (multiprocess mode of prometheus_client), and whoever is asked for `/metrics`
adds them up. A worker has the lowest number that no other has, and its files are named after it: what it counted stays
when it ends, and who is given its number next goes on counting there. So there are never more files than workers at
the same time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

_NAME: Final = "magnesium-cds-metrics-"
_HELD: Final = "held"  # locked as long as a process of that start lives
# What is written out beforehand, by how a file's name begins: in a mapped file with holes, a full disk would end
# the process. Room for some thousands of series; files that must grow beyond it have holes.
_ROOM: Final = {"counter": 1 << 20, "histogram": 1 << 18, "gauge_livesum": 1 << 16}
_MASTER: Final = "master"
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks
_TRIES: Final = 3
_folder: list[Path] = []
_numbers: dict[int, object] = {}  # in the master: which worker has a number
_own: dict[int, str] = {}  # by process: under what name it counts


class NoFolder(Exception):
    """No place can be written."""


@contextmanager
def shared_folder(elsewhere: Path | None) -> Iterator[Path]:
    """A fresh folder, in use by this process and all that it forks; `elsewhere`: where, if nothing temporary can be
    written. To be entered before anything is counted. Raises NoFolder."""
    folder, held = _fresh(elsewhere)
    maker = os.getpid()
    _use(folder)
    try:
        yield folder
    finally:
        if os.getpid() == maker:
            _folder.clear()
            _own.clear()
            _numbers.clear()
            _leave()
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _fresh(elsewhere: Path | None) -> tuple[Path, int]:
    places = []
    with suppress(FileNotFoundError):
        places.append(Path(tempfile.gettempdir()))
    for place in [*places, *([elsewhere] if elsewhere else [])]:
        for _ in range(_TRIES):  # another start may take it for a folder that was left, until it is locked
            with suppress(OSError):
                _sweep(place)
                folder = Path(tempfile.mkdtemp(prefix=_NAME, dir=place))
                held = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return folder, held
    raise NoFolder("metrics: no folder can be written for them, neither a temporary one (TMPDIR) nor in data_dir. "
                   "Give one, or set metrics = off.")  # fmt: skip


def _sweep(place: Path) -> None:
    """Take away folders that a killed service left: nobody holds their lock."""
    for left in place.glob(f"{_NAME}*"):
        with suppress(OSError):
            if left.is_symlink() or left.stat().st_uid != os.getuid():
                continue
            held = os.open(left / _HELD, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


def _leave() -> None:
    """What this process goes on with, and what it starts, look for no folder that is gone."""
    os.environ.pop(_VARIABLE, None)
    from prometheus_client import values

    values.ValueClass = values.MutexValue


def _use(folder: Path) -> None:
    """From here on all values of this process are kept in files of this folder."""
    os.environ[_VARIABLE] = str(folder)
    _folder[:] = [folder]
    from prometheus_client import values

    _count_as(_MASTER)
    values.ValueClass = values.MultiProcessValue(_name)  # type: ignore[no-untyped-call]


def _name() -> str:
    """Of this process, among those that live."""
    pid = os.getpid()
    return _own.get(pid) or str(pid)


def _count_as(name: str) -> bool:
    """Whether there is room for what this process counts."""
    _own[os.getpid()] = name
    for kind, size in _ROOM.items():
        file = _folder[0] / f"{kind}_{name}.db"
        if not file.exists():
            try:
                file.write_bytes(bytes(size))
            except OSError:
                file.unlink(missing_ok=True)
                return False
    return True


def in_use() -> Path | None:
    """The folder of this service; None in a process that keeps its own numbers only."""
    return _folder[0] if _folder else None


def worker_comes(worker: object) -> None:
    """In the master, before a worker is forked: it is given a number."""
    _numbers[next(number for number in count() if number not in _numbers)] = worker


def worker_begins(worker: object) -> bool:
    """In the worker, before it counts anything. False where there is no room for what it counts."""
    number = next((number for number, has in _numbers.items() if has is worker), None)
    return in_use() is None or number is None or _count_as(str(number))


def worker_ended(worker: object) -> None:
    """In the master: what the worker counted stays; its gauges go, and its number is free."""
    number = next((number for number, has in _numbers.items() if has is worker), None)
    if number is None:
        return
    if (folder := in_use()) is not None:
        from prometheus_client.multiprocess import mark_process_dead

        with suppress(OSError):
            mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]
    del _numbers[number]
