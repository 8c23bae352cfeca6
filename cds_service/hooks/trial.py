"""Calls that this process makes to itself: answered as any other, and neither recorded nor counted nor kept.

What marks one is a key of the WSGI environment that no header can make: those of headers begin with HTTP_.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cds_service.trust.gatekeeper import Caller

TRIAL: Final = "magnesium_cds.trial"
NOBODY: Final = Caller("trial", ())
"""Who makes such a call: no EHR, with no FHIR server to be read."""


def is_trial(environ: Mapping[str, Any]) -> bool:
    return environ.get(TRIAL) is True
