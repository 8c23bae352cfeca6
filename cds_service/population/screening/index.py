"""What a screening folder says of a patient in lists, so that most patients need not be read for the next question."""

from __future__ import annotations

from cds_service.rules.context import Context

CONDITIONS, MEDICATIONS = "conditions", "medications"
STATUSES = ("any", "active", "draft")


def lists_of(context: Context) -> dict[str, list[str]]:
    """The columns `conditions`, `drugs`, `labs` and `gaps` of FACTS. `gaps` says of which of the first two lists
    something may be missing: there it proves nothing that a concept does not stand in it."""
    gaps = [CONDITIONS] if context.condition_gap else []
    if any(context.medication_gaps(status) for status in STATUSES):
        gaps.append(MEDICATIONS)
    return {
        "conditions": sorted(context.concepts),
        "drugs": sorted(context.drugs),
        "labs": sorted(concept for concept, results in context.facts.labs.items() if results),
        "gaps": gaps,
    }
