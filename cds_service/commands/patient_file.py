"""A file with one patient, a hook request or a FHIR Bundle, as the chart that the commands give advice on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs
from cds_service.commands.common import FAILED, cards_in_use, stop
from cds_service.content.current import CurrentRulebook
from cds_service.content.rulebook import Rulebook
from cds_service.content.site_sources import SiteFile
from cds_service.hooks.one_patient import Asked, NotAsked, chart_asked, document_of, is_patient, lines_of, question_of
from cds_service.hooks.problems import Problem

__all__ = ["Document", "InForce", "in_force", "is_patient", "read_document", "read_patient"]


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


def in_force(site: Path | None) -> InForce:
    """Content and site values as they hold now. Raises ContentError."""
    content, now = load_content(cards=cards_in_use()), datetime.now(UTC)
    current = CurrentRulebook(content.library, SiteFile(site) if site else None, frozenset(all_needs(content.library)))
    return InForce(content, current.on(now.date()), now)


def read_document(file: BinaryIO) -> Document:
    """The file, as strictly as the service reads a call. Exits 1 where it is refused."""
    raw = file.read()
    try:
        return Document(file.name, document_of(raw), raw)
    except NotAsked as fault:
        stop(FAILED, *[f"{file.name}: {line}" for line in fault.lines])


def read_patient(file: Document, held: InForce, hook: str | None = None) -> Asked:
    """The chart in a file; a Bundle is tried with `hook`, else with patient-view. Exits 1 where it is refused."""
    try:
        question = question_of(file.data, file.raw, held.rulebook, held.content.vocabulary, hook)
        return chart_asked(question, held.rulebook, held.content.vocabulary, held.now)
    except NotAsked as fault:
        stop(FAILED, *[f"{file.name}: {line}" for line in fault.lines])
    except Problem as problem:
        stop(FAILED, f"Refused ({problem.status}):", *[f"  {line}" for line in lines_of(problem)])
