"""Why a call is refused, in words of ours: raised where the fault is found, answered by `hooks/errors.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome: our own words and the place (a path into the request, no value)."""

    text: str
    expression: Sequence[str] = ()
    code: str = ""
    severity: str = "error"


@dataclass(eq=False)
class Problem(Exception):
    """Raised anywhere below a route; the error handler renders it. `issues` are shown all at once."""

    status: int
    issues: Sequence[Issue]
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, status: int, text: str, *expression: str, code: str = "", headers: Mapping[str, str] | None = None
    ) -> Problem:
        """A problem with one issue."""
        return cls(status, (Issue(text, expression, code),), headers or {})
