"""The request of a CDS Hooks call: the envelope checked by pydantic, FHIR parts left as raw JSON bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from cds_service.content.rulebook import Rulebook
from cds_service.fhir import (
    Chart,
    FhirServer,
    IdentityMismatch,
    Need,
    UnreadableInput,
    UnsupportedFhirVersion,
    read_chart,
)
from cds_service.fhir.identity import is_id
from cds_service.hooks.problems import OF_A_MEMBER, Issue, Problem
from cds_service.terminology.index import Vocabulary

log = logging.getLogger(__name__)

_BEARER = r"^[A-Za-z0-9\-._~+/]+=*$"  # a b64token: RFC 6750, section 2.1
_USERS = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson")


def _id(text: str) -> str:
    if not is_id(text):
        raise PydanticCustomError("string_pattern_mismatch", "not a FHIR id")
    return text


def _reference(text: str) -> str:
    _id(text.partition("/")[2])
    return text


def _user(text: str) -> str:
    if text.partition("/")[0] not in _USERS:
        raise PydanticCustomError("string_pattern_mismatch", "not a user")
    return _reference(text)


# `pattern` is for the published schema alone: the functions above are what checks.
_AN_ID = r"[A-Za-z0-9\-][A-Za-z0-9\-.]{0,63}"
FhirId = Annotated[str, AfterValidator(_id), Field(json_schema_extra={"pattern": f"^{_AN_ID}$"})]
UserReference = Annotated[
    str, AfterValidator(_user), Field(json_schema_extra={"pattern": f"^({'|'.join(_USERS)})/{_AN_ID}$"})
]
Reference = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z][A-Za-z]{1,63}/"),
    AfterValidator(_reference),
    Field(json_schema_extra={"pattern": f"^[A-Z][A-Za-z]{{1,63}}/{_AN_ID}$"}),
]
ORDER_HOOKS = ("order-select", "order-sign")


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FhirAuthorization(_Envelope):
    """How to read `fhirServer`. The token is transient: it is never stored, logged or printed."""

    access_token: Annotated[
        str, StringConstraints(pattern=_BEARER, max_length=16384), Field(repr=False, description="a b64token")
    ]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(gt=0, description="seconds")]
    scope: Annotated[str, Field(description="SMART scopes, in either syntax; what they do not allow is not asked for")]
    subject: str
    patient: Annotated[FhirId | None, Field(description="must be that of the context")] = None


class Context(_Envelope):
    """What all our hooks have. `draftOrders` is kept raw beside it."""

    userId: Annotated[UserReference, Field(description="who looks at the chart, such as Practitioner/abc")]
    patientId: Annotated[FhirId, Field(description="whose chart it is; all that is sent must be this patient's")]
    encounterId: Annotated[FhirId | None, Field(description="the encounter in which the chart is opened")] = None
    selections: Annotated[list[Reference], Field(max_length=200)] = []


class Envelope(_Envelope):
    """The call without its FHIR."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    hookInstance: Annotated[UUID, Field(description="new for every call")]
    fhirServer: Annotated[
        Annotated[str, Field(max_length=2000)] | None,
        Field(description="base URL of the EHR's FHIR server; read only where it is registered for the client"),
    ] = None
    fhirAuthorization: Annotated[
        FhirAuthorization | None, Field(description="how fhirServer may be read; needs fhirServer")
    ] = None
    context: Context
    extension: Annotated[dict[str, Any] | None, Field(description="members of other specifications")] = None


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A checked call. `prefetch` and `draft_orders` are raw JSON; `fhir_version` where the caller says it."""

    envelope: Envelope
    prefetch: Mapping[str, bytes]
    draft_orders: bytes | None
    fhir_version: str | None = None


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


def chart_of(
    call: HookRequest,
    needs: Iterable[Need],
    vocabulary: Vocabulary,
    rulebook: Rulebook,
    now: datetime,
    server: FhirServer | None = None,
    validate_all: bool = False,
    null_is: Literal["empty", "failed"] = "empty",
) -> Chart:
    """What the call, and `server` where it leaves something out, say of its patient. Raises Problem 400 and 412."""
    context = call.envelope.context
    try:
        return read_chart(
            patient_id=context.patientId,
            needs=list(needs),
            prefetch=call.prefetch,
            draft_orders=call.draft_orders,
            selections=context.selections,
            vocabulary=vocabulary,
            now=now,
            server=server,
            encounter_id=context.encounterId,
            not_available=rulebook.not_available,
            validate_all=validate_all,
            fhir_version=call.fhir_version,
            base=call.envelope.fhirServer,
            null_is=null_is,
        )
    except IdentityMismatch as error:
        log.warning("identity mismatch at %s", error.where)
        text = "This belongs to another patient than context.patientId, so nothing was evaluated."
        raise Problem.of(412, text, error.where, error="another-patient", code="conflict") from None
    except UnsupportedFhirVersion as error:
        text = f"This is FHIR {error.version}; the service reads R4 (4.0, 4.3) and R5."
        raise Problem.of(400, text, error.where, error="fhir-version", code="not-supported") from None
    except UnreadableInput as error:
        text = f"Cannot be read: {error.reason}."
        raise Problem.of(400, text, error.where, error="fhir-unreadable", code="structure") from None


def _rules(envelope: Envelope, hook: str, drafts: object, plain: dict[str, Any]) -> list[Issue]:
    issues = []
    if envelope.hook != hook:
        text = f"This service answers the hook {hook}; call the service of the other hook."
        issues.append(Issue(text, ("hook",), error="wrong-hook"))
    if hook in ORDER_HOOKS and (drafts is None or bytes(drafts) == b"null"):  # type: ignore[call-overload]
        issues.append(_missing(f"{hook} needs context.draftOrders, a Bundle.", "context.draftOrders"))
    if hook == "order-select" and "selections" not in plain["context"]:
        issues.append(_missing("order-select needs context.selections.", "context.selections"))
    if envelope.fhirAuthorization and not envelope.fhirServer:
        issues.append(_missing("fhirAuthorization is given without fhirServer.", "fhirServer"))
    token_patient = envelope.fhirAuthorization.patient if envelope.fhirAuthorization else None
    if token_patient is not None and token_patient != envelope.context.patientId:
        raise Problem.of(
            412,
            "The access token is for another patient than the context.",
            "fhirAuthorization.patient",
            error="token-of-another-patient",
            code="conflict",
        )
    return issues


def _missing(text: str, place: str) -> Issue:
    return Issue(text, (place,), "required", error="member-missing")


def raw_object(body: bytes, where: str) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded. Raises Problem 400."""
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise Problem.of(400, "A JSON object is expected here.", where, error="wrong-type", code="structure") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem.of(400, "This is not JSON.", where, error="not-json", code="structure") from None


def decoded(body: bytes, where: str) -> Any:
    """A small JSON value. Raises Problem 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem.of(400, "This is not JSON.", where, error="not-json", code="structure") from None


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
        found.append(Issue(f"{path} {words}.", (path,), code, error=OF_A_MEMBER[code]))
    return found
