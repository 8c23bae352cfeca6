"""The files of an export, cut into tasks: a piece of a file with lines, or a whole file where it is packed or is one
document."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from cds_service.population.screening.exported import LOCK
from cds_service.population.screening.exported import NAME as EXPORT
from cds_service.population.screening.exported import OTHER as NOT_SCREENED
from cds_service.population.screening.folder import Refused
from cds_service.population.screening.lines import LONGEST, TOO_LONG, Line, Lines, closed

PIECE: Final = 32 * 1024 * 1024  # bytes of one task
MOST_TASKS: Final = 256  # each is a file that every part is gathered from
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
            try:
                with _opened(self.path, self.shape.startswith("packed")) as opened:
                    raw = opened.read(LONGEST + 1)
            except _NOT_PACKED:
                lines.faults.append((1, "cannot be unpacked"))
                return
            if len(raw) > LONGEST:
                lines.faults.append((1, TOO_LONG))
            else:
                yield from lines.document(raw)
        elif self.shape == "packed":
            try:
                with _opened(self.path, True) as opened:
                    yield from lines.read(line for line, _ in _lines(opened))
            except _NOT_PACKED:
                lines.faults.append((lines.last + 1, "cannot be unpacked from here on"))
        else:
            yield from lines.read(self._lines())

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

    def asked(self) -> list[list[Any]]:
        """What tells these files from others."""
        return [
            [name, path.stat().st_size, path.stat().st_mtime_ns]
            for name, path in zip(self.names, self.files, strict=True)
        ]


def find(inputs: Iterable[Path], piece: int = PIECE) -> Sources:
    """The files named, and those below the folders named. Raises Refused where there are none."""
    files: dict[Path, str] = {}
    for given in inputs:
        if given.is_dir():
            # Whatever its name: a file that is passed over may hold patients.
            found = sorted(path for path in given.rglob("*") if path.is_file() and not path.name.startswith("."))
            named = {path: path.relative_to(given) for path in found if path.name not in (EXPORT, LOCK)}
            files |= {path: below.as_posix() for path, below in named.items() if below.parts[0] != NOT_SCREENED}
        elif given.is_file():
            files[given] = given.name
        else:
            raise Refused(f"{given} is neither a file nor a folder.")
    if not files:
        raise Refused("There is no file to read.")
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
    return Sources(tuple(files), tuple(files.values()), tuple(tasks), size)


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
