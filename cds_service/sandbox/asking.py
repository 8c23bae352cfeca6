"""The requests of hooks for sample patients, as an EHR would send them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from .patients import SamplePatient
from .search import prefetch


def hook_request(
    sample: SamplePatient, hook: str, templates: Mapping[str, str], now: datetime, *drafts: str
) -> dict[str, Any]:
    """The request of a hook for a sample patient, with complete prefetch; these of its drafts, or all of
    them, on the order hooks."""
    context: dict[str, Any] = {"patientId": sample.id, "userId": "Practitioner/example"}
    if hook != "patient-view":
        context |= sample.draft_context(now, *(drafts or sample.drafts))
        if hook == "order-sign":
            context.pop("selections", None)
    filled = prefetch(sample.resources(now), dict(templates), {"patientId": sample.id})
    return {"hook": hook, "hookInstance": str(uuid4()), "context": context, "prefetch": filled}
