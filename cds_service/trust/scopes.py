"""What the scope of an access token allows to be read (SMART App Launch, version 1 and 2)."""

from __future__ import annotations

import re
from typing import Final, Literal

_SCOPE: Final = re.compile(r"(?:patient|user|system)/(\*|[A-Z][A-Za-z]{1,63})\.(read|write|\*|c?r?u?d?s?)", re.ASCII)


def may_read(scope: str, resource_type: str, way: Literal["read", "search"]) -> bool:
    """Whether `scope` allows every resource of this type to be read by id, or searched.

    A scope that is narrowed by a query (`patient/Observation.rs?category=laboratory`) does not count: the server would
    leave out the rest without a word, and what is not there would look like what does not exist.
    """
    letter = "r" if way == "read" else "s"
    for word in scope.split():
        found = _SCOPE.fullmatch(word)
        if found is None or found[1] not in ("*", resource_type):
            continue
        if found[2] in ("read", "*") or (found[2] != "write" and letter in found[2]):
            return True
    return False
