"""POST /cds-services/<id>/feedback (C47-C53): what a clinician did with a card, stored before it is acknowledged.

The specification gives this answer no body, and an empty object is forbidden (C2): it is 200 with nothing in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import orjson
from flask import Blueprint, Response, request
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import RequestEntityTooLarge

from cds_service.content.shared import OverrideReason as Offered
from cds_service.hooks.errors import read_body
from cds_service.hooks.problems import OF_A_MEMBER, Issue, Problem
from cds_service.hooks.profile import our_reason
from cds_service.hooks.trial import is_trial
from cds_service.publish.feedback_export import TYPES, Format, crd_metrics, exported, moment
from cds_service.store import FeedbackItem, Store, StoreUnavailable
from cds_service.trust.gatekeeper import Caller

MAX_BYTES: Final = 1_048_576
MAX_ITEMS: Final = 500
_MAX_TOLD: Final = 20  # faults named in one answer
_RETRY_AFTER: Final = "5"
EPIC_REASON: Final = "com.epic.cdshooks.feedback.overrideReason"

# RFC 3339 section 5.6: a full date, a full time with its offset, T and Z in either case, any number of decimals.
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:)(\d\d)(\.\d{1,20})?(Z|[+-](\d\d):(\d\d))", re.ASCII | re.IGNORECASE
)


def read_moment(value: object) -> datetime:
    """An RFC 3339 time as an aware datetime in UTC, to the microsecond. ValueError, in our words, for anything else.

    A leap second is the first moment of the next minute.
    """
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a date and time with seconds and offset, such as 2026-01-31T09:30:00Z")
    minute, second, fraction, offset, offset_hours, offset_minutes = found.groups()
    if int(offset_hours or 0) > 23 or int(offset_minutes or 0) > 59:
        raise ValueError("has an offset that does not exist")
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(minute + ("59" if leap else second + (fraction or "")) + offset.upper())
        return (moment + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a moment that exists") from None


_Id = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[!-~]+$")]
_Code = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=190)]
_System = Annotated[str, StringConstraints(min_length=1, max_length=400)]
_Comment = Annotated[str, StringConstraints(strip_whitespace=True)]


class AcceptedSuggestion(BaseModel):
    """The `uuid` of a suggestion that was taken."""

    id: _Id


class ReasonCoding(BaseModel):
    """The reason chosen. Its `display` is not read: the words kept are those of the card."""

    code: _Code
    system: _System | None = None


class BuiltReason(BaseModel):
    """A reason that stands in Epic and not on our card: its category, and its words as they were built there."""

    code: Annotated[_Code | None, Field(alias=f"{EPIC_REASON}.reasonCategory")] = None
    title: Annotated[_Words | None, Field(alias=f"{EPIC_REASON}.reasonTitle")] = None
    display: Annotated[_Words | None, Field(alias=f"{EPIC_REASON}.reasonDisplay")] = None

    @property
    def words(self) -> str | None:
        """Title and display, each once."""
        return ": ".join(dict.fromkeys(text for text in (self.title, self.display) if text)) or None


class OverrideReason(BaseModel):
    """Why a card was dismissed: a reason (C50), a comment, both, or nothing that we read."""

    reason: ReasonCoding | None = None
    userComment: _Comment | None = None
    extension: BuiltReason | None = None


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


class Feedback(BaseModel):
    """One item. Members not named here are extensions and are not read."""

    card: _Id
    outcome: Literal["accepted", "overridden"]
    outcomeTimestamp: Annotated[datetime, BeforeValidator(read_moment)]
    acceptedSuggestions: Annotated[list[AcceptedSuggestion], Field(max_length=100)] | None = None
    overrideReason: Annotated[
        OverrideReason | None,
        BeforeValidator(_first),
        Field(validation_alias=AliasChoices("overrideReason", "overrideReasons")),
    ] = None  # in the plural from Epic


def feedback_blueprint(
    store: Store,
    services: Collection[str],
    reasons: Mapping[str, Offered] = {},
    *,
    client: Callable[[], Caller],
    now: Callable[[], datetime],
) -> Blueprint:
    """The feedback endpoint of every service in `services` (ids). `reasons`: those that cards offer, by name.

    `client` is called first in each call and gives the authenticated client, or raises the Problem that refuses it
    (C53). Problems raised: 400 body or item not valid, 404 no such service, 413 too large, 415 not JSON, 503 with
    Retry-After when it could not be stored. What can be read is stored, whatever else is in the body.
    """
    blueprint = Blueprint("feedback", __name__)

    @blueprint.post("/cds-services//<service_id>/feedback")
    @blueprint.post("/cds-services/<service_id>/feedback")
    def receive(service_id: str) -> Response:
        sender = client()
        if service_id not in services:
            raise Problem.of(404, "There is no CDS service with this id.", error="no-such-service")
        request.max_content_length = MAX_BYTES
        try:
            raw = read_body(request)
        except RequestEntityTooLarge:
            text = f"The body is larger than {MAX_BYTES} bytes. Send it in parts."
            raise Problem.of(413, text, error="body-too-large") from None
        body, faults = _read_items(raw)
        received = now()
        items = [_item(entry, service_id, sender, received, reasons) for entry in body]
        try:
            if not is_trial(request.environ):  # read and judged as any other, and never among those that count
                store.record_feedback(items)
        except StoreUnavailable as error:
            text = "The feedback could not be stored now. Send it again later: nothing is counted twice."
            later = {"Retry-After": _RETRY_AFTER}
            raise Problem.of(503, text, error="feedback-not-stored", headers=later) from error
        if faults:
            text = f"Of the items, {len(items)} could be read and were stored."
            stored = [Issue(text, severity="information", error="items-stored")]
            raise Problem(400, [*faults[:_MAX_TOLD], *(stored if items else ())])
        response = Response(status=200)
        del response.headers["Content-Type"]
        return response

    return blueprint


def export_blueprint(store: Store, reasons: Mapping[str, Offered], *, client: Callable[[], str]) -> Blueprint:
    """GET /feedback: what came back from the calling client, as JSON Lines, CSV or CRD metric data."""
    blueprint = Blueprint("feedback_export", __name__)

    @blueprint.get("/feedback")
    def export() -> Response:
        sender = client()
        form, bounds = request.args.get("format", "jsonl"), []
        if form not in (*TYPES, "crd"):
            raise Problem.of(400, "The format is jsonl, csv or crd.", "format", error="export-format")
        for name in ("since", "until"):
            text = request.args.get(name)
            try:
                bounds.append(moment(text) if text else None)
            except ValueError:
                words = "This is a day such as 2026-01-31, or a time with its offset."
                raise Problem.of(400, words, name, error="export-moment") from None
        try:
            rows = store.export(*bounds, sender, form == "crd")
        except StoreUnavailable as error:
            words, later = "The feedback could not be read now. Try again later.", {"Retry-After": _RETRY_AFTER}
            raise Problem.of(503, words, error="feedback-not-read", headers=later) from error
        lines: Format = "csv" if form == "csv" else "jsonl"
        body = crd_metrics(rows) if form == "crd" else exported(rows, lines, reasons.values())
        response = Response(body, content_type=TYPES.get(form, TYPES["jsonl"]))
        response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint


def _read_items(raw: bytes) -> tuple[list[Feedback], list[Issue]]:
    """The items that can be read, and what is wrong with the others."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = f"The body is not JSON (character {error.pos})."
        raise Problem.of(400, text, error="not-json", code="structure") from error
    # Counted before it is looked into, so that a huge array costs nothing.
    listed = body.get("feedback") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not listed:
        text = "The body must be an object with an array `feedback` that has at least one item."
        raise Problem.of(400, text, "feedback", error="feedback-empty", code="structure")
    if len(listed) > MAX_ITEMS:
        text = f"More than {MAX_ITEMS} items. Send them in parts."
        raise Problem.of(413, text, "feedback", error="too-many-items")
    items, faults = [], []
    for index, each in enumerate(listed):
        try:
            item = Feedback.model_validate(each)
        except ValidationError as error:
            told = error.errors(include_url=False, include_input=False)
            faults += [_issue(fault, f"feedback[{index}]") for fault in told]
            continue
        if item.outcome == "accepted" and not item.acceptedSuggestions:
            text = "acceptedSuggestions is required when the outcome is accepted."
            place = (f"feedback[{index}].acceptedSuggestions",)
            faults.append(Issue(text, place, "required", error="member-missing"))
            continue
        items.append(item)
    return items, faults


def _item(
    entry: Feedback, service: str, sender: Caller, received: datetime, reasons: Mapping[str, Offered]
) -> FeedbackItem:
    suggestions = entry.acceptedSuggestions if entry.outcome == "accepted" else None
    why = entry.overrideReason
    reason = why.reason if why is not None else None
    code, system = our_reason(sender.profile, reasons, reason.code, reason.system) if reason else (None, None)
    built = why.extension if why is not None and reason is None else None
    built = built if built is not None and (built.code or built.words) else None
    return FeedbackItem(
        service=service,
        client=sender.id,
        card=entry.card,
        outcome=entry.outcome,
        outcome_at=entry.outcomeTimestamp,
        received_at=received,
        suggestions=tuple(suggestion.id for suggestion in suggestions or ()),
        reason_code=built.code if built is not None else code,
        reason_system=EPIC_REASON if built is not None else system,
        reason_display=built.words if built is not None else None,
        comment=(why.userComment or None) if why is not None else None,
    )


def _place(location: Sequence[int | str]) -> str:
    """`overrideReason.reason`. Made of our own names and of indexes only, never of the client's
    text.
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


_WORDS: Final = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "holds characters that an identifier cannot have",
    "literal_error": "must be accepted or overridden",
    "list_type": "must be an array",
    "too_long": "has too many items",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _issue(fault: ErrorDetails, item: str) -> Issue:
    """What is wrong and where, never with the value: a value may be a patient's."""
    own = fault.get("ctx", {}).get("error")
    words = str(own) if isinstance(own, ValueError) else _WORDS.get(fault["type"], "is not valid")
    place = f"{item}.{_place(fault['loc'])}".rstrip(".")
    code = "required" if fault["type"] == "missing" else "value"
    return Issue(f"{place} {words}.", (place,), code, error=OF_A_MEMBER[code])
