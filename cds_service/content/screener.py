"""The typed form of the intake screener, and the FHIR Questionnaire made of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from cds_service.content.base import Name, Strict, Text


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


def questionnaire(screener: Screener) -> dict[str, Any]:
    """The screener as a FHIR R4 Questionnaire; `experimental`, since it is not validated."""
    options = [
        {"valueCoding": {"system": screener.answer_system, "code": code, "display": answer.display}}
        for code, answer in screener.answers.items()
    ]
    return {
        "resourceType": "Questionnaire",
        "id": "magnesium-intake",
        "url": screener.canonical,
        "name": "MagnesiumIntake",
        "title": screener.title,
        "status": "active",
        "experimental": True,
        "subjectType": ["Patient"],
        "description": screener.description.strip(),
        "item": [
            {"linkId": name, "text": item.text, "type": "choice", "required": True, "answerOption": options}
            for name, item in screener.items.items()
        ],
    }
