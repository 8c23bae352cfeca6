"""One folder for the numbers of all workers of one start: made fresh, held by a lock, and gone at the end.

Each process writes its own files in it (multiprocess mode of prometheus_client), and whoever is asked for `/metrics`
adds them up. What a worker counted stays when it ends: its files are added to those of the workers that ended before.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

_NAME: Final = "magnesium-cds-metrics-"
_HELD: Final = "held"  # locked as long as a process of that start lives
_LOCK: Final = "lock"  # shared by those who read, for itself by who adds files up
_FIRST: Final = 1 << 16
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks
_TRIES: Final = 3
_folder: list[Path] = []


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
                (folder / _LOCK).touch()
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


def _use(folder: Path) -> None:
    """From here on all values of this process are kept in files of this folder."""
    os.environ[_VARIABLE] = str(folder)
    _folder[:] = [folder]
    from prometheus_client import values
    from prometheus_client.mmap_dict import MmapedDict

    class Allocated(MmapedDict):
        """With its room written out: in a mapped file with holes, a disk that is full would end the process."""

        def __init__(self, filename: str, read_mode: bool = False) -> None:
            if not read_mode and not (os.path.exists(filename) and os.path.getsize(filename)):  # noqa: PTH110, PTH202
                with open(filename, "ab") as file:  # noqa: PTH123
                    file.write(bytes(_FIRST))
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

        def _init_value(self, key: str) -> None:
            while self._used + len(key.encode()) + 64 > self._capacity:
                self._f.write(bytes(self._capacity))
                self._f.flush()
                self._capacity *= 2
                self._m = _mapped(self._f, self._capacity)
            super()._init_value(key)  # type: ignore[no-untyped-call]

    values.MmapedDict = Allocated  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def _mapped(file: Any, capacity: int) -> Any:
    import mmap

    return mmap.mmap(file.fileno(), capacity)


def in_use() -> Path | None:
    """The folder of this service; None in a process that keeps its own numbers only."""
    return _folder[0] if _folder else None


@contextmanager
def undisturbed(folder: Path) -> Iterator[None]:
    """While the files are read none is added up and taken away."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


def worker_ended(pid: int) -> None:
    """In the master: what the worker counted is added to what others before it did; its gauges go."""
    folder = in_use()
    if folder is None:
        return
    from prometheus_client import values
    from prometheus_client.multiprocess import mark_process_dead

    with suppress(OSError), _locked(folder, fcntl.LOCK_EX):
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            gone = folder / f"{kind}_{pid}.db"
            if not gone.exists():
                continue
            made: Any = values.MmapedDict  # type: ignore[attr-defined]
            ended = made(str(folder / f"{kind}_ended.db"))
            try:
                for key, value, _, _ in made.read_all_values_from_file(str(gone)):
                    ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
            finally:
                ended.close()
            gone.unlink()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    lock = os.open(folder / _LOCK, os.O_RDWR)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)
