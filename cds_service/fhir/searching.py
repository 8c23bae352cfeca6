"""What a search of the prefetch finds among resources that are at hand, where no server is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, urlsplit

from cds_service.fhir.chart import Need
from cds_service.fhir.elements import Concept
from cds_service.fhir.medications import finds_status
from cds_service.terminology.index import Vocabulary


@dataclass(frozen=True, slots=True)
class Search:
    """What a need asks for: all resources of a kind, or those of some statuses, or those whose code is one of the
    tests of its key (`by_code`)."""

    key: str
    kind: str
    statuses: frozenset[str] | None
    by_code: bool

    @classmethod
    def of(cls, need: Need) -> Self:
        """As its template says."""
        asked = parse_qs(urlsplit(need.template).query)
        statuses = frozenset(asked["status"][0].split(",")) if "status" in asked else None
        return cls(need.key, need.resource_type, statuses, "code" in asked)

    def finds(self, status: object, inputs: frozenset[str] | None) -> bool:
        """Whether a resource of its kind is taken for found. `inputs`: as `inputs_of`."""
        if self.statuses is not None:
            return finds_status(status, self.statuses)
        return not self.by_code or inputs is None or self.key in inputs


def inputs_of(code: Concept | None, parts: Sequence[Concept | None], vocabulary: Vocabulary) -> frozenset[str] | None:
    """The input keys of the tests that a result and its components (`parts`) are of, by every spelling that the reader
    of results knows. None where something of it may be any test: only what certainly is another one is passed over."""
    own = _inputs_of(code, vocabulary)
    if not parts:
        return own
    found = own or frozenset()  # what holds components need not say itself what it is
    for part in parts:
        named = _inputs_of(part, vocabulary)
        if named is None:
            return None
        found |= named
    return found if code is not None else None


def _inputs_of(code: Concept | None, vocabulary: Vocabulary) -> frozenset[str] | None:
    found, known = [], False
    for coding in (code.coding or ()) if code else ():
        test = vocabulary.measured(coding.system, coding.code)
        if test is None:
            known = known or vocabulary.tells_test(coding.system, coding.code)
        else:
            known = True
            if test.entry.input is not None:
                found.append(test.entry.input)
    return frozenset(found) if known else None
