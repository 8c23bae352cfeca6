"""Canaries: invented patients of whom it is known which rules fire, so far beyond every threshold that no value which a
site may set changes that."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cds_service.content.base import Name
from cds_service.sandbox.patients import SamplePatient


class Canary(SamplePatient):
    """A sample patient, the hook that is called for them, and the rules that fire then, whatever else does. None named:
    no rule fires, none is without its data, and there is no card."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    fires: Annotated[list[Name], Field(max_length=20)]
