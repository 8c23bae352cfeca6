"""`magnesium-cds plan`: when to take magnesium, in the terminal and as a picture, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click
import orjson
from pydantic import ValidationError

from cds_service.advice.advise import outcomes_of
from cds_service.advice.against import not_proposed
from cds_service.advice.in_words import Display
from cds_service.advice.one_bundle import has_drafts
from cds_service.advice.plan_of_findings import plan_content, plan_for
from cds_service.commands.common import CANNOT_CREATE, DOCUMENT, FAILED, FILE, UNAVAILABLE, cards_option, stop
from cds_service.commands.patient_file import Document, InForce, in_force, is_patient, read_document, read_patient
from cds_service.logs import configure
from cds_service.planner import picture
from cds_service.planner.model import Plan, PlanRequest, TooLarge
from cds_service.planner.plan import plan_day
from cds_service.planner.schedule import ScheduleError
from cds_service.web.plan_page import text
from cds_service.web.plan_question import PlanQuestion, answer_of, request_of

PICTURE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@cards_option
@click.argument("file", type=DOCUMENT)
@click.option("--svg", type=PICTURE, help="Draw the day as SVG into this file.")
@click.option("--png", type=PICTURE, help="Draw the day as PNG into this file (needs the extra png).")
@click.option("--json", "as_json", is_flag=True, help="The plan as POST /plan answers it.")
@click.option("--site", type=FILE, help="Site values to try.")
def plan(file: BinaryIO, svg: Path | None, png: Path | None, as_json: bool, site: Path | None) -> None:
    """Plan when to take magnesium beside the other medicines in FILE ('-' for stdin).

    FILE is the JSON that POST /plan takes, a hook request, or a FHIR Bundle of one patient. Exit 1 where it holds
    nothing to plan.
    """
    configure("WARNING")
    document = read_document(file)
    held = in_force(site)
    asked, unknown = (_of_chart if is_patient(document.data) else _of_question)(document, held)
    found = plan_day(asked)
    if svg is not None:
        _save(svg, str(picture.svg(asked, found)).encode())
    if png is not None:
        try:
            _save(png, picture.png(asked, found))
        except ImportError:
            stop(UNAVAILABLE, "--png needs the extra png, which is not here; in a checkout: pip install '.[png]'")
    click.echo(_as_json(found, asked, unknown) if as_json else text(asked, found, unknown), nl=as_json)


def _as_json(found: Plan, asked: PlanRequest, unknown: list[str]) -> str:
    body = answer_of(found, asked, unknown, "").model_dump(exclude_none=True, exclude={"link"})
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        stop(CANNOT_CREATE, f"{path}: {error.strerror}")


def _of_question(document: Document, held: InForce) -> tuple[PlanRequest, list[str]]:
    """The question of POST /plan; exits 1 with every fault and its place."""
    try:
        question = PlanQuestion.model_validate_json(document.raw)
        return request_of(question, plan_content(held.rulebook, held.content.vocabulary), held.now.date())
    except ValidationError as error:
        places = [".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False)]
        stop(
            FAILED,
            f"{document.name}: not a question to POST /plan, a hook request or a Bundle:",
            *[f"  {place}: {fault['msg']}" for place, fault in zip(places, error.errors(), strict=True)],
        )
    except ScheduleError as error:
        stop(FAILED, f"{document.name}: waking: {error}")
    except TooLarge as error:
        stop(FAILED, f"{document.name}: medications hold {error}")


def _of_chart(document: Document, held: InForce) -> tuple[PlanRequest, list[str]]:
    """The magnesium and the medicines of one patient; exits 1 where they hold nothing to plan."""
    hook = "order-select" if has_drafts(document.data) else None
    asked = read_patient(document, held, hook)
    _, evaluation = outcomes_of(asked.chart, held.rulebook, asked.service, asked.encounter_named)
    rulebook = evaluation.context.rulebook
    timing = [
        outcome
        for outcome in evaluation.of("fired")
        if outcome.written.when is None and outcome.rule.visibility != "hidden"
    ]
    if not timing:
        stop(FAILED, f"{document.name}: no medicine here that magnesium has still to be kept apart from")
    why = not_proposed(evaluation, Display(rulebook, evaluation.context, held.content.vocabulary.units))
    if why:
        stop(FAILED, f"{document.name}: {held.content.library.wording.headings['not_proposed']}: {why}")
    found = plan_for(timing, evaluation, rulebook)
    if isinstance(found, str):
        stop(FAILED, f"{document.name}: {held.content.library.wording.plan.not_planned[found]}")
    return found.request, []
