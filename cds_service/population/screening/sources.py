"""The files of an export, cut into tasks: a piece of a file with lines, or a whole file where it is packed or is one
document."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from cds_service.population.screening.folder import Refused
from cds_service.population.screening.lines import Line, Lines, closed

PIECE: Final = 32 * 1024 * 1024  # bytes of one task
MOST_TASKS: Final = 256  # each is a file that every part is gathered from
LONGEST_DOCUMENT: Final = 256 * 1024 * 1024
NAMES: Final = (".ndjson", ".json", ".jsonl", ".ndjson.gz", ".json.gz", ".jsonl.gz")
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
                    raw = opened.read(LONGEST_DOCUMENT + 1)
            except _NOT_PACKED:
                lines.faults.append((1, "cannot be unpacked"))
                return
            if len(raw) > LONGEST_DOCUMENT:
                lines.faults.append((1, "is one JSON document of more than 256 MB: write a line for each resource"))
            else:
                yield from lines.document(raw)
        elif self.shape == "packed":
            try:
                with _opened(self.path, True) as opened:
                    yield from lines.read(opened)
            except _NOT_PACKED:
                lines.faults.append((lines.last + 1, "cannot be unpacked from here on"))
        else:
            yield from lines.read(self._lines())

    def _lines(self) -> Iterator[bytes]:
        left = self.end - self.begin
        with Path(self.path).open("rb") as opened:
            opened.seek(self.begin)
            while left > 0:
                line = opened.readline()
                if not line:
                    return
                left -= len(line)
                yield line


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
            found = sorted(path for path in given.rglob("*") if path.is_file() and path.name.endswith(NAMES))
            files |= {path: path.relative_to(given).as_posix() for path in found if path.name != "export.json"}
        elif given.is_file():
            files[given] = given.name
        else:
            raise Refused(f"{given} is neither a file nor a folder.")
    if not files:
        raise Refused(f"There is no file to read. Names end in {', '.join(NAMES)}.")
    sizes = {path: path.stat().st_size for path in files}
    piece = max(piece, sum(sizes.values()) // MOST_TASKS + 1)
    tasks: list[Task] = []
    size = 0
    for number, path in enumerate(files):
        with path.open("rb") as opened:
            packed = opened.read(2) == _GZIP
        size += sizes[path] * (10 if packed else 1)
        if packed:
            with gzip.open(path, "rb") as unpacked:
                try:
                    whole = not closed(unpacked.readline(PIECE))
                except _NOT_PACKED:
                    whole = False
            if whole:
                tasks.append(Task(len(tasks), number, str(path), 0, sizes[path], "packed document"))
                continue
            tasks.append(Task(len(tasks), number, str(path), 0, sizes[path], "packed"))
            continue
        for begin, end, shape in _pieces(path, sizes[path], piece):
            tasks.append(Task(len(tasks), number, str(path), begin, end, shape))
    return Sources(tuple(files), tuple(files.values()), tuple(tasks), size)


def _pieces(path: Path, size: int, piece: int) -> Iterator[tuple[int, int, str]]:
    with path.open("rb") as opened:
        first = b""
        while not first.strip() and opened.tell() < size:
            first = opened.readline(PIECE)
        if not first.strip() or not closed(first):
            yield 0, size, "document"
            return
        begin = 0
        while begin < size:
            opened.seek(min(begin + piece, size))
            opened.readline()
            end = opened.tell()
            yield begin, end, "lines"
            begin = end
