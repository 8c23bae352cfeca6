"""Written dosage instructions and timing codes, by the closed list of `cards/tables/sig_phrases.yaml`.

The whole text must be made of listed phrases, with one timing in it; anything else is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from cds_service.fhir.units import unit_table
from cds_service.patient import Quantity

_LONGEST_TEXT = 200
_WORD = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:/[0-9]+)?|[^\W\d_]+|[()]", re.UNICODE)
_NUMBER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Phrases:
    timings: Mapping[tuple[str, ...], Mapping[str, Any]]
    moments: Mapping[tuple[str, ...], str]
    as_needed: frozenset[tuple[str, ...]]
    ignored: frozenset[tuple[str, ...]]
    after_amount: frozenset[tuple[str, ...]]
    numbers: Mapping[str, Decimal]
    codes: Mapping[str, Mapping[str, Any]]
    longest: int


def coded_timing(code: str) -> dict[str, Any]:
    """Dosage fields of a timing code such as BID; empty if it is not listed."""
    return dict(_phrases().codes.get(code.upper(), {}))


def read_sig(text: str) -> dict[str, Any] | None:
    """Dosage fields of a written instruction; None unless every word of it is understood."""
    if len(text) > _LONGEST_TEXT:
        return None
    words = _WORD.findall(text.casefold())
    if not words or re.sub(r"[\s.,;:()-]", "", text.casefold()) != re.sub(r"[()]", "", "".join(words)).replace(".", ""):
        return None
    return _parse(words, _phrases())


def _parse(words: Sequence[str], phrases: _Phrases) -> dict[str, Any] | None:
    timing: dict[str, Any] | None = None
    moments: list[str] = []
    amount: Quantity | None = None
    as_needed = False
    at = 0
    while at < len(words):
        dose = _dose(words, at, phrases) if amount is None and timing is None and not moments else None
        if dose is not None:
            amount, at = dose
            continue
        size, kind = _match(words, at, phrases)
        chunk = tuple(words[at : at + size])
        if kind == "timing" and timing is None:
            timing = dict(phrases.timings[chunk])
        elif kind == "moment":
            moments.append(phrases.moments[chunk])
        elif kind == "as_needed":
            as_needed = True
        elif kind != "ignored":
            return None
        at += size
    return _together(timing, moments, amount, as_needed)


def _together(
    timing: dict[str, Any] | None, moments: list[str], amount: Quantity | None, as_needed: bool
) -> dict[str, Any] | None:
    if timing is None and not moments:
        return None
    found = timing or {"frequency": len(moments), "period": Decimal(1), "period_unit": "d"}
    if moments:
        # "twice daily at bedtime" contradicts itself or means a meal each time: not for us to guess.
        once_each = found.get("frequency") == len(moments) and found.get("period_unit") == "d"
        if not once_each or len(set(moments)) != len(moments) or found.get("when"):
            return None
        found["when"] = tuple((code, 0) for code in moments)
    if amount is not None:
        found["amount"] = amount
    if as_needed:
        found["as_needed"] = True
    return found


def _dose(words: Sequence[str], at: int, phrases: _Phrases) -> tuple[Quantity, int] | None:
    value = _number(words[at], phrases)
    if value is None or at + 1 >= len(words):
        return None
    unit = unit_table().find(words[at + 1])
    if unit is None or unit.kind not in ("mass", "volume", "count", "substance", "charge") or unit.per:
        return None
    end = at + 2
    named = [size for size in range(phrases.longest, 0, -1) if tuple(words[end : end + size]) in phrases.after_amount]
    return Quantity(value, unit.code), end + (named[0] if named else 0)


def _number(word: str, phrases: _Phrases) -> Decimal | None:
    if word in phrases.numbers:
        return phrases.numbers[word]
    return Decimal(word) if _NUMBER.fullmatch(word) else None


def _match(words: Sequence[str], at: int, phrases: _Phrases) -> tuple[int, str]:
    for size in range(min(phrases.longest, len(words) - at), 0, -1):
        chunk = tuple(words[at : at + size])
        for kind, known in (
            ("timing", phrases.timings),
            ("moment", phrases.moments),
            ("as_needed", phrases.as_needed),
            ("ignored", phrases.ignored),
        ):
            if chunk in known:
                return size, kind
    return 1, "unknown"


@lru_cache(maxsize=1)
def _phrases() -> _Phrases:
    page = yaml.safe_load(files("cds_service.cards").joinpath("tables", "sig_phrases.yaml").read_text("utf-8"))
    timings = {_words(text): _fields(row) for row in page["timings"] for text in row["phrases"]}
    moments = {_words(text): code for code, texts in page["moments"].items() for text in texts}
    as_needed = frozenset(_words(text) for text in page["as_needed"])
    ignored = frozenset(_words(text) for text in page["ignored"])
    after_amount = frozenset(_words(text) for text in page["after_amount"])
    everything = [*timings, *moments, *as_needed, *ignored]
    if len(set(everything)) != len(everything):
        raise ValueError("sig_phrases: a phrase is named twice")
    return _Phrases(
        timings,
        moments,
        as_needed,
        ignored,
        after_amount,
        {word: Decimal(str(value)) for word, value in page["numbers"].items()},
        {code: _fields(row) for code, row in page["codes"].items()},
        max(len(words) for words in everything),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(str(text).casefold()))


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "frequency" in row:
        fields["frequency"] = int(row["frequency"])
    if "period" in row:
        fields["period"], fields["period_unit"] = Decimal(str(row["period"])), str(row["unit"])
    if "when" in row:
        fields["when"] = tuple((str(code), 0) for code in row["when"])
    if "days" in row:
        fields["days"] = tuple(str(day) for day in row["days"])
    return fields
