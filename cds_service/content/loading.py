"""`cards/` read whole and checked whole: every fault at once, with file, key and line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from cds_service.content.checks import check_library
from cds_service.content.concept import Concept, DrugList
from cds_service.content.csvfile import parse_rows
from cds_service.content.families import FAMILIES, Family, FamilyName, ShortRule, fill
from cds_service.content.library import NOT_CONTENT, RULE_FOLDERS, Library, LoadedRule, default_root
from cds_service.content.rule import KEY_ORDER, Rule
from cds_service.content.table_checks import table_faults
from cds_service.content.yamlfile import ContentError, Document, Fault, KeyPath, parse

DRUG_LIST = "terminology/drugs.yaml"
NOT_CONCEPTS = frozenset({"code_systems", "drugs", "units", "routes"})
"""Files of `terminology/` that are tables."""


def load_library(root: Path | None = None) -> Library:
    """Load and check all content below `root`. Raises ContentError with every fault found."""
    return read_content(root)[0]


def read_content(root: Path | None = None) -> tuple[Library, Mapping[str, Document]]:
    """The same, and the files as they are written."""
    reader = Reader(root or default_root())
    listed, own = reader.drug_list(), reader.folder("terminology", Concept)
    terminology = {**own, **listed}
    rules = reader.rules(reader.read(FAMILIES, dict[FamilyName, Family]) or {}, terminology)
    types = get_type_hints(Library, include_extras=True).items()
    files = {name: reader.read(hint.__metadata__[0], hint.__origin__) for name, hint in types if _is_file(hint)}
    library = Library(rules=rules, terminology=terminology, listed=frozenset(listed), digest=reader.digest(), **files)
    reader.nothing_left()
    if not reader.faults:
        reader.faults += [*check_library(library, reader.documents), *table_faults(library, reader.documents)]
    if reader.faults:
        raise ContentError(reader.faults)
    return library, reader.documents


def _is_file(hint: Any) -> bool:
    return get_origin(hint) is Annotated


_LISTED = re.compile(r"\]\(([\w/]+\.yaml)\)")


def gone_files(root: Path) -> list[Fault]:
    """Files that the catalogue of the rules (README.md) lists and that are not there. Of a file that no other names,
    nothing else tells that it was once there."""
    try:
        lines = (root / "README.md").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [Fault("README.md", 0, "", "cannot be read, so nobody knows whether a file is gone: run the catalogue")]
    listed = ((number, file) for number, line in enumerate(lines, 1) for file in _LISTED.findall(line))
    message = "is gone. If that is meant, run `magnesium-cds catalogue`"
    return [
        Fault("README.md", number, "", f"{file} {message}") for number, file in listed if not (root / file).exists()
    ]


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
        except (OSError, UnicodeDecodeError) as error:
            words = {FileNotFoundError: "is missing", UnicodeDecodeError: "is not UTF-8 text"}
            self.faults.append(Fault(file, 0, "", words.get(type(error), "cannot be read")))
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
            short = isinstance(written.data, dict) and "family" in written.data
            document = self._filled(stem, written, families, terminology) if short else written
            if document is None:
                continue
            self.documents[document.file] = document
            rule: Rule | None = self._validate(document, Rule)
            if rule is None:
                continue
            if stem in found:
                self.faults.append(Fault(document.file, 0, "", f"the id {stem} is taken by {found[stem].file}"))
            self._key_order(document, KEY_ORDER)
            digest = hashlib.sha256(repr(document.data).encode()).hexdigest()[:8]
            version = f"{rule.reviewed.date.isoformat()}.{digest}"
            found[stem] = LoadedRule(stem, folder, document.file, rule, version, document.data)
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
            return TypeAdapter(model).validate_python(document.data)
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
