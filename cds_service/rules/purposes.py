"""What each magnesium order is for (`tables/purposes.yaml`): by its reason, by a problem that is treated by vein, or by
a low level on file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cds_service.content.concept import MAGNESIUM
from cds_service.content.tables import Purpose
from cds_service.content.word_fields import PurposeName
from cds_service.patient import Medication
from cds_service.rules.context import Context
from cds_service.rules.faults import Fault, attempt
from cds_service.rules.lab_tests import lab
from cds_service.rules.routes import route_fits
from cds_service.rules.verdict import LabHit


def with_purposes(context: Context) -> Context:
    """The context with the low level on file, and what each magnesium order is for where that is known."""
    drafts = context.medications(frozenset({MAGNESIUM}), "draft", "systemic")
    if not drafts:
        return context
    table = {
        name: purpose
        for name, purpose in context.rulebook.library.purposes.items()
        if context.may_be_pregnant or not purpose.in_pregnancy
    }
    low = next((hit for purpose in table.values() if (hit := _low(purpose, context))), None)
    found = {draft.source: name for draft in drafts if (name := _purpose(draft, table, low, context))}
    return replace(context, low_level=low, purposes=found)


def _low(purpose: Purpose, context: Context) -> LabHit | None:
    verdict = attempt(lab, purpose.low, context, context.limits(context.rulebook.shared)) if purpose.low else None
    if purpose.low is None or verdict is None or isinstance(verdict, Fault) or not verdict.truth:
        return None
    hit: LabHit = verdict.bindings[purpose.low.lab]
    return hit


def _purpose(
    draft: Medication, table: Mapping[PurposeName, Purpose], low: LabHit | None, context: Context
) -> PurposeName | None:
    injected = route_fits(draft, "intravenous")
    possible = {name: purpose for name, purpose in table.items() if injected or not purpose.by_vein}
    for name, purpose in possible.items():
        if not draft.reasons.isdisjoint(purpose.conditions) or (purpose.in_pregnancy and draft.obstetric):
            return name
    for name, purpose in possible.items():
        on_list = context.of_pregnancy if purpose.in_pregnancy else context.concepts
        if purpose.by_vein and not on_list.isdisjoint(purpose.conditions):
            return name
    return next((name for name, purpose in possible.items() if purpose.low and low), None)
