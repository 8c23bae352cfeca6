"""The intake screener: its questions, answers, and what they come to in a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from cds_service.content.base import Name, Strict, Text
from cds_service.content.shared import Food


class FrequencyAnswer(Strict):
    """Servings a day that an answer stands for, between `low` and `high`."""

    display: Text
    low: Annotated[Decimal, Field(ge=0)]
    high: Annotated[Decimal, Field(ge=0)]


class ScreenerItem(Strict):
    """One question; a serving gives what its `foods` (keys of `tables/foods.yaml`) give."""

    text: Text
    foods: Annotated[list[Name], Field(min_length=1)]


class Screener(Strict):
    """`tables/intake_screener.yaml`."""

    canonical: str
    title: Text
    description: Text
    answer_system: str
    answers: dict[Name, FrequencyAnswer]
    items: dict[Name, ScreenerItem]


@dataclass(frozen=True, slots=True)
class Scoring:
    """Magnesium in mg a day that each answer to each question stands for, as (low, high)."""

    canonical: str
    answer_system: str
    amounts: Mapping[str, Mapping[str, tuple[Decimal, Decimal]]]


def scoring(screener: Screener, foods: Mapping[str, Food]) -> Scoring:
    """What the answers mean: servings a day times the least and the most that the foods asked about give."""
    amounts = {}
    for link, item in screener.items.items():
        given = [foods[name].magnesium for name in item.foods]
        amounts[link] = {
            code: (answer.low * min(given), answer.high * max(given)) for code, answer in screener.answers.items()
        }
    return Scoring(screener.canonical, screener.answer_system, amounts)
