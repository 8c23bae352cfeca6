"""The typed form of `tables/directions.yaml` and `tables/directions/`: the words of written directions."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from cds_service.content.base import Strict, Text
from cds_service.content.tables import Count, Frequency, PeriodUnit, Some, Words
from cds_service.content.yamlfile import KeyPath

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Phrases = list[Words]
ByUnit = dict[PeriodUnit, Some]
Placed = tuple[KeyPath, str, Any, str]
"""Where a phrase stands, its list, what the list or its row means, the phrase."""


class SpokenFrequency(Frequency):
    """A frequency with all the phrases that mean it."""

    phrases: Some


class Spoken(Strict):
    """What every file of words may hold; `cards/tables/directions.yaml` says what each list means."""

    title: Text
    joins: Phrases = []
    ranges: Phrases = []
    through: Phrases = []
    units: dict[Words, Some] = {}
    teaspoons: Phrases = []
    tablespoons: Phrases = []
    units_of_time: ByUnit = {}
    amounts: Phrases = []
    schemes: Phrases = []
    doses: ByUnit = {}
    times: ByUnit = {}
    every: ByUnit = {}
    fixed: list[SpokenFrequency] = []
    daily: Phrases = []
    divided: Phrases = []
    at_most: Phrases = []
    limits: ByUnit = {}
    once: Phrases = []
    counts: Phrases = []
    lasts: ByUnit = {}
    moments: dict[str, Some] = {}
    offsets: Phrases = []
    days: Phrases = []
    clocks: Phrases = []
    as_needed: Phrases = []
    totals: Phrases = []
    names: Phrases = []
    ignored: Phrases = []
    forbids: Phrases = []

    def phrases(self) -> Iterator[Placed]:
        """Every phrase that may be a part of a direction."""
        for name in _LISTS:
            yield from (((name, i), name, None, text) for i, text in enumerate(getattr(self, name)))
        for name in ("doses", "times", "every", "limits", "lasts", "moments"):
            for meaning, texts in getattr(self, name).items():
                yield from (((name, meaning, i), name, meaning, text) for i, text in enumerate(texts))
        for row, fixed in enumerate(self.fixed):
            yield from ((("fixed", row, "phrases", i), "fixed", fixed, text) for i, text in enumerate(fixed.phrases))

    def weighty(self) -> Iterator[str]:
        """What must not vanish among free words: all that counts, times, measures or forbids."""
        yield from self.forbids
        for table in (self.units, self.units_of_time):
            yield from (text for texts in table.values() for text in texts)
        yield from (text for _, kind, _, text in self.phrases() if kind not in ("names", "ignored", "totals"))


_LISTS = (
    "amounts", "schemes", "daily", "divided", "at_most", "once", "counts", "offsets", "days", "clocks",
    "as_needed", "totals", "names", "ignored",
)  # fmt: skip


# The places without which a phrase of a list means nothing.
NEEDED_PLACES = {
    "amounts": "{a}", "schemes": "{s}", "doses": "{a}", "divided": "{n}", "limits": "{n}", "counts": "{n}",
    "offsets": "{t}", "days": "{w}",
}  # fmt: skip


class CommonDirections(Spoken):
    """`tables/directions.yaml`: what all languages share.

    `most_units`: a number without a unit above it is no number of tablets. `within`: moments that say more of another.
    """

    most_units: Count
    within: dict[str, Some]


class DirectionWords(Spoken):
    """`tables/directions/LANGUAGE.yaml`. `point`: the decimal sign; `thousands`: the other, where it is sure.

    `parts_of`: what a fraction under this number counts ("5/7": five days).
    """

    point: Literal[".", ","]
    thousands: Literal["", ".", ","] = ""
    numbers: dict[Words, Annotated[Decimal, Field(gt=0)]]
    and_a_half: Phrases = []
    weekdays: dict[Weekday, Some]
    parts_of: dict[Count, PeriodUnit] = {}

    def weighty(self) -> Iterator[str]:
        """As of all, and the numbers and the days."""
        yield from super().weighty()
        yield from self.numbers
        yield from (text for texts in self.weekdays.values() for text in texts)
