"""Drafts of the site values: saved by version, approved as they stand, published in one step with their revision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Row, select, update

from cds_service.store.audit import Told, with_line
from cds_service.store.revisions import NewRevision, Refusal, Revision, add_revision
from cds_service.store.tables import draft_versions, drafts

T = TypeVar("T")
DraftRefusal = Literal["stale", "closed", "author", "not approved"]
"""stale: it was edited since. closed: it was published or discarded, or never was. author: nobody approves what they
wrote. not approved: as it stands now."""


@dataclass(frozen=True, slots=True)
class DraftText:
    """What an editor writes. `based_on`: the number of the revision that it began from (0: none). Times are aware; None
    means at once, and for ever."""

    title: str
    document: str
    reason: str
    based_on: int
    in_force_from: datetime | None = None
    in_force_until: datetime | None = None

    @property
    def digest(self) -> str:
        """Names exactly what is approved."""
        times = [at.astimezone(UTC).isoformat() if at else "" for at in (self.in_force_from, self.in_force_until)]
        told = "\0".join((self.document, self.reason, str(self.based_on), *times))
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Draft(DraftText):
    """A draft on record. `authors`: everybody who edited it. `effect`: what a preview of this version found."""

    id: int = 0
    owner: str = ""
    authors: tuple[str, ...] = ()
    effect: dict[str, Any] | None = None
    version: int = 1
    made_at: datetime | None = None
    changed_by: str = ""
    changed_at: datetime | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    approved_digest: str | None = None
    published_as: int | None = None
    discarded_by: str | None = None
    discarded_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it can still be edited."""
        return self.published_as is None and self.discarded_at is None

    def text(self, **more: Any) -> DraftText:
        """What an editor writes of it, with `more` in place of what stands there."""
        return DraftText(**{name: getattr(self, name) for name in DraftText.__dataclass_fields__} | more)

    @property
    def approved(self) -> bool:
        """Whether somebody approved it as it stands, who wrote none of it."""
        return (
            self.approved_by is not None
            and self.approved_digest == self.digest
            and not any(same_person(self.approved_by, author) for author in self.authors)
        )


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, whatever the case and the blanks."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


class DraftMemory:
    """Part of Store. Both reading and writing raise StoreUnavailable after `feedback_wait` seconds; a write that came
    too late may have been made all the same, and trying it again says so. `told` is the audit line of the change, which
    is on record if the change is."""

    feedback_wait: float
    _read: Callable[[Callable[[Connection], T], float], T]
    _write: Callable[..., Any]

    def drafts(self) -> list[Draft]:
        """Those that are open, the last edited first."""
        query = (
            select(drafts)
            .where(drafts.c.published_as.is_(None), drafts.c.discarded_at.is_(None))
            .order_by(drafts.c.changed_at.desc(), drafts.c.id.desc())
        )
        return self._read(lambda connection: [_draft(row) for row in connection.execute(query)], self.feedback_wait)

    def draft(self, number: int) -> Draft | None:
        """One of them, open or not."""
        return self._read(lambda connection: _find(connection, number), self.feedback_wait)

    def draft_document(self, number: int, version: int) -> str | None:
        """The document of an earlier version, or of this one."""
        return self._read(lambda connection: _document_of(connection, number, version), self.feedback_wait)

    def add_draft(self, text: DraftText, owner: str, now: datetime, told: Told = None) -> Draft:
        """Begin one."""
        made: Draft = self._write(lambda connection: with_line(connection, _add(connection, text, owner, now), told))
        return made

    def save_draft(
        self, number: int, version: int, text: DraftText, by: str, now: datetime, told: Told = None
    ) -> Draft | DraftRefusal:
        """Put `text` in the place of `version`. "stale" where somebody saved meanwhile: nothing is overwritten."""
        found: Draft | DraftRefusal = self._write(
            lambda connection: with_line(connection, _save(connection, number, version, text, by, now), told)
        )
        return found

    def keep_effect(self, number: int, version: int, effect: dict[str, Any]) -> Draft | DraftRefusal:
        """Keep what a preview of this version found. It ends no approval."""
        found: Draft | DraftRefusal = self._write(
            lambda connection: _change(connection, number, version, {"effect": effect})
        )
        return found

    def approve_draft(
        self, number: int, version: int, by: str, now: datetime, told: Told = None
    ) -> Draft | DraftRefusal:
        """Approve this version. "author": who wrote any of it does not approve it."""
        found: Draft | DraftRefusal = self._write(
            lambda connection: with_line(connection, _approve(connection, number, version, by, now), told)
        )
        return found

    def discard_draft(
        self, number: int, version: int, by: str, now: datetime, told: Told = None
    ) -> Draft | DraftRefusal:
        """Close this version without publishing it."""
        gone = {"discarded_by": by, "discarded_at": now}
        found: Draft | DraftRefusal = self._write(
            lambda connection: with_line(connection, _change(connection, number, version, gone), told)
        )
        return found

    def publish_draft(
        self, number: int, version: int, new: NewRevision, *, needs_approval: bool, told: Told = None
    ) -> Revision | Refusal | DraftRefusal:
        """Publish this version as `new` and close it: both or neither. As `Store.publish` besides."""
        found: Revision | Refusal | DraftRefusal = self._write(
            lambda connection: with_line(connection, _publish(connection, number, version, new, needs_approval), told)
        )
        return found


def _draft(row: Row[Any]) -> Draft:
    known = dict(row._mapping)
    return Draft(**known | {"authors": tuple(known["authors"])})


def _find(connection: Connection, number: int, for_change: bool = False) -> Draft | None:
    query = select(drafts).where(drafts.c.id == number)
    row = connection.execute(query.with_for_update() if for_change else query).first()
    return _draft(row) if row else None


def _document_of(connection: Connection, number: int, version: int) -> str | None:
    now = _find(connection, number)
    if now is not None and now.version == version:
        return now.document
    before = draft_versions.c.draft == number, draft_versions.c.version == version
    return connection.execute(select(draft_versions.c.document).where(*before)).scalar()


def _add(connection: Connection, text: DraftText, owner: str, now: datetime) -> Draft:
    told = {"owner": owner, "authors": [owner], "version": 1, "made_at": now, "changed_by": owner, "changed_at": now}
    added = connection.execute(drafts.insert().values(asdict(text) | told).returning(drafts.c.id))
    found = _find(connection, added.scalar_one())
    assert found is not None
    return found


def _held(connection: Connection, number: int, version: int) -> Draft | DraftRefusal:
    """The draft, if it is open and of this version, held until the end of the transaction."""
    found = _find(connection, number, for_change=True)
    if found is None or not found.open:
        return "closed"
    return found if found.version == version else "stale"


def _change(connection: Connection, number: int, version: int, values: dict[str, Any]) -> Draft | DraftRefusal:
    found = _held(connection, number, version)
    if isinstance(found, str):
        return found
    connection.execute(update(drafts).where(drafts.c.id == number, drafts.c.version == version).values(values))
    return replace(found, **values)


def _save(
    connection: Connection, number: int, version: int, text: DraftText, by: str, now: datetime
) -> Draft | DraftRefusal:
    found = _held(connection, number, version)
    if isinstance(found, str):
        return found
    before = {name: getattr(found, name) for name in ("document", "changed_by", "changed_at")}
    connection.execute(draft_versions.insert().values(draft=number, version=version, **before))
    known = any(same_person(by, author) for author in found.authors)
    told: dict[str, Any] = {"version": version + 1, "changed_by": by, "changed_at": now, "effect": None}
    told |= {} if known else {"authors": [*found.authors, by]}
    if text.digest != found.digest:
        told |= {"approved_by": None, "approved_at": None, "approved_digest": None}
    made = _change(connection, number, version, asdict(text) | told)
    return made if isinstance(made, str) else replace(made, authors=tuple(made.authors))


def _approve(connection: Connection, number: int, version: int, by: str, now: datetime) -> Draft | DraftRefusal:
    found = _held(connection, number, version)
    if isinstance(found, str):
        return found
    if any(same_person(by, author) for author in found.authors):
        return "author"
    told = {"approved_by": by, "approved_at": now, "approved_digest": found.digest}
    return _change(connection, number, version, told)


def _publish(
    connection: Connection, number: int, version: int, new: NewRevision, needs_approval: bool
) -> Revision | Refusal | DraftRefusal:
    found = _held(connection, number, version)
    if isinstance(found, str):
        return found
    if needs_approval and not found.approved:
        return "not approved"
    made = add_revision(connection, new)
    if isinstance(made, Revision):
        _close(connection, number, version, made.number)
    return made


def _close(connection: Connection, number: int, version: int, revision: int) -> None:
    _change(connection, number, version, {"published_as": revision})
