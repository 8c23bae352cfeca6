"""Finding a rule or a claim by words and filters. Words are looked for in titles, short wordings, and in the names and
brands of what a rule is about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, Generic, TypeVar, get_args

from cds_service.advice.advise import INDICATORS
from cds_service.content.concept import MAGNESIUM, Concept
from cds_service.content.library import RULE_FOLDERS, Library, LoadedRule
from cds_service.content.rule import Certainty, Indicator
from cds_service.content.shared import Claim, Verdict

WORST_FIRST: Final = ("contradicted", "unsupported", "unverifiable_citation", "partly_supported", "supported")
DRUGS: Final = ("drug", "drug_class")
T = TypeVar("T")


@dataclass(frozen=True)
class RuleFilters:
    """What is asked for; "" for any. `drug` is an id, a title, a name or a brand."""

    q: str = ""
    drug: str = ""
    kind: str = ""
    indicator: str = ""
    certainty: str = ""
    strength: str = ""


@dataclass(frozen=True)
class ClaimFilters:
    """What is asked for; "" for any."""

    q: str = ""
    verdict: str = ""
    topic: str = ""
    certainty: str = ""


ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "kind": RULE_FOLDERS,
    "indicator": get_args(Indicator),
    "certainty": get_args(Certainty),
    "strength": ("strong", "conditional"),
    "verdict": get_args(Verdict),
    "topic": get_args(Claim.model_fields["topic"].annotation),
}


@dataclass(frozen=True)
class Found(Generic[T]):
    """What was found, in the order in which it is shown. `unknown_drug`: nobody here knows a drug of the name asked
    for. `known`: drugs that the words name and of which nothing was found. `settled`: known interactions that the
    words name and that have no rule, each with why."""

    items: Mapping[str, T]
    unknown_drug: bool = False
    known: tuple[str, ...] = ()
    settled: Mapping[str, str] | None = None


def faults_of_filters(asked: RuleFilters | ClaimFilters) -> list[tuple[str, str]]:
    """The name of each filter whose value does not exist, with a sentence on what may stand there."""
    return [
        (field.name, f"{field.name} is one of {', '.join(allowed)}, or left out.")
        for field in fields(asked)
        if (value := getattr(asked, field.name)) and (allowed := ALLOWED.get(field.name)) and value not in allowed
    ]


def plain(text: str) -> str:
    """In small letters, without accents, with one space where anything else stands."""
    flat = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[a-z0-9]+", "".join(c for c in flat if not unicodedata.combining(c))))


def _names(name: str, entry: Concept) -> list[str]:
    return [name, entry.title, entry.short or "", *entry.names, *entry.brands]


def matching(texts: Mapping[str, str], query: str) -> list[str]:
    """The keys of the texts (as `plain` makes them) in which every word begins a word; where none has that, those that
    hold every word anywhere."""
    words = plain(query).split()
    found = [key for key, text in texts.items() if all(f" {word}" in f" {text}" for word in words)]
    return found or [key for key, text in texts.items() if all(word in text for word in words)]


class Index:
    """The words of one content, gathered when they are first asked for."""

    def __init__(self, library: Library) -> None:
        self.library = library

    @cached_property
    def below(self) -> Mapping[str, frozenset[str]]:
        """Each concept with everything narrower: a class and its members, magnesium and its salts."""
        found: dict[str, set[str]] = {name: {name} for name in self.library.terminology}
        for name, above in self.library.broader.items():
            for each in above:
                found[each].add(name)
        return {name: frozenset(narrower) for name, narrower in found.items()}

    def concepts(self, loaded: LoadedRule) -> frozenset[str]:
        """The concepts that a rule names, and that it means without naming them: oral magnesium in a timing rule."""
        named = {item.name for item in loaded.rule.named() if item.mark.what in ("lab", "drug", "condition", "reason")}
        if loaded.rule.timing and not loaded.rule.timing.magnesium:
            named.add(MAGNESIUM)
        return frozenset(named)

    @cached_property
    def about(self) -> Mapping[str, frozenset[str]]:
        """The same by rule, with everything narrower."""
        return {
            name: frozenset().union(*(self.below[each] for each in self.concepts(loaded)))
            for name, loaded in self.library.rules.items()
        }

    @cached_property
    def _concept_words(self) -> Mapping[str, str]:
        return {name: plain(" ".join(_names(name, entry))) for name, entry in self.library.terminology.items()}

    @cached_property
    def _rule_words(self) -> Mapping[str, str]:
        found = {}
        for name, loaded in self.library.rules.items():
            above = frozenset[str]().union(*(self.library.broader[each] for each in self.concepts(loaded)))
            words = (self._concept_words[each] for each in sorted(self.about[name] | above))
            found[name] = " ".join([self._own_words(loaded), *words])
        return found

    def _own_words(self, loaded: LoadedRule) -> str:
        card = loaded.rule.card
        topic = self.library.wording.topics[loaded.folder]
        return plain(" ".join([loaded.id, loaded.rule.title, card.summary or "", card.short or "", topic]))

    @cached_property
    def _claim_words(self) -> Mapping[str, str]:
        return {
            name: plain(f"{name} {claim.topic} {claim.claim} {claim.statement}")
            for name, claim in self.library.claims.items()
        }

    @cached_property
    def drugs(self) -> Mapping[str, str]:
        """The drugs and classes that rules name, by id, with their titles; without magnesium, which nearly all are
        about."""
        named = frozenset[str]().union(*(self.concepts(loaded) for loaded in self.library.rules.values()))
        entries = self.library.terminology
        wanted = (name for name in named - self.below[MAGNESIUM] if entries[name].kind in DRUGS)
        return {name: entries[name].title for name in sorted(wanted, key=lambda each: entries[each].title.lower())}

    def drug(self, called: str) -> frozenset[str]:
        """The drugs that go by this id, title, name or brand, and everything narrower; empty where nobody knows one."""
        wanted, entries = plain(called), self.library.terminology
        same = (
            name for name, entry in entries.items()
            if entry.kind in DRUGS and any(plain(each) == wanted for each in _names(name, entry))
        )  # fmt: skip
        return frozenset[str]().union(*(self.below[name] for name in same))

    def rules(self, asked: RuleFilters) -> Found[LoadedRule]:
        """The rules that fit, the most severe first, then by title."""
        drug = self.drug(asked.drug) if asked.drug else frozenset[str]()
        found = [self.library.rules[name] for name in matching(self._rule_words, asked.q) if
                 not asked.drug or self.about[name] & drug]  # fmt: skip
        fitting = [loaded for loaded in found if _fits(loaded, asked)]
        fitting.sort(key=lambda each: (INDICATORS.index(each.rule.card.indicator), each.rule.title.lower()))
        words = asked.q or asked.drug
        return Found(
            {each.id: each for each in fitting},
            unknown_drug=bool(asked.drug) and not drug,
            known=tuple(self._known(words)) if words and not fitting else (),
            settled=self._settled(words) if words else None,
        )

    def _known(self, words: str) -> Iterable[str]:
        entries = self.library.terminology
        drugs = {name: text for name, text in self._concept_words.items() if entries[name].kind in DRUGS}
        return [entries[name].title for name in matching(drugs, words)][:5]

    def _settled(self, words: str) -> Mapping[str, str]:
        rows = {name: row.not_a_rule for name, row in self.library.coverage.items() if row.not_a_rule}
        texts = {name: plain(f"{name} {reason}") for name, reason in rows.items()}
        wanted = plain(words).split()
        return {name: rows[name] for name, text in texts.items() if all(f" {word}" in f" {text}" for word in wanted)}

    def claims(self, asked: ClaimFilters) -> Found[Claim]:
        """The claims that fit, those that are contradicted first."""
        names = [name for name in matching(self._claim_words, asked.q) if _claim_fits(self.library.claims[name], asked)]
        names.sort(key=lambda name: WORST_FIRST.index(self.library.claims[name].verdict))
        return Found({name: self.library.claims[name] for name in names})


def _fits(loaded: LoadedRule, asked: RuleFilters) -> bool:
    evidence = loaded.rule.evidence
    return (
        asked.kind in ("", loaded.folder)
        and asked.indicator in ("", loaded.rule.card.indicator)
        and asked.certainty in ("", evidence.certainty)
        and asked.strength in ("", evidence.strength)
    )


def _claim_fits(claim: Claim, asked: ClaimFilters) -> bool:
    return (
        asked.verdict in ("", claim.verdict)
        and asked.topic in ("", claim.topic)
        and asked.certainty in ("", claim.certainty)
    )
