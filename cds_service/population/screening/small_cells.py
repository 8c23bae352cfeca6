"""Small counts are not told: a handful of patients in a table that is passed on may be recognised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

USUAL: Final = 5
"""Counts below this are hidden in what may be passed on, unless it is asked for otherwise."""


def hidden(cells: Sequence[int], smallest: int) -> list[int | None]:
    """The counts of one total, None where one is not told: each from 1 to below `smallest`, and the next larger ones
    until what is hidden cannot be told from the total."""
    told: list[int | None] = [None if 0 < each < smallest else each for each in cells]
    while (away := [each for each, said in zip(cells, told, strict=True) if said is None]) and (
        len(away) < 2 or sum(away) < smallest
    ):
        left = [(each, place) for place, each in enumerate(cells) if told[place] is not None and each > 0]
        if not left:
            break
        told[min(left)[1]] = None
    return told


def one(count: int, smallest: int) -> int | None:
    """A count that is part of no told total."""
    return hidden([count], smallest)[0]
