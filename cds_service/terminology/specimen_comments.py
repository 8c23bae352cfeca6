"""Specimen trouble as a laboratory tells of it, by the closed list of `cards/tables/specimen_comments.yaml`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress

from cds_service.content.tables import SpecimenComments

_WORD = re.compile(r"\w++")
_HERE = "\x00"  # stands for a word with the mark in it; no text holds it
_LETTERS = str.maketrans({"æ": "ae", "ø": "o", "œ": "oe", _HERE: " "})


class SpecimenReader:
    """What is said of a specimen. A text is gone over once for each kind of trouble in it, whatever it holds."""

    def __init__(self, table: SpecimenComments) -> None:
        self.modifiers = frozenset(table.modifiers)
        self._marks = {kind: [_folded(mark) for mark in marks] for kind, marks in table.marks.items()}
        self._codes = {
            (system, code): kind
            for kind, systems in table.codes.items()
            for system, codes in systems.items()
            for code in codes
        }
        self._elsewhere = re.compile(_any_of(table.elsewhere))
        self._denials = _denials_of(table)
        self._other = re.compile(rf"\b(?:{_any_of(table.other_materials.words)})")
        self._other_codes = {(s, code) for s, codes in table.other_materials.codes.items() for code in codes}

    def troubles_in(self, texts: Iterable[str]) -> frozenset[str]:
        """Which kinds of trouble the texts tell of and do not deny."""
        text = _folded("\n".join(texts))
        return frozenset(kind for kind, marks in self._marks.items() if self._tells(marks, text))

    def trouble_of(self, system: str | None, code: str | None) -> str | None:
        """The kind of trouble that a code means; `system` by its short name."""
        return self._codes.get((system or "", code or ""))

    def is_other_material(self, texts: Iterable[str], codes: Iterable[tuple[str | None, str | None]]) -> bool:
        """Whether it is no serum, plasma or blood of the patient: urine, blood of the cord, dialysate."""
        return not self._other_codes.isdisjoint(codes) or self._other.search(_folded("\n".join(texts))) is not None

    def _tells(self, marks: Sequence[str], text: str) -> bool:
        if not any(mark in text for mark in marks):
            return False
        marked = self._elsewhere.sub("", text)
        for mark in marks:
            if not _WORD.fullmatch(mark):
                marked = marked.replace(mark, _HERE)
        marked = _WORD.sub(lambda word: _HERE if any(mark in word[0] for mark in marks) else word[0], marked)
        return _HERE in self._denials.sub("", marked)


def _folded(text: str) -> str:
    """Lower case, without accents; what was read in another encoding is put right where it can be."""
    if "\u00c3" in text:  # the bytes of an accented letter, read as two letters
        with suppress(UnicodeError):
            text = text.encode("cp1252").decode()
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return plain.translate(_LETTERS)


def _any_of(phrases: Iterable[str]) -> str:
    """A phrase of several words may have any blanks between them; the longest comes first."""
    return "|".join(
        r"[ ]++".join(map(re.escape, phrase.split())) for phrase in sorted(map(_folded, phrases), key=len, reverse=True)
    )


def _denials_of(table: SpecimenComments) -> re.Pattern[str]:
    """A marked word as a comment denies it, before or after. Whatever the text, nothing is tried twice (A37)."""
    before, between, tail, after = map(_any_of, (table.before, table.between, table.tail, table.after))
    said_before = rf"\b(?:{before})(?:[ '\u2019-]++(?:{between})\b)*+[ '\u2019-]++{_HERE}"
    said_after = rf"(?:[ -]++(?:{tail})\b)*+[ ]*+[:=]?+[ ]*+\(?+(?:is[ ]++|was[ ]++)?+(?:{after})\)?+[ ]*+"
    return re.compile(rf"{said_before}|{_HERE}{said_after}(?=$|[.,;()\n](?!\d))")
