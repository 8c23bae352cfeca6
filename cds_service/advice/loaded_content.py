"""All content as advice needs it: read and checked once, its codes indexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cds_service.advice.compiled import key_of, read_compiled, write_compiled
from cds_service.content.library import Library, default_root
from cds_service.content.loading import load_library
from cds_service.loading import uncollected
from cds_service.terminology.index import Vocabulary


class Content(NamedTuple):
    """The content and the index of its codes: read-only, so apps of one process may share them."""

    library: Library
    vocabulary: Vocabulary


def load_content(root: Path | None = None, cards: Sequence[Path] = ()) -> Content:
    """All content below `root` (default: as shipped) and the packages of others in the folders `cards`, checked. Raises
    ContentError.

    Where they are as they were when they were last read and checked, the files as shipped are not read again: see
    `compiled`.
    """
    with uncollected():
        return _read(root, cards) if root is not None or cards else _as_shipped(default_root())


def _read(root: Path | None, cards: Sequence[Path] = ()) -> Content:
    library = load_library(root, cards)
    return Content(library, Vocabulary(library))


def _as_shipped(root: Path) -> Content:
    try:
        key = key_of(root)
    except OSError:
        return _read(root)  # which says what is wrong
    found = read_compiled(root, key)
    if found is not None:
        return Content(*found)
    content = _read(root)
    write_compiled(root, key, tuple(content))
    return content
