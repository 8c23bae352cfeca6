"""Why a card came, from what was recorded of it: rule and versions, the site values then, and the tests if its facts
were kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cds_service.advice.advise import advise
from cds_service.advice.card_text import CardStyle
from cds_service.advice.loaded_content import Content
from cds_service.advice.phrasing import number
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues
from cds_service.content.site_revisions import EMPTY
from cds_service.content.yamlfile import ContentError
from cds_service.population.kept import KeptChart
from cds_service.population.kept_facts import read_kept
from cds_service.publish.why import Why, tree
from cds_service.store import Revision
from cds_service.store.cards import CardOnRecord

ReadSite = Callable[[str, str], SiteValues]
"""The site values of a document, which faults call by the name. Raises ContentError."""


@dataclass(frozen=True, slots=True)
class ThresholdThen:
    """A threshold of the rule as it was in force."""

    name: str
    label: str
    value: str
    unit: str
    site: bool


@dataclass(frozen=True, slots=True)
class RevisionThen:
    """The revision of the site values under which a card was made."""

    number: int
    author: str
    reason: str
    approved_by: str | None
    in_force_from: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that is known of a card. `nothing_set`: made under no site values. `tests`: the tree, if its facts were
    kept. `remarks`: what is not known, and why."""

    card: CardOnRecord
    title: str
    revision: RevisionThen | None
    nothing_set: bool
    thresholds: list[ThresholdThen]
    tests: Why | None
    remarks: list[str] = field(default_factory=list)


NO_FACTS = "The facts of this call were not kept. To see each test, give the request again, or the patient as a Bundle."
OTHER_CONTENT = "The rules were another version then: thresholds and tests are told by the rules of now."
OTHER_VALUES = "The site values of then are not on record: no thresholds are told, and tests are by those in force now."
OTHER_RULE = "This rule is not there any more."
NO_SUCH_OUTCOME = "Tried again on the kept facts, the rule says something else: {outcome}."


def recorded(
    card: CardOnRecord,
    content: Content,
    revisions: Sequence[Revision],
    read: ReadSite,
    now: Rulebook,
    facts: bytes | None,
) -> Recorded:
    """What is known of a card. `revisions`: all of them; `read`: the site values of a document; `now`: the rulebook in
    force; `facts`: what was kept of its call."""
    remarks: list[str] = []
    revision, values = _then(card, revisions, read, now)
    if card.content_version != content.library.digest:
        remarks.append(OTHER_CONTENT)
    book = make_rulebook(content.library, values, card.shown_at.date()) if values is not None else None
    if book is None:
        remarks.append(OTHER_VALUES)
    rule = (book or now).at(card.client.partition("/")[0], None).rules.get(card.rule)
    if rule is None:
        remarks.append(OTHER_RULE)
    thresholds = []
    if book is not None and rule is not None:
        own = rule.loaded.rule.thresholds
        named = {item.name for item in rule.loaded.rule.named() if item.mark.what == "threshold"}
        thresholds = [
            ThresholdThen(name, limit.label, number(limit.value), limit.unit, limit.site)
            for name, limit in rule.limits.items()
            if name in own or name in named
        ]
    tests = None
    if facts is None:
        remarks.append(NO_FACTS)
    elif rule is not None:
        tests = _tests(card, content, book or now, facts)
        if tests is None or tests.outcome != "fired":
            remarks.append(NO_SUCH_OUTCOME.format(outcome=tests.outcome if tests else "it is not tried on this hook"))
    title = rule.loaded.rule.title if rule is not None else ""
    return Recorded(card, title, revision, values is NO_SITE, thresholds, tests, remarks)


def _then(
    card: CardOnRecord, revisions: Sequence[Revision], read: ReadSite, now: Rulebook
) -> tuple[RevisionThen | None, SiteValues | None]:
    """The revision whose values these were, the last one before the card; None for values that are found nowhere."""
    same = [one for one in revisions if one.digest == card.site_revision and one.in_force_from <= card.shown_at]
    newest = max(same, key=lambda one: one.number, default=None)
    if newest is not None:
        told = RevisionThen(newest.number, newest.author, newest.reason, newest.approved_by, newest.in_force_from)
        try:
            return told, read(newest.document, f"revision {newest.number}")
        except ContentError:  # values that the rules of now do not take
            return told, None
    if card.site_revision in ("", read(EMPTY, "revision 0").digest):
        return None, NO_SITE
    return None, now.site if card.site_revision == now.site_digest else None


def _tests(card: CardOnRecord, content: Content, book: Rulebook, facts: bytes) -> Why | None:
    kept = read_kept(facts, card.shown_at.date())
    client, vocabulary = card.client.partition("/")[0], content.vocabulary.of_site(book.site)
    service = next((name for name, item in content.library.services.items() if item.hook == kept.hook), None)
    if service is None:
        return None
    advice = advise(
        KeptChart(kept, vocabulary), book, service, units=vocabulary.units, style=CardStyle(),
        encounter_named=kept.encounter_named, client=client,
    )  # fmt: skip
    if all(each.rule_id != card.rule for each in advice.evaluation.outcomes):
        return None
    return tree(advice, book, service, card.rule, client)


def lines_of(told: Recorded) -> list[str]:
    """As lines of text, without the tests."""
    card, revision = told.card, told.revision
    made = [
        f"card {card.card}",
        f"  shown {card.shown_at:%Y-%m-%d %H:%M}Z on {card.hook} to {card.client or 'a caller without a name'}",
        f"  {card.indicator}, by the rule {card.rule} {card.rule_version}: {told.title}",
        f"  software {card.software_version}, content {card.content_version}",
    ]
    if revision is not None:
        by = f", approved by {revision.approved_by}" if revision.approved_by else ""
        made.append(f"  site values: revision {revision.number} of {revision.author}{by}: {revision.reason}")
    else:
        made.append(f"  site values: {'none set' if told.nothing_set else card.site_revision}")
    made += [
        f"  threshold {each.label}: {each.value} {each.unit}{' (set by this site)' if each.site else ''}"
        for each in told.thresholds
    ]
    made.append(f"  what was done with it: {', '.join(card.outcomes) or 'no answer'}")
    return made + [f"  note: {remark}" for remark in told.remarks]
