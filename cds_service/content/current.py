"""The rulebook in force: content that does not change, site values that may change on disk while we serve."""

from __future__ import annotations

import logging
import threading
from datetime import date
from pathlib import Path
from time import monotonic

from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues, read_site
from cds_service.content.yamlfile import ContentError, Fault

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0  # seconds; a change is in force well within five


class CurrentRulebook:
    """Hands out one immutable rulebook per call; reads the site file again when it changed.

    A broken, half-written or missing file leaves the last good values in force and is reported by `faults`.
    """

    def __init__(self, library: Library, site_file: Path | None, input_keys: frozenset[str]) -> None:
        """Raises ContentError if the site file cannot be used at start."""
        self.library = library
        self.faults: tuple[Fault, ...] = ()
        self._file = site_file
        self.input_keys = input_keys
        self._lock = threading.Lock()
        self._looked = monotonic()
        self._stamp = self._stat()
        self._site = self._read() if site_file else NO_SITE
        self._rulebook: Rulebook | None = None

    def on(self, day: date) -> Rulebook:
        """The rulebook for `day`."""
        self._look()
        rulebook = self._rulebook
        if rulebook is None or rulebook.day != day or rulebook.site is not self._site:
            rulebook = make_rulebook(self.library, self._site, day)
            self._rulebook = rulebook
        return rulebook

    @property
    def site(self) -> SiteValues:
        self._look()
        return self._site

    def take(self, site: SiteValues) -> None:
        """Put checked site values in force from the next call on."""
        self._site = site

    def _stat(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _look(self) -> None:
        if self._file is None or monotonic() - self._looked < LOOK_EVERY:
            return
        with self._lock:
            if monotonic() - self._looked < LOOK_EVERY:
                return
            self._looked = monotonic()
            stamp = self._stat()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self.take(self._read())
            except ContentError as error:
                self.faults = tuple(error.faults)
                log.error("site values not taken over; the last good ones stay in force: %s", error)
            else:
                self.faults = ()
                log.info("site values in force: %s", self._site.digest)

    def _read(self) -> SiteValues:
        assert self._file is not None
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ContentError([Fault(self._file.name, 0, "", "cannot be read")]) from error
        return read_site(text, self._file.name, self.library, self.input_keys)
