"""What a package may not do: take a name or a code of ours, or change what we read, say or keep silent about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cds_service.content.concept import Concept
from cds_service.content.library import Library, LoadedRule
from cds_service.content.package import LONGEST_ID, Package, namespace_of, own_name
from cds_service.content.shared import OverrideReason, Reference
from cds_service.content.yamlfile import Document, Fault, KeyPath
from cds_service.spelling import tokens

CODES = ("rxnorm_ingredients", "atc", "atc_prefixes", "snomed", "icd10cm", "icd10cm_prefixes", "icd10", "icd9cm")
DRUGS = ("drug", "drug_class")


@dataclass(frozen=True)
class Additions:
    """What one package brings, under its full names."""

    package: Package
    rules: Mapping[str, LoadedRule]
    terminology: Mapping[str, Concept]
    references: Mapping[str, Reference]
    reasons: Mapping[str, OverrideReason]
    changes: Mapping[str, Any]
    documents: Mapping[str, Document]


def clashes(library: Library, added: Additions, documents: Mapping[str, Document]) -> list[Fault]:
    """Every way in which a package would stand over ours or over another package, or take our place."""
    namespace, manifest = added.package.namespace, documents["package.yaml"]
    for other in library.packages:
        if other.namespace == namespace:
            message = f"the folder {other.folder} has this namespace too: rename one, or load one of them only"
            return [manifest.fault(("namespace",), message)]
    found = [*_ids(library, added, documents)]
    for loaded in added.rules.values():
        found += _rule(added, loaded, documents[loaded.file])
    for name, entry in added.terminology.items():
        found += _concept(library, namespace, entry, documents[f"terminology/{name}.yaml"])
    for name, source in added.references.items():
        if source.kind == "policy":
            message = "is a choice of ours: one of your own is of the kind local_policy"
            found.append(documents["references.yaml"].fault((own_name(name), "kind"), message))
    for name, reason in added.reasons.items():
        if not reason.system.startswith(("http://", "https://", "urn:")) or reason.system.startswith("urn:magnesium"):
            at = (own_name(name), "system")
            yours = "an address of your own code system, such as https://hospital.example/override-reasons"
            found.append(documents["override_reasons.yaml"].fault(at, f"take {yours}"))
    return found


def _ids(library: Library, added: Additions, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Ids that can be told from ours everywhere they go: in FHIR an underscore is a hyphen too."""
    as_fhir = {name.replace("_", "-"): name for name in (*library.rules, *library.terminology)}
    placed = [(name, documents[loaded.file]) for name, loaded in added.rules.items()]
    placed += [(name, documents[f"terminology/{name}.yaml"]) for name in added.terminology]
    for name, document in placed:
        own = own_name(name)
        if own in library.rules:
            message = f"{own} is a rule of ours: no package changes it. Give this one another file name"
            yield document.fault((), f"{message}; ours is set or silenced by site values")
        if not own.replace("_", "").isalnum() or not own.islower() or not own.isascii() or not own[0].isalpha():
            yield document.fault((), "a file name is small letters, digits and underscores, a letter first")
        elif len(name) > LONGEST_ID:
            yield document.fault((), f"{name} is longer than {LONGEST_ID} characters: shorten the file name")
        elif (other := as_fhir.get(name.replace("_", "-"))) is not None:
            yield document.fault((), f"{name} is the same as {other} in FHIR: give it another file name")
    for loaded in added.rules.values():
        if loaded.id in added.terminology:
            message = "is the file name of a concept of this package too: give one of them another"
            yield documents[loaded.file].fault((), message)


def _rule(added: Additions, loaded: LoadedRule, document: Document) -> Iterator[Fault]:
    """A rule makes cards of its own. Two doses that meet are one problem for all, since a day has one plan."""
    card, namespace = loaded.rule.card, added.package.namespace
    for key in ("problem", "joins"):
        named = getattr(card, key)
        if named and namespace_of(named) != namespace:
            message = (
                f"begins with your namespace, such as {namespace}-{own_name(named)}: cards of ours are not added to"
            )
            yield document.fault(("card", key), message)
    if loaded.rule.claims:
        yield document.fault(("claims",), "are ours: a package names none")
    if card.never_cut:
        yield document.fault(("card", "never_cut"), "belongs to rules of ours: it would take the place of another card")
    for name in loaded.rule.thresholds:
        if namespace_of(name):
            yield document.fault(("thresholds", name), "has no namespace: it is this rule's own already")


def _concept(library: Library, namespace: str, entry: Concept, document: Document) -> Iterator[Fault]:
    """A concept takes no code and no name of another one, and changes no group of ours."""
    taken = {(key, code): other for other, held in library.terminology.items() for key in CODES
             for code in getattr(held, key)}  # fmt: skip
    taken |= {("rxnorm_ingredients", row.rxcui): row.drugs for row in library.products}
    for key in CODES:
        for index, code in enumerate(getattr(entry, key)):
            if (other := taken.get((key, code))) is not None:
                yield document.fault(
                    (key, index), f"{code} is a code of {other}: name that concept in your rule instead"
                )
    measured = {(row.system, row.code): other for other, held in library.terminology.items() for row in held.codes}
    for index, row in enumerate(entry.codes):
        if (other := measured.get((row.system, row.code))) is not None:
            message = f"{row.code} is a code of {other}: name that concept in your rule instead"
            yield document.fault(("codes", index), message)
    for index, group in enumerate(entry.member_of):
        if namespace_of(group) != namespace:
            message = f"{group} is ours, and its rules would fire for yours: a site adds codes to it by its site values"
            yield document.fault(("member_of", index), message)
    if entry.input and namespace_of(entry.input) != namespace:
        message = f"begins with your namespace, such as {namespace}-{entry.input}: ours ask for results of ours alone"
        yield document.fault(("input",), message)
    for key in ("counter_ion_of", "beside_a_salt", "not_"):
        if getattr(entry, key):
            yield document.fault((key.strip("_"),), "decides how other names are read: a package cannot")
    if entry.kind in DRUGS:
        yield from _drug_names(library, entry, document)


def name_tokens(entry: Concept) -> list[str]:
    """All names by which a drug is found in a text."""
    return [*entry.names, *entry.brands] if entry.kind in DRUGS else []


def _drug_names(library: Library, entry: Concept, document: Document) -> Iterator[Fault]:
    """No name that stands within one of ours or holds one of ours: the longer one would be read in its place."""
    ours = {tokens(text): other for other, held in library.terminology.items()
            for text in (*name_tokens(held), *([held.title] if held.kind in DRUGS else []))}  # fmt: skip
    ours |= {tokens(row.brand): row.drugs for row in library.products if row.brand}
    fillers = {tokens(row.name): row.name for row in library.other_names if row.kind != "drug"}
    within: dict[tuple[str, ...], str] = {}
    for words, other in ours.items():
        within |= dict.fromkeys(_windows(words), other)
    placed: list[tuple[KeyPath, str]] = [(("title",), entry.title)]
    placed += [((key, i), text) for key in ("names", "brands") for i, text in enumerate(getattr(entry, key))]
    for at, text in placed:
        words = tokens(text)
        inside = (ours[part] for part in _windows(words) if part in ours)
        other = within.get(words) or fillers.get(words) or next(inside, "")
        if words and other:
            message = f"{text!r} would be read in the place of a name of {other}: name that concept, or leave it out"
            yield document.fault(at, message)


def _windows(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every run of words that stand together."""
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            yield words[first:last]
