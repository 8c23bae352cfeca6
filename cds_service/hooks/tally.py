"""What is counted of each call: sums by the hour, in words of closed lists. Never a word, an id or a value of a
patient's, nor a word that a caller chose.

Kinds of `call_counts`, with what `name` and `detail` hold:

    version      digest of the content, digest of the site values; the calls themselves
    refused      HTTP status; calls that were not answered with advice
    card         indicator; cards shown
    hidden       rule; calls for which this site had it hidden
    reason       rule, code of the reason for which it was not evaluated
    input        key of the prefetch, its state
    unreadable   key of the prefetch; resources that could not be read
    read         type of resource, by what it was known (code, name)
    not read     type of resource, the system of its first code: one that we know, another one, or none
    lab          lab, whether its unit and value were read
    unit         lab, its unit as sent (UCUM)
    age          lab, age of its newest usable result
    repair       what was mended

A rule's own numbers are those of `RULE_COLUMNS`. It was quiet in all other calls to its services.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from cds_service.advice.advise import Advice
from cds_service.content.rulebook import Rulebook
from cds_service.patient import PatientFacts
from cds_service.store.counts import RULE_COLUMNS, Label, Slot

FIRED, LEAD, BENEATH, NOT_EVALUATED, NOT_APPLICABLE, FAULT = range(len(RULE_COLUMNS))
_OF_KIND: Final = {"fired": FIRED, "not_evaluated": NOT_EVALUATED, "not_applicable": NOT_APPLICABLE}
# Coarse, so that no result can be told again.
AGES: Final = ((timedelta(days=1), "<1 d"), (timedelta(days=7), "1-7 d"), (timedelta(days=30), "7-30 d"),
               (timedelta(days=365), "30-365 d"))  # fmt: skip
OLDER: Final = "older"
OTHER_SYSTEM, NO_CODE = "another system", "no code"
UNIT_NOT_READ, NOT_USED, READ = "unit not read", "not used", "read"


def slot(now: datetime, client: str, service: str) -> Slot:
    """Where the numbers of a call at `now` (aware) are summed. `service` is the id that was called."""
    return Slot(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0), client, service)


def of_rules(advice: Advice, shown: bool) -> Iterator[tuple[str, int]]:
    """Each rule that was not quiet, with the index of its column; once more where it stands on a card."""
    for outcome in advice.evaluation.notable:
        yield outcome.rule_id, _OF_KIND[outcome.kind]
        if outcome.fault is not None:
            yield outcome.rule_id, FAULT
    if shown:
        for card in advice.shown:
            for place, rule in enumerate(card.rules):
                yield rule, BENEATH if place else LEAD


def of_call(advice: Advice, rulebook: Rulebook, service: str, shown: bool) -> list[tuple[Label, int]]:
    """All else that is counted of an answered call; `service` is a name of the content."""
    found: list[tuple[Label, int]] = [(("version", rulebook.library.digest, rulebook.site_digest), 1)]
    found += [(("hidden", rule, ""), 1) for rule in _hidden_of(rulebook, service)]
    for outcome in advice.evaluation.notable:
        if outcome.kind == "not_evaluated":
            found += [(("reason", outcome.rule_id, code), 1) for code in {each.code for each in outcome.reasons}]
    if shown:
        found += [(("card", card.card["indicator"], ""), 1) for card in advice.shown]
    return found + list(_of_facts(advice.evaluation.context.facts, rulebook))


def _of_facts(facts: PatientFacts, rulebook: Rulebook) -> Iterator[tuple[Label, int]]:
    for key, availability in facts.inputs.items():
        yield ("input", key, availability.state), 1
        if availability.unreadable:
            yield ("unreadable", key, ""), availability.unreadable
    if facts.conditions:
        yield ("read", "Condition", "code"), len(facts.conditions)
    met = Counter((item.source.type, item.identified_by if item.identified else "") for item in facts.medications)
    for (kind, way), number in met.items():
        yield (("read", kind, way) if way else ("not read", kind, NO_CODE)), number
    for lab, results in facts.labs.items():
        yield from _of_lab(lab, facts)
        yield ("read", "Observation", "code"), len(results)
    names = rulebook.library.system_names
    for entries in facts.unread.values():
        for entry in entries:
            system = entry.codes[0][0] if entry.codes else None
            label = NO_CODE if system is None else names.of(system) or OTHER_SYSTEM
            yield ("not read", entry.source.type, label), 1
    for name, number in facts.repairs.items():
        yield ("repair", name, ""), number


def _of_lab(lab: str, facts: PatientFacts) -> Iterator[tuple[Label, int]]:
    newest: datetime | None = None
    for result in facts.labs[lab]:
        used = READ if result.value is not None else UNIT_NOT_READ if "unit" in result.problem else NOT_USED
        yield ("lab", lab, used), 1
        if result.reported is not None:
            yield ("unit", lab, result.reported.unit), 1
        if result.value is not None and result.time is not None and (newest is None or result.time > newest):
            newest = result.time
    if newest is not None:
        ago = facts.now - newest
        yield ("age", lab, next((word for limit, word in AGES if ago < limit), OLDER)), 1


@lru_cache(maxsize=8)
def _hidden_of(rulebook: Rulebook, service: str) -> tuple[str, ...]:
    rules = rulebook.rules.values()
    return tuple(rule.id for rule in rules if rule.visibility == "hidden" and service in rule.loaded.rule.services)
