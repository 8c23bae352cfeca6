"""One file of an export: fetched in pieces, gone on with after a break, looked at line by line, and then in place."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import requests

from cds_service.population.screening.calls_out import FAULTS, CallsOut, ExportFailed, GiveToken, network_words
from cds_service.population.screening.exported import OTHER, File, Messages, private

_PIECE: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_SEVERITIES: Final = ("fatal", "error", "warning", "information", "success")


class _Line(msgspec.Struct):
    resourceType: str


_read = msgspec.json.Decoder(_Line).decode
_read_messages = msgspec.json.Decoder(Messages).decode


class NotThere(Exception):
    """The server does not give a file (403, 404 or 410): its address may have run out."""


@dataclass(slots=True)
class Looked:
    """What a file holds: whole lines, lines that are no JSON or cut short, lines of another type."""

    lines: int = 0
    broken: int = 0
    strange: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    def fault(self, count: int | None) -> str:
        """What is wrong, in words; "" for nothing."""
        told = []
        if self.broken:
            told.append(f"{self.broken} of its lines are not whole JSON")
        if self.strange:
            told.append(f"{self.strange} of its lines are of another type")
        if count is not None and count != self.lines + self.strange:
            told.append(f"the server said {count} resources, it holds {self.lines + self.strange}")
        return ", ".join(told)


def look(path: Path, kind: str) -> Looked:
    """Reads a file, plain or gzip, line by line. `kind`: the type that it should hold."""
    found = Looked()
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    right = _read(line).resourceType == kind
                except (msgspec.DecodeError, UnicodeDecodeError):
                    found.broken += 1
                    continue
                found.lines += right
                found.strange += not right
                if kind == "OperationOutcome":
                    _count(line, found.messages)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        found.broken += 1  # the end is missing
    if kind == "OperationOutcome" and (unread := found.broken + found.strange):
        found.messages["unreadable"] += unread
    return found


def _count(line: bytes, messages: Counter[str]) -> None:
    """One OperationOutcome by its worst issue. Its words are not read: they may name patients."""
    try:
        said = {issue.severity for issue in _read_messages(line).issue}
    except msgspec.DecodeError:
        said = set()
    messages[next((each for each in _SEVERITIES if each in said), "unreadable")] += 1


@dataclass
class Fetcher:
    """Fetches files into a folder. `changed` is called when something of a File changed that must not be forgotten."""

    calls: CallsOut
    folder: Path
    token: GiveToken
    changed: Callable[[], None]

    def fetch(self, file: File, url: str) -> Looked:
        """The whole file under its name, once more from the start where it came whole and is not as it should be.

        Raises NotThere, ExportFailed and Stopped; what came so far is kept, and gone on with.
        """
        part = self.folder / f"{file.name}.part"
        while True:
            self._receive(file, url, part)
            looked = look(part, file.type)
            file.fault = looked.fault(file.count)
            if not file.fault or file.again:
                break
            file.again, file.etag = True, ""
            part.unlink()
            self.changed()
        file.name = file.name.removesuffix(".gz")
        with part.open("rb") as start:
            file.name += ".gz" if start.read(2) == _GZIP else ""
        file.bytes, file.lines, file.done = part.stat().st_size, looked.lines, True
        part.replace(self.folder / file.name)
        return looked

    def _receive(self, file: File, url: str, part: Path) -> None:
        """All bytes of the file into `part`. A break is gone on with; breaks without a byte in between are counted."""
        tries = 0
        while True:
            had = part.stat().st_size if part.exists() else 0
            have = had if file.etag else 0
            try:
                if self._piece(file, url, part, have):
                    return
                error: Exception | None = None
            except FAULTS as fault:
                error = fault
            now = part.stat().st_size if part.exists() else 0
            tries = 0 if now > had else tries + 1
            if tries > self.calls.patience.tries:
                said = network_words(error) if error else "it breaks off again and again"
                raise ExportFailed(f"{file.name}: {said}.")
            self.calls.pause(self.calls.backoff(tries))

    def _piece(self, file: File, url: str, part: Path, have: int) -> bool:
        """One answer, written behind the `have` bytes that are there. False: what is there is of no use, start anew."""
        headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": file.etag}
        response = self.calls.patiently(
            "GET", url, headers, what=f"The file {file.name}", token=self.token, follow=True
        )
        with response:
            status = response.status_code
            if status in (403, 404, 410):
                raise NotThere(str(status))
            if status == 416:
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return True  # killed between the last byte and the name
                file.etag = ""
                return False
            if status not in (200, 206):
                raise ExportFailed(f"{file.name}: the server answered {status}.")
            if status == 206:
                found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if not have or not found or int(found[1]) != have:
                    file.etag = ""
                    return False
            elif response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "gzip", "x-gzip"):
                raise ExportFailed(f"{file.name}: the server packs it in a way that was not asked for.")
            else:
                etag = response.headers.get("ETag", "")
                file.etag = etag if _STRONG.fullmatch(etag) else ""
                part.unlink(missing_ok=True)
                self.changed()
            self._write(response, part)
        return True

    def _write(self, response: requests.Response, part: Path) -> None:
        with open(part, "ab", buffering=0, opener=private) as file:
            # As it comes, so that a slow server keeps nobody from stopping us. Short bodies raise.
            while piece := response.raw.read1(_PIECE, decode_content=False):
                with _our_disk(part):
                    file.write(piece)
                self.calls.pause(0)
            with _our_disk(part):
                os.fsync(file.fileno())


@contextmanager
def _our_disk(part: Path) -> Iterator[None]:
    """What fails on our own disk is no fault of the network, and not tried again."""
    try:
        yield
    except OSError as error:
        raise ExportFailed(f"{part.name} cannot be written: {error.strerror}.") from error


def name_of(kind: str, resource_type: str, number: int) -> str:
    """Where a file goes, below the folder: what is no data of patients lies apart, where no screening reads it."""
    if kind == "output":
        return f"{resource_type}.{number:05d}.ndjson"
    return f"{OTHER}/{kind}.{number:05d}.ndjson"
