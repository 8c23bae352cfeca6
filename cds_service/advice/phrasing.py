"""How a text is put together: placeholders filled, capitals where they belong, numbers as the laboratory wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cds_service.content.rule import PLACEHOLDER


def lowered(title: str) -> str:
    """As it stands within a sentence; what starts with two capitals is an abbreviation."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def sentence(text: str) -> str:
    """With a capital at its start: a placeholder may have put a drug's name there."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]  # eGFR stays eGFR


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fixed placeholders only: no attribute, index or format of `str.format` is interpreted."""
    return PLACEHOLDER.sub(lambda found: values.get(found.group(1), ""), template)


def json_value(value: Any) -> Any:
    """Decimals as JSON numbers that read as the laboratory wrote them."""
    return float(value) if isinstance(value, Decimal) else value
