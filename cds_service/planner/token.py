"""The question behind /plan/<token>, packed into a signed token that expires.

It holds concept ids of known drugs, their dose times and the hours of the day: no name that a caller wrote,
no date, nothing of a patient. The plan is worked out anew when the page is opened, from the content then in
force. So a course to wait out, which needs a date, is named by the card and not by the page.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from cds_service.planner.model import DAYS, Dose, DrugTimes, PlanContent, PlanRequest, TooLarge
from cds_service.planner.schedule import MEALS

SALT = "magnesium-cds plan 1"
MOST_CHARACTERS = 4000
ASSUMED, MOVABLE = 1, 2
AS_NEEDED, ANY_DAY, UNREADABLE = 1, 2, 4


class BadToken(ValueError):
    """Not a token of ours, or one that can no longer be read."""


class ExpiredToken(BadToken):
    """A token of ours that is too old."""


def sign(request: PlanRequest, secret: str) -> str:
    """The token of a request: a few hundred characters for ten drugs. Raises TooLarge for one that `read` refuses."""
    schedule = request.schedule
    body: dict[str, Any] = {
        "n": request.doses_per_day,
        "w": [schedule.waking_starts, schedule.waking_length, *schedule.meals],
        "d": [_packed(drug) for drug in request.drugs],
    }
    body |= {"f": 1} if request.with_food else {}
    body |= {"u": request.unknown} if request.unknown else {}
    token = str(_serializer(secret).dumps(body))
    if len(token) > MOST_CHARACTERS:  # all else that `read` refuses, a PlanRequest refuses too
        raise TooLarge("more dose times than an address can hold")
    return token


def read(token: str, secret: str, max_age: int, content: PlanContent, today: date) -> PlanRequest:
    """The request of a token, at most `max_age` seconds old.

    Raises ExpiredToken, or BadToken for all else that is not one of ours.
    """
    if len(token) > MOST_CHARACTERS:
        raise BadToken("too long")
    try:
        body = _serializer(secret).loads(token, max_age=max_age)
        starts, length, *meals = body["w"]
        schedule = content.schedule
        if (starts, length, *meals) != (schedule.waking_starts, schedule.waking_length, *schedule.meals):
            schedule = schedule.for_waking(starts, starts + length, dict(zip(MEALS, meals, strict=True)))
        drugs = tuple(_unpacked(row, content) for row in body["d"])
        return PlanRequest(schedule, today, body["n"], bool(body.get("f")), drugs, int(body.get("u", 0)))
    except SignatureExpired as error:
        raise ExpiredToken("expired") from error
    except BadData as error:
        raise BadToken("not signed by this service") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        # Signed by an older version of this service that packed it otherwise.
        raise BadToken("packed by another version") from error


def _serializer(secret: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt=SALT, signer_kwargs={"key_derivation": "hmac"})


def _packed(drug: DrugTimes) -> list[Any]:
    """[concept, state, [[minute, days as bits, flags, words], ...]]"""
    days: dict[Dose, int] = {}
    for place, doses in enumerate(drug.week):
        for dose in doses:
            days[dose] = days.get(dose, 0) | 1 << place
    rows = [
        [dose.minute, bits, dose.assumed * ASSUMED | dose.movable * MOVABLE, *filter(None, [dose.words])]
        for dose, bits in days.items()
    ]
    state = drug.as_needed * AS_NEEDED | drug.any_day * ANY_DAY | bool(drug.unreadable) * UNREADABLE
    return [drug.drug, state, rows]


def _unpacked(row: list[Any], content: PlanContent) -> DrugTimes:
    concept, state, rows = row
    week: list[list[Dose]] = [[] for _ in DAYS]
    for minute, bits, flags, *words in rows:
        dose = Dose(minute, bool(flags & ASSUMED), bool(flags & MOVABLE), *words)
        for place, doses in enumerate(week):
            if bits >> place & 1:
                doses.append(dose)
    interval = content.intervals.get(concept)
    return DrugTimes(
        drug=concept,
        label=interval.label if interval else content.names.get(concept, concept.replace("_", " ")),
        interval=interval,
        week=tuple(tuple(sorted(doses)) for doses in week),
        as_needed=bool(state & AS_NEEDED),
        any_day=bool(state & ANY_DAY),
        unreadable="the order does not say when" if state & UNREADABLE else "",
    )
