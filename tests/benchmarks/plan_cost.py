"""What planning costs: `python -m tests.benchmarks.plan_cost`.

1. One order-select call with and without the plan (in this process, over Flask's test client): the ratio is the result.
2. One plan of ten drugs: one that is possible, one that differs by day, one without a solution and a search for moves.
3. The most that a question, a chart or an address may hold, beside ten drugs: to answer, to draw, to open. The ratio is
   the result: it is what one caller can cost more than another.

Each figure is CPU time, the best of `ROUNDS` rounds, so that other work on the machine adds little.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import process_time
from unittest.mock import patch

import orjson

from cds_service import create_app
from cds_service.advice.loaded_content import load_content
from cds_service.logs import configure
from cds_service.planner import picture, token
from cds_service.planner.model import DAY, DAYS, MOST_DRUGS, PlanRequest, clock
from cds_service.planner.plan import plan_day
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.settings import Settings
from cds_service.web.plan_page import page
from tests.conftest import NOW
from tests.planner.regimens import HOURS, ask, takes

ROUNDS, CALLS, PLANS = 7, 30, 100
SERVICE = "/cds-services/magnesium-order-select"
OTHERS = [takes(f"other{number}", "08:00", "20:00") for number in range(6)]
REGIMENS: dict[str, PlanRequest] = {
    "possible": ask(
        takes("levothyroxine", "07:00"), takes("alendronate", "06:30", days=("sun",)), takes("iron", "08:00"),
        takes("mycophenolate", "08:00", "20:00"), *OTHERS,
    ),
    "by day": ask(
        takes("moxifloxacin", "14:30", days=("sun",)), takes("levothyroxine", "06:30"),
        takes("doxycycline", "20:30", days=("wed",)), takes("gabapentin", "08:00"), *OTHERS,
    ),
    "no solution": ask(
        takes("moxifloxacin", "14:00", movable=True), takes("doxycycline", "08:00", "20:00", movable=True),
        takes("levothyroxine", "07:00", movable=True), takes("iron", "13:00", movable=True), *OTHERS,
    ),
    "no solution, ten that reach": ask(
        takes("levothyroxine", "07:00", movable=True), takes("ciprofloxacin", "08:00", "20:00", movable=True),
        takes("doxycycline", "09:00", "21:00", movable=True), takes("iron", "13:00", movable=True),
        takes("gabapentin", "08:00", "14:00", "20:00", movable=True),
        takes("mycophenolate", "08:00", "20:00", movable=True), takes("alendronate", "06:30", days=("sun",)),
        takes("dolutegravir", "18:00", movable=True), takes("cladribine", "12:00", movable=True), OTHERS[0],
    ),
}  # fmt: skip


def largest() -> PlanRequest:
    """MOST_DRUGS medicines whose doses, 480 a week, fall at other times on different days: no two panels are alike."""
    dice = Random(1)
    drugs = [
        takes(
            list(HOURS)[number % len(HOURS)],
            *(clock(minute) for minute in dice.sample(range(DAY), 3)),
            days=tuple(dice.sample(DAYS, 4)),
            movable=True,
        )
        for number in range(MOST_DRUGS)
    ]
    return ask(*drugs, doses=2)


def answered(asked: PlanRequest) -> None:
    """As POST /plan: planned, and its address signed."""
    plan_day(asked)
    token.sign(asked, "secret")


def best(work: Callable[[], object], times: int) -> float:
    """Milliseconds of one piece of work."""
    shortest = float("inf")
    for _ in range(ROUNDS):
        started = process_time()
        for _ in range(times):
            work()
        shortest = min(shortest, (process_time() - started) / times)
    return shortest * 1000


def main() -> None:
    """Print the figures."""
    configure("ERROR")
    content = load_content()
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder)), now=lambda: NOW, content=content)
        client = app.test_client()
        services = client.get("/cds-services").json["services"]
        templates = next(item["prefetch"] for item in services if item["hook"] == "order-select")
        drugs = ["metformin", "omeprazole", "amlodipine", "furosemide", "spironolactone", "paracetamol"]
        case = Scenario.model_validate({
            "name": "ten drugs and a draft", "kind": "fires", "hook": "order-select", "drafts": ["magnesium_oxide"],
            "drugs": [
                {"drug": "levothyroxine", "at": ["07:00"]}, {"drug": "ciprofloxacin", "times": 2}, "ferrous_sulfate",
                {"drug": "mycophenolate_mofetil", "times": 2}, *({"text": name} for name in drugs),
            ],
            "labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}], "expect": {"outcome": "fired"},
        })  # fmt: skip
        body = orjson.dumps(Builder(content.library, NOW).request(case, templates))

        def call() -> None:
            assert client.post(SERVICE, data=body, content_type="application/json").status_code == 200

        call()
        plain = planned = float("inf")
        for _ in range(2):  # by turns, so that both see the same machine
            planned = min(planned, best(call, CALLS))
            with patch("cds_service.advice.advise.plan_for", lambda *_: None):
                plain = min(plain, best(call, CALLS))
        app.extensions["advisor"].store.close()
    print(
        f"order-select, ten drugs: {planned:.2f} ms with the plan, {plain:.2f} ms without: ratio {planned / plain:.2f}"
    )
    for name, asked in REGIMENS.items():
        print(f"one plan of ten drugs, {name}: {best(lambda asked=asked: plan_day(asked), PLANS):.2f} ms")
    usual, most = REGIMENS["by day"], largest()
    plans = {id(asked): plan_day(asked) for asked in (usual, most)}
    steps: dict[str, Callable[[PlanRequest], object]] = {
        "answer": answered,
        "draw": lambda asked: picture.svg(asked, plans[id(asked)]),
        "open": lambda asked: page(asked, plan_day(asked), styles="", picture=""),
    }
    for name, step in steps.items():
        little, much = (best(lambda asked=asked, step=step: step(asked), CALLS) for asked in (usual, most))
        print(f"{name}: {much:.1f} ms for the most that is allowed, {little:.1f} ms for ten: ratio {much / little:.1f}")


if __name__ == "__main__":
    main()
