"""`cards/` read whole and checked whole: every fault at once, with file, key and line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cds_service.content.base import Name
from cds_service.content.checks import check_library
from cds_service.content.concept import ConceptFile
from cds_service.content.csvfile import parse_rows
from cds_service.content.directions import CommonDirections, DirectionWords
from cds_service.content.families import FAMILIES, Family, FamilyName, ShortRule, fill
from cds_service.content.library import NOT_CONTENT, RULE_FOLDERS, Library, LoadedRule, default_root
from cds_service.content.products import Form, OtherIngredient, OtherName, Product
from cds_service.content.rule import KEY_ORDER, Rule
from cds_service.content.shared import (
    Claim,
    Coverage,
    DietaryReference,
    EgfrEquation,
    EvidenceScale,
    Food,
    OverrideReason,
    Reference,
    Salt,
    Screener,
    Service,
    SharedThresholds,
    SourceAttribute,
    Suggestion,
)
from cds_service.content.table_checks import table_faults
from cds_service.content.tables import (
    CodeSystems,
    NameWords,
    PatientStates,
    RouteRows,
    ScheduleTable,
    SearchOutcomes,
    SpecimenComments,
    TimingCodes,
    UnitRows,
)
from cds_service.content.texts import Wording
from cds_service.content.yamlfile import ContentError, Document, Fault, KeyPath, parse
from cds_service.spelling import nearest

NOT_CONCEPTS = frozenset({"code_systems", "units", "routes"})
"""Files of `terminology/` that are tables."""


def load_library(root: Path | None = None) -> Library:
    """Load and check all content below `root`. Raises ContentError with every fault found."""
    reader = Reader(root or default_root())
    terminology = reader.folder("terminology", ConceptFile)
    rules = reader.rules(reader.table(FAMILIES, Family, FamilyName), terminology)
    no_thresholds = SharedThresholds(thresholds={}, inpatient_classes=[])
    shared = reader.one("tables/thresholds.yaml", SharedThresholds, no_thresholds)
    systems = reader.one("terminology/code_systems.yaml", CodeSystems)
    units = reader.one("terminology/units.yaml", UnitRows)
    routes = reader.one("terminology/routes.yaml", RouteRows)
    library = Library(
        rules=rules,
        terminology=terminology,
        references=reader.table("references.yaml", Reference),
        evidence=reader.one("evidence.yaml", EvidenceScale),
        services=reader.table("services.yaml", Service, key=str),
        source_attributes=reader.table("source_attributes.yaml", SourceAttribute),
        override_reasons=reader.table("override_reasons.yaml", OverrideReason),
        suggestions=reader.table("suggestions.yaml", Suggestion),
        wording=reader.one("wording.yaml", Wording),
        claims=reader.table("claims.yaml", Claim, key=str),
        coverage=reader.table("coverage.yaml", Coverage),
        intakes=reader.one("tables/dietary_reference_intakes.yaml", DietaryReference),
        foods=reader.table("tables/foods.yaml", Food),
        salts=reader.table("tables/salts.yaml", Salt),
        screener=reader.one("tables/intake_screener.yaml", Screener),
        schedule=reader.one("tables/schedule.yaml", ScheduleTable),
        egfr=reader.one("tables/ckd_epi_2021.yaml", EgfrEquation),
        shared_thresholds=shared.thresholds,
        inpatient_classes=frozenset(shared.inpatient_classes),
        code_systems=systems.systems if systems else {},
        units=units.units if units else {},
        routes=routes.routes if routes else {},
        directions=reader.one("tables/directions.yaml", CommonDirections),
        languages=reader.folder("tables/directions", DirectionWords),
        name_words=reader.one("tables/name_words.yaml", NameWords),
        timing_codes=reader.one("tables/timing_codes.yaml", TimingCodes),
        specimen_comments=reader.one("tables/specimen_comments.yaml", SpecimenComments),
        patient_states=reader.one("tables/patient_states.yaml", PatientStates),
        search_outcomes=reader.one("tables/search_outcomes.yaml", SearchOutcomes),
        dose_forms=reader.rows("terminology/dose_forms.csv", Form),
        products=reader.rows("terminology/rxnorm_products.csv", Product),
        other_ingredients=reader.rows("terminology/other_ingredients.csv", OtherIngredient),
        other_names=reader.rows("terminology/other_names.csv", OtherName),
        digest=reader.digest(),
    )
    reader.nothing_left()
    if not reader.faults:
        reader.faults += [*check_library(library, reader.documents), *table_faults(library, reader.documents)]
    if reader.faults:
        raise ContentError(reader.faults)
    return library


class Reader:
    """Reads files below a root, and gathers faults instead of stopping at the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.documents: dict[str, Document] = {}
        self._read: set[str] = set()
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return self._hash.hexdigest()[:12]

    def document(self, file: str, parser: Callable[[str, str], Document] = parse) -> Document | None:
        self._read.add(file)
        try:
            data = (self.root / file).read_bytes()
            text = data.decode()
        except FileNotFoundError:
            self.faults.append(Fault(file, 0, "", "is missing"))
            return None
        except OSError:
            self.faults.append(Fault(file, 0, "", "cannot be read"))
            return None
        except UnicodeDecodeError:
            self.faults.append(Fault(file, 0, "", "is not UTF-8 text"))
            return None
        self._hash.update(f"{file}\0{len(data)}\0".encode() + data)
        if not text.endswith("\n"):
            self.faults.append(Fault(file, text.count("\n") + 1, "", "ends within a line: it is not whole"))
        try:
            document = parser(text, file)
        except ContentError as error:
            self.faults += error.faults
            return None
        self.documents[file] = document
        return document

    def nothing_left(self) -> None:
        """A file that nobody read is a fault: it looks like content and has no say."""
        for path in sorted(self.root.rglob("*")):
            file = path.relative_to(self.root).as_posix()
            known = file in self._read or file in NOT_CONTENT or "__pycache__" in path.parts
            if not known and not path.is_dir():
                self.faults.append(Fault(file, 0, "", "is read by nothing: no content has this name"))

    def rows(self, file: str, model: Any) -> list[Any]:
        """The rows of a CSV table."""
        document = self.document(file, lambda text, name: parse_rows(text, name, model))
        return document.data if document else []

    def one(self, file: str, model: Any, default: Any = None) -> Any:
        document = self.document(file)
        return default if document is None else self._validate(document, model, default)

    def table(self, file: str, model: Any, key: Any = Name) -> dict[str, Any]:
        document = self.document(file)
        if document is None:
            return {}
        return self._validate(document, dict[key, model], {}) or {}

    def folder(self, folder: str, model: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in sorted((self.root / folder).glob("*.yaml")):
            file = f"{folder}/{path.name}"
            if path.stem in NOT_CONCEPTS:
                continue
            document = self.document(file)
            if document is None:
                continue
            item = self._validate(document, model, None)
            if item is not None:
                found[path.stem] = item
        return found

    def rules(self, families: Mapping[str, Family], terminology: Mapping[str, ConceptFile]) -> dict[str, LoadedRule]:
        """Every rule by its id; one in the short form of its family is filled first."""
        found: dict[str, LoadedRule] = {}
        for folder in RULE_FOLDERS:
            for path in sorted((self.root / folder).glob("*.yaml")):
                file = f"{folder}/{path.name}"
                document = self.document(file)
                if document is not None and isinstance(document.data, dict) and "family" in document.data:
                    document = self._filled(path.stem, document, families, terminology)
                if document is None:
                    continue
                self.documents[file] = document
                rule: Rule | None = self._validate(document, Rule, None)
                if rule is None:
                    continue
                if path.stem in found:
                    self.faults.append(Fault(file, 0, "", f"the id {path.stem} is taken by {found[path.stem].file}"))
                self._key_order(document, KEY_ORDER)
                digest = hashlib.sha256(repr(document.data).encode()).hexdigest()[:8]
                version = f"{rule.reviewed.date.isoformat()}.{digest}"
                found[path.stem] = LoadedRule(path.stem, folder, file, rule, version, document.data)
        return found

    def _filled(
        self, rule_id: str, document: Document, families: Mapping[str, Family], terminology: Mapping[str, ConceptFile]
    ) -> Document | None:
        """A rule in long form, from the short form of its family."""
        short: ShortRule | None = self._validate(document, ShortRule, None)
        if short is None:
            return None
        self._key_order(document, ShortRule.model_fields)
        if not families:
            return None  # the file of the families has a fault, which is told
        if short.family not in families:
            message = f"no family {short.family} in {FAMILIES}{nearest(short.family, families)}"
            self.faults.append(document.fault(("family",), message))
            return None
        family, shared = families[short.family], self.documents[FAMILIES]
        title = terminology[short.drug].title if short.drug in terminology else short.drug
        try:
            return fill(rule_id, document, short, family, shared, title)
        except ContentError as error:
            self.faults += error.faults
            return None

    def _key_order(self, document: Document, order: Iterable[str]) -> None:
        keys = list(document.data)
        wanted = [key for key in order if key in keys]
        for key, expected in zip(keys, wanted, strict=False):
            if key != expected:
                self.faults.append(document.fault((key,), f"keys stand in the order {', '.join(wanted)}"))
                return

    def _validate(self, document: Document, model: Any, default: Any) -> Any:
        try:
            return TypeAdapter(model).validate_python(document.data)
        except ValidationError as error:
            self.faults += faults_of(error, document)
            return default


def faults_of(error: ValidationError, document: Document) -> list[Fault]:
    """Pydantic's errors as faults with our lines; union tags that are no keys of the file are left out of the path."""
    faults = []
    for item in error.errors(include_url=False, include_input=False):
        path: KeyPath = ()
        for part in item["loc"]:
            here = (*path, str(part) if not isinstance(part, int) else part)
            if here in document.lines or (part == item["loc"][-1] and item["type"] in ("missing", "extra_forbidden")):
                path = here
        message = item["msg"].removeprefix("Value error, ")
        faults.append(document.fault(path, message[0].lower() + message[1:]))
    return faults
