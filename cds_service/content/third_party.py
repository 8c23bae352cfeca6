"""Rules of somebody else, in a folder of their own: read as strictly as ours, and put beside ours, never over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cds_service.content.concept import Concept
from cds_service.content.families import FAMILIES, Family
from cds_service.content.library import RULE_FOLDERS, Changes, Library, LoadedRule
from cds_service.content.package import BETWEEN, MANIFEST, Manifest, Package, our_version, own_name
from cds_service.content.package_checks import Additions, clashes, name_tokens
from cds_service.content.reading import Reader
from cds_service.content.shared import OverrideReason, Reference
from cds_service.content.yamlfile import ContentError, Document, Fault, KeyPath
from cds_service.spelling import tokens

REFERENCES, REASONS, CHANGES = "references.yaml", "override_reasons.yaml", "changes.yaml"
SCENARIOS = "scenarios"
BESIDES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")
"""What may lie in the folder and is not read; hidden files, such as those of git, besides."""


@dataclass(frozen=True, slots=True)
class Joined(Document):
    """A file of names that several packages bring a part of: `parts` has the document of each name that is not ours."""

    parts: Mapping[str, Document]

    def fault(self, path: KeyPath, message: str) -> Fault:
        """A fault in the file in which the name stands."""
        name = str(path[0]) if path else ""
        if name not in self.parts:
            return Document(self.file, self.data, self.lines).fault(path, message)
        return self.parts[name].fault((own_name(name), *path[1:]), message)


class PackageReader(Reader):
    """Reads one package. Messages name a file behind the name of its folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._folder = root.resolve().name or str(root)
        self.namespace = ""

    def called(self, file: str) -> str:
        return f"{self._folder}/{file}"

    def id_of(self, stem: str) -> str:
        return f"{self.namespace}{BETWEEN}{stem}"

    def manifest(self) -> Manifest:
        """Raises ContentError where it cannot be used: without it nothing else can be read."""
        if not self.root.is_dir():
            raise ContentError([Fault(str(self.root), 0, "", "is no folder: mend --cards, or the setting `cards`")])
        found: Manifest | None = self.read(MANIFEST, Manifest)
        if found is not None and not found.made_for.holds(our_version()):
            wanted = f"{found.made_for.from_} or later, and below {found.made_for.below}"
            message = f"was made for {wanted}, and this is {our_version()}: try its scenarios, then set made_for"
            self.faults.append(self.documents[MANIFEST].fault(("made_for",), message))
        if self.faults or found is None:
            raise ContentError(self.faults)
        self.namespace = found.namespace
        return found

    def additions(self, library: Library, families: Document) -> Additions:
        """Everything that it brings. Raises ContentError with every fault of its files, one by one."""
        manifest = self.manifest()
        # Titles and versions are made while rules are read; the digest is known once all is.
        self.package = Package(manifest, self._folder, "")
        terminology = self._concepts()
        self.documents[FAMILIES] = families
        shared = {name: Family.model_validate(data) for name, data in families.data.items()}
        rules = self.rules(shared, {**library.terminology, **terminology})
        references = self._table(REFERENCES, dict[str, Reference])
        reasons = self._table(REASONS, dict[str, OverrideReason])
        changes = self._table(CHANGES, dict[str, Changes])
        self.nothing_left()
        if self.faults:
            raise ContentError(self.faults)
        package = replace(self.package, digest=self.digest())
        rules = {name: _signed(loaded, package) for name, loaded in rules.items()}
        return Additions(package, rules, terminology, references, reasons, changes, self.documents)

    def _concepts(self) -> dict[str, Concept]:
        found = {self.id_of(stem): entry for stem, entry in self.folder("terminology", Concept).items()}
        for name in found:
            self.documents[f"terminology/{name}.yaml"] = self.documents.pop(f"terminology/{own_name(name)}.yaml")
        return found

    def _table(self, file: str, kind: Any) -> dict[str, Any]:
        """A file that need not be there, by the full names of what it holds."""
        read = self.read(file, kind) if (self.root / file).exists() else {}
        return {self.id_of(name): item for name, item in (read or {}).items()}

    def nothing_left(self) -> None:
        """A file that nobody read is a fault, but for what may lie beside."""
        known = {*self._read, *BESIDES}
        for path in sorted(self.root.rglob("*")):
            at = path.relative_to(self.root)
            besides = at.parts[0] == SCENARIOS or any(part.startswith(".") for part in at.parts)
            if path.is_file() and not besides and at.as_posix() not in known:
                places = ", ".join((*RULE_FOLDERS, "terminology", SCENARIOS))
                files = ", ".join((MANIFEST, REFERENCES, REASONS, CHANGES))
                message = f"is read by nothing: a package has the folders {places} and the files {files}"
                self.faults.append(Fault(self.called(at.as_posix()), 0, "", message))


def _signed(loaded: LoadedRule, package: Package) -> LoadedRule:
    """The rule with its publisher behind its title, wherever that is read: nobody shall take it for ours. Of the source
    attributes, those that name who made it are the package's."""
    made_by = {"developer": f"{package.publisher}: {package.manifest.contact}", "funding": package.manifest.funding}
    signed = {
        "title": f"{loaded.rule.title} ({package.publisher})",
        "source_attributes": made_by | loaded.rule.source_attributes,
    }
    return replace(loaded, rule=loaded.rule.model_copy(update=signed), package=package)


def with_packages(
    library: Library, documents: Mapping[str, Document], folders: Sequence[Path]
) -> tuple[Library, Mapping[str, Document]]:
    """Ours, and what the packages in these folders add. Raises ContentError with every fault of every package."""
    faults: list[Fault] = []
    for folder in folders:
        reader = PackageReader(folder)
        try:
            added = reader.additions(library, documents[FAMILIES])
        except ContentError as error:
            faults += error.faults
            continue
        if found := clashes(library, added, reader.documents):
            faults += found
            continue
        library, documents = _joined(library, documents, added)
    if faults:
        raise ContentError(faults)
    return library, documents


def _joined(
    library: Library, documents: Mapping[str, Document], added: Additions
) -> tuple[Library, Mapping[str, Document]]:
    """Both. A drug that was known by its name alone, as somebody else's ingredient, is now known as theirs."""
    theirs = {tokens(text) for entry in added.terminology.values() for text in name_tokens(entry)}
    joined = replace(
        library,
        rules={**library.rules, **added.rules},
        terminology={**library.terminology, **added.terminology},
        references={**library.references, **added.references},
        override_reasons={**library.override_reasons, **added.reasons},
        changes={**library.changes, **added.changes},
        other_ingredients=[row for row in library.other_ingredients if tokens(row.name) not in theirs],
        other_names=[row for row in library.other_names if row.kind != "drug" or tokens(row.name) not in theirs],
        digest=sha256(f"{library.digest} {added.package.digest}".encode()).hexdigest()[:12],
        packages=(*library.packages, added.package),
    )
    tables = {REFERENCES: added.references, REASONS: added.reasons, CHANGES: added.changes}
    own = {file: document for file, document in added.documents.items() if file not in (*tables, FAMILIES, MANIFEST)}
    for file, names in tables.items():
        before = documents[file]
        if file not in added.documents:
            continue
        parts = before.parts if isinstance(before, Joined) else {}
        data = {**before.data, **{name: added.documents[file].data[own_name(name)] for name in names}}
        more = dict.fromkeys(names, added.documents[file])
        own[file] = Joined(before.file, data, before.lines, {**parts, **more})
    return joined, {**documents, **own}
