"""`cards/` read whole and checked whole, with packages of others: every fault at once, with file, key and line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

from cds_service.content.checks import check_library
from cds_service.content.concept import Concept
from cds_service.content.families import FAMILIES, Family, FamilyName
from cds_service.content.library import Library, default_root
from cds_service.content.reading import Reader
from cds_service.content.table_checks import table_faults
from cds_service.content.third_party import with_packages
from cds_service.content.yamlfile import ContentError, Document, Fault


def load_library(root: Path | None = None, cards: Sequence[Path] = ()) -> Library:
    """Load and check all content below `root`, and the packages in the folders `cards`. Raises ContentError with every
    fault found."""
    return read_content(root, cards)[0]


def read_content(root: Path | None = None, cards: Sequence[Path] = ()) -> tuple[Library, Mapping[str, Document]]:
    """The same, and the files as they are written. Ours are checked first and alone: no package can mend or spoil
    them."""
    library, documents = _read_ours(root)
    return beside(library, documents, cards) if cards else (library, documents)


def beside(
    library: Library, documents: Mapping[str, Document], cards: Sequence[Path]
) -> tuple[Library, Mapping[str, Document]]:
    """Content that was read before, and the packages in the folders `cards`, checked together."""
    library, documents = with_packages(library, documents, cards)
    if faults := [*check_library(library, documents), *table_faults(library, documents)]:
        raise ContentError(faults)
    return library, documents


def _read_ours(root: Path | None = None) -> tuple[Library, Mapping[str, Document]]:
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
