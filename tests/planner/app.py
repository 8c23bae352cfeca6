"""The planner's routes on an app of their own, with the intervals of regimens.py, and a clock that can be
set."""

from datetime import UTC, date, datetime

from flask import Flask

from cds_service.hooks.errors import install_error_handlers
from cds_service.planner.model import PlanContent
from cds_service.web.plan_routes import plan_blueprint
from tests.planner.regimens import HOURS, TODAY, interval, usual_day

REASONS = {
    "levothyroxine": "Magnesium can hold it in the gut, so that less of it is absorbed",
    "ciprofloxacin": "Magnesium binds it, so that less of it is absorbed",
    "moxifloxacin": "Magnesium binds it, so that less of it is absorbed",
    "doxycycline": "Magnesium binds it, so that less of it is absorbed",
    "alendronate": "Magnesium binds it, so that less of it is absorbed",
}


def content(_today: date) -> PlanContent:
    intervals = {
        name: interval(
            name,
            label=name.title(),
            certainty="moderate",
            reference="Product label, 2024",
            reason=REASONS.get(name, ""),
        )
        for name in HOURS
    }
    intervals["raltegravir"] = interval("raltegravir")

    def find(name: str) -> list[str]:
        known = name.strip().lower().split(" and ")
        return [each for each in known if each in intervals or each == "metformin"]

    return PlanContent(intervals, usual_day(), find, {"metformin": "Metformin"})


class Clock:
    """Noon of TODAY until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def make_app(secret: str = "a secret of the tests", max_age: int = 3600) -> Flask:
    app = Flask("planner-tests")
    install_error_handlers(app)
    app.register_blueprint(plan_blueprint(content, secret, client=lambda: "tests", max_age=max_age, now=Clock()))
    return app
