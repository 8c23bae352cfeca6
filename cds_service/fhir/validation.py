"""Full FHIR validation with fhir.resources, of just those resources that a rule uses.

The caches remember only that the bytes with this digest are valid, or where they are not. No patient data is kept.
Charts are new, but what they are made of is not: the same codes, statuses and instructions come again and again. So a
resource has the verdict of one that differs from it in plain ids, dates, amounts and words alone. Elements that were
valid once are remembered too, and an empty one of the same type stands for them in the model. An element is valid or
not by itself, whatever stands beside it; only whether it is there matters outside.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import fields
from pydantic import BaseModel, ValidationError

from cds_service.fhir import elements
from cds_service.fhir.identity import is_id

_CACHE_SIZE = 8192
_MOST_ELEMENTS = 16384
_ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9]{0,40}", re.ASCII)
_MOST_PLACES = 5
VALID = ""
FAULT_ELSEWHERE = "fault elsewhere"
"""What is said of bytes whose elements that become facts are valid, where others are not."""
FAULT_IN_DOSES = "fault in the doses"
"""How the verdict begins on an order of which all but its instructions is valid."""
_INSTRUCTIONS = frozenset({"dosageInstruction", "dosage"})
# What fhir.resources raises, besides its own error, on a shape that it did not expect (a contained resource without a
# known type, for one).
_NOT_SAID = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_TYPES = (
    "Patient", "Observation", "Condition", "MedicationRequest", "MedicationStatement", "MedicationAdministration",
    "Medication", "Encounter", "QuestionnaireResponse", "ServiceRequest",
)  # fmt: skip


_READ = {
    field.encode_name
    for each in vars(elements).values()
    if isinstance(each, type) and issubclass(each, Struct)
    for field in fields(each)
}
# What a card may show but no finding rests on is judged with the elements that are not read; so are extensions, of
# which one is read, and only where it is whole; and a number of refills, without which nobody can tell how long.
_USED = (_READ | {"resourceType"}) - {"recordedDate", "onsetDateTime", "extension", "numberOfRepeatsAllowed"}
# Where one of them stands, `issued` is not used.
_TAKEN = ("effectiveDateTime", "effectivePeriod", "effectiveInstant")
# Read element by element where they are asked for.
_KEPT_WHOLE = frozenset({"item", "class", "adherence"})


_DAY = (
    rb"[12]\d{3}-"
    rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
# Parts of a resource in whose place any other one of the same form is just as valid, wherever it stands. What is kept
# of them is their form.
_PLAIN = re.compile(
    rb""""(?:
      (id"\s*:\s*"|reference"\s*:\s*"[A-Z][A-Za-z]{2,40}/)[A-Za-z0-9][A-Za-z0-9.-]{0,63}(?=")
    | (urn:uuid:)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?=")
    | (display"\s*:\s*"|text"\s*:\s*")[A-Za-z][ -!\#-\[\]-~]*(?=")
    | """
    + _DAY
    + rb"""(?:(T)(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d))?(?=")
    | (value"\s*:\s*)\d{1,7}(?:(\.)\d{1,6})?(?=\s*[,}])
    )""",
    re.VERBOSE,
)


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


class _Elements:
    """A bounded memory of digest -> model class. What is not asked for within _MOST_ELEMENTS new ones is forgotten."""

    def __init__(self) -> None:
        self._new: dict[bytes, type[BaseModel]] = {}
        self._old: dict[bytes, type[BaseModel]] = {}

    def get(self, digest: bytes) -> type[BaseModel] | None:
        found = self._new.get(digest)
        if found is None and (found := self._old.get(digest)) is not None:
            self.put(digest, found)
        return found

    def put(self, digest: bytes, model: type[BaseModel]) -> None:
        if len(self._new) >= _MOST_ELEMENTS:
            self._old, self._new = self._new, {}
        self._new[digest] = model


_verdicts = _Verdicts()
_elements = _Elements()


def digest_of(raw: bytes, r5: bool) -> bytes:
    """Names these bytes, and all that are valid where they are, read as this version."""
    forms = b"\x00".join([part or b"" for part in _PLAIN.split(raw)])  # no JSON holds a NUL
    return blake2b(forms, digest_size=16, person=b"R5" if r5 else b"R4B").digest()


def known_verdict(digest: bytes) -> str | None:
    """VALID, the places of the faults, or None if these bytes were not checked lately."""
    return _verdicts.get(digest)


def validate(resource: dict[str, Any], digest: bytes, r5: bool) -> str:
    """VALID (an empty string), FAULT_ELSEWHERE, or the places of the faults, after FAULT_IN_DOSES where all are there:
    element names only, never a value."""
    verdict = _check(resource, r5)
    if verdict and _check(used_part(resource), r5) == VALID:
        verdict = FAULT_ELSEWHERE
    elif verdict and isinstance(resource.get("dosageInstruction") or resource.get("dosage"), list):
        rest = {key: value for key, value in resource.items() if key not in _INSTRUCTIONS}
        if _check(used_part(rest), r5) == VALID:
            verdict = f"{FAULT_IN_DOSES}: {verdict}"
    _verdicts.put(digest, verdict)
    return verdict


def used_part(resource: dict[str, Any]) -> dict[str, Any]:
    """The same resource with those elements only that become facts, at every depth."""
    narrative = "text" if isinstance(resource.get("text"), dict) else ""
    left_out = {narrative} | ({"issued"} if any(resource.get(name) for name in _TAKEN) else set())
    return {key: _used(key, value) for key, value in resource.items() if key in _USED and key not in left_out}


def _used(key: str, value: Any) -> Any:
    if key in _KEPT_WHOLE:
        return value
    if isinstance(value, list):
        return [used_part(each) if isinstance(each, dict) else each for each in value]
    return used_part(value) if isinstance(value, dict) else value


def warm() -> None:
    """Loads the models before the first request needs them: fhir.resources loads an element's model when it
    meets the first one.
    """
    for kind in _TYPES:
        _check({"resourceType": kind, **_USUAL, **_USUAL_OF.get(kind, {})}, r5=False)


_CODED = {"coding": [{"system": "urn:x", "code": "x"}], "text": "x"}
_QUANTITY = {"value": 1, "unit": "mg"}
_PERIOD = {"start": "2020-01-01"}
_NAMED = {"reference": "Patient/x", "display": "x"}
_DOSAGE = {
    "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "boundsPeriod": _PERIOD}, "code": _CODED},
    "route": _CODED,
    "doseAndRate": [{"type": _CODED, "doseQuantity": _QUANTITY}],
}
_USUAL: dict[str, Any] = {
    "meta": {"tag": [{"system": "urn:x", "code": "x"}]},
    "text": {"status": "empty", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>x</div>"},
    "extension": [{"url": "urn:x", "valueString": "x"}],
    "identifier": [{"type": _CODED, "value": "x", "period": _PERIOD}],
}
_ORDERED = {"subject": _NAMED, "note": [{"text": "x"}], "medicationCodeableConcept": _CODED}
_USUAL_OF: dict[str, dict[str, Any]] = {
    "Patient": {
        "name": [{"family": "x"}],
        "telecom": [{"value": "x"}],
        "address": [{"city": "x"}],
        "communication": [{"language": _CODED}],
        "contact": [{"name": {"family": "x"}}],
    },
    "Observation": {
        "code": _CODED,
        "subject": _NAMED,
        "effectivePeriod": _PERIOD,
        "valueQuantity": _QUANTITY,
        "note": [{"text": "x"}],
        "referenceRange": [{"low": _QUANTITY}],
        "component": [{"code": _CODED}],
    },
    "Condition": {"subject": _NAMED, "code": _CODED},
    "MedicationRequest": {
        **_ORDERED,
        "dosageInstruction": [_DOSAGE],
        "dispenseRequest": {"validityPeriod": _PERIOD, "expectedSupplyDuration": {"value": 1}},
        "substitution": {"allowedBoolean": True},
    },
    "MedicationStatement": {**_ORDERED, "dosage": [_DOSAGE]},
    "MedicationAdministration": {**_ORDERED, "effectivePeriod": _PERIOD},
    "QuestionnaireResponse": {"item": [{"linkId": "x", "answer": [{"valueString": "x"}]}]},
}


def _check(resource: dict[str, Any], r5: bool) -> str:
    model = _model(str(resource.get("resourceType")), r5)
    if model is None:
        return "resourceType"
    name = f"{'R5' if r5 else 'R4B'}/{resource['resourceType']}/"
    resource = _with_a_short_id(resource)
    if isinstance(inner := resource.get("contained"), list):
        resource["contained"] = [_with_a_short_id(each) if isinstance(each, dict) else each for each in inner]
    slim: dict[str, Any] = {}
    unknown: list[tuple[str, bytes]] = []
    for key, value in resource.items():
        if not isinstance(value, dict | list):
            slim[key] = value
            continue
        digest = blake2b(orjson.dumps([name, key, value]), digest_size=16).digest()
        known = _elements.get(digest)
        if known is None:
            slim[key] = value
            unknown.append((key, digest))
        else:
            slim[key] = _stand_in(known) if isinstance(value, dict) else [_stand_in(known)]
    try:
        valid = model.model_validate(slim)
    except ValidationError as error:
        places = dict.fromkeys(_place(each["loc"], each["type"]) for each in _faults(error))
        return "; ".join(list(places)[:_MOST_PLACES])
    except _NOT_SAID:
        return "resource"
    for key, digest in unknown:
        found = getattr(valid, key, None)
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, BaseModel):
            _elements.put(digest, type(first))
    return VALID


def _with_a_short_id(resource: dict[str, Any]) -> dict[str, Any]:
    """A copy whose id, if it is one that we take, has the length that FHIR allows: longer ones are no fault here."""
    return resource | ({"id": name[:64]} if isinstance(name := resource.get("id"), str) and is_id(name) else {})


@lru_cache(maxsize=512)
def _stand_in(model: type[BaseModel]) -> BaseModel:
    """An element of this type with nothing in it: it is not checked again."""
    return model.model_construct()


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
