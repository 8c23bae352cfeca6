"""What is known about one input: its items, how many there should be, and whether anything is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from msgspec import Raw, structs

from cds_service.fhir import elements
from cds_service.fhir.dates import Moment, read_moment
from cds_service.fhir.marks import modifiers
from cds_service.patient import Availability, KeyState, Source


@dataclass(slots=True)
class Item:
    """One resource of an input: its typed view (mended where it had to be) and its bytes as they came. `also`: the
    keys of other inputs that hold it too."""

    key: str
    kind: str
    id: str
    view: elements.Resource
    raw: bytes | Raw
    draft: bool = False
    also: tuple[str, ...] = ()

    @property
    def source(self) -> Source:
        """What facts made of it name as their source."""
        return Source(self.kind, self.id)

    def without_doses(self) -> Item:
        """The same order, of whose instructions the words and the route stay and no dose is read."""
        view = self.view
        if isinstance(view, elements.MedicationRequest):
            return replace(self, view=structs.replace(view, dosageInstruction=_unread(view.dosageInstruction)))
        if isinstance(view, elements.MedicationStatement):
            return replace(self, view=structs.replace(view, dosage=_unread(view.dosage)))
        return self

    @property
    def modifiers(self) -> int:
        """How many elements anywhere in it may change what it means."""
        return modifiers(self.raw)


def _unread(instructions: list[elements.DosageView] | None) -> list[elements.DosageView] | None:
    return instructions and [
        elements.DosageView(text=each.text, route=each.route, unread=True) for each in instructions
    ]


@dataclass(slots=True)
class Input:
    """Everything that one key gave. `entries` counts all entries, `matches` those that the search itself found, and
    `others` those of another type that it did not say were only included. `unsorted`: the server did not sort."""

    key: str
    state: KeyState
    reason: str = ""
    unreadable: int = 0
    newest_first: bool = False
    unsorted: bool = False
    items: list[Item] = field(default_factory=list)
    next_url: str | None = None
    expected: int | None = None
    pages: int = 0
    entries: int = 0
    matches: int = 0
    others: int = 0
    withheld: bool = False

    def incomplete(self, reason: str) -> None:
        """Something is missing, of whatever time; the first reason stands."""
        self.withheld = True
        if self.state != "incomplete":
            self.state, self.reason = "incomplete", reason

    def found(self, wanted: str) -> int:
        """How many entries a total counts. A resource that came twice is one."""
        if not wanted:
            return self.entries
        return min(self.matches, len({item.id for item in self.items if item.kind == wanted}) + self.unreadable)

    def availability(self, unreadable: int) -> Availability:
        """The Availability, with `unreadable` more resources that could not become facts."""
        return Availability(self.state, self.reason, self.unreadable + unreadable, self.newest_first, self.withheld)


def failed(key: str, reason: str) -> Input:
    """An input that could not be had at all."""
    return Input(key, "failed", reason)


def settle(result: Input, wanted: str, asked: int | None) -> None:
    """Decides the state of an input after its last page. `newest_first` is only asked of results and of what was given.

    `asked`: the most entries that were asked for. A server need neither count what it finds nor link to the next page:
    if it does neither and gives just as many, there may be more.
    """
    seen = result.found(wanted)
    if result.state == "given":
        if result.next_url is not None:
            result.state, result.reason = "incomplete", "there are more pages"
        elif result.expected is not None and result.expected > seen:
            result.state, result.reason = "incomplete", "fewer entries than announced"
        elif result.expected is None and result.pages == 1 and asked in (seen, result.matches):
            result.state, result.reason = "incomplete", "as many entries as asked for and no total"
        elif not result.items and not result.unreadable:
            result.state = "empty"
    if result.state == "incomplete" and wanted in ("Observation", "MedicationAdministration"):
        result.newest_first = not result.unsorted and _descending(result.items) and result.unreadable == 0


def next_page(links: list[elements.Link] | None) -> str | None:
    """Where the results go on, "" where that is not said; None where they end."""
    named = (link for link in links or () if (link.relation or "").strip().rpartition("/")[2].lower() == "next")
    return next((link.url or "" for link in named), None)


def when_taken(view: elements.Observation | elements.MedicationAdministration) -> str | None:
    """The clinically relevant time of an observation as text, and the beginning of what was given."""
    if isinstance(view, elements.MedicationAdministration):
        return given_from_to(view)[0]
    period = view.effectivePeriod
    taken = view.effectiveDateTime or view.effectiveInstant or (period and (period.end or period.start))
    return taken or (None if view.effectiveTiming else view.issued)


def given_from_to(view: elements.MedicationAdministration) -> tuple[str | None, str | None]:
    """When it began and, as far as that is said, ended."""
    period = view.effectivePeriod or view.occurencePeriod
    if period is None:
        return view.effectiveDateTime or view.occurenceDateTime, None
    return period.start or period.end, period.end


def _descending(items: list[Item]) -> bool:
    times = list(_times(items))
    return (
        bool(times)
        and None not in times
        and all(a is not None and b is not None and a.at >= b.latest for a, b in pairwise(times))
    )


def _times(items: list[Item]) -> Iterator[Moment | None]:
    for item in items:
        if isinstance(item.view, elements.Observation | elements.MedicationAdministration):
            yield read_moment(when_taken(item.view))
