"""Why a call is refused, in words of ours: raised where the fault is found, answered by `hooks/errors.py`.

`error` is the stable code of `publish/refusals.yaml`, which says what it means and what to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# What is wrong with one member of a body: FHIR issue type -> our code.
OF_A_MEMBER = {"required": "member-missing", "structure": "wrong-type", "value": "value-not-allowed"}


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome: our own words and the place (a path into the request, no value)."""

    text: str
    expression: Sequence[str] = ()
    code: str = ""
    severity: str = "error"
    error: str = ""


@dataclass(eq=False)
class Problem(Exception):
    """Raised anywhere below a route; the error handler renders it. `issues` are shown all at once."""

    status: int
    issues: Sequence[Issue]
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        status: int,
        text: str,
        *expression: str,
        error: str = "",
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Problem:
        """A problem with one issue."""
        return cls(status, (Issue(text, expression, code, error=error),), headers or {})
