"""Documented dietary magnesium intake: Observations in mass or substance a day, and answers to our screener."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

import orjson
from msgspec import Raw

from cds_service.content.screener import Scoring
from cds_service.fhir.building import Building, has_subject
from cds_service.fhir.dates import read_moment
from cds_service.fhir.elements import Observation, QuestionnaireResponse
from cds_service.fhir.inputs import Item
from cds_service.fhir.labs import NOT_USED, USED, read_value, time_problem
from cds_service.patient import Intake
from cds_service.terminology.index import LabConcept

INTAKE = "dietary_magnesium_intake"


def read_intakes(building: Building) -> tuple[Intake, ...]:
    """Newest first; those that cannot be used come first with their problem."""
    found = [
        _intake(building, item, cast(Observation, item.view), concept)
        for item, concept in building.observed.get(INTAKE, ())
        if _counts(building, item, cast(Observation, item.view))
    ]
    found += read_screeners(building)
    found.sort(key=lambda i: i.time.timestamp() if i.time else float("inf"), reverse=True)
    return tuple(found)


def _counts(building: Building, item: Item, view: Observation) -> bool:
    if view.status in NOT_USED:
        return False
    if view.status not in USED or not has_subject(view):
        building.lost(item)
        return False
    return True


def _intake(building: Building, item: Item, view: Observation, concept: LabConcept) -> Intake:
    read = read_value(view, view, concept, building.now, building.vocabulary.units)
    problem = read.problem or ("only a limit is given" if read.comparator else "")
    return Intake(
        source=item.source,
        mg_per_day=None if problem else read.value,
        time=read.moment.latest if read.moment else None,
        problem=problem,
    )


ANSWERED = ("completed", "amended")


def read_screeners(building: Building) -> list[Intake]:
    """One Intake for each finished answer sheet of our screener; one with gaps has a problem."""
    found, scoring = [], building.vocabulary.scoring
    for item, view in building.of(QuestionnaireResponse):
        asked = (view.questionnaire or "").partition("|")[0]
        if asked != scoring.canonical or view.status not in ANSWERED:
            continue
        moment = read_moment(view.authored, building.now.tzinfo)
        if not has_subject(view):
            building.lost(item)
            continue
        low, high, problem = _total(view.item, scoring)
        problem = problem or time_problem(moment, building.now)
        found.append(
            Intake(
                source=item.source,
                mg_per_day=None if problem else (low + high) / 2,
                time=moment.latest if moment else None,
                low=None if problem else low,
                high=None if problem else high,
                problem=problem,
            )
        )
    return found


def _total(raw: Raw, scoring: Scoring) -> tuple[Decimal, Decimal, str]:
    answers: dict[str, str] = {}
    items = orjson.loads(bytes(raw)) if bytes(raw) else None
    for item in items if isinstance(items, list) else ():
        if (
            isinstance(item, dict)
            and isinstance(item.get("linkId"), str)
            and (code := _code(item.get("answer"), scoring))
        ):
            answers[item["linkId"]] = code
    low = high = Decimal(0)
    for link, amounts in scoring.amounts.items():
        if answers.get(link) not in amounts:
            return low, high, "a question is not answered"
        least, most = amounts[answers[link]]
        low, high = low + least, high + most
    return low, high, ""


def _code(answer: object, scoring: Scoring) -> str | None:
    first = answer[0] if isinstance(answer, list) and answer else None
    coding = first.get("valueCoding") if isinstance(first, dict) else None
    if not isinstance(coding, dict) or coding.get("system") != scoring.answer_system:
        return None
    code = coding.get("code")
    return code if isinstance(code, str) else None
