"""Full FHIR validation with fhir.resources, of just those resources that a page uses.

The cache remembers only that the bytes with this digest are valid, or where they are not. No patient data is kept.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

from pydantic import ValidationError

_CACHE_SIZE = 8192
_ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9]{0,40}", re.ASCII)
_MOST_PLACES = 5
VALID = ""
# What fhir.resources raises, besides its own error, on a shape that it did not expect (a contained resource without a
# known type, for one).
_NOT_SAID = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_TYPES = (
    "Patient", "Observation", "Condition", "MedicationRequest", "MedicationStatement", "Medication", "Encounter",
    "QuestionnaireResponse", "ServiceRequest",
)  # fmt: skip


class _Verdicts:
    """A bounded LRU of digest -> verdict."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> str | None:
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
            return self._known.get(digest)

    def put(self, digest: bytes, verdict: str) -> None:
        with self._lock:
            self._known[digest] = verdict
            while len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)


_verdicts = _Verdicts()


def digest_of(raw: bytes | memoryview, r5: bool) -> bytes:
    """Names these bytes, read as this version."""
    return blake2b(raw, digest_size=16, person=b"R5" if r5 else b"R4B").digest()


def known_verdict(digest: bytes) -> str | None:
    """VALID, the places of the faults, or None if these bytes were not checked lately."""
    return _verdicts.get(digest)


def validate(resource: dict[str, Any], digest: bytes, r5: bool) -> str:
    """VALID (an empty string), or the places of the faults: element names only, never a value."""
    verdict = _check(resource, r5)
    _verdicts.put(digest, verdict)
    return verdict


def warm() -> None:
    """Loads the models before the first request needs them."""
    for kind in _TYPES:
        _check({"resourceType": kind}, r5=False)


def _check(resource: dict[str, Any], r5: bool) -> str:
    model = _model(str(resource.get("resourceType")), r5)
    if model is None:
        return "resourceType"
    try:
        model.model_validate(resource)
    except ValidationError as error:
        places = dict.fromkeys(_place(each["loc"], each["type"]) for each in _faults(error))
        return "; ".join(list(places)[:_MOST_PLACES])
    except _NOT_SAID:
        return "resource"
    return VALID


def _faults(error: ValidationError) -> list[Any]:
    return list(error.errors(include_input=False, include_url=False, include_context=False))


def _place(loc: tuple[int | str, ...], kind: str) -> str:
    if kind == "extra_forbidden":
        loc = (*loc[:-1], "?")  # a name that FHIR does not have is the sender's own text
    steps: list[str] = []
    for step in loc:
        if isinstance(step, int):
            steps.append(f"[{step}]")
        elif _ELEMENT.fullmatch(step):
            steps.append(f".{step}" if steps else step)
        else:
            steps.append(".?" if steps else "?")
    return "".join(steps) or "resource"


def _model(kind: str, r5: bool) -> Any:
    if kind not in _TYPES:
        return None
    if r5:
        from fhir.resources import get_fhir_model_class
    else:
        from fhir.resources.R4B import get_fhir_model_class
    return get_fhir_model_class(kind)
