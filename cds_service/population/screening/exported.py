"""`export.json` in a folder of an export: what was asked, what came, and what did not. It holds no secret."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from cds_service.spelling import joined

NAME: Final = "export.json"
LOCK: Final = "export.lock"
OTHER: Final = "not-screened"
"""Folder of what is no data of patients: messages of the server, and what was deleted there."""


class File(Struct, kw_only=True, omit_defaults=True):
    """One file of an export. `id`: hash of its address, which may be signed and is kept nowhere."""

    id: str
    kind: str  # output, error or deleted
    type: str
    name: str
    count: int | None = None
    etag: str = ""
    done: bool = False
    bytes: int = 0
    lines: int = 0
    again: bool = False  # it came whole and was not as it should be, and is fetched once more
    fault: str = ""  # in our own words


class Exported(Struct, kw_only=True):
    """What is known of an export. `status_url`: where the server answers about it, None once that is over.

    `not_given`: types that were asked for and of which no file came. `left_out`: types that came unasked. `narrowed`:
    types of which the token lets us read a part or nothing. `messages`: of the server, by severity.
    """

    server: str
    group: str | None
    types: list[str]
    since: str | None = None
    status_url: str | None = None
    transaction_time: str | None = None
    token_needed: bool = True
    files: list[File] = field(default_factory=list)
    not_given: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    narrowed: list[str] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)
    deleted: int = 0
    finished: bool = False

    def counts(self) -> dict[str, int]:
        """Resources by type, of the files that came."""
        found: dict[str, int] = {}
        for file in self.files:
            if file.kind == "output" and file.done:
                found[file.type] = found.get(file.type, 0) + file.lines
        return found

    def missing(self) -> list[str]:
        """Why this is not all that was asked for, a sentence each; none where nothing is known to be missing."""
        told = []
        if not self.finished:
            told.append("The export is not finished: run the same command again, and it goes on.")
        worst = sum(self.messages.get(severity, 0) for severity in ("fatal", "error", "unreadable"))
        if worst:
            told.append(f"The server could not export all: {worst} of its messages are errors ({OTHER}/).")
        if self.narrowed:
            told.append(f"The server's token does not let all be read of: {joined(self.narrowed)}.")
        faults = [f"{file.name}: {file.fault}" for file in self.files if file.fault]
        told += [f"{each}." for each in faults]
        if "Patient" in self.not_given:
            told.append("No patients came.")
        return told

    def remarks(self) -> list[str]:
        """What whoever reads numbers made from this must know beside, a sentence each."""
        told = []
        if self.not_given:
            told.append(
                f"No file came of: {joined(self.not_given)}. There is none in the server, or it was left out: "
                "the export cannot tell."
            )
        if self.since:
            told.append(f"Only what changed since {self.since} was asked for: charts are not whole.")
        if self.deleted:
            told.append(f"{self.deleted} lines name resources that were deleted in the server ({OTHER}/).")
        if warned := self.messages.get("warning", 0):
            told.append(f"{warned} messages of the server are warnings ({OTHER}/).")
        if self.left_out:
            told.append(f"Not asked for, and not fetched: {joined(self.left_out)}.")
        return told


class Messages(Struct):
    """An OperationOutcome, as far as it is counted."""

    class Issue(Struct):
        severity: str = "error"
        code: str = ""

    issue: list[Issue] = field(default_factory=list)


def load(folder: Path) -> Exported | None:
    """What stands in a folder's export.json, None where there is none. Raises ValueError for one that is damaged."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Exported)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ValueError(f"{folder / NAME} cannot be read") from error


def save(folder: Path, exported: Exported) -> None:
    """Written whole or not at all, for its owner alone."""
    told: dict[str, Any] = msgspec.to_builtins(exported)
    told |= {"counts": exported.counts(), "missing": exported.missing(), "remarks": exported.remarks()}
    draft = folder / f"{NAME}.new"
    with open(draft, "wb", opener=private) as file:
        file.write(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / NAME)


def private(path: str, flags: int) -> int:
    """Opens a file that only its owner may read."""
    return os.open(path, flags, 0o600)


def said_of(folder: Path) -> tuple[list[str], list[str]]:
    """What an export says of what lies in a folder: what is missing, and what else is to be known. Empty lists for a
    folder without export.json; one that is damaged counts as missing."""
    try:
        exported = load(folder)
    except (ValueError, OSError):
        return [f"{NAME} cannot be read: whether all was exported is not known."], []
    if exported is None:
        return [], []
    gone = sum(not _as_it_came(folder / file.name, file.bytes) for file in exported.files if file.done)
    told = [f"{gone} files of the export are gone or were changed since."] if gone else []
    return exported.missing() + told, exported.remarks()


def said_of_all(folders: Iterable[Path]) -> tuple[list[str], list[str]]:
    """The same of several folders."""
    said = [said_of(each) for each in dict.fromkeys(folders)]
    missing, remarks = ([line for each in said for line in each[kind]] for kind in (0, 1))
    return missing, remarks


def _as_it_came(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
