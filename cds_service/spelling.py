"""Words of a text: folded, split, listed, and the nearest known one for messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for a name close to a known one, else ''."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def said(text: str) -> str:
    """What somebody typed, without what is around it; "" where nothing of it can be seen."""
    seen = any(unicodedata.category(sign)[0] not in "CZ" for sign in text)
    return text.strip() if seen else ""


def joined(words: Iterable[str]) -> str:
    """'a, b and c', each once; "" for none."""
    *before, last = dict.fromkeys(words) or [""]
    return f"{', '.join(before)} and {last}" if before else last


_NOT_INERT = re.compile(r"[^\w\s.,/%+()-]|_|(?<=[^\W\d])\.(?=[^\W\d])")


def inert(text: str, longest: int = 48) -> str:
    """A text of the EHR that may be shown: one short line without anything that Markdown, HTML or a link is made of,
    and without control and format characters."""
    plain = " ".join(_NOT_INERT.sub(" ", unicodedata.normalize("NFKC", text[:LONGEST])).split())
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


LONGEST = 500
TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|%")


# Letters of other alphabets that look like Latin ones. They count as Latin where a word mixes both.
_ALIKE = str.maketrans(
    "аеорсухіјѕԁһкмтвнпοαερικντυηАВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhkmtbhnoaepikvtunABEKMHOPCTYXIJSABEZHIKMNOPTYX",
)
_APOSTROPHE = re.compile("['\u2019]")
_ELISION = re.compile("\\b([dl])['\u2019](?=[aehiouy])")
_MIXED = re.compile(r"[^\W\d_]*[a-zA-Z][^\W\d_]*")
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe"})


def fold(text: str) -> str:
    """Lower case, without accents, apostrophes and format characters, cut to `LONGEST` characters.

    A French elision ("d'hydroxyde") is a word of its own. Letters that only look like Latin ones are taken for these in
    a word that has Latin letters too.
    """
    text = text[:LONGEST]
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in plain if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")[:LONGEST]
        text = _MIXED.sub(lambda word: word[0].translate(_ALIKE), text).lower().translate(_LETTERS)
    return _APOSTROPHE.sub("", _ELISION.sub(r"\1 ", text.lower()))


_CYRILLIC = str.maketrans(dict(zip("абвгдежзийклмнопрстуфхцчшщъыьэюя", (
    *"abvgdejziiklmnoprstufkc", "ch", "s", "s", "", "i", "", "e", "u", "ia"), strict=True)))  # fmt: skip
_SOUNDS = tuple((re.compile(old), new) for old, new in (
    ("(?:ine?)?(?:saure|syre|syra|zuur|happo)$", "ic"), ("o[wv](?:a|y|i|aia)$", "ic"), ("as$", "at"), ("^gidr", "idr"),
    ("ph", "f"), ("th", "t"), ("c(?=[eiy])", "s"), ("ck|ch|qu|c|q", "k"), ("x", "ks"), ("ts|tz|z", "s"), ("[yj]", "i"),
    ("w", "v"), ("h", ""), (r"(.)\1+", r"\1"), ("^e(?=s[ptk])", ""), ("(?:um|us|is|[aeiou])+$", ""),
))  # fmt: skip


def sound(word: str) -> str:
    """A folded word as the languages of charts agree on it: levotiroxina, levothyroxinum and левотироксин are one,
    alendronic and Alendronsäure too.

    Meant for international nonproprietary names; the words of a language, brands and metals it makes too alike.
    """
    if not word.isascii():
        word = word.translate(_CYRILLIC)
    for old, new in _SOUNDS:
        word = old.sub(new, word)
    return word


def tokens(text: str) -> tuple[str, ...]:
    """The words and numbers of a phrase, folded; letters and digits that touch are separate tokens."""
    return tuple(TOKEN.findall(fold(text)))
