"""What this site set for one rule, in words: its thresholds, whether its cards are shown, and what its EHR lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cds_service.advice.in_words import quantity
from cds_service.advice.phrasing import number
from cds_service.content.library import SHARED, LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.content.site import OwnRules
from cds_service.content.site_in_words import calls_in_words
from cds_service.content.site_limits import threshold_of
from cds_service.publish.rule_in_words import used_shared

SHOWN: Final[Mapping[str, str]] = {
    "shown": "Its cards are shown.",
    "silent": "Its cards are not shown: it is evaluated and counted, and nobody sees what it finds.",
    "hidden": "It is switched off: it is not evaluated for any patient.",
}


@dataclass(frozen=True, slots=True)
class SetHere:
    """One thing that a site set, and why. `where`: for which calls, "" for all."""

    what: str
    reason: str
    where: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def set_here(loaded: LoadedRule, rulebook: Rulebook) -> list[SetHere]:
    """Everything, what is not shown first."""
    site = rulebook.site
    parts = [("", site.own), *((calls_in_words(one), own) for one, own in site.exceptions)]
    shows = [each for where, own in parts for each in _shows(loaded, own, where)]
    numbers = [each for where, own in parts for each in _numbers(loaded, rulebook, own, where)]
    reads = frozenset[str]().union(*(part.reads for _, part in loaded.rule.parts()))
    lacking = [
        SetHere(f"This EHR has no {key.replace('_', ' ')}: a rule that needs them does not apply.", item.reason)
        for key, item in site.document.inputs.items()
        if key in reads
    ]
    return [*shows, *numbers, *lacking]


def _shows(loaded: LoadedRule, own: OwnRules, where: str) -> Iterator[SetHere]:
    item = own.shows.get(loaded.id)
    if item is not None:
        yield SetHere(SHOWN[item.show], item.reason, where)


def _numbers(loaded: LoadedRule, rulebook: Rulebook, own: OwnRules, where: str) -> Iterator[SetHere]:
    library, shared = rulebook.library, used_shared(loaded, rulebook.library)
    for (owner, name), value in own.values.items():
        if owner == loaded.id or (owner == SHARED and name in shared and name not in loaded.rule.thresholds):
            threshold = threshold_of(library, (owner, name))
            limit = (rulebook.rules[loaded.id].limits if loaded.id in rulebook.rules else {}).get(name)
            usual = threshold.at(rulebook.day) if limit is None or limit.default is None else limit.default
            now = quantity(library, value.value, threshold.unit)
            written = f" (set as {value.written})" if value.written else ""
            text = f"{threshold.label}: {now}{written}; the rule's own value is {number(usual)}."
            yield SetHere(text, value.reason, where)
