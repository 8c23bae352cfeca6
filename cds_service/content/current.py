"""The rulebook in force: content that does not change, site values that may change while we serve."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues, read_site
from cds_service.content.site_sources import SiteFile, SiteSource, Written
from cds_service.content.yamlfile import ContentError, Fault
from cds_service.settings import Settings

if TYPE_CHECKING:
    from cds_service.store import Store

log = structlog.get_logger("magnesium_cds.content")
LOOK_EVERY = 1.0  # seconds; a change is in force well within five


def site_source(settings: Settings, store: Store | None, now: Callable[[], datetime]) -> SiteSource | None:
    """Where the site values stand by the settings; None where this site has none."""
    if settings.managed_by == "console":
        from cds_service.content.site_revisions import SiteRevisions  # here, since most commands need no database

        assert store is not None
        return SiteRevisions(store, now)
    return SiteFile(settings.site) if settings.site else None


class CurrentRulebook:
    """Hands out one immutable rulebook per call; reads the site values again when they changed.

    A broken, half-written or missing document leaves the last good values in force and is reported by `faults`.
    `written`: what the values in force are called, and when (Unix time) they were published or changed.
    """

    def __init__(self, library: Library, source: SiteSource | None, input_keys: frozenset[str]) -> None:
        """Raises ContentError if the site values cannot be used at start."""
        self.library = library
        self.faults: tuple[Fault, ...] = ()
        self.input_keys = input_keys
        self._source = source
        self._lock = threading.Lock()
        self._looked = monotonic()
        written = source.changed() if source else None
        self._site = self._read(written) if written else NO_SITE
        self.written: tuple[str, float | None] = (written.name, written.since) if written else ("", None)
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

    def _look(self) -> None:
        if self._source is None or monotonic() - self._looked < LOOK_EVERY:
            return
        if not self._lock.acquire(blocking=False):
            return  # another call is looking, and may wait for a database
        try:
            written = self._source.changed()
            if written is not None:
                self.take(self._read(written))
                self.written = written.name, written.since
                self.faults = ()
                log.info("site values in force", digest=self._site.digest)
        except ContentError as error:
            self.faults = tuple(error.faults)
            log.error("site values not taken over", told=[str(fault) for fault in error.faults])
        finally:
            self._looked = monotonic()
            self._lock.release()

    def _read(self, written: Written) -> SiteValues:
        return read_site(written.text, written.name, self.library, self.input_keys)
