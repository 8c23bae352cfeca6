"""The placeholders that a rule's wording may hold: fixed names, no expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cds_service.content.rule import Rule

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def placeholders_in(text: str) -> Iterator[str]:
    """Names between braces, in order."""
    yield from PLACEHOLDER.findall(text)


def offered(rule: Rule, threshold_names: frozenset[str]) -> frozenset[str]:
    """The placeholders that are always filled when the rule fires."""
    trigger = rule.timing or rule.when
    return threshold_names | trigger.offers if trigger else threshold_names
