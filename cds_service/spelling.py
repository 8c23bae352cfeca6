"""Words of a text: folded, split, and the nearest known one for messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for a name close to a known one, else ''."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


LONGEST = 500
TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|%")


def fold(text: str) -> str:
    """Lower case, without accents and apostrophes, cut to `LONGEST` characters."""
    text = text[:LONGEST].lower()
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in plain if not unicodedata.combining(c))[:LONGEST].lower()
    return text.replace("'", "").replace("\u2019", "")


def tokens(text: str) -> tuple[str, ...]:
    """The words and numbers of a phrase, folded; letters and digits that touch are separate tokens."""
    return tuple(TOKEN.findall(fold(text)))
