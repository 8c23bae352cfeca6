"""How a text is put together: placeholders filled, capitals where they belong, numbers as the laboratory wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
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
    parts = _parts(template)
    if len(parts) == 1:
        return template
    filled = list(parts)
    filled[1::2] = [values.get(name, "") for name in parts[1::2]]
    return "".join(filled)


@lru_cache(maxsize=8192)
def _parts(template: str) -> tuple[str, ...]:
    """Text, name of a placeholder, text, and so on. Templates are content: there are so many and no more."""
    return tuple(PLACEHOLDER.split(template))


def json_value(value: Any) -> Any:
    """Decimals as JSON numbers that read as the laboratory wrote them."""
    return float(value) if isinstance(value, Decimal) else value


def number(value: Decimal, decimals: int | None = None) -> str:
    """Plain notation: as it was written, or to `decimals`."""
    return f"{value:f}" if decimals is None else f"{value:.{decimals}f}"
