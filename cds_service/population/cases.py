"""Cohorts: patients with a name, each as the call that an EHR would make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import orjson

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import needs_of
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart, IdentityMismatch, Need, UnreadableInput, UnsupportedFhirVersion, read_chart
from cds_service.fhir.elements import Bundle

Request = dict[str, Any]


class NotRead(ValueError):
    """A chart that cannot be read; the text says why, without a word of the chart's own."""


class Case(Protocol):
    """One call on one patient. `name` tells it from the others; `patient` is the same for all calls on one."""

    @property
    def name(self) -> str: ...

    @property
    def patient(self) -> str: ...

    @property
    def hook(self) -> str: ...

    @property
    def encounter_named(self) -> bool: ...

    def chart(self, side: Side) -> Chart:
        """As read under the rulebook of a side. Raises NotRead."""


@dataclass(frozen=True)
class Cohort:
    """Patients that have something in common. `cases` gives them one by one, each time anew.

    `private`: they may be real, so that nothing of a single one may be kept. `remarks` say what was left out, and why.
    `passed_over`: how many resources of each kind that no rule reads there are.
    """

    name: str
    cases: Callable[[], Iterable[Case]]
    private: bool = True
    remarks: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)


class Side:
    """One rulebook, with what charts are read with under it."""

    def __init__(self, content: Content, rulebook: Rulebook, now: datetime) -> None:
        self.content, self.rulebook, self.now = content, rulebook, now
        self.vocabulary = content.vocabulary.of_site(rulebook.site)
        self.services: dict[str, str] = {service.hook: name for name, service in rulebook.library.services.items()}

    def needs(self, hook: str) -> Mapping[str, Need]:
        """What the service of a hook asks for."""
        return needs_of(self.rulebook, self.services[hook])

    def reads_as(self, other: Side, hook: str) -> bool:
        """Whether a chart read under this side is the one that the other side would read."""
        mine, theirs = self.rulebook, other.rulebook
        return (
            self.now == other.now
            and mine.site.codes == theirs.site.codes
            and mine.not_available == theirs.not_available
            and self.needs(hook) == other.needs(hook)
        )


@dataclass(frozen=True)
class CallCase:
    """A case that is a hook request, made by `request` for the side that it is read under."""

    name: str
    patient: str
    hook: str
    request: Callable[[Side], Request] = field(repr=False)
    encounter_named: bool = False

    def chart(self, side: Side) -> Chart:
        """As Case."""
        try:
            call = self.request(side)
            context = call["context"]
            drafts = orjson.dumps(context["draftOrders"]) if "draftOrders" in context else None
            prefetch = {key: orjson.dumps(value) for key, value in (call.get("prefetch") or {}).items()}
        except TypeError:  # a number or text that is no JSON of the wire
            raise NotRead("it cannot be written as JSON") from None
        return read_call(
            side,
            self.hook,
            context["patientId"],
            prefetch,
            drafts,
            selections=context.get("selections", []),
            encounter_id=context.get("encounterId"),
        )


def read_call(
    side: Side,
    hook: str,
    patient_id: str,
    prefetch: Mapping[str, bytes | Bundle],
    drafts: bytes | Bundle | None,
    *,
    selections: Sequence[str] = (),
    encounter_id: str | None = None,
) -> Chart:
    """The chart of a call of which all data is there. `prefetch` and `drafts` as `read_chart`. Raises NotRead."""
    try:
        return read_chart(
            patient_id=patient_id,
            needs=list(side.needs(hook).values()),
            prefetch=prefetch,
            draft_orders=drafts,
            selections=selections,
            vocabulary=side.vocabulary,
            now=side.now,
            server=None,
            encounter_id=encounter_id,
            not_available=side.rulebook.not_available,
        )
    except IdentityMismatch as error:
        raise NotRead(f"{error.where} belongs to another patient") from None
    except UnsupportedFhirVersion as error:
        raise NotRead(f"FHIR {error.version} is not read") from None
    except UnreadableInput as error:
        raise NotRead(f"{error.where}: {error.reason}") from None
    except TypeError:  # a selection or an id that is no text
        raise NotRead("it cannot be written as JSON") from None
