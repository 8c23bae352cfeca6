"""Checks across files: names that pages use exist, numbers have a source, sentences keep the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cds_service.content.names import nearest
from cds_service.content.pages import (
    AgeTest,
    ConditionTest,
    DailyMagnesiumTest,
    IntakeTest,
    KidneyTest,
    LabTest,
    MagnesiumProductsTest,
    MedicationTest,
    NoRecentLabTest,
    Page,
    ReasonTest,
)
from cds_service.content.placeholders import offered, placeholders_in
from cds_service.content.yamlfile import Document, Fault, KeyPath

if TYPE_CHECKING:
    from cds_service.content.library import Library, LoadedPage

SUMMARY_LIMIT = 139
# Card-writing rule: options, not orders; nothing is called safe or normal. These are editorial, not clinical.
FORBIDDEN = re.compile(
    r"\b(must|stop immediately|guarantee\w*|safe|safely|no interactions?|normal magnesium|magnesium (is )?normal)\b",
    re.IGNORECASE,
)


def check_library(library: Library, documents: Mapping[str, Document]) -> list[Fault]:
    """Every fault that needs more than one file to see."""
    faults: list[Fault] = []
    for loaded in library.pages.values():
        faults += _PageCheck(library, loaded, documents[loaded.file]).faults()
    faults += _terminology(library, documents)
    faults += _tables(library, documents)
    faults += _claims(library, documents)
    return faults


def thresholds_named(page: Page) -> Iterator[tuple[KeyPath, str]]:
    """Every threshold name that the page's trigger uses, with its place."""
    if page.separate:
        yield ("separate", "drug_then_magnesium"), page.separate.drug_then_magnesium
        yield ("separate", "magnesium_then_drug"), page.separate.magnesium_then_drug
    for key in ("age_at_least", "age_below"):
        if name := getattr(page.applies_to, key):
            yield ("applies_to", key), name
    if page.applies_to.recent_result:
        yield ("applies_to", "recent_result", "within"), page.applies_to.recent_result.within
    for part in ("all", "any", "none") if page.when else ():
        for index, test in enumerate(getattr(page.when, part)):
            at: KeyPath = ("when", part, index)
            match test:
                case LabTest():
                    for word in ("below", "at_most", "above", "at_least"):
                        if name := getattr(test, word):
                            yield (*at, word), name
                    yield (*at, "within"), test.within
                    if test.persists:
                        yield (*at, "persists", "apart"), test.persists.apart
                case NoRecentLabTest() | IntakeTest():
                    yield (*at, "within"), test.within
                case KidneyTest():
                    for word, value in test.kidney.items():
                        if isinstance(value, str):
                            yield (*at, "kidney", word), value
                    yield (*at, "within"), test.within
                case AgeTest():
                    for word, value in test.age.items():
                        yield (*at, "age", word), value
                case MedicationTest():
                    for word in ("ended_within", "taken_for"):
                        if name := getattr(test, word):
                            yield (*at, word), name
                case MagnesiumProductsTest():
                    yield (*at, "magnesium_products", "at_least"), test.magnesium_products["at_least"]
                case DailyMagnesiumTest():
                    for word, value in test.daily_magnesium.items():
                        if value != "upper_level_for_age":
                            yield (*at, "daily_magnesium", word), value
                case _:
                    pass


def concepts_named(page: Page) -> Iterator[tuple[KeyPath, str, tuple[str, ...]]]:
    """Every concept that the page names, with its place and the kinds that fit there."""
    drugs = ("drug", "drug_class")
    for block in ("separate", "avoid"):
        if value := getattr(page, block):
            yield (block, "drug"), value.drug, drugs
            for name in value.magnesium:
                yield (block, "magnesium"), name, drugs
    if page.applies_to.recent_result:
        yield ("applies_to", "recent_result", "lab"), page.applies_to.recent_result.lab, ("lab",)
    for name in page.applies_to.unless_medication:
        yield ("applies_to", "unless_medication"), name, drugs
    for name in page.applies_to.unless_condition:
        yield ("applies_to", "unless_condition"), name, ("condition",)
    for part in ("all", "any", "none") if page.when else ():
        for index, test in enumerate(getattr(page.when, part)):
            at: KeyPath = ("when", part, index)
            match test:
                case LabTest():
                    yield (*at, "lab"), test.lab, ("lab",)
                    for item in test.persists.despite if test.persists else ():
                        yield (*at, "persists", "despite"), item, drugs
                case NoRecentLabTest():
                    yield (*at, "no_recent_lab"), test.no_recent_lab, ("lab",)
                case ConditionTest():
                    for item in test.condition:
                        yield (*at, "condition"), item, ("condition",)
                case ReasonTest():
                    for item in test.reason:
                        yield (*at, "reason"), item, ("condition",)
                case MedicationTest():
                    for item in test.medication:
                        yield (*at, "medication"), item, drugs
                case _:
                    pass


class _PageCheck:
    def __init__(self, library: Library, loaded: LoadedPage, document: Document) -> None:
        self.library, self.page, self.document = library, loaded.page, document

    def faults(self) -> Iterator[Fault]:
        yield from self._names()
        yield from self._thresholds()
        yield from self._concepts()
        yield from self._references()
        yield from self._wording()

    def _unknown(self, path: KeyPath, name: str, known: Iterable[str], what: str) -> Iterator[Fault]:
        if name not in known:
            yield self.document.fault(path, f"no {what} {name}{nearest(name, known)}")

    def _names(self) -> Iterator[Fault]:
        library, card = self.library, self.page.card
        for index, name in enumerate(self.page.services):
            yield from self._unknown(("services", index), name, library.services, "service in services.yaml named")
        ordering = {name for name, service in library.services.items() if service.hook != "patient-view"}
        if card.contraindicates_magnesium and ordering - {*self.page.services} not in (ordering, set()):
            message = "a page that speaks against magnesium when it is ordered belongs to every order service"
            yield self.document.fault(("services",), f"{message}: {', '.join(sorted(ordering))}")
        for index, name in enumerate(card.suggest):
            yield from self._unknown(("card", "suggest", index), name, library.suggestions, "suggestion named")
        for index, name in enumerate(card.override_reasons):
            known = library.override_reasons
            yield from self._unknown(("card", "override_reasons", index), name, known, "override reason named")
        yield from self._unknown(("card", "topic"), card.topic, library.wording.topics, "topic in wording.yaml named")
        for index, name in enumerate(self.page.claims):
            yield from self._unknown(("claims", index), name, library.claims, "claim")
        for name in self.page.source_attributes:
            yield from self._unknown(("source_attributes", name), name, library.source_attributes, "source attribute")

    def _thresholds(self) -> Iterator[Fault]:
        own, shared = self.page.thresholds, self.library.shared_thresholds
        used = set()
        for path, name in thresholds_named(self.page):
            used.add(name)
            yield from self._unknown(path, name, {**shared, **own}, "threshold named")
        for name, threshold in own.items():
            if name in shared:
                yield self.document.fault(("thresholds", name), "is also a shared threshold; give it another name")
            if name not in used and not any(f"{{{name}}}" in text for text in _texts(self.page)):
                yield self.document.fault(("thresholds", name), "is not used")
            yield from self._reference(("thresholds", name, "reference"), threshold.reference)

    def _concepts(self) -> Iterator[Fault]:
        forms = {row.form for row in self.library.dose_forms if row.form}
        for index, form in enumerate(self.page.separate.unless_form if self.page.separate else ()):
            at: KeyPath = ("separate", "unless_form", index)
            yield from self._unknown(at, form, forms, "form in terminology/dose_forms.csv named")
        for path, name, kinds in concepts_named(self.page):
            fitting = {key for key, page in self.library.terminology.items() if page.kind in kinds}
            yield from self._unknown(path, name, fitting, f"{kinds[0]} in terminology/ named")

    def _references(self) -> Iterator[Fault]:
        for index, name in enumerate(self.page.evidence.references):
            yield from self._reference(("evidence", "references", index), name)

    def _reference(self, path: KeyPath, name: str) -> Iterator[Fault]:
        reference = self.library.references.get(name)
        if reference is None:
            yield from self._unknown(path, name, self.library.references, "reference")
        elif not reference.citable:
            yield self.document.fault(path, f"{name} has status {reference.status} and cannot be shown as a source")

    def _wording(self) -> Iterator[Fault]:
        page = self.page
        known = offered(page, frozenset({**self.library.shared_thresholds, **page.thresholds}))
        card = page.card
        texts: list[tuple[KeyPath, str]] = [(("card", "summary"), card.summary or "")]
        texts += [(("card", "short"), card.short or ""), (("card", "detail"), card.detail or "")]
        texts += [(("card", "consider", index), text) for index, text in enumerate(card.consider)]
        for path, text in texts:
            for name in placeholders_in(text):
                yield from self._unknown(path, name, known, "placeholder filled by this page's tests is named")
            if found := FORBIDDEN.search(text):
                yield self.document.fault(path, f"the word '{found.group()}' does not belong on a card")
        if card.summary and len(card.summary) > SUMMARY_LIMIT:
            yield self.document.fault(("card", "summary"), f"is longer than {SUMMARY_LIMIT} characters")


def _claims(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Claims and pages name each other; references and pages exist."""
    document = documents["claims.yaml"]
    for key, claim in library.claims.items():
        for index, name in enumerate(claim.references):
            if name not in library.references:
                message = f"no reference {name}{nearest(name, library.references)}"
                yield document.fault((key, "references", index), message)
        using = {loaded.id for loaded in library.pages.values() if key in loaded.page.claims}
        for name in sorted(using ^ set(claim.pages)):
            yield document.fault((key, "pages"), f"{name} and this claim do not name each other")
    for key, row in library.coverage.items():
        for index, name in enumerate(row.pages):
            if name not in library.pages:
                message = f"no page {name}{nearest(name, library.pages)}"
                yield documents["coverage.yaml"].fault((key, "pages", index), message)


def _texts(page: Page) -> Iterator[str]:
    yield page.card.summary or ""
    yield page.card.detail or ""
    yield from page.card.consider


def _terminology(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    for concept, page in library.terminology.items():
        document = documents[f"terminology/{concept}.yaml"]
        for key in ("members", "member_of"):
            for index, name in enumerate(getattr(page, key)):
                if name not in library.terminology:
                    message = f"no terminology page {name}{nearest(name, library.terminology)}"
                    yield document.fault((key, index), message)
        if page.kind == "lab" and page.input and not page.unit:
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
            yield documents[file].fault((key,), f"no terminology page {key}{nearest(key, library.terminology)}")
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
        yield from cited("tables/thresholds.yaml", ("thresholds", name, "reference"), threshold.reference)
    yield from cited("evidence.yaml", ("reference",), library.evidence.reference)
    for name, suggestion in library.suggestions.items():
        lab = getattr(suggestion, "lab", None)
        if lab is not None and (lab not in library.terminology or library.terminology[lab].order is None):
            yield documents["suggestions.yaml"].fault((name, "lab"), f"terminology/{lab}.yaml names no test to order")
