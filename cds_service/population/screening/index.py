"""Of which lists of a screened patient something may be missing, so that most patients need not be read again."""

from __future__ import annotations

from cds_service.rules.context import Context

CONDITIONS, MEDICATIONS = "conditions", "medications"
STATUSES = ("any", "active", "draft")


def gaps_of(context: Context) -> list[str]:
    """The column `gaps` of FACTS. In a list that it names it proves nothing that a concept does not stand there."""
    gaps = [CONDITIONS] if context.condition_gap else []
    if any(context.medication_gaps(status) for status in STATUSES):
        gaps.append(MEDICATIONS)
    return gaps
