"""Condition resources to facts: active, unrefuted problems whose codes or whole text some concept has."""

from __future__ import annotations

from cds_service.fhir.building import Building, code_of, has_subject
from cds_service.fhir.dates import read_day
from cds_service.fhir.elements import NOTHING
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
    if verification in _EXCLUDED or clinical in _OVER or _abated(view):
        return None
    known = clinical in _ACTIVE or clinical is None
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


def _abated(view: ConditionView) -> bool:
    """An end is given. `abatementBoolean: false` (before R4) is not one."""
    ends = (
        view.abatementDateTime,
        view.abatementAge,
        view.abatementPeriod,
        view.abatementRange,
        view.abatementString,
    )
    for end in ends:
        if bytes(end) not in _NO_END:
            return True
    return view.abatementBoolean is not NOTHING and bytes(view.abatementBoolean) == b"true"
