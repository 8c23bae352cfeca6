"""Calls that this process makes to itself: answered as any other, and neither recorded nor counted nor kept.

What marks one is a key of the WSGI environment that no header can make: those of headers begin with HTTP_.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cds_service.advice.advise import Advice
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.trust.gatekeeper import Caller

TRIAL: Final = "magnesium_cds.trial"
NOBODY: Final = Caller("trial", ())
"""Who makes such a call: no EHR, with no FHIR server to be read."""


def _not_looked_at(*_: object) -> None:
    """Nobody wants to see what the answer was made of."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial for a page that shows more than the answer. `caller`: as whom it is answered; `look` is given what the
    answer was made of: the chart, the advice, the rulebook in force, and the name of the service."""

    caller: Caller = NOBODY
    look: Callable[[Chart, Advice, Rulebook, str], None] = _not_looked_at


def trial_of(environ: Mapping[str, Any]) -> Trial | None:
    """The trial that a call is, None for the call of anybody else. `True` in the environment is one without a page."""
    found = environ.get(TRIAL)
    return found if isinstance(found, Trial) else Trial() if found is True else None


def is_trial(environ: Mapping[str, Any]) -> bool:
    return trial_of(environ) is not None
