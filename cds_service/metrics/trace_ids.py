"""The ids by which a call is found in the logs of both sides.

W3C Trace Context (https://www.w3.org/TR/trace-context/): the `traceparent` of a call is read strictly, passed on to the
FHIR servers that are read for it, and its trace id is logged and answered as `X-Request-Id`. Without one, or where it
is not exactly as the standard has it, the call gets an id of ours. `tracestate` is free text of others: it is neither
kept nor passed on.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

REQUEST_ID: Final = "X-Request-Id"
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class Trace:
    """Of one call. `id`: 32 hex digits; `span`: ours, 16; `parent`: the caller's span, "" where the trace is ours;
    `sampled`: somebody before us, or we, keep the trace."""

    id: str
    span: str
    parent: str = ""
    sampled: bool = False

    @property
    def traceparent(self) -> str:
        """The header for calls that we make on behalf of this one."""
        return f"00-{self.id}-{self.span}-0{int(self.sampled)}"


def trace_of(headers: Sequence[str], sampled: bool = False) -> Trace:
    """The trace that the `traceparent` headers of a call name, else one of ours; `sampled`: whether we keep ours."""
    if len(headers) == 1 and len(headers[0]) <= _LONGEST:
        found = _TRACEPARENT.fullmatch(headers[0])
        # Version 00 ends with its flags; a later version may go on.
        if found and (found[5] is None or found[1] != "00"):
            return Trace(found[2], secrets.token_hex(8), found[3], bool(int(found[4], 16) & 1))
    return Trace(secrets.token_hex(16), secrets.token_hex(8), "", sampled)


def hook_instance_hash(instance: UUID) -> str:
    """What the log holds of `hookInstance`: the first 16 hex digits of the SHA-256 of its usual form (lower case, with
    hyphens).

    Not keyed, so that whoever has the EHR's log can compute it and find the call. A hookInstance is a random UUID
    (CDS Hooks), no patient's data: from the digits nobody learns it, and so nobody who has only our log finds the call
    in theirs.
    """
    return hashlib.sha256(str(instance).encode()).hexdigest()[:16]
