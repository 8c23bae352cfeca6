"""Checks across files: names that rules use exist, numbers have a source, sentences are as the house writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cds_service.content.base import UNIT_OF_THE_LAB, Named, named
from cds_service.content.rule import PLACEHOLDER, Rule, Threshold
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
        for index, name in enumerate(self.rule.evidence.references):
            yield from _cited(self.library, self.document, ("evidence", "references", index), name)
        yield from self._wording()

    def _names(self) -> Iterator[Fault]:
        library, card, document = self.library, self.rule.card, self.document
        services = library.services
        yield from document.unknown_in(("services",), self.rule.services, services, "service in services.yaml named")
        ordering = {name for name, service in services.items() if service.hook != "patient-view"}
        if card.contraindicates_magnesium and ordering - {*self.rule.services} not in (ordering, set()):
            message = "a rule that speaks against magnesium when it is ordered belongs to every order service"
            yield self.document.fault(("services",), f"{message}: {', '.join(sorted(ordering))}")
        yield from document.unknown_in(("card", "suggest"), card.suggest, library.suggestions, "suggestion named")
        reasons = library.override_reasons
        yield from document.unknown_in(
            ("card", "override_reasons"), card.override_reasons, reasons, "override reason named"
        )
        yield from document.unknown(
            ("card", "topic"), card.topic, library.wording.topics, "topic in wording.yaml named"
        )
        yield from document.unknown_in(("claims",), self.rule.claims, library.claims, "claim")
        attributes = library.source_attributes
        for name in self.rule.source_attributes:
            yield from document.unknown(("source_attributes", name), name, attributes, "source attribute")

    def _thresholds(self) -> Iterator[Fault]:
        own, shared = self.rule.thresholds, self.library.shared_thresholds
        used = {item.name for item in self.rule.named() if item.mark.what == "threshold"}
        used |= {item.holds_for.otherwise for item in own.values() if item.holds_for and item.holds_for.otherwise}
        for name, threshold in own.items():
            if name in shared:
                yield self.document.fault(("thresholds", name), "is also a shared threshold; give it another name")
            if threshold.instead:
                yield self.document.fault(("thresholds", name, "instead"), "belongs to a shared threshold")
            if name not in used and not any(f"{{{name}}}" in text for text in _texts(self.rule)):
                yield self.document.fault(("thresholds", name), "is not used")
            for at, source in threshold.sources(("thresholds", name)):
                yield from _cited(self.library, self.document, at, source)
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
                        yield from self.document.unknown(
                            item.at, item.name, forms, "form in terminology/dose_forms.csv named"
                        )
                    case _:
                        entries, kinds = self.library.terminology, item.mark.kinds
                        fitting = {name for name, entry in entries.items() if entry.kind in kinds}
                        yield from self.document.unknown(
                            item.at, item.name, fitting, f"{kinds[0]} in terminology/ named"
                        )

    def _threshold(self, item: Named, lab: str) -> Iterator[Fault]:
        """It exists, and has the unit in which it is compared; `lab` is the first that the same test names."""
        known = {**self.library.shared_thresholds, **self.rule.thresholds}
        yield from self.document.unknown(item.at, item.name, known, "threshold named")
        unit = item.mark.unit
        if unit == UNIT_OF_THE_LAB:
            unit = self.library.unit(lab)
        if unit and item.name in known and known[item.name].unit != unit:
            message = f"the unit of {item.name} is {known[item.name].unit}; it has to be {unit} here"
            yield self.document.fault(item.at, message)

    def _limits_said(self) -> tuple[set[str], set[str]]:
        """Thresholds in the unit of a lab that is sent in others too, and how a text says them beside a result."""
        entries = self.library.terminology
        units = {
            entry.unit for entry in entries.values() if entry.kind == "lab" and (entry.site_units or entry.sent_in)
        }
        known = {**self.library.shared_thresholds, **self.rule.thresholds}
        bare = {name for name, threshold in known.items() if threshold.unit in units}
        labs = {name.removesuffix(".limit") for name in self.rule.offers if name.endswith(".limit")} & entries.keys()
        return bare, {f"{lab}.{name}" for lab in labs for name in bare if known[name].unit == entries[lab].unit}

    def _wording(self) -> Iterator[Fault]:
        rule = self.rule
        bare, of_labs = self._limits_said()
        known = rule.offers.union(self.library.shared_thresholds, rule.thresholds, of_labs)
        card = rule.card
        texts: list[tuple[KeyPath, str]] = [
            (("card", key), getattr(card, key) or "") for key in ("summary", "short", "detail")
        ]
        texts += [(("card", "consider", index), text) for index, text in enumerate(card.options())]
        for path, text in texts:
            for name in PLACEHOLDER.findall(text):
                yield from self.document.unknown(path, name, known, "placeholder filled by this rule's tests is named")
                if name in bare:
                    yield self.document.fault(
                        path, f"{{{name}}} has to stand in the unit of its result: {{LAB.{name}}}"
                    )
            if found := FORBIDDEN.search(text):
                yield self.document.fault(path, f"the word '{found.group()}' does not belong on a card")
        if card.summary and len(card.summary) > SUMMARY_LIMIT:
            yield self.document.fault(("card", "summary"), f"is longer than {SUMMARY_LIMIT} characters")


def _cited(library: Library, document: Document, path: KeyPath, name: str) -> Iterator[Fault]:
    """The reference exists, and may be shown."""
    yield from document.unknown(path, name, library.references, "reference")
    reference = library.references.get(name)
    if reference and not reference.citable:
        yield document.fault(path, f"{name} was not read and cannot be shown as a source")


def _holds_for(
    document: Document, path: KeyPath, threshold: Threshold, known: Mapping[str, Threshold]
) -> Iterator[Fault]:
    """The thresholds that `holds_for` names exist: an age, and limits in the same unit. The limit `otherwise` has no
    `otherwise` of its own, since a ring of them would have no end."""
    for key, unit in (("age_at_least", "a"), ("otherwise", threshold.unit), ("never_past", threshold.unit)):
        name = getattr(threshold.holds_for, key, None)
        if name and (name not in known or known[name].unit != unit):
            message = f"no threshold in {unit} named {name}{nearest(name, known)}"
            yield document.fault((*path, "holds_for", key), message)
    other = known.get(threshold.holds_for.otherwise or "") if threshold.holds_for else None
    if other and other.holds_for and other.holds_for.otherwise:
        message = "names a threshold that has an otherwise of its own"
        yield document.fault((*path, "holds_for", "otherwise"), message)


def _instead(document: Document, path: KeyPath, threshold: Threshold, library: Library) -> Iterator[Fault]:
    """What `instead` names exists: thresholds in the unit that is needed, problems and drugs."""
    known = library.shared_thresholds
    for index, case in enumerate(threshold.instead):
        at = (*path, "instead", index)
        units = {"threshold": threshold.unit, "kidney_below": library.unit("egfr"), "age_at_least": "a"}
        for key, unit in units.items():
            name = getattr(case, key)
            if name and (name not in known or (unit and known[name].unit != unit)):
                yield document.fault((*at, key), f"no shared threshold in {unit} named {name}{nearest(name, known)}")
        for item in named(case, at):
            fitting = [name for name, entry in library.terminology.items() if entry.kind in item.mark.kinds]
            if item.name not in fitting:
                message = f"no {item.mark.kinds[0]} in terminology/ named {item.name}{nearest(item.name, fitting)}"
                yield document.fault(item.at, message)


def _claims(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Claims and rules name each other; references and rules exist."""
    document = documents["claims.yaml"]
    for key, claim in library.claims.items():
        yield from document.unknown_in((key, "references"), claim.references, library.references, "reference")
        using = {loaded.id for loaded in library.rules.values() if key in loaded.rule.claims}
        for name in sorted(using ^ set(claim.rules)):
            yield document.fault((key, "rules"), f"{name} and this claim do not name each other")
    for key, row in library.coverage.items():
        yield from documents["coverage.yaml"].unknown_in((key, "rules"), row.rules, library.rules, "rule")


def _texts(rule: Rule) -> Iterator[str]:
    yield rule.card.summary or ""
    yield rule.card.detail or ""
    yield from rule.card.options()


def _terminology(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    for concept, entry in library.terminology.items():
        document = documents[f"terminology/{concept}.yaml"]
        for key in ("members", "member_of"):
            yield from document.unknown_in((key,), getattr(entry, key), library.terminology, "concept")
        if entry.kind == "lab" and entry.input and not entry.unit:
            yield document.fault(("unit",), "a lab that is read needs a unit")


def _tables(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    cited: list[tuple[str, KeyPath, str]] = [
        ("tables/ckd_epi_2021.yaml", ("reference",), library.egfr.reference),
        ("tables/ckd_epi_2021.yaml", ("accuracy", "reference"), library.egfr.accuracy.reference),
        *(("evidence.yaml", ("references", index), name) for index, name in enumerate(library.evidence.references)),
    ]
    cited += [("tables/salts.yaml", (key, "reference"), salt.reference) for key, salt in library.salts.items()]
    named = library.named_products.items()
    cited += [("tables/named_products.yaml", (key, "reference"), product.reference) for key, product in named]
    cited += [("tables/foods.yaml", (key, "reference"), food.reference) for key, food in library.foods.items()]
    for name, threshold in library.shared_thresholds.items():
        sources = threshold.sources(("thresholds", name))
        cited += [("tables/thresholds.yaml", at, source) for at, source in sources]
    for key, treatment in library.treatment.items():
        for place, point in enumerate(treatment.points):
            lines = (((key, "points", place, "references", index), name) for index, name in enumerate(point.references))
            cited += [("tables/treatment.yaml", path, name) for path, name in lines]
    for part, regions in library.intakes.references.items():
        for region, names in regions.items():
            places = ((("references", part, region, index), name) for index, name in enumerate(names))
            cited += [("tables/dietary_reference_intakes.yaml", path, name) for path, name in places]
    for file, path, name in cited:
        yield from _cited(library, documents[file], path, name)
    problems = {loaded.rule.card.problem for loaded in library.rules.values()}
    for key in library.treatment:
        yield from documents["tables/treatment.yaml"].unknown((key,), key, problems, "problem of a rule")
    for key in library.salts:
        yield from documents["tables/salts.yaml"].unknown((key,), key, library.terminology, "concept")
    for key, item in library.screener.items.items():
        document = documents["tables/intake_screener.yaml"]
        yield from document.unknown_in(("items", key, "foods"), item.foods, library.foods, "food")
    for name, threshold in library.shared_thresholds.items():
        at, document = ("thresholds", name), documents["tables/thresholds.yaml"]
        yield from _holds_for(document, at, threshold, library.shared_thresholds)
        yield from _instead(document, at, threshold, library)
    for name, suggestion in library.suggestions.items():
        lab = getattr(suggestion, "lab", None)
        if lab is not None and (lab not in library.terminology or library.terminology[lab].order is None):
            yield documents["suggestions.yaml"].fault((name, "lab"), f"terminology/{lab}.yaml names no test to order")
