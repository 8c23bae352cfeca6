"""Site values: what this hospital's administrator set, in one YAML document. Checked whole; immutable once read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cds_service.content.base import EncounterKind, Region, checker
from cds_service.content.site_checks import faults_of_site, ranked
from cds_service.content.site_document import (
    SiteCode,
    SiteDocument,
    SiteException,
    SiteOrderable,
    SiteProtocol,
    SiteRepetition,
    SiteRule,
    Visibility,
)
from cds_service.content.site_limits import Key, in_own_unit
from cds_service.content.yamlfile import ContentError, Document, Fault, parse

if TYPE_CHECKING:
    from cds_service.content.library import Library

OLD_WORD, RULES = "pages", "rules"
BEFORE_REGION = ("allowance", "upper_level")
_NOTHING_SET = SiteDocument(site="none")


@dataclass(frozen=True, slots=True)
class OwnValue:
    """A threshold that this site set: in the unit of the threshold, as it was written where that is another unit, why,
    and by which exception ("" for the values that hold for all)."""

    value: Decimal
    written: str
    reason: str
    exception: str = ""


@dataclass(frozen=True, slots=True)
class OwnVisibility:
    """What this site made of a rule, why, and by which exception."""

    show: Visibility
    reason: str
    exception: str = ""


@dataclass(frozen=True, slots=True)
class OwnRules:
    """Thresholds and visibility that were set together: for all, or by one exception."""

    values: Mapping[Key, OwnValue] = field(default_factory=dict)
    shows: Mapping[str, OwnVisibility] = field(default_factory=dict)

    def under(self, other: OwnRules) -> OwnRules:
        """With everything that `other` set in its place."""
        return OwnRules({**self.values, **other.values}, {**self.shows, **other.shows})


@dataclass(frozen=True)
class SiteValues:
    """Site values in force. `digest` names exactly this document ("" where there is none), whatever exceptions of it
    hold for a call: `applied` are their names, `own` what they make of the thresholds and the rules."""

    document: SiteDocument = _NOTHING_SET
    digest: str = ""
    notes: tuple[str, ...] = ()
    own: OwnRules = OwnRules()
    exceptions: tuple[tuple[SiteException, OwnRules], ...] = ()
    applied: tuple[str, ...] = ()

    def at(self, client: str, encounter: EncounterKind | None) -> SiteValues:
        """The values for the calls of one client in one kind of encounter; of these alone where none is known."""
        fitting = [
            (one, own)
            for one, own in self.exceptions
            if one.client in (None, client) and one.encounter in (None, encounter)
        ]
        own = self.own
        for _, more in fitting:
            own = own.under(more)
        return replace(self, own=own, applied=tuple(one.name for one, _ in fitting)) if fitting else self

    def threshold(self, rule: str, name: str) -> Decimal | None:
        """The site's own value of a threshold in the unit of that, or None."""
        found = self.own.values.get((rule, name))
        return found.value if found else None

    def visibility(self, rule: str) -> Visibility:
        found = self.own.shows.get(rule)
        return found.show if found else "shown"

    def unit(self, lab: str) -> str | None:
        """The unit to show a lab in, or None for its concept's own."""
        chosen = self.document.units.get(lab)
        return chosen.unit if chosen else None

    @property
    def repetition(self) -> SiteRepetition | None:
        """What this site says of repeats, None for nothing."""
        return self.document.repetition

    @property
    def schedule(self) -> dict[str, Any]:
        """The site's own times of the day, by their names in tables/schedule.yaml."""
        return {name: item.value for name, item in self.document.schedule.items()}

    @property
    def region(self) -> Region | None:
        """The region that this site chose, None where it chose none."""
        return self.document.region

    @property
    def dietary_region(self) -> Region:
        """Whose allowance and upper level are in force; the US ones unless the site chose."""
        return self.document.region or "us"

    @property
    def codes(self) -> Mapping[str, list[SiteCode]]:
        """The site's own codes, by concept."""
        return self.document.codes

    @property
    def encounters(self) -> Mapping[EncounterKind, list[SiteCode]]:
        """The site's own classes of encounters, by kind."""
        return self.document.encounters

    def orderable(self, suggestion: str, client: str) -> SiteOrderable | None:
        """What a suggestion orders at this client, in its own words; None where nobody said."""
        return self.document.orderables.get(suggestion, {}).get(client)

    def protocol(self, problem: str) -> SiteProtocol | None:
        """This hospital's own protocol for the problem of a card, if it names one."""
        return self.document.protocols.get(problem)

    @property
    def not_available(self) -> frozenset[str]:
        return frozenset(self.document.inputs)

    @property
    def clients(self) -> frozenset[str]:
        """The clients for which it has values of their own."""
        return frozenset(one.client for one, _ in self.exceptions if one.client)


NO_SITE = SiteValues()


def read_site(text: str, file: str, library: Library, input_keys: frozenset[str]) -> SiteValues:
    """Site values from a document. Raises ContentError with every fault: file, line, allowed range, nearest name."""
    document, notes = _with_rules(parse(text, file))
    if before := list(_before_region(document)):
        raise ContentError(before)
    try:
        parsed = checker(SiteDocument).validate_python(document.data)
    except ValidationError as error:
        from cds_service.content.reading import faults_of

        raise ContentError(faults_of(error, document)) from error
    faults = faults_of_site(parsed, document, library, input_keys)
    if faults:
        raise ContentError(faults)
    own = _own(parsed.rules, library)
    others = [(one, _own(one.rules, library, one.name)) for one in ranked(parsed.exceptions)]
    return SiteValues(parsed, hashlib.sha256(text.encode()).hexdigest()[:12], notes, own, tuple(others))


def client_notes(values: SiteValues, clients: frozenset[str]) -> list[str]:
    """A note for each exception whose client nobody declared: it holds for no call until somebody does."""
    return [
        f"exception {one.name}: no client is named {one.client}, so it holds for no call yet"
        for one, _ in values.exceptions
        if one.client and one.client not in clients
    ]


def _own(rules: Mapping[str, SiteRule], library: Library, exception: str = "") -> OwnRules:
    values: dict[Key, OwnValue] = {}
    for rule, mine in rules.items():
        for name, item in mine.thresholds.items():
            key = rule, name
            value = in_own_unit(library, key, item.value, item.unit)
            written = f"{item.value} {item.unit}" if item.unit else ""
            values[key] = OwnValue(value, written, item.reason, exception)
    shows = {rule: OwnVisibility(mine.show, mine.reason or "", exception) for rule, mine in rules.items() if mine.show}
    return OwnRules(values, shows)


def _with_rules(document: Document) -> tuple[Document, tuple[str, ...]]:
    """A document whose `rules` still stand under their old name, with these and a note; any other as it is."""
    data = document.data
    if not isinstance(data, dict) or OLD_WORD not in data or RULES in data:
        return document, ()
    lines = {(RULES, *path[1:]) if path[:1] == (OLD_WORD,) else path: line for path, line in document.lines.items()}
    note = f"{document.file}:{lines[(RULES,)]}: {OLD_WORD} is now called {RULES}: rename it, it is read as that"
    data = {RULES if key == OLD_WORD else key: value for key, value in data.items()}
    return Document(document.file, data, lines), (note,)


def _before_region(document: Document) -> Iterator[Fault]:
    """Two settings that one of another reach took the place of: what it now means is for the site to say."""
    for key in BEFORE_REGION:
        if isinstance(document.data, dict) and key in document.data:
            old = document.data[key]
            region = old.get("region") if isinstance(old, dict) else None
            message = "allowance and upper_level are one setting now, which chooses the hours between doses too: write "
            yield document.fault((key,), f"{message}`region: {region or 'eu'}` in their place")
