"""Checks across files: names that rules use exist, numbers have a source, sentences are as the house writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cds_service.content.base import UNIT_OF_THE_LAB, Named, named
from cds_service.content.placeholders import offered, placeholders_in
from cds_service.content.rule import Rule, Threshold
from cds_service.content.yamlfile import Document, Fault, KeyPath
from cds_service.spelling import nearest

if TYPE_CHECKING:
    from cds_service.content.library import Library, LoadedRule

SUMMARY_LIMIT = 139
# Card-writing rule: options, not orders; nothing is called safe or normal. These are editorial, not clinical.
FORBIDDEN = re.compile(
    r"\b(must|stop immediately|guarantee\w*|safe|safely|no interactions?|normal magnesium|magnesium (is )?normal)\b",
    re.IGNORECASE,
)


def check_library(library: Library, documents: Mapping[str, Document]) -> list[Fault]:
    """Every fault that needs more than one file to see."""
    faults: list[Fault] = []
    for loaded in library.rules.values():
        faults += _RuleCheck(library, loaded, documents[loaded.file]).faults()
    faults += _terminology(library, documents)
    faults += _tables(library, documents)
    faults += _claims(library, documents)
    return faults


class _RuleCheck:
    def __init__(self, library: Library, loaded: LoadedRule, document: Document) -> None:
        self.library, self.rule, self.document = library, loaded.rule, document

    def faults(self) -> Iterator[Fault]:
        yield from self._names()
        yield from self._thresholds()
        yield from self._named()
        yield from self._references()
        yield from self._wording()

    def _unknown(self, path: KeyPath, name: str, known: Iterable[str], what: str) -> Iterator[Fault]:
        if name not in known:
            yield self.document.fault(path, f"no {what} {name}{nearest(name, known)}")

    def _names(self) -> Iterator[Fault]:
        library, card = self.library, self.rule.card
        for index, name in enumerate(self.rule.services):
            yield from self._unknown(("services", index), name, library.services, "service in services.yaml named")
        ordering = {name for name, service in library.services.items() if service.hook != "patient-view"}
        if card.contraindicates_magnesium and ordering - {*self.rule.services} not in (ordering, set()):
            message = "a rule that speaks against magnesium when it is ordered belongs to every order service"
            yield self.document.fault(("services",), f"{message}: {', '.join(sorted(ordering))}")
        for index, name in enumerate(card.suggest):
            yield from self._unknown(("card", "suggest", index), name, library.suggestions, "suggestion named")
        for index, name in enumerate(card.override_reasons):
            known = library.override_reasons
            yield from self._unknown(("card", "override_reasons", index), name, known, "override reason named")
        yield from self._unknown(("card", "topic"), card.topic, library.wording.topics, "topic in wording.yaml named")
        for index, name in enumerate(self.rule.claims):
            yield from self._unknown(("claims", index), name, library.claims, "claim")
        for name in self.rule.source_attributes:
            yield from self._unknown(("source_attributes", name), name, library.source_attributes, "source attribute")

    def _thresholds(self) -> Iterator[Fault]:
        own, shared = self.rule.thresholds, self.library.shared_thresholds
        used = {item.name for item in self.rule.named() if item.mark.what == "threshold"}
        for name, threshold in own.items():
            if name in shared:
                yield self.document.fault(("thresholds", name), "is also a shared threshold; give it another name")
            if name not in used and not any(f"{{{name}}}" in text for text in _texts(self.rule)):
                yield self.document.fault(("thresholds", name), "is not used")
            yield from self._reference(("thresholds", name, "reference"), threshold.reference)
            yield from _holds_for(self.document, ("thresholds", name), threshold, {**shared, **own})

    def _named(self) -> Iterator[Fault]:
        """Whatever the rule's tests and other blocks name, by the types of their fields."""
        for at, part in self.rule.parts():
            names = list(named(part, at))
            lab = next((item.name for item in names if item.mark.what == "lab"), "")
            for item in names:
                match item.mark.what:
                    case "threshold":
                        yield from self._threshold(item, lab)
                    case "form":
                        forms = {row.form for row in self.library.dose_forms if row.form}
                        yield from self._unknown(item.at, item.name, forms, "form in terminology/dose_forms.csv named")
                    case _:
                        entries, kinds = self.library.terminology, item.mark.kinds
                        fitting = {name for name, entry in entries.items() if entry.kind in kinds}
                        yield from self._unknown(item.at, item.name, fitting, f"{kinds[0]} in terminology/ named")

    def _threshold(self, item: Named, lab: str) -> Iterator[Fault]:
        """It exists, and has the unit in which it is compared; `lab` is the first that the same test names."""
        known = {**self.library.shared_thresholds, **self.rule.thresholds}
        yield from self._unknown(item.at, item.name, known, "threshold named")
        unit = item.mark.unit
        if unit == UNIT_OF_THE_LAB:
            unit = self.library.unit(lab) if lab in self.library.terminology else ""
        if unit and item.name in known and known[item.name].unit != unit:
            message = f"the unit of {item.name} is {known[item.name].unit}; it has to be {unit} here"
            yield self.document.fault(item.at, message)

    def _references(self) -> Iterator[Fault]:
        for index, name in enumerate(self.rule.evidence.references):
            yield from self._reference(("evidence", "references", index), name)

    def _reference(self, path: KeyPath, name: str) -> Iterator[Fault]:
        reference = self.library.references.get(name)
        if reference is None:
            yield from self._unknown(path, name, self.library.references, "reference")
        elif not reference.citable:
            yield self.document.fault(path, f"{name} has status {reference.status} and cannot be shown as a source")

    def _wording(self) -> Iterator[Fault]:
        rule = self.rule
        known = offered(rule, frozenset({**self.library.shared_thresholds, **rule.thresholds}))
        card = rule.card
        texts: list[tuple[KeyPath, str]] = [(("card", "summary"), card.summary or "")]
        texts += [(("card", "short"), card.short or ""), (("card", "detail"), card.detail or "")]
        texts += [(("card", "consider", index), text) for index, text in enumerate(card.consider)]
        for path, text in texts:
            for name in placeholders_in(text):
                yield from self._unknown(path, name, known, "placeholder filled by this rule's tests is named")
            if found := FORBIDDEN.search(text):
                yield self.document.fault(path, f"the word '{found.group()}' does not belong on a card")
        if card.summary and len(card.summary) > SUMMARY_LIMIT:
            yield self.document.fault(("card", "summary"), f"is longer than {SUMMARY_LIMIT} characters")


def _holds_for(
    document: Document, path: KeyPath, threshold: Threshold, known: Mapping[str, Threshold]
) -> Iterator[Fault]:
    """The thresholds that `holds_for` names exist: an age, and a limit in the same unit."""
    for key, unit in (("age_at_least", "a"), ("otherwise", threshold.unit), ("never_past", threshold.unit)):
        name = getattr(threshold.holds_for, key, None)
        if name and (name not in known or known[name].unit != unit):
            message = f"no threshold in {unit} named {name}{nearest(name, known)}"
            yield document.fault((*path, "holds_for", key), message)


def _claims(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Claims and rules name each other; references and rules exist."""
    document = documents["claims.yaml"]
    for key, claim in library.claims.items():
        for index, name in enumerate(claim.references):
            if name not in library.references:
                message = f"no reference {name}{nearest(name, library.references)}"
                yield document.fault((key, "references", index), message)
        using = {loaded.id for loaded in library.rules.values() if key in loaded.rule.claims}
        for name in sorted(using ^ set(claim.rules)):
            yield document.fault((key, "rules"), f"{name} and this claim do not name each other")
    for key, row in library.coverage.items():
        for index, name in enumerate(row.rules):
            if name not in library.rules:
                message = f"no rule {name}{nearest(name, library.rules)}"
                yield documents["coverage.yaml"].fault((key, "rules", index), message)


def _texts(rule: Rule) -> Iterator[str]:
    yield rule.card.summary or ""
    yield rule.card.detail or ""
    yield from rule.card.consider


def _terminology(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    for concept, entry in library.terminology.items():
        document = documents[f"terminology/{concept}.yaml"]
        for key in ("members", "member_of"):
            for index, name in enumerate(getattr(entry, key)):
                if name not in library.terminology:
                    message = f"no concept {name}{nearest(name, library.terminology)}"
                    yield document.fault((key, index), message)
        if entry.kind == "lab" and entry.input and not entry.unit:
            yield document.fault(("unit",), "a lab that is read needs a unit")


def _tables(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    def cited(file: str, path: KeyPath, name: str) -> Iterator[Fault]:
        reference = library.references.get(name)
        if reference is None or not reference.citable:
            yield documents[file].fault(path, f"no citable reference {name}{nearest(name, library.references)}")

    for key, salt in library.salts.items():
        file = "tables/salts.yaml"
        yield from cited(file, (key, "reference"), salt.reference)
        if key not in library.terminology:
            yield documents[file].fault((key,), f"no concept {key}{nearest(key, library.terminology)}")
    for key, food in library.foods.items():
        yield from cited("tables/foods.yaml", (key, "reference"), food.reference)
    for key, item in library.screener.items.items():
        for index, name in enumerate(item.foods):
            if name not in library.foods:
                message = f"no food {name}{nearest(name, library.foods)}"
                yield documents["tables/intake_screener.yaml"].fault(("items", key, "foods", index), message)
    for part, regions in library.intakes.references.items():
        for region, names in regions.items():
            for index, name in enumerate(names):
                path = ("references", part, region, index)
                yield from cited("tables/dietary_reference_intakes.yaml", path, name)
    yield from cited("tables/ckd_epi_2021.yaml", ("reference",), library.egfr.reference)
    for name, threshold in library.shared_thresholds.items():
        at, document = ("thresholds", name), documents["tables/thresholds.yaml"]
        yield from cited("tables/thresholds.yaml", (*at, "reference"), threshold.reference)
        yield from _holds_for(document, at, threshold, library.shared_thresholds)
    yield from cited("evidence.yaml", ("reference",), library.evidence.reference)
    for name, suggestion in library.suggestions.items():
        lab = getattr(suggestion, "lab", None)
        if lab is not None and (lab not in library.terminology or library.terminology[lab].order is None):
            yield documents["suggestions.yaml"].fault((name, "lab"), f"terminology/{lab}.yaml names no test to order")
