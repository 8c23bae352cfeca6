"""The folder of a screening: what was asked, how far it is, and files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import orjson

ABOUT: Final = "screening.json"
KEY_FILE: Final = "pseudonym-key"
LOCK: Final = ".lock"
WORK: Final = "work"
FORMAT: Final = 1
_PATIENCE: Final = 3  # seconds in which the processes of a run that was killed end
_locks: dict[Path, int] = {}


class Refused(ValueError):
    """A folder or an input that cannot be used. The text says why, and what to do."""


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when all is written: it is whole, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield waiting
        with waiting.open("rb+") as written:
            os.fsync(written.fileno())
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)


def write_json(path: Path, told: Any) -> None:
    """Whole, or not at all."""
    with replaced(path) as waiting:
        waiting.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def read_about(folder: Path) -> dict[str, Any] | None:
    """What `screening.json` of a folder says; None where there is none. Raises ValueError, which says what it is not,
    and OSError."""
    try:
        told = orjson.loads((folder / ABOUT).read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        raise ValueError("is no JSON") from None
    if not isinstance(told, dict):
        raise ValueError("is no JSON object")
    return told


@dataclass(frozen=True)
class Folder:
    """A screening's folder. `asked`: what decides its rows, as in `screening.json`."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / WORK

    def about(self) -> dict[str, Any] | None:
        """What `screening.json` says; None where there is none. Raises Refused."""
        try:
            told = read_about(self.path)
        except ValueError as fault:
            raise Refused(f"{self.path / ABOUT} {fault}. Name another folder with --out.") from None
        if told is not None and told.get("format") != FORMAT:
            raise Refused(f"{self.path} was made by another version. Name another folder with --out.")
        return told

    def begin(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Take the folder for this question, or go on with it. Raises Refused where it holds another one."""
        told = self.about()
        if told is None:
            if self.path.exists() and any(not self._ours(each.name) for each in self.path.iterdir()):
                raise Refused(f"{self.path} is not empty and holds no screening. Name another folder with --out.")
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock()
            told = {"format": FORMAT, "finished": False, **asked}
            write_json(self.path / ABOUT, told)
            return told
        other = [name for name in asked if told.get(name) != asked[name]]
        if other:
            raise Refused(
                f"{self.path} holds a screening with another {', '.join(sorted(other))}. Name another folder with "
                "--out, or ask as before to go on with it."
            )
        if told["finished"]:
            self._tidy()
        else:
            self._lock()
            for left in self.path.rglob(".*.[0-9]*"):  # half written when a run was killed
                left.unlink(missing_ok=True)
        return told

    def _ours(self, name: str) -> bool:
        """What a run leaves that was killed as it began."""
        return name == LOCK or name.startswith(f".{ABOUT}.")

    def _lock(self) -> None:
        """Until this process ends, or all is done, no other one writes here. Raises Refused."""
        if self.path in _locks:
            return
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.1)
                    continue
                os.close(descriptor)
                raise Refused(f"Another run is at work in {self.path}. Wait for it, or end it first.") from None
            except OSError:  # a file system without locks: two runs write the same, each file whole
                pass
            break
        _locks[self.path] = descriptor

    def secret(self) -> bytes:
        """What pseudonyms are made with: kept while the screening runs, so that it can be gone on with."""
        path = self.path / KEY_FILE
        if not path.exists():
            with replaced(path) as waiting:
                descriptor = os.open(waiting, os.O_WRONLY | os.O_CREAT, 0o600)
                os.write(descriptor, secrets.token_bytes(32))
                os.close(descriptor)
        return path.read_bytes()

    def finish(self, found: Mapping[str, Any]) -> None:
        """All parts are there."""
        write_json(self.path / ABOUT, {**(self.about() or {}), **found, "finished": True})
        self._tidy()
        if (held := _locks.pop(self.path, None)) is not None:
            os.close(held)

    def _tidy(self) -> None:
        """What a finished screening has no use for: charts, and what tells whose rows are whose. Done again when it is
        asked for once more, since a run may have been killed meanwhile."""
        (self.path / KEY_FILE).unlink(missing_ok=True)
        (self.path / LOCK).unlink(missing_ok=True)
        rmtree(self.work, ignore_errors=True)
