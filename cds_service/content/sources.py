"""Checks of sources: what a card or a number rests on, identifiers, names, what nobody uses, and what changed.

`magnesium-cds check` makes them. A service starts without: none of them is about what a patient is told of a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cds_service.content.library import Library
from cds_service.content.package import namespace_of
from cds_service.content.rule import Rule, Threshold
from cds_service.content.shared import PRIMARY
from cds_service.content.yamlfile import Document, Fault, KeyPath
from cds_service.spelling import nearest

SHARED = "shared"
SOURCES, CHANGES = "references.yaml", "changes.yaml"
EXCEPTIONS = "tables/thresholds_without_primary_source.yaml"
NOT_READ = "Primary text not read"
"""What `known_limits` says of a rule whose first source is of a weak kind."""
LONGEST_NAME = 60
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NO_NUMBER = "no number found"
"""The identifier of a paper whose number was looked for and not found, so that nobody invents one."""
_PAPER = [
    r"doi:10\.\d{4,9}/\S+",
    r"PMID [1-9]\d{0,8}",
    r"PMC[1-9]\d{0,8}",
    r"NCT\d{8}",
    r"CD\d{6}(\.pub\d+)?",
    r"CRID \d{19}",
    NO_NUMBER,
]
_PAPER_AS = (
    "doi:10...., PMID 123, PMC123, NCT01234567, a Cochrane number (CD001234), a number of the Japanese index CiNii "
    f"(CRID and 19 digits) or, after a search in vain, {NO_NUMBER!r}"
)
_US = [r"(NDA|ANDA|BLA)\d{6}", rf"set id {_UUID}", rf"SPL file {_UUID}", r"NDC \d{4,5}-\d{3,4}(-\d{1,2})?", r"M\d{3}"]
_US_AS = "NDA012345, ANDA012345, BLA125084, set id <uuid>, SPL file <uuid>, NDC 0000-0000 or an OTC monograph (M001)"
_EU = [
    r"EU/1/\d{2}/\d{3,4}(/\d{3})?",
    r"(PL|PLGB|PLNI|THR) \d{5}/\d{4}R?",
    r"emc \d+",
    r"EMEA/H/C/\d{6}",
    r"PA\d+/\d+/\d+",
    r"AEMPS \d{5}",
]
_EU_AS = "EU/1/00/129, PL 01234/0123, PLGB 01234/0123, PA0822/001/001, AEMPS 12345, EMEA/H/C/000123 or emc 1234"
_LAW = [r"\d+ CFR [\d.]+(\([a-z0-9]+\))*", r"\d+ FR \d+", r"Regulation \(E[CU]\) (No )?\d+/\d+", r"NBK\d+"]
_GUIDE = [r"NICE (NG|CG|TA|QS|MPG)\d+", r"SIGN \d+", *_LAW]
_GUIDE_AS = f"NICE NG12, SIGN 123, 21 CFR 331.11, NBK123, {_PAPER_AS}"
FORMS: Mapping[str, tuple[list[str], str]] = {
    "us_label": (_US, _US_AS),
    "smpc": (_EU, _EU_AS),
    "leaflet": ([*_US, *_EU], f"{_US_AS}, {_EU_AS}"),
    "systematic_review": (_PAPER, _PAPER_AS),
    "trial": (_PAPER, _PAPER_AS),
    "cohort": (_PAPER, _PAPER_AS),
    "guideline": ([*_GUIDE, *_PAPER], _GUIDE_AS),
    "regulator": ([*_GUIDE, *_PAPER, *_US, *_EU], f"{_GUIDE_AS}, {_US_AS}, {_EU_AS}"),
    "review": ([*_PAPER, r"NBK\d+"], _PAPER_AS),
    "standard": ([*_PAPER, r"https?://\S+"], f"the address that names it, {_PAPER_AS}"),
}
"""The forms that an identifier of each kind of source has, as patterns and in words; other kinds take any of them."""
ANY = [pattern for patterns, _ in FORMS.values() for pattern in patterns]
NEEDED = frozenset({"us_label", "smpc", "systematic_review", "trial", "cohort"})
"""Kinds of which each text has a number that names it."""


NAMES: Mapping[str, tuple[str, str]] = {
    "us_label": (r"US labels?( and EU leaflets)? of .+", "US label of ..."),
    "smpc": (r"(EU|UK|[A-Z][a-z]+) SmPC of .+", "EU SmPC of ..., UK SmPC of ..."),
    "leaflet": (r"(EU|UK|US|[A-Z][a-z]+) leaflet of .+", "EU leaflet of ..., UK leaflet of ..."),
    "trial": (r"(Trial|Study) (of|in) .+", "Trial of ..., Study of ..."),
    "systematic_review": (
        r"((Cochrane|Systematic|Umbrella) review|(Dose-response m|M)eta-analysis) of .+",
        "Systematic review of ..., Cochrane review of ..., Meta-analysis of ...",
    ),
}
"""How the short name of a kind begins, as a pattern and in words. A name of any kind begins with a capital letter: it
stands at the start of a line, after "Source:" and in brackets."""


def source_faults(library: Library, documents: Mapping[str, Document]) -> list[Fault]:
    """Every fault of sources, and every rule whose change is not written down."""
    found = [*_weak_thresholds(library, documents), *_exceptions(library, documents), *_led(library, documents)]
    found += [*_identifiers(library, documents[SOURCES]), *_unused(library, documents)]
    return [*found, *_names(library, documents[SOURCES]), *_changes(library, documents[CHANGES])]


def thresholds_of(library: Library) -> Iterator[tuple[str, str, KeyPath, Threshold]]:
    """Every threshold: what it is called (`rule.name`, `shared.name`), its file and its place there."""
    for name, threshold in library.shared_thresholds.items():
        yield f"{SHARED}.{name}", "tables/thresholds.yaml", ("thresholds", name), threshold
    for loaded in library.rules.values():
        for name, threshold in loaded.rule.thresholds.items():
            yield f"{loaded.id}.{name}", loaded.file, ("thresholds", name), threshold


def _weak_thresholds(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    for _, file, at, threshold in thresholds_of(library):
        for place, name in threshold.sources(at):
            if library.references[name].weak:
                message = f"{name} is a {library.references[name].kind}: a number rests on a primary text"
                yield documents[file].fault(place, f"{message}; where it is our own choice, on a source of kind policy")


def without_primary(library: Library) -> list[str]:
    """Thresholds, by their names, whose value rests neither on a primary text nor on our own choice."""
    fine = (*PRIMARY, "policy", "arithmetic", "local_policy")
    return [
        called
        for called, _, _, threshold in thresholds_of(library)
        if any(library.references[name].kind not in fine for _, name in threshold.sources())
    ]


def _exceptions(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """A named exception is one: it is not kept for a threshold that is gone or has a primary source by now."""
    needed = without_primary(library)
    for name in library.other_sources:
        if name not in needed:
            message = f"no threshold without a primary source is called {name}{nearest(name, needed)}: take it away"
            yield documents[EXCEPTIONS].fault((name,), message)


def _led(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """The source that a card shows: the first of its rule. No text of a card names one of a weak kind."""
    sources = library.references.values()
    names = {item.name for item in sources if item.weak} - {item.name for item in sources if not item.weak}
    weak = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)))
    for loaded in library.rules.values():
        first, document = loaded.rule.evidence.references[0], documents[loaded.file]
        source, at = library.references[first], ("evidence", "references", 0)
        if source.weak and NOT_READ not in loaded.rule.known_limits:
            message = f"{first} is a {source.kind}: a card shows a primary source. Where none was read, say so"
            yield document.fault(at, f'{message} in known_limits: "{NOT_READ}"')
        if not source.weak and len(source.name) > LONGEST_NAME:
            yield documents[SOURCES].fault((first,), f"needs short: a card of {loaded.id} shows its name")
        for path, text in _card_texts(loaded.rule):
            if names and (found := weak.search(text)):
                yield document.fault(path, f"names {found[0]}, a source of a weak kind")
    for key, item in library.suggestions.items():
        for field, text in item.model_dump().items():
            if names and (found := weak.search(str(text))):
                yield documents["suggestions.yaml"].fault((key, field), f"names {found[0]}, a source of a weak kind")


def _card_texts(rule: Rule) -> Iterator[tuple[KeyPath, str]]:
    for field in ("summary", "short", "detail"):
        yield ("card", field), getattr(rule.card, field) or ""
    for index, text in enumerate(rule.card.options()):
        yield ("card", "consider", index), text
    for name, threshold in rule.thresholds.items():
        yield ("thresholds", name, "label"), threshold.label


def _identifiers(library: Library, document: Document) -> Iterator[Fault]:
    for name, source in library.references.items():
        patterns, words = FORMS.get(source.kind, (ANY, "any that another kind has"))
        for part in source.identifier.split("; ") if source.identifier is not None else ():
            if not any(re.fullmatch(pattern, part) for pattern in patterns):
                yield document.fault((name, "identifier"), f"{part!r} names no {source.kind}; known forms: {words}")
        if source.kind in NEEDED and source.citable and source.identifier is None:
            yield document.fault((name,), f"a {source.kind} needs an identifier: {words}")


def _names(library: Library, document: Document) -> Iterator[Fault]:
    """Short names: one form for each kind, fit for the start of a line as for its end."""
    for key, source in library.references.items():
        at, pattern, words = (key, "short"), *NAMES.get(source.kind, (".+", ""))
        if source.short is None:
            if source.kind in NAMES and source.citable:
                yield document.fault((key,), f"a {source.kind} needs short, its name on a card: {words}")
            continue
        if source.year is not None and str(source.year) in source.short:
            yield document.fault(at, "holds the year, which a card adds")
        if not source.short[0].isupper():
            yield document.fault(at, "begins with a small letter: it stands at the start of a line too")
        elif not re.fullmatch(pattern, source.short):
            yield document.fault(at, f"the name of a {source.kind} begins with its kind: {words}")
        if source.short[-1] in ".,;:":
            yield document.fault(at, "ends with a mark: the sentence around it has its own")
        if len(source.short) > LONGEST_NAME:
            yield document.fault(at, f"is longer than {LONGEST_NAME} characters, which is what a card has room for")


def _unused(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    used = {name for file, document in documents.items() if file != SOURCES for name in _named_in(document.data)}
    for name in library.references:
        if name not in used:
            yield documents[SOURCES].fault((name,), "is used by nothing")


def _named_in(data: Any, source: bool = False) -> Iterator[str]:
    """Whatever stands below a key `reference` or `references`."""
    if isinstance(data, str) and source:
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _named_in(value, source or key in ("reference", "references"))
    elif isinstance(data, list):
        for item in data:
            yield from _named_in(item, source)


def _changes(library: Library, document: Document) -> Iterator[Fault]:
    """What changed in every rule is written down, and of every rule that is gone, why."""
    locked = {namespace_of(name) for name in library.changes}
    for name, loaded in library.rules.items():
        if loaded.package is not None and loaded.package.namespace not in locked:
            continue  # a package need not keep such a file
        newest = library.changes[name][-1] if name in library.changes else None
        if newest is None:
            file = f"{loaded.package.folder}/{CHANGES}" if loaded.package else CHANGES
            yield Fault(file, 0, name, f"is new: `magnesium-cds lock {name} 'first version'` writes it down")
        elif newest.version != loaded.version:
            message = f"{loaded.file} changed: `magnesium-cds lock {name} 'what changed'` writes it down, with the date"
            yield document.fault((name, len(library.changes[name]) - 1), message)
    for name, changes in library.changes.items():
        if name not in library.rules and not changes[-1].retired:
            message = f"there is no such rule: `magnesium-cds lock {name} --retired 'why'` writes it down"
            yield document.fault((name,), message)
