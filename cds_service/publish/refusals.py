"""The closed catalogue of refusals: every code that an OperationOutcome of ours can carry, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cds_service.content.yamlfile import parse

ERROR_SYSTEM: Final = "urn:magnesium-cds:error"
FILE: Final = "refusals.yaml"


class Refusal(BaseModel):
    """One entry. `says` and `at` are an example of the text and of the place; `status`: under which it is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[tuple[Annotated[int, Field(ge=400, le=599)], ...], Field(min_length=1)]
    issue: str
    title: str
    means: str
    change: str
    says: str
    at: str = ""
    by: Literal["service", "proxy"] = "service"


@cache
def refusals() -> Mapping[str, Refusal]:
    """By code, in the order of their statuses."""
    text = (files("cds_service.publish") / FILE).read_text(encoding="utf-8")
    found = TypeAdapter(dict[str, Refusal]).validate_python(parse(text, FILE).data)
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: item[1].status)))


def as_json(code: str, refusal: Refusal, base: str) -> dict[str, Any]:
    """An entry for other machines, with an example of the answer. `base`: our own URL, "" where it is not known."""
    kept = refusal.model_dump(mode="json", exclude={"says", "at"})
    return {"system": ERROR_SYSTEM, "code": code, **kept, "example": example(code, refusal, base)}


def example(code: str, refusal: Refusal, base: str) -> dict[str, Any]:
    """The OperationOutcome of a refusal, as `hooks/errors.py` makes it."""
    severity = {"not-checked": "warning", "items-stored": "information"}.get(code, "error")
    issue = {
        "severity": severity,
        "code": refusal.issue,
        "details": {"coding": [{"system": ERROR_SYSTEM, "code": code}], "text": refusal.says},
        "diagnostics": f"{base}/errors/{code}",
    }
    return {"resourceType": "OperationOutcome", "issue": [issue | ({"expression": [refusal.at]} if refusal.at else {})]}
