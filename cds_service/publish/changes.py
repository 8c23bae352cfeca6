"""The feed of what changed in the evidence: what was written down of rules, and numbers that changed on a day."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from cds_service.advice.in_words import quantity
from cds_service.advice.phrasing import fill
from cds_service.content.library import Library
from cds_service.content.sources import SHARED, thresholds_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One change and the rules that it was written down of, by their ids; none for a number that many rules read."""

    day: date
    what: str
    rules: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"urn:magnesium-cds:change:{self.day}:{hashlib.sha256(self.what.encode()).hexdigest()[:12]}"


def feed(library: Library) -> list[Entry]:
    """Every change, the newest first; rules of which the same was written on the same day stand together."""
    found: dict[tuple[date, str], list[str]] = {}
    for name, day, what in (*_written(library), *_numbers(library)):
        found.setdefault((day, what), []).extend([] if name == SHARED else [name])
    newest = sorted(found, key=lambda key: key[0], reverse=True)
    return [Entry(day, what, tuple(sorted(found[day, what]))) for day, what in newest]


def _written(library: Library) -> Iterator[tuple[str, date, str]]:
    for name, changes in library.changes.items():
        yield from ((name, change.date, change.words) for change in changes)


def _numbers(library: Library) -> Iterator[tuple[str, date, str]]:
    """Values of thresholds that took the place of an earlier one."""
    for called, _, _, threshold in thresholds_of(library):
        for before, day in pairwise(sorted(threshold.values)):
            new, old = (quantity(library, threshold.values[at], threshold.unit) for at in (day, before))
            values = {"label": threshold.label, "value": new, "before": old}
            yield called.split(".")[0], day, fill(library.wording.changed_value, values)


def changes_of(library: Library, rule: str) -> list[Entry]:
    """What changed in one rule, the newest first; of one day, what was written last."""
    found = [(day, what) for name, day, what in (*_written(library), *_numbers(library)) if name == rule]
    newest = sorted(dict.fromkeys(reversed(found)), key=lambda each: each[0], reverse=True)
    return [Entry(day, what, (rule,)) for day, what in newest]


def title_of(library: Library, rule: str) -> str:
    """A rule as the feed names it; of one that is gone only its id is left."""
    return library.rules[rule].rule.title if rule in library.rules else rule


def feed_json(library: Library, base: str) -> dict[str, Any]:
    """The feed as data."""
    return {
        "changes": [
            {"id": entry.id, "date": entry.day.isoformat(), "what": entry.what,
             "rules": [
                 {"id": rule, "title": title_of(library, rule),
                  **({"url": f"{base}/evidence/{rule}", "version": library.rules[rule].version}
                     if rule in library.rules else {"retired": library.changes[rule][-1].retired})}
                 for rule in entry.rules
             ]}
            for entry in feed(library)
        ]
    }  # fmt: skip
