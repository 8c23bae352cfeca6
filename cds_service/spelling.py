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


_NOT_INERT = re.compile(r"[^\w\s.,/%+()-]|_|(?<=[^\W\d])\.(?=[^\W\d])")


def inert(text: str, longest: int = 48) -> str:
    """A text of the EHR that may be shown: one short line without anything that Markdown, HTML or a link is made of,
    and without control and format characters."""
    plain = " ".join(_NOT_INERT.sub(" ", unicodedata.normalize("NFKC", text[:LONGEST])).split())
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


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
