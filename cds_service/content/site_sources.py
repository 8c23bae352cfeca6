"""Where the site values stand, and whether they changed: a file here, the database in `site_revisions`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cds_service.content.yamlfile import ContentError, Fault


@dataclass(frozen=True, slots=True)
class Written:
    """A document of site values, what faults in it are told under, and when (Unix time) it was published or changed."""

    text: str
    name: str
    since: float | None = None


class SiteSource(Protocol):
    """Where the site values stand."""

    def changed(self) -> Written | None:
        """The document where it is another one than when last asked, else None. Raises ContentError where it cannot be
        read; whoever asks keeps what there was."""


class SiteFile:
    """One file, looked at again when its time, size or place changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: object = None

    def changed(self) -> Written | None:
        """As SiteSource."""
        since: float | None = None
        try:
            found = self._file.stat()
            since = found.st_mtime
            stamp: object = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = "missing"
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return Written(self._file.read_text(encoding="utf-8"), self._file.name, since)
        except (OSError, UnicodeDecodeError) as error:
            raise ContentError([Fault(self._file.name, 0, "", "cannot be read")]) from error
