"""The files of an export, cut into tasks: a piece of a file with lines, or a whole file where it is packed or is one
document."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

import orjson

from cds_service.population.screening.exported import LOCK
from cds_service.population.screening.exported import NAME as EXPORT
from cds_service.population.screening.exported import OTHER as NOT_SCREENED
from cds_service.population.screening.folder import Refused
from cds_service.population.screening.lines import LONGEST, TOO_LONG, Line, Lines, closed, has_resources, is_json

PIECE: Final = 32 * 1024 * 1024  # bytes of one task
MOST_TASKS: Final = 256  # each is a file that every part is gathered from
LOOK: Final = 64 * 1024  # bytes of a piece that tells a file from another of its size and time
LOOKED_AT: Final = 16  # such pieces of a file
_GZIP: Final = b"\x1f\x8b"
_NOT_PACKED: Final = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Task:
    """Bytes `begin` to `end` of a file: they begin and end with a line. `shape`: lines, packed, document or packed
    document."""

    number: int
    file: int
    path: str
    begin: int
    end: int
    shape: str = "lines"

    def read(self, lines: Lines) -> Iterator[Line]:
        """Its resources, one by one; what is wrong with it stands in `lines`."""
        if self.shape in ("document", "packed document"):
            yield from self._document(lines)
        elif self.shape == "packed":
            yield from self._unpacked(lines)
        else:
            yield from lines.read(self._lines())

    def _document(self, lines: Lines) -> Iterator[Line]:
        """Where its first lines are broken, a file with lines looks like a document: then it is read as lines."""
        packed = self.shape.startswith("packed")
        try:
            with _opened(self.path, packed) as opened:
                raw = opened.read(LONGEST + 1)
        except _NOT_PACKED:
            lines.faults.append((1, "cannot be unpacked"))
            return
        if len(raw) <= LONGEST and (is_json(raw) or not has_resources(raw)):
            yield from lines.document(raw)
        elif not has_resources(raw):
            lines.faults.append((1, TOO_LONG))
        elif packed:
            yield from self._unpacked(lines)
        else:
            yield from lines.read(self._lines())

    def _unpacked(self, lines: Lines) -> Iterator[Line]:
        broken = False

        def unpacked() -> Iterator[bytes | None]:
            nonlocal broken
            try:
                with _opened(self.path, True) as opened:
                    yield from (line for line, _ in _lines(opened))
            except _NOT_PACKED:
                broken = True

        yield from lines.read(unpacked())  # all that came before the break
        if broken:
            lines.faults.append((lines.last + 1, "cannot be unpacked from here on"))

    def _lines(self) -> Iterator[bytes | None]:
        left = self.end - self.begin
        with Path(self.path).open("rb") as opened:
            opened.seek(self.begin)
            for line, size in _lines(opened):
                yield line
                left -= size
                if left <= 0:
                    return


def _lines(opened: IO[bytes]) -> Iterator[tuple[bytes | None, int]]:
    """Each line and its length in bytes; None for one that is longer than we hold."""
    while line := opened.readline(LONGEST):
        size, whole = len(line), True
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line, whole = opened.readline(LONGEST), False
            size += len(line)
        yield line if whole else None, size


def _opened(path: str, packed: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else Path(path).open("rb")


@dataclass(frozen=True)
class Sources:
    """The files and their tasks, in order."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    size: int  # bytes, unpacked as far as can be told
    exports: tuple[Path, ...] = ()  # folders that may say what an export did not give

    def asked(self) -> str:
        """What tells these files from others: a hash, since files may be called as patients are."""
        told = [
            [name, path.stat().st_size, path.stat().st_mtime_ns, _digest(path)]
            for name, path in zip(self.names, self.files, strict=True)
        ]
        return hashlib.sha256(orjson.dumps(told)).hexdigest()


def _digest(path: Path) -> str:
    """Of a small file all of it; of a large one pieces from its beginning to its end."""
    size, found = path.stat().st_size, hashlib.blake2b()
    with path.open("rb") as opened:
        for number in range(LOOKED_AT):
            opened.seek(max(opened.tell(), (size - LOOK) * number // (LOOKED_AT - 1)))
            found.update(opened.read(LOOK))
    return found.hexdigest()


def find(inputs: Iterable[Path], piece: int = PIECE) -> Sources:
    """The files named, and those below the folders named. Raises Refused where there are none."""
    files: dict[Path, str] = {}
    exports: list[Path] = []
    for given in inputs:
        if given.is_dir():
            # Whatever its name: a file that is passed over may hold patients.
            files |= {path: path.relative_to(given).as_posix() for path in sorted(_below(given, exports))}
        elif given.is_file():
            files[given] = given.name
            exports.append(given.parent)
        else:
            raise Refused(f"{given} is neither a file nor a folder.")
    if not files:
        raise Refused("There is no file to read.")
    for path in files:
        if str(path) != _printable(path):
            raise Refused(f"The name of {_printable(path)} is not UTF-8: give the file another name.")
    sizes = {path: path.stat().st_size for path in files}
    piece = max(piece, sum(sizes.values()) // MOST_TASKS + 1)
    tasks: list[Task] = []
    size = 0
    for number, path in enumerate(files):
        with path.open("rb") as opened:
            packed = opened.read(2) == _GZIP
        size += sizes[path] * (10 if packed else 1)
        for begin, end, shape in [_packed(path, sizes[path])] if packed else _pieces(path, sizes[path], piece):
            tasks.append(Task(len(tasks), number, str(path), begin, end, shape))
    return Sources(tuple(files), tuple(files.values()), tuple(tasks), size, tuple(exports))


def _below(folder: Path, exports: list[Path]) -> Iterator[Path]:
    """All files below a folder, also where links lead, but for hidden ones and what an export says of itself: folders
    that hold one are put into `exports`."""
    been: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True, onerror=_raised):
        if (place := os.path.realpath(at)) in been:
            folders.clear()  # by another way, or a link that leads back
            continue
        been.add(place)
        if EXPORT in names:
            exports.append(Path(at))
            folders[:] = [name for name in folders if name != NOT_SCREENED]
            names = [name for name in names if name not in (EXPORT, LOCK)]
        for path in (Path(at, name) for name in names if not name.startswith(".")):
            if not path.is_file():
                raise Refused(f"{_printable(path)} is no file, or a link that leads nowhere: mend it, or take it away.")
            yield path


def _raised(fault: OSError) -> None:
    raise fault


def _printable(path: Path) -> str:
    """A path as it can be printed and kept."""
    return os.fsencode(path).decode("utf-8", "replace")


def _pieces(path: Path, size: int, piece: int) -> Iterator[tuple[int, int, str]]:
    with path.open("rb") as opened:
        if not closed(*_beginning(opened)):
            yield 0, size, "document"
            return
        begin = 0
        while begin < size:
            opened.seek(min(begin + piece, size))
            next(_lines(opened), None)
            end = opened.tell()
            yield begin, end, "lines"
            begin = end


def _packed(path: Path, size: int) -> tuple[int, int, str]:
    with _opened(str(path), True) as opened:
        try:
            lines = closed(*_beginning(opened))
        except _NOT_PACKED:
            lines = True
    return 0, size, "packed" if lines else "packed document"


def _beginning(opened: IO[bytes]) -> list[bytes]:
    """The first two lines that hold something, as far as a piece goes."""
    found: list[bytes] = []
    while len(found) < 2 and (line := opened.readline(PIECE)):
        if line.strip():
            found.append(line)
    return found or [b""]
