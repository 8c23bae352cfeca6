"""The planner as a form: medicines and their times typed in, the day out, with its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response, render_template, request, url_for
from pydantic import ValidationError

from cds_service.advice.plan_of_findings import plan_content
from cds_service.hooks.services import Advisor
from cds_service.planner import token
from cds_service.planner.model import MOST_DRUGS, TooLarge, clock
from cds_service.planner.plan import plan_day
from cds_service.planner.schedule import ScheduleError
from cds_service.planner.times_in_words import alternative_times
from cds_service.spelling import joined, nearest
from cds_service.web.pages import html_response
from cds_service.web.plan_question import PlanQuestion, request_of
from cds_service.web.try_form import Taken, clock_times, drug_names, rows_of
from cds_service.web.try_shown import day_of

ROWS: Final = 5
EXAMPLE: Final = (Taken("levothyroxine", "07:00"), Taken("ciprofloxacin", "08:00, 20:00"))
FIELDS: Final = ("doses", "food", "wakes", "sleeps")


def add(blueprint: Blueprint, advisor: Advisor, headers: Mapping[str, str]) -> None:
    """GET /plan, the form; POST /plan/form, the same with the day. The JSON of POST /plan is another route."""

    def page(values: Mapping[str, str], rows: list[Taken], status: int = 200, **more: Any) -> Response:
        shown = [*rows, *[Taken()] * max(ROWS - len(rows), 1)]
        text = render_template(
            "try/plan.html", dev=advisor.settings.dev, library=advisor.current.library, values=values, rows=shown,
            names=drug_names(advisor.current.library), **{"faults": {}, "result": None, **more},
        )  # fmt: skip
        response = html_response(text, {**headers, "X-Robots-Tag": "noindex"})
        response.status_code = status
        return response

    @blueprint.get("/plan", endpoint="plan")
    def form() -> Response:
        return page({"doses": "1"}, list(EXAMPLE))

    @blueprint.post("/plan/form", endpoint="plan_day")
    def day() -> Response:
        fields = request.form
        values = {name: fields.get(name, "").strip() for name in FIELDS}
        rows = rows_of("drug")
        question, faults = question_of(values, rows)
        if question is None:
            return page(values, rows, 422, faults=faults)
        today = advisor.now().date()
        content = plan_content(advisor.current.on(today), advisor.vocabulary)
        try:
            asked, unknown = request_of(question, content, today)
            text = token.sign(asked, advisor.plan_secret)
        except ScheduleError as error:
            return page(values, rows, 422, faults={"wakes": f"Awake from and to: {error}. Give other times."})
        except TooLarge as error:
            return page(values, rows, 422, faults={"drug-1": f"Medicines: there are {error}. Leave some out."})
        plan = plan_day(asked)
        known = drug_names(advisor.current.library)
        return page(
            values, rows,
            result={
                "plan": plan, "asked": asked, "day": day_of(asked, plan, url_for("plan.show", text=text)),
                "unknown": [f"{name}{nearest(name.capitalize(), known)}" for name in unknown],
                "blocked": joined(asked.labels[drug] for drug in plan.blocked_by),
                "instead": [
                    (option, alternative_times(option), joined(asked.labels[drug] for drug in option.drugs))
                    for option in plan.alternatives
                ],
            },
            clock=clock,
        )  # fmt: skip


def question_of(values: Mapping[str, str], rows: list[Taken]) -> tuple[PlanQuestion | None, dict[str, str]]:
    """The question to the planner; else what is wrong, by field, in words that say what to change."""
    faults: dict[str, str] = {}
    body: dict[str, Any] = {"medications": [], "magnesium": {"withFood": values.get("food") == "yes"}}
    doses = values.get("doses", "")
    if doses in {str(number) for number in range(1, 7)}:
        body["magnesium"]["dosesPerDay"] = int(doses)
    else:
        faults["doses"] = "Doses of magnesium a day: type a whole number, 1 to 6."
    for number, row in enumerate(rows, 1):
        times = clock_times(row.when)
        if not row.name:
            faults[f"drug-{number}"] = f"Medicine {number}: type its name, or clear its times."
        elif not times:
            faults[f"drug-{number}"] = (
                f"Medicine {number}: type the times of day that it is taken at, such as 07:00, 19:00."
            )
        body["medications"].append({"name": row.name, "times": times})
    if len(rows) > MOST_DRUGS:
        faults["drug-1"] = f"Medicines: no more than {MOST_DRUGS} can be planned. Leave some out."
    if not rows:
        faults["drug-1"] = "Medicine 1: type at least one medicine, else there is nothing to plan around."
    waking = [clock_times(values.get(name, "")) for name in ("wakes", "sleeps")]
    if values.get("wakes") or values.get("sleeps"):
        if all(len(times) == 1 for times in waking):
            body["waking"] = [times[0] for times in waking]
        else:
            faults["wakes"] = "Awake from and to: type two times of day, such as 06:30 and 22:30, or leave both empty."
    if faults:
        return None, faults
    try:
        return PlanQuestion.model_validate(body), {}
    except ValidationError as error:
        return None, {_field(item["loc"]): _words(item["loc"]) for item in error.errors(include_input=False)}


def _field(place: tuple[int | str, ...]) -> str:
    numbers = [part for part in place if isinstance(part, int)]
    return f"drug-{numbers[0] + 1}" if numbers else "drug-1"


def _words(place: tuple[int | str, ...]) -> str:
    numbers = [part for part in place if isinstance(part, int)]
    return f"Medicine {numbers[0] + 1 if numbers else 1}: shorten its name to 200 characters, its times to 24."
