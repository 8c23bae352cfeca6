"""What somebody has of one patient, a hook request or a FHIR Bundle, as the call that an EHR would make of it.

For commands and pages: an EHR itself calls the service, and is read by `request` alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from cds_service.advice.needs import needs_of
from cds_service.advice.one_bundle import NotOnePatient, hook_request, is_hook_request
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.problems import Problem
from cds_service.hooks.request import chart_of, parse_call
from cds_service.terminology.index import Vocabulary


class NotAsked(ValueError):
    """What was given cannot be asked about. `lines`: what is wrong and where, in words of ours, never with a value.
    `status`: 400 where it cannot be read, 422 where it can be read and is something else."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.status = status
        self.lines = list(lines)


@dataclass(frozen=True, slots=True)
class Question:
    """The call of a hook: its body, and the service that answers it. `made`: of a Bundle, not sent as it stands."""

    hook: str
    service: str
    body: bytes
    made: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """One patient's chart, and the service that was asked about it."""

    chart: Chart
    hook: str
    service: str
    encounter_named: bool


def document_of(raw: bytes) -> Any:
    """A JSON document, read as strictly as the service reads a call: of a member that stands twice nobody knows which
    one holds. Raises NotAsked."""
    if not raw.strip():
        raise NotAsked(400, "it is empty, so not JSON")
    try:
        check(raw)
        return json.loads(raw)
    except NotStrict as fault:
        raise NotAsked(400, _place_of_fault(raw) or fault.text) from None
    except (ValueError, RecursionError):
        raise NotAsked(400, _place_of_fault(raw) or "not JSON") from None


def _place_of_fault(raw: bytes) -> str:
    """Where a text stops being JSON; "" where it is JSON, or too deep to tell."""
    try:
        json.loads(raw)
    except json.JSONDecodeError as fault:
        what = fault.msg.partition(":")[0]  # what may follow is of the text itself
        return f"not JSON: line {fault.lineno}, column {fault.colno}: {what}"
    except UnicodeDecodeError:
        return "not JSON: it is no text in UTF-8"
    except (ValueError, RecursionError):
        return ""
    return ""


def is_patient(document: Any) -> bool:
    """Whether a JSON document may be a patient's: a hook request or a Bundle."""
    return is_hook_request(document) or (isinstance(document, dict) and document.get("resourceType") == "Bundle")


def question_of(
    document: Any, raw: bytes, rulebook: Rulebook, vocabulary: Vocabulary, hook: str | None = None
) -> Question:
    """The call in a document, of which `raw` are the bytes; a Bundle is tried with `hook`, else with patient-view.
    `vocabulary`: that of the content. Raises NotAsked, also where a request is of another hook than `hook`."""
    if not is_patient(document):
        raise NotAsked(422, "neither a CDS Hooks request nor a FHIR Bundle")
    made = not is_hook_request(document)
    asked = hook or "patient-view" if made else str(document["hook"])
    service = next((key for key, item in rulebook.library.services.items() if item.hook == asked), None)
    if service is None:
        known = ", ".join(item.hook for item in rulebook.library.services.values())
        raise NotAsked(422, f"no service answers the hook of this request; there are {known}")
    if hook and hook != asked:
        raise NotAsked(422, f"this is a request of the hook {asked}, not {hook}")
    if not made:
        return Question(asked, service, raw, made)
    try:
        needs = needs_of(rulebook, service).values()
        call = hook_request(document, asked, needs, vocabulary.of_site(rulebook.site))
        return Question(asked, service, orjson.dumps(call), made)
    except NotOnePatient as error:
        raise NotAsked(422, str(error)) from None
    except TypeError:  # a number or text that is no JSON of the wire
        raise NotAsked(400, "cannot be written as JSON") from None


def chart_asked(question: Question, rulebook: Rulebook, vocabulary: Vocabulary, now: datetime) -> Asked:
    """The chart of a call, without a FHIR server. `vocabulary`: that of the content. Raises Problem 400, 412."""
    needs = needs_of(rulebook, question.service).values()
    call = parse_call(question.body, question.hook)
    chart = chart_of(call, needs, vocabulary.of_site(rulebook.site), rulebook, now)
    return Asked(chart, question.hook, question.service, call.envelope.context.encounterId is not None)


def lines_of(problem: Problem) -> list[str]:
    """The issues of a refusal, each with its place."""
    return [f"{', '.join(issue.expression)}: {issue.text}".removeprefix(": ") for issue in problem.issues]
