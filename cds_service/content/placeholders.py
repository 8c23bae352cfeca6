"""The placeholders that a page's wording may hold: fixed names, no expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cds_service.content.rule import Page

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def placeholders_in(text: str) -> Iterator[str]:
    """Names between braces, in order."""
    yield from PLACEHOLDER.findall(text)


def offered(page: Page, threshold_names: frozenset[str]) -> frozenset[str]:
    """The placeholders that are always filled when the page fires."""
    trigger = page.timing or page.when
    return threshold_names | trigger.offers if trigger else threshold_names
