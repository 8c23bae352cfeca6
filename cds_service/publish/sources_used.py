"""Each source that somebody checked, with what rests on it: rules, thresholds, claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cds_service.content.library import Library
from cds_service.content.shared import Reference
from cds_service.content.sources import SHARED, thresholds_of


@dataclass(frozen=True, slots=True)
class Used:
    """A source and what rests on it: ids of rules and claims, and of each threshold its owner (a rule, or `shared`)
    and its label."""

    key: str
    source: Reference
    rules: tuple[str, ...]
    thresholds: tuple[tuple[str, str], ...]
    claims: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """In a list for machines."""
        source = self.source
        return {
            "id": self.key, "name": source.dated, "kind": source.kind, "title": source.title, "year": source.year,
            "identifier": source.identifier, "url": source.url, "read": source.read,
            "checkedOn": source.checked_on.isoformat(), "rules": len(self.rules),
            "thresholds": len(self.thresholds), "claims": len(self.claims),
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Whole."""
        return {
            "id": self.key,
            **self.source.model_dump(mode="json", exclude_none=True),
            "rules": list(self.rules),
            "thresholds": [{"of": owner, "label": label} for owner, label in self.thresholds],
            "claims": list(self.claims),
        }


def sources_used(library: Library) -> Mapping[str, Used]:
    """By key, in the order of their names. One that nobody checked is no source, and is left out."""
    rules, claims = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    limits = defaultdict[str, list[tuple[str, str]]](list)
    for loaded in library.rules.values():
        for key in loaded.rule.evidence.references:
            rules[key].append(loaded.id)
    for name, claim in library.claims.items():
        for key in claim.references:
            claims[key].append(name)
    for called, _, _, threshold in thresholds_of(library):
        owner = called.partition(".")[0]
        for _, key in threshold.sources():
            limits[key].append((owner if owner in library.rules else SHARED, threshold.label))
    cited = {key: item for key, item in library.references.items() if item.citable}
    return {
        key: Used(key, cited[key], tuple(rules[key]), tuple(limits[key]), tuple(claims[key]))
        for key in sorted(cited, key=lambda each: cited[each].dated.lower())
    }
