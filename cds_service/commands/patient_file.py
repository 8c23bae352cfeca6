"""A file with one patient, a hook request or a FHIR Bundle, as the chart that the commands give advice on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs, needs_of
from cds_service.advice.one_bundle import NotOnePatient, hook_request, is_hook_request
from cds_service.commands.common import FAILED, cards_in_use, stop
from cds_service.content.current import CurrentRulebook
from cds_service.content.rulebook import Rulebook
from cds_service.content.site_sources import SiteFile
from cds_service.fhir import Chart
from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.problems import Problem
from cds_service.hooks.request import chart_of, parse_call


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds now: the content, this site's rulebook of today, the time."""

    content: Content
    rulebook: Rulebook
    now: datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON file as given: its name, what it holds, and its bytes."""

    name: str
    data: Any
    raw: bytes


@dataclass(frozen=True, slots=True)
class PatientFile:
    """One patient's chart, and the service that was asked about it."""

    chart: Chart
    hook: str
    service: str
    encounter_named: bool


def in_force(site: Path | None) -> InForce:
    """Content and site values as they hold now. Raises ContentError."""
    content, now = load_content(cards=cards_in_use()), datetime.now(UTC)
    current = CurrentRulebook(content.library, SiteFile(site) if site else None, frozenset(all_needs(content.library)))
    return InForce(content, current.on(now.date()), now)


def read_document(file: BinaryIO) -> Document:
    """The file, as strictly as the service reads a call: of a member that stands twice nobody knows which one holds.
    Exits 1 where it is refused."""
    raw = file.read()
    try:
        check(raw)
        return Document(file.name, json.loads(raw), raw)
    except NotStrict as fault:
        stop(FAILED, f"{file.name}: {fault.text}")
    except (ValueError, RecursionError):
        stop(FAILED, f"{file.name}: not JSON")


def is_patient(document: Any) -> bool:
    """Whether a JSON document may be a patient's: a hook request or a Bundle."""
    return is_hook_request(document) or (isinstance(document, dict) and document.get("resourceType") == "Bundle")


def read_patient(file: Document, held: InForce, hook: str | None = None) -> PatientFile:
    """The chart in a file; a Bundle is tried with `hook`, else with patient-view. Exits 1 where it is refused."""
    document, name = file.data, file.name
    if not is_patient(document):
        stop(FAILED, f"{name}: neither a CDS Hooks request nor a FHIR Bundle")
    asked = str(document["hook"]) if is_hook_request(document) else hook or "patient-view"
    if hook and hook != asked:
        stop(FAILED, f"{name}: this is a request of the hook {asked}, not {hook}")
    rulebook, library = held.rulebook, held.content.library
    service = next((key for key, item in library.services.items() if item.hook == asked), None)
    if service is None:
        stop(FAILED, f"{name}: no service answers the hook {asked}")
    needs = needs_of(rulebook, service).values()
    try:
        body = file.raw if is_hook_request(document) else _written(hook_request(document, asked, needs), name)
        call = parse_call(body, asked)
        chart = chart_of(call, needs, held.content.vocabulary.of_site(rulebook.site), rulebook, held.now)
    except NotOnePatient as error:
        stop(FAILED, f"{name}: {error}")
    except Problem as problem:
        lines = [f"{', '.join(issue.expression)}: {issue.text}".removeprefix(": ") for issue in problem.issues]
        stop(FAILED, f"Refused ({problem.status}):", *[f"  {line}" for line in lines])
    return PatientFile(chart, asked, service, call.envelope.context.encounterId is not None)


def _written(request: dict[str, Any], name: str) -> bytes:
    try:
        return orjson.dumps(request)
    except TypeError:  # a number or text that is no JSON of the wire
        stop(FAILED, f"{name}: cannot be written as JSON")
