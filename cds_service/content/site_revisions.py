"""Site values that stand in the database: the revision in force, of all machines that share it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cds_service.content.site_sources import Written
from cds_service.content.yamlfile import ContentError, Fault
from cds_service.store import Store, StoreUnavailable

EMPTY = "site: none"


class SiteRevisions:
    """A source of site values, as `SiteSource`."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._number: int | None = None
        self._starting = True

    def changed(self) -> Written | None:
        """As SiteSource. Before the first revision nothing is set. A database that does not answer says nothing of it;
        once it answers, the document is given again."""
        try:
            found = self._store.revision_in_force(self._now(), patient=self._starting)
        except StoreUnavailable as error:
            self._number = None
            raise ContentError([Fault("revisions", 0, "", f"cannot be read: {error.text}")]) from error
        self._starting = False
        number = found.number if found else 0
        if number == self._number:
            return None
        self._number = number
        since = found.in_force_from.timestamp() if found else None
        return Written(found.document if found else EMPTY, f"revision {number}", since)
