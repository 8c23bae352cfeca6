"""Site values as revisions: looked at, published, taken back. The command line and the console do it through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

from cds_service.content.library import Library
from cds_service.content.site import NO_SITE, SiteValues, read_site
from cds_service.content.site_in_words import changes, changes_over_time, in_words
from cds_service.content.site_revisions import EMPTY
from cds_service.content.yamlfile import ContentError
from cds_service.spelling import said
from cds_service.store import Draft, DraftText, NewLine, NewRevision, Revision, Store, same_person

Changes = list[dict[str, str | None]]
Trouble = Literal[
    "times", "unknown revision", "approval", "conflict", "waiting", "not waiting", "stale", "closed", "author"
]


class NotDone(Exception):
    """Why nothing was published or saved, in words that say what to do. `theirs`: what somebody else changed meanwhile
    (`conflict`: in a revision; `stale`: in the draft), with the revision's number."""

    def __init__(self, trouble: Trouble, text: str, theirs: Changes | None = None, number: int = 0) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.text = text
        self.theirs = theirs or []
        self.number = number


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody wants to be in force. `begins` None: at once; `ends` None: for ever; `based_on` None: the newest.
    `name`: what faults in the document are told under."""

    document: str
    author: str
    reason: str
    name: str = "document"
    approved_by: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    based_on: int | None = None
    effect: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A proposal that was found sound: its values, and what it would change."""

    values: SiteValues
    based_on: int
    changes: Changes = field(default_factory=list)


class Publishing:
    """Over one database. `input_keys`: the inputs that rules read. `second_person`: nobody publishes alone.

    StoreUnavailable where the database does not answer; ContentError where a document has faults, each with its line.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        input_keys: frozenset[str],
        second_person: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.library = library
        self.second_person = second_person
        self.now = now
        self._input_keys = input_keys

    # Looking.

    def read(self, document: str, name: str = "document") -> SiteValues:
        """The values of a document. Raises ContentError with every fault."""
        return read_site(document, name, self.library, self._input_keys)

    def revision(self, number: int | None = None) -> Revision | None:
        """One of them; the one in force where none is named."""
        if number is None:
            return self.store.revision_in_force(self.now(), patient=True)
        return next((item for item in self.store.revisions() if item.number == number), None)

    def document(self, number: int) -> str:
        """The document of a revision, of 0 that of nothing set. Raises NotDone."""
        if not number:
            return EMPTY
        found = self.revision(number)
        if found is None:
            raise NotDone("unknown revision", f"there is no revision {number}")
        return found.document

    def values(self, number: int) -> SiteValues:
        """The values of a revision, of 0 nothing. Raises NotDone."""
        return self.read(self.document(number), f"revision {number}") if number else NO_SITE

    def _as_told(self, number: int) -> SiteValues:
        """Those from which changes are told: of a revision that an upgrade made faulty, nothing. What is wrong with it
        keeps nobody from publishing what is right."""
        try:
            return self.values(number)
        except ContentError:
            return NO_SITE

    def changes(self, before: SiteValues, after: SiteValues) -> Changes:
        """What differs today."""
        return changes(self.library, before, after, self.now().date())

    def newest(self) -> int:
        """The number of the last revision, 0 before the first."""
        known = self.store.revisions()
        return known[0].number if known else 0

    def held(self, number: int) -> int:
        """Of the revisions up to this one the last that was not taken back and has not ended: what a change is told
        from. 0 where there is none."""
        return _held(self.store.revisions(), number, self.now())

    def held_in_turn(self, number: int) -> list[tuple[int, datetime | None]]:
        """What holds of the revisions up to this one if nothing else is published: what `held` gives and when it ends,
        then what is in force again, the last without an end."""
        return _held_in_turn(self.store.revisions(), number, self.now())

    def states(self) -> list[tuple[Revision, str]]:
        """Every revision with its state, the newest first."""
        now, current = self.now(), self.store.revision_in_force(self.now(), patient=True)
        number = current.number if current else None
        return [(item, item.state(now, number)) for item in self.store.revisions()]

    def look(self, proposal: Proposal) -> Looked:
        """Check a proposal, and say what it would change. Raises NotDone and ContentError."""
        values = self.read(proposal.document, proposal.name)
        begins = proposal.begins or self.now()
        if proposal.ends is not None and proposal.ends <= begins:
            raise NotDone("times", "the end is not after the beginning")
        if proposal.ends is not None and proposal.ends <= self.now():
            raise NotDone("times", "the end is over already")
        known = self.store.revisions()
        newest = known[0].number if known else 0
        base = newest if proposal.based_on is None else proposal.based_on
        if base and not any(item.number == base for item in known):
            raise NotDone("unknown revision", f"there is no revision {base}")
        held = [(self._as_told(number), until) for number, until in _held_in_turn(known, base, self.now())]
        told = changes_over_time(self.library, held, values, proposal.ends, self.now().date())
        return Looked(values, base, told)

    # Publishing.

    def publish(self, proposal: Proposal) -> Revision:
        """Put a proposal on record. Raises NotDone and ContentError."""
        approver = (proposal.approved_by or "").strip()
        if self.second_person and (not approver or same_person(approver, proposal.author)):
            raise NotDone("approval", "Somebody else has to approve this")
        if not said(proposal.author) or not said(proposal.reason):
            raise NotDone("approval", "Who sets these values, and why, is missing")
        looked = self.look(proposal)
        made = self.store.publish(self._new(proposal, looked), self._told(proposal.author, "revision published"))
        return made if isinstance(made, Revision) else self._refused(made, looked.based_on)

    def rollback(self, number: int, author: str, reason: str, approved_by: str | None = None) -> Revision:
        """Put the values of an earlier revision in force again, as a new one; those of 0 are what ships. Raises NotDone
        and ContentError."""
        return self.publish(self.rolled_back(number, author, reason, approved_by))

    def rolled_back(
        self, number: int, author: str, reason: str, approved_by: str | None = None, based_on: int | None = None
    ) -> Proposal:
        """The same as a proposal. What was set until a time that is to come ends then. Raises NotDone."""
        found = self.revision(number) if number else None
        ends = found.in_force_until if found and found.in_force_until and found.in_force_until > self.now() else None
        return Proposal(
            self.document(number), author, reason, f"revision {number}", approved_by, ends=ends, based_on=based_on
        )  # fmt: skip

    def withdraw(self, number: int, by: str) -> None:
        """Take back a revision that waits for its time. Raises NotDone."""
        if self.store.withdraw(
            number, by, self.now(), lambda _: self._line(by, "revision withdrawn", f"revision {number}")
        ):
            found = self.revision(number)
            if found is None:
                raise NotDone("unknown revision", f"there is no revision {number}")
            if found.withdrawn_at is not None:
                raise NotDone("not waiting", f"revision {number} is withdrawn already, by {found.withdrawn_by}")
            raise NotDone("not waiting", f"revision {number} does not wait for its time: use rollback")

    def _new(self, proposal: Proposal, looked: Looked) -> NewRevision:
        now = self.now()
        return NewRevision(
            proposal.document, looked.values.digest, proposal.author, proposal.reason, now, proposal.begins or now,
            looked.based_on, proposal.ends, proposal.approved_by, tuple(looked.changes), proposal.effect,
        )  # fmt: skip

    def _line(self, by: str, action: str, target: str, **details: Any) -> NewLine:
        return NewLine(self.now(), by, action, target, details)

    def _told(self, by: str, action: str) -> Callable[[Revision | Draft], NewLine]:
        """The audit line of what was made."""

        def line(made: Revision | Draft) -> NewLine:
            if isinstance(made, Draft):
                return self._line(by, action, f"draft {made.id}", title=made.title, version=made.version)
            told = {"authors": made.author, "approved by": made.approved_by, "reason": made.reason}
            return self._line(by, action, f"revision {made.number}", **told, changes=in_words(made.changes))

        return line

    def _refused(self, refusal: str, based_on: int) -> NoReturn:
        match refusal:
            case "conflict":
                newest = self.newest()
                theirs = self.changes(self._as_told(self.held(based_on)), self._as_told(self.held(newest)))
                text = f"revision {newest} was published since {based_on}"
                raise NotDone("conflict", text, theirs, newest)
            case "one is waiting":
                text = "A later revision is in force, or waits for its time: begin after it, or withdraw it first"
                raise NotDone("waiting", text)
            case "not approved":
                raise NotDone("approval", "Somebody who wrote none of it has to approve this draft as it stands now")
            case "author":
                raise NotDone("author", "Who wrote any of a draft does not approve it")
            case "stale":
                raise NotDone("stale", "Somebody edited this draft since you opened it")
            case _:
                raise NotDone("closed", "This draft was published or discarded, or never was")

    # Drafts.

    def draft(self, number: int) -> Draft:
        """One that is on record. Raises NotDone."""
        found = self.store.draft(number)
        return self._refused("closed", 0) if found is None else found

    def begin(
        self, title: str, owner: str, document: str | None = None, reason: str = "", based_on: int | None = None,
        ends: datetime | None = None,
    ) -> Draft:  # fmt: skip
        """A new draft, of the values that were published last (None), or of another document and the revision that its
        author looked at. A form that was sent twice begins one. Raises ContentError."""
        newest = self.newest() if based_on is None else based_on
        text = self.document(self.held(newest)) if document is None else document
        self.read(text)
        new = DraftText(title, text, reason, newest, in_force_until=ends)
        for one in self.store.drafts():
            if one.text() == new and one.authors == (owner,):
                return one
        return self.store.add_draft(
            new,
            owner,
            self.now(),
            self._told(owner, "draft begun"),
        )

    def save(self, number: int, version: int, text: DraftText, by: str) -> Draft:
        """Put `text` in the place of this version. Raises ContentError, and NotDone: "stale" with what was changed."""
        self.read(text.document, text.title)
        if text.in_force_until and text.in_force_until <= (text.in_force_from or self.now()):
            raise NotDone("times", "the end is not after the beginning")
        made = self.store.save_draft(number, version, text, by, self.now(), self._told(by, "draft saved"))
        if made == "stale":
            theirs = self.changes(self.read(self.earlier(number, version)), self.read(self.draft(number).document))
            raise NotDone("stale", "Somebody edited this draft since you opened it", theirs)
        return made if isinstance(made, Draft) else self._refused(made, 0)

    def earlier(self, number: int, version: int) -> str:
        """The document of a version of a draft. Raises NotDone."""
        found = self.store.draft_document(number, version)
        return self._refused("closed", 0) if found is None else found

    def draft_changes(self, draft: Draft) -> Changes:
        """What a draft changes in the values that it began from."""
        held = [(self._as_told(number), until) for number, until in self.held_in_turn(draft.based_on)]
        values, ends = self.read(draft.document, draft.title), draft.in_force_until
        return changes_over_time(self.library, held, values, ends, self.now().date())

    def approve(self, number: int, version: int, by: str) -> Draft:
        """Approve a version. Raises NotDone."""
        made = self.store.approve_draft(number, version, by, self.now(), self._told(by, "draft approved"))
        return made if isinstance(made, Draft) else self._refused(made, 0)

    def discard(self, number: int, version: int, by: str) -> Draft:
        """Close a version without publishing it. Raises NotDone."""
        made = self.store.discard_draft(number, version, by, self.now(), self._told(by, "draft discarded"))
        return made if isinstance(made, Draft) else self._refused(made, 0)

    def publish_draft(self, number: int, version: int, by: str) -> Revision:
        """Publish a version as it was saved, as `by` wants; its author is everybody who wrote in it. Raises NotDone and
        ContentError."""
        draft = self.draft(number)
        if not draft.open or draft.version != version:
            self._refused("stale" if draft.open else "closed", 0)
        if not said(draft.reason):
            raise NotDone("approval", "A reason is missing: say why these values are set")
        approver = draft.approved_by if draft.approved else None
        begins = draft.in_force_from if draft.in_force_from and draft.in_force_from > self.now() else None
        proposal = Proposal(
            draft.document, ", ".join(draft.authors), draft.reason, draft.title, approver, begins,
            draft.in_force_until, draft.based_on, draft.effect,
        )  # fmt: skip
        looked = self.look(proposal)
        new = self._new(proposal, looked)
        made = self.store.publish_draft(
            number, version, new, needs_approval=self.second_person, told=self._told(by, "revision published")
        )
        return made if isinstance(made, Revision) else self._refused(made, draft.based_on)


def _held(known: list[Revision], number: int, now: datetime) -> int:
    """`known`: the newest first."""
    for item in known:
        ended = item.in_force_until is not None and item.in_force_until <= now
        if item.number <= number and item.withdrawn_at is None and not ended:
            return item.number
    return 0


def _held_in_turn(known: list[Revision], number: int, now: datetime) -> list[tuple[int, datetime | None]]:
    """As `Publishing.held_in_turn`."""
    ends = {item.number: item.in_force_until for item in known}
    found = [(first := _held(known, number, now), ends.get(first))]
    while (until := found[-1][1]) is not None:
        found.append((again := _held(known, number, until), ends.get(again)))
    return found
