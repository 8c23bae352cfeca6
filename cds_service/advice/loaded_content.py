"""All content as advice needs it: read and checked once, its codes indexed."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cds_service.content.library import Library
from cds_service.content.loading import load_library
from cds_service.terminology.index import Vocabulary


class Content(NamedTuple):
    """The content and the index of its codes: read-only, so apps of one process may share them."""

    library: Library
    vocabulary: Vocabulary


def load_content(root: Path | None = None, cards: Sequence[Path] = ()) -> Content:
    """All content below `root` (default: as shipped) and the packages of others in the folders `cards`, checked. Raises
    ContentError."""
    collecting = gc.isenabled()
    gc.disable()  # nearly all that is made here stays: to look for what may go takes a seventh of the time
    try:
        library = load_library(root, cards)
        return Content(library, Vocabulary(library))
    finally:
        if collecting:
            gc.enable()
