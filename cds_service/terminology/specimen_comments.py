"""Specimen trouble in a laboratory's comments, by the closed list of `cards/tables/specimen_comments.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cds_service.content.tables import SpecimenComments

_WORD = re.compile(r"\w++")
_HERE = "\x00"  # stands for a word with the mark in it; no text holds it


def troubles_in(
    comments: Iterable[str], words: Mapping[str, Sequence[str]], denials: re.Pattern[str]
) -> frozenset[str]:
    """Which kinds of trouble the comments tell of. `words`: kind -> parts of words, from the test's concept."""
    text = "\n".join(comments).casefold()
    return frozenset(
        kind for kind, marks in words.items() if any(_tells(mark.casefold(), text, denials) for mark in marks)
    )


def _tells(mark: str, text: str, denials: re.Pattern[str]) -> bool:
    """Whether the mark stands anywhere in the text without being denied there."""
    if mark not in text:
        return False
    marked = _WORD.sub(lambda word: _HERE if mark in word[0] else word[0], text.replace(_HERE, " "))
    # A mark that is no part of one word is never denied.
    return _HERE not in marked or _HERE in denials.sub("", marked)


def denials_of(table: SpecimenComments) -> re.Pattern[str]:
    """A marked word as a comment denies it, before or after. Whatever the text, nothing is tried twice (A37)."""
    before, between, tail, after = (
        "|".join(r"[ ]++".join(map(re.escape, phrase.split())) for phrase in sorted(phrases, key=len, reverse=True))
        for phrases in (table.before, table.between, table.tail, table.after)
    )
    return re.compile(
        rf"\b(?:{before})(?:[ -]++(?:{between}))*+[ -]++{_HERE}"
        rf"|{_HERE}(?:[ ]++(?:{tail}))*+[ ]*+[:=(-]?+[ ]*+(?:is[ ]++|was[ ]++)?+(?:{after})[ ]*+(?=$|[.,;)\n])"
    )
