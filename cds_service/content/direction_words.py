"""The words and numbers of a written direction, before anybody asks what they mean.

Case, accents, width and blanks do not count. A number is never pieced together: ".5" is a half, and what could be two
numbers ("1,600") is read by the signs of the language or not at all.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from math import gcd
from typing import NamedTuple

LONGEST = 300
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d"})
_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
_QUOTES = dict.fromkeys("'\u2018\u2019`\u00b4!\"", " ")
_SIGNS = str.maketrans(_DASHES | _QUOTES | {"\u00d7": "x", "\u2715": "x", "\u2044": "/"})
_NO_DIGITS = ("<super>", "<sub>", "<circle>")
_TOKEN = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])|[0-9]{1,2}([/.])[0-9]{1,2}\2(?:20)?[0-9]{2}(?![0-9/.,]))"
    r"|(?P<clock>(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?![0-9:]))"
    r"|(?P<fraction>[0-9]{1,2}/[0-9]{1,2}(?![0-9/.,]))"
    r"|(?P<number>[0-9]+(?:[.,][0-9]+)*|(?<![^\W_])[.,][0-9]+)"
    r"|(?P<word>[^\W\d_]+)"
    r"|(?P<space>\s+)"
    r"|(?P<stop>[.,;:](?![0-9])|[,;:](?=[0-9]))"
    r"|(?P<sign>.)",
    re.DOTALL,
)


class Token(NamedTuple):
    """`kind`: word, number, fraction, clock, date or sign. `stop`: a sentence or a part of one ends behind it.
    `dash`: a dash that joins words follows."""

    kind: str
    text: str
    stop: bool = False
    dash: bool = False


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text or of a phrase of a table."""
    plain = _plain(text)
    found: list[Token] = []
    touching = True  # whether nothing stands between the token before and this place
    for match in _TOKEN.finditer(plain):
        kind = match.lastgroup or "date"
        if kind == "stop" and found:
            found[-1] = found[-1]._replace(stop=found[-1].stop or match[0] != ":")
        elif kind == "sign" and match[0] == "-" and not _joins(found, plain, match.end(), touching):
            if found:
                found[-1] = found[-1]._replace(dash=True)
        elif kind not in ("space", "stop"):
            found.append(Token(kind, match[0]))
        elif kind == "space" and "\n" in match[0] and found:
            found[-1] = found[-1]._replace(stop=True)
        touching = kind not in ("space", "stop")
    return found


def _joins(found: list[Token], plain: str, end: int, touching: bool) -> bool:
    """Whether a dash means something: between two numbers, or as the sign of a number."""
    if not plain[end : end + 20].lstrip()[:1].isdigit():
        return False
    after_number = bool(found) and found[-1].kind in ("number", "fraction")
    return after_number or (plain[end].isdigit() and not (touching and found))


def _plain(text: str) -> str:
    if text.isascii():  # nothing of what follows would change it
        return text.translate(_SIGNS).casefold()
    letters: list[str] = []
    for c in text:
        if c.isascii():
            letters.append(c)
        elif unicodedata.category(c) != "Cf":
            made = unicodedata.decomposition(c)
            # "2" and a raised "2" are not 22; "1" and a half sign are not 11/2.
            letters.append(
                "\ufffd" if made.startswith(_NO_DIGITS) else f" {c} " if made.startswith("<fraction>") else c
            )
    plain = unicodedata.normalize("NFKC", "".join(letters)).translate(_SIGNS).casefold()
    return "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c)).translate(_LETTERS)


def fraction_of(text: str) -> Decimal | None:
    """1/2, 1/4, 3/4, 1/3, 2/3; other fractions mean something else (5/7: five days)."""
    over, under = map(int, text.split("/"))
    return Decimal(over) / under if under in (2, 3, 4) and 0 < over < under and gcd(over, under) == 1 else None


def number_of(text: str, point: str, thousands: str) -> Decimal | None:
    """A number as it is written where `point` is the decimal sign and `thousands` the other one ("": neither).

    None where it could be two numbers: a point and three digits may be thousands elsewhere.
    """
    if len(text) > 9 or (len(text) > 1 and text[0] == "0" and text[1] == "0"):
        return None
    if text.isdigit():
        return Decimal(text)
    head, sign, tail = re.split(r"([.,])", text, maxsplit=1)
    if tail.isdigit() and (len(tail) != 3 or head in ("", "0")):
        return Decimal(f"{head or 0}.{tail}") if sign in (point, ".") else None
    if thousands and re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+", text):
        return Decimal(text.replace(thousands, ""))
    return None


PLACES = frozenset(
    f"{{{name}}}" for name in ("n", "m", "k", "a", "u", "t", "e", "s", "w", "h", "c", "d", "f", "p", "free")
)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a phrase."""
    if text.isascii() and text.isalpha():
        return (text.casefold(),)
    return tuple(token.text for token in tokens_of(text))


def parts_of(text: str) -> tuple[str, ...]:
    """The words and {places} of a phrase of a table."""
    return tuple(part for piece in text.split() for part in ((piece,) if piece[0] == "{" else words_of(piece)))
