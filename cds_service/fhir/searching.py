"""What a search of the prefetch finds among resources that are at hand, where no server is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, urlsplit

from cds_service.fhir.chart import Need
from cds_service.fhir.medications import finds_status


@dataclass(frozen=True, slots=True)
class Search:
    """What a need asks for: all resources of a kind, or those of some statuses, or of some codes (`system|code`)."""

    key: str
    kind: str
    statuses: frozenset[str] | None
    codes: frozenset[str] | None

    @classmethod
    def of(cls, need: Need) -> Self:
        """As its template says."""
        asked = parse_qs(urlsplit(need.template).query)
        statuses, codes = (
            frozenset(asked[name][0].split(",")) if name in asked else None for name in ("status", "code")
        )
        return cls(need.key, need.resource_type, statuses, codes)

    def finds(self, status: object, codes: frozenset[str] | None) -> bool:
        """Whether a resource of its kind is taken for found. `codes`: as `codes_of`. What does not say what it is may
        be what is looked for: it is taken for found, and then told as not readable."""
        if self.statuses is not None:
            return finds_status(status, self.statuses)
        return self.codes is None or codes is None or not self.codes.isdisjoint(codes)


def codes_of(concept: object) -> frozenset[str] | None:
    """The codes (`system|code`) of a CodeableConcept. None where it does not say what it is, or not as FHIR does."""
    if not isinstance(concept, dict):
        return None
    codings, text = concept.get("coding") or (), concept.get("text")
    if isinstance(codings, dict):  # one that is not in a list is read all the same
        codings = [codings]
    if not isinstance(codings, list | tuple) or not isinstance(text, str | None):
        return None
    found, named = set(), bool(text)
    for coding in codings:
        if not isinstance(coding, dict):
            return None
        system, code, display = coding.get("system"), coding.get("code"), coding.get("display")
        if not (isinstance(system, str | None) and isinstance(code, str | None) and isinstance(display, str | None)):
            return None
        named = named or bool(code or display)
        if code:
            found.add(f"{system}|{code}")
    return frozenset(found) if named else None
