"""The request of a CDS Hooks call: the envelope checked by pydantic, FHIR parts left as raw JSON bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from flask import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.errors import Issue, Problem

# A FHIR id: "." and ".." pass the pattern of the specification and would climb in a URL, so one character that is no
# dot is asked for.
_ID = r"[A-Za-z0-9\-.]{0,63}[A-Za-z0-9\-][A-Za-z0-9\-.]{0,63}"
_BEARER = r"^[A-Za-z0-9\-._~+/]+=*$"  # a b64token: RFC 6750, section 2.1


def _short_id(reference: str) -> str:
    if len(reference.rpartition("/")[2]) > 64:
        raise ValueError("an id has at most 64 characters")
    return reference


FhirId = Annotated[str, StringConstraints(pattern=rf"^{_ID}$", max_length=64)]
UserReference = Annotated[
    str,
    StringConstraints(pattern=rf"^(Practitioner|PractitionerRole|Patient|RelatedPerson)/{_ID}$", max_length=90),
    AfterValidator(_short_id),
]
Reference = Annotated[
    str, StringConstraints(pattern=rf"^[A-Z][A-Za-z]{{1,63}}/{_ID}$", max_length=130), AfterValidator(_short_id)
]
ORDER_HOOKS = ("order-select", "order-sign")


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FhirAuthorization(_Envelope):
    """How to read `fhirServer`. The token is transient: it is never stored, logged or printed."""

    access_token: Annotated[str, StringConstraints(pattern=_BEARER, max_length=16384), Field(repr=False)]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(gt=0)]
    scope: str
    subject: str
    patient: FhirId | None = None


class Context(_Envelope):
    """What all our hooks have. `draftOrders` is kept raw beside it."""

    userId: UserReference
    patientId: FhirId
    encounterId: FhirId | None = None
    selections: Annotated[list[Reference], Field(max_length=200)] = []


class Envelope(_Envelope):
    """The call without its FHIR."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    hookInstance: UUID
    fhirServer: Annotated[str, Field(max_length=2000)] | None = None
    fhirAuthorization: FhirAuthorization | None = None
    context: Context
    extension: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A checked call. `prefetch` and `draft_orders` are raw JSON; `fhir_version` where the caller says it."""

    envelope: Envelope
    prefetch: Mapping[str, bytes]
    draft_orders: bytes | None
    fhir_version: str | None = None


def read_body(request: Request) -> bytes:
    """The body of a JSON POST. Raises Problem 415 (type, encoding), 413 (size, by Flask) and 400 (not JSON, or
    not as strictness asks).
    """
    if request.mimetype not in ("application/json", "application/fhir+json", "application/json+fhir"):
        raise Problem.of(415, "Send JSON with Content-Type: application/json.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem.of(415, "Send the body without Content-Encoding; compressed requests are not read.")
    most = request.max_content_length
    if request.content_length is None and most is not None:
        # Of a body in chunks that is too large, the framework gives the beginning: one byte more tells.
        request.max_content_length = most + 1
    body = request.get_data(cache=False)
    if most is not None and len(body) > most:
        raise RequestEntityTooLarge
    try:
        check(body)
    except NotStrict as fault:
        raise Problem.of(400, fault.text, "request", code=fault.code) from None
    return body


def parse_call(body: bytes, hook: str) -> HookRequest:
    """Raises Problem 400 with every fault of the envelope, each with its place; values are never echoed."""
    members = raw_object(body, "request")
    context = raw_object(bytes(members["context"]), "context") if "context" in members else {}
    drafts = context.pop("draftOrders", None)
    plain: dict[str, Any] = {}
    for name, raw in members.items():
        if name not in ("prefetch", "context"):
            plain[name] = decoded(bytes(raw), name)
    if "context" in members:
        plain["context"] = {name: decoded(bytes(raw), f"context.{name}") for name, raw in context.items()}
    try:
        envelope = Envelope.model_validate(plain)
    except ValidationError as error:
        raise Problem(400, _issues(error)) from None
    issues = _rules(envelope, hook, drafts, plain)
    if issues:
        raise Problem(400, issues)
    prefetch: dict[str, bytes] = {}
    if "prefetch" in members and bytes(members["prefetch"]) != b"null":
        prefetch = {key: bytes(raw) for key, raw in raw_object(bytes(members["prefetch"]), "prefetch").items()}
    version = plain.get("fhirVersion")
    return HookRequest(
        envelope, prefetch, bytes(drafts) if drafts is not None else None, version if isinstance(version, str) else None
    )


def _rules(envelope: Envelope, hook: str, drafts: object, plain: dict[str, Any]) -> list[Issue]:
    issues = []
    if envelope.hook != hook:
        issues.append(Issue(f"This service answers the hook {hook}; call the service of the other hook.", ("hook",)))
    if hook in ORDER_HOOKS and (drafts is None or bytes(drafts) == b"null"):  # type: ignore[call-overload]
        issues.append(Issue(f"{hook} needs context.draftOrders, a Bundle.", ("context.draftOrders",), "required"))
    if hook == "order-select" and "selections" not in plain["context"]:
        issues.append(Issue("order-select needs context.selections.", ("context.selections",), "required"))
    if envelope.fhirAuthorization and not envelope.fhirServer:
        issues.append(Issue("fhirAuthorization is given without fhirServer.", ("fhirServer",), "required"))
    token_patient = envelope.fhirAuthorization.patient if envelope.fhirAuthorization else None
    if token_patient is not None and token_patient != envelope.context.patientId:
        raise Problem.of(
            412,
            "The access token is for another patient than the context.",
            "fhirAuthorization.patient",
            code="conflict",
        )
    return issues


def raw_object(body: bytes, where: str) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded. Raises Problem 400."""
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise Problem.of(400, "A JSON object is expected here.", where, code="structure") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem.of(400, "This is not JSON.", where, code="structure") from None


def decoded(body: bytes, where: str) -> Any:
    """A small JSON value. Raises Problem 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem.of(400, "This is not JSON.", where, code="structure") from None


# Pydantic's own message would be fine, but some of them quote the value.
_WORDS = {
    "missing": ("is required", "required"),
    "string_pattern_mismatch": ("has not the form that FHIR and CDS Hooks give it", "value"),
    "uuid_parsing": ("is not a UUID", "value"),
    "uuid_type": ("is not a UUID", "value"),
    "literal_error": ("is not one of the values allowed here", "value"),
    "string_type": ("is not text", "structure"),
    "model_type": ("is not a JSON object", "structure"),
    "list_type": ("is not an array", "structure"),
}


def _issues(error: ValidationError) -> list[Issue]:
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"]) or "request"
        words, code = _WORDS.get(item["type"], ("has a value that is not allowed here", "value"))
        found.append(Issue(f"{path} {words}.", (path,), code))
    return found
