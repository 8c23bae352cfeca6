"""Files of content read strictly, one by one: every fault is gathered, with file, key and line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from cds_service.content.base import checker
from cds_service.content.concept import Concept, DrugList
from cds_service.content.csvfile import parse_rows
from cds_service.content.families import FAMILIES, Family, ShortRule, fill
from cds_service.content.library import NOT_CONTENT, RULE_FOLDERS, LoadedRule
from cds_service.content.package import Package
from cds_service.content.rule import KEY_ORDER, Rule
from cds_service.content.yamlfile import ContentError, Document, Fault, KeyPath, parse

DRUG_LIST = "terminology/drugs.yaml"
NOT_CONCEPTS = frozenset({"code_systems", "drugs", "units", "routes"})
"""Files of `terminology/` that are tables."""


class Reader:
    """Reads files below a root, and gathers faults instead of stopping at the first."""

    package: Package | None = None
    """Whose rules these are, where they are not ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.documents: dict[str, Document] = {}
        self._read: set[str] = set()
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return self._hash.hexdigest()[:12]

    def called(self, file: str) -> str:
        """How messages name a file."""
        return file

    def id_of(self, stem: str) -> str:
        """The id of what a file of this name holds."""
        return stem

    def document(self, file: str, parser: Callable[[str, str], Document] = parse) -> Document | None:
        self._read.add(file)
        try:
            data = (self.root / file).read_bytes()
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            words = {FileNotFoundError: "is missing", UnicodeDecodeError: "is not UTF-8 text"}
            self.faults.append(Fault(self.called(file), 0, "", words.get(type(error), "cannot be read")))
            return None
        self._hash.update(f"{file}\0{len(data)}\0".encode() + data)
        if not text.endswith("\n"):
            where = self.called(file), text.count("\n") + 1
            self.faults.append(Fault(*where, "", "ends within a line: it is not whole"))
        try:
            document = parser(text, self.called(file))
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

    def read(self, file: str, kind: Any) -> Any:
        """What one file holds, as `kind`: a model, a mapping of models, or a list of rows (CSV). None where it has a
        fault. Of a folder, which ends in a slash, every file by its stem."""
        if file.endswith("/"):
            return self.folder(file.removesuffix("/"), get_args(kind)[1])
        if file.endswith(".csv"):
            (row,) = get_args(kind)
            document = self.document(file, lambda text, name: parse_rows(text, name, row))
            return document.data if document else None
        document = self.document(file)
        return None if document is None else self._validate(document, kind)

    def folder(self, folder: str, model: Any) -> dict[str, Any]:
        """Every file of a folder by its stem."""
        read = {stem: self._validate(document, model) for stem, document in self._documents(folder)}
        return {stem: item for stem, item in read.items() if item is not None}

    def _documents(self, folder: str) -> Iterator[tuple[str, Document]]:
        for path in sorted((self.root / folder).glob("*.yaml")):
            document = None if path.stem in NOT_CONCEPTS else self.document(f"{folder}/{path.name}")
            if document is not None:
                yield path.stem, document

    def drug_list(self) -> dict[str, Concept]:
        """The drugs that stand in one list, a line each."""
        read: DrugList | None = self.read(DRUG_LIST, DrugList)
        drugs = read.concepts() if read else {}
        for name in drugs:
            if (self.root / f"terminology/{name}.yaml").exists():
                self.faults.append(self.documents[DRUG_LIST].fault(("drugs", name), "has a file of its own"))
            self.documents[f"terminology/{name}.yaml"] = self.documents[DRUG_LIST]
        return drugs

    def rules(self, families: Mapping[str, Family], terminology: Mapping[str, Concept]) -> dict[str, LoadedRule]:
        """Every rule by its id; one in the short form of its family is filled first."""
        found: dict[str, LoadedRule] = {}
        read = ((place, *item) for place in RULE_FOLDERS for item in self._documents(place))
        for folder, stem, written in read:
            short, rule_id = isinstance(written.data, dict) and "family" in written.data, self.id_of(stem)
            document = self._filled(rule_id, written, families, terminology) if short else written
            if document is None:
                continue
            self.documents[document.file] = document
            rule: Rule | None = self._validate(document, Rule)
            if rule is None:
                continue
            if rule_id in found:
                self.faults.append(Fault(document.file, 0, "", f"the id {stem} is taken by {found[rule_id].file}"))
            self._key_order(document, KEY_ORDER)
            digest = hashlib.sha256(repr(document.data).encode()).hexdigest()[:8]
            version = f"{rule.reviewed.date.isoformat()}.{digest}"
            file, data = document.file, document.data
            found[rule_id] = LoadedRule(rule_id, folder, file, rule, version, data, self.package)
        return found

    def _filled(
        self, rule_id: str, document: Document, families: Mapping[str, Family], terminology: Mapping[str, Concept]
    ) -> Document | None:
        """A rule in long form, from the short form of its family."""
        short: ShortRule | None = self._validate(document, ShortRule)
        if short is None:
            return None
        self._key_order(document, ShortRule.model_fields)
        if not families:
            return None  # the file of the families has a fault, which is told
        if unknown := list(document.unknown(("family",), short.family, families, f"family in {FAMILIES} named")):
            self.faults += unknown
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

    def _validate(self, document: Document, model: Any) -> Any:
        try:
            return checker(model).validate_python(document.data)
        except ValidationError as error:
            self.faults += faults_of(error, document)
            return None


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
