"""Specimen trouble in a laboratory's comments, by the closed list of `cards/tables/specimen_comments.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files

import yaml


def troubles_in(comments: Iterable[str], words: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Which kinds of trouble the comments tell of. `words`: kind -> parts of words, from the test's page."""
    text = "\n".join(comments).casefold()
    return frozenset(kind for kind, marks in words.items() if any(_tells(mark.casefold(), text) for mark in marks))


def _tells(mark: str, text: str) -> bool:
    """Whether the mark stands anywhere in the text without being denied there."""
    return mark in text and mark in _denials(mark).sub("", text)


@lru_cache(maxsize=64)
def _denials(mark: str) -> re.Pattern[str]:
    """The mark as a comment denies it, before or after."""
    page = yaml.safe_load(files("cds_service.cards").joinpath("tables", "specimen_comments.yaml").read_text("utf-8"))
    before, between, tail, after = (
        "|".join(r"[ ]+".join(map(re.escape, phrase.split())) for phrase in sorted(page[key], key=len, reverse=True))
        for key in ("before", "between", "tail", "after")
    )
    word = rf"\w*{re.escape(mark)}\w*"
    return re.compile(
        rf"\b(?:{before})(?:[ -]+(?:{between}))*[ -]+{word}"
        rf"|{word}(?:[ ]+(?:{tail}))*[ ]*[:=(-]?[ ]*(?:is[ ]+|was[ ]+)?(?:{after})[ ]*(?=$|[.,;)\n])"
    )
