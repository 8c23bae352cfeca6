"""Numbers of FHIR JSON, as they were written."""

from __future__ import annotations

from decimal import Decimal, DecimalException
from functools import lru_cache

from msgspec import Raw

from cds_service.fhir.elements import NOTHING

_SHORT = 8
NO_COUNT = -1
"""What `stated_total` gives of a total that can be none."""


def number(raw: Raw) -> Decimal | None:
    """A JSON number as written, or None: absent, null, text, or too long to be a measurement."""
    if raw is NOTHING:
        return None
    text = bytes(raw)
    return _short(text) if len(text) <= _SHORT else _decimal(text)


def whole(raw: Raw) -> int | None:
    """A JSON number that is a whole number of at most nine digits, or None."""
    value = number(raw)
    if value is None or value != value.to_integral_value() or abs(value) >= 10**9:
        return None
    return int(value)


def stated_total(raw: Raw) -> int | None:
    """The total of a Bundle, be it a number or text; None where there is none, NO_COUNT where it can be no count."""
    text = bytes(raw)
    if text in (b"", b"null"):
        return None
    total = whole(Raw(text.strip(b'"')))
    return total if total is not None and total >= 0 else NO_COUNT


def _decimal(text: bytes) -> Decimal | None:
    if not text or len(text) > 40 or text[0] not in b"-0123456789":
        return None
    try:
        value = Decimal(text.decode("ascii"))
    except (DecimalException, UnicodeDecodeError):
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= 20 else None


_short = lru_cache(maxsize=4096)(_decimal)  # a few hundred of them are nearly all that charts hold
