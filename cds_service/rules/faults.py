"""A fault of ours while one rule is worked on: that rule alone is then not evaluated, and all others answer."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath
from typing import ParamSpec, TypeVar

from cds_service.rules.verdict import Reason

MOST_PLACES = 12
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """The type of an exception and the places in our code that led to it, the last one where it was raised.

    Its message is not kept: it may hold what is a patient's. `reference` is the same wherever the same place fails in
    the same way, so that a card and the log can name one fault.
    """

    kind: str
    places: tuple[str, ...]
    reference: str

    @property
    def reason(self) -> Reason:
        """Why the rule was not evaluated."""
        return Reason("internal_error", self.reference)


def fault_of(error: BaseException) -> Fault:
    """The fault that an exception tells of."""
    steps = traceback.extract_tb(error.__traceback__)[-MOST_PLACES:]
    last = f"{PurePath(steps[-1].filename).name}:{steps[-1].lineno}" if steps else ""
    kind = type(error).__name__
    places = tuple(f"{step.filename}:{step.lineno} {step.name}" for step in steps)
    return Fault(kind, places, blake2b(f"{kind} {last}".encode(), digest_size=4).hexdigest())


def attempt(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | Fault:
    """What `work` gives for one rule, or the fault of ours that it met (F42).

    The one place that catches whatever is raised: a bug that one patient meets in one rule must not take the other
    rules' answers away, nor pass for a quiet rule. What is caught is told: on a card, in the outcome, in the log.
    """
    try:
        return work(*given, **named)
    except Exception as error:  # noqa: BLE001 - see above
        return fault_of(error)
