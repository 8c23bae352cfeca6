"""Site values that stand in the database: the revision in force, of all machines that share it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from cds_service.content.site_sources import Written
from cds_service.store import Store, StoreUnavailable

log = logging.getLogger(__name__)
EMPTY = "site: none"


class SiteRevisions:
    """A source of site values, as `SiteSource`."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._number: int | None = None

    def changed(self) -> Written | None:
        """As SiteSource. Before the first revision nothing is set; a database that does not answer changes nothing."""
        try:
            found = self._store.revision_in_force(self._now())
        except StoreUnavailable as error:
            log.error("site values not looked at: %s", error.kind)
            return None
        number = found.number if found else 0
        if number == self._number:
            return None
        self._number = number
        return Written(found.document if found else EMPTY, f"revision {number}")
