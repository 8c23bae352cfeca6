"""Condition resources to facts: active, unrefuted problems whose codes or whole text some concept has."""

from __future__ import annotations

from datetime import datetime

import orjson

from cds_service.fhir.building import Building, code_of, has_subject
from cds_service.fhir.dates import days_covered, read_day
from cds_service.fhir.elements import Condition as ConditionView
from cds_service.fhir.inputs import Item
from cds_service.patient import Condition

_ACTIVE = frozenset({"active", "recurrence", "relapse"})
_OVER = frozenset({"inactive", "remission", "resolved"})
_EXCLUDED = frozenset({"refuted", "entered-in-error"})
_PROVISIONAL = frozenset({"unconfirmed", "provisional", "differential"})
_NO_END = (b"", b"null", b'""', b"{}")


def read_conditions(building: Building) -> tuple[Condition, ...]:
    """Every active condition that is known by code or by a text of the list, in the order sent."""
    found = []
    for item, view in building.of(ConditionView):
        condition = None if item.draft else _read(building, item, view)
        if condition is not None:
            found.append(condition)
    return tuple(found)


def _read(building: Building, item: Item, view: ConditionView) -> Condition | None:
    verification = code_of(view.verificationStatus)
    clinical = code_of(view.clinicalStatus)
    if not has_subject(view):
        building.lost(item)
        return None
    if verification in _EXCLUDED or clinical in _OVER:
        return None
    ended = _ended(view, building.now)
    if ended and clinical is None:
        return None
    # A problem that is active and over at the same time is one of the two.
    known = ended is False and (clinical in _ACTIVE or clinical is None)
    if not known or (verification not in _PROVISIONAL and verification not in (None, "confirmed")):
        building.lost(item)
        return None
    if view.code is None or not (view.code.coding or view.code.text):
        building.lost(item)
        return None
    if clinical is None:
        building.repairs["clinical_status_missing"] += 1
    if not any(coding.code for coding in view.code.coding or ()):
        building.repairs["condition_without_code"] += 1
    concepts = building.condition_concepts(view.code)
    if not concepts:
        building.not_identified(item, view.code)
        return None
    return Condition(
        source=item.source,
        concepts=concepts,
        provisional=verification in _PROVISIONAL,
        recorded=read_day(view.recordedDate),
    )


def _ended(view: ConditionView, now: datetime) -> bool | None:
    """Whether an end is given that has come; None where one is given and nobody can tell when it is.

    `abatementBoolean: false` (before R4) is no end.
    """
    when, period = (orjson.loads(bytes(raw) or b"null") for raw in (view.abatementDateTime, view.abatementPeriod))
    end = period.get("end", "") if isinstance(period, dict) and period else when
    if end:
        days = days_covered(end) if isinstance(end, str) else None
        return days[0] <= now.date() if days else None
    said = (view.abatementAge, view.abatementRange, view.abatementString)
    given = period or any(bytes(each) not in _NO_END for each in said) or bytes(view.abatementBoolean) == b"true"
    return None if given else False
