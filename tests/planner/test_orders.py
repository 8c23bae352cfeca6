"""Random charts as FHIR, over HTTP: the times written into an order break no interval of the rules that fired.

The check is not the planner's: clock times by `rules.timing.kept_apart`, and plain sums of minutes where days differ.
The usual times are written out here (cards/tables/schedule.yaml), the hours are read from the rules themselves.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.current import CurrentRulebook
from cds_service.patient import Dosage, Medication, Source
from cds_service.rules.timing import kept_apart
from cds_service.rules.verdict import Pair
from cds_service.sandbox.scenario import Builder, Scenario
from tests.conftest import NOW, shipped

CHARTS = 320
WEEK = 7 * 24 * 60
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
USUAL = {1: ["08:00"], 2: ["08:00", "20:00"], 3: ["08:00", "14:00", "20:00"]}
AT = {"MORN": "08:00", "EVE": "20:00", "HS": "22:00", "CM": "08:00", "CV": "18:30", "ACM": "07:30", "PCD": "13:00"}
DRUGS = [
    "levothyroxine", "ciprofloxacin", "doxycycline", "ferrous_sulfate", "dolutegravir", "mycophenolate_mofetil",
    "gabapentin", "moxifloxacin", "digoxin", "levofloxacin", "tetracycline", "captopril",
]  # fmt: skip
FAR = ["moxifloxacin", "ciprofloxacin", "levothyroxine", "dolutegravir"]


def chart(roll: random.Random) -> tuple[list[dict[str, Any]], dict[str, list[tuple[int, str]]], int]:
    """Drugs for a scenario, by drug what is really taken ((weekday, clock time)), and doses of magnesium a day."""
    drugs, taken = [], {}
    by_day = roll.random() < 0.25  # far-reaching drugs on days of their own: what makes the days differ
    for name in roll.sample(FAR, 3) if by_day else roll.sample(DRUGS, roll.randint(1, 4)):
        days = roll.sample(DAYS, roll.randint(1, 3)) if by_day or roll.random() < 0.2 else []
        line: dict[str, Any] = {"drug": name, "days": days, "period_unit": "wk" if days else "d"}
        kind = roll.choice(["clock", "count", "moment"])
        if kind == "clock":
            often = 1 if days else roll.randint(1, 3)
            clocks = sorted({f"{roll.randint(0, 23):02d}:{roll.choice([0, 15, 30, 45]):02d}" for _ in range(often)})
            line |= {"at": clocks, "times": len(days) or len(clocks)}
        elif kind == "moment":
            moment = roll.choice(list(AT))
            clocks = [AT[moment]]
            line |= {"when": [moment], "times": len(days) or 1}
        else:
            often = 1 if days else roll.randint(1, 3)
            clocks = USUAL[often]
            line |= {"times": len(days) or often}
        drugs.append(line)
        taken[name] = [(DAYS.index(day), clock) for day in (days or DAYS) for clock in clocks]
    return drugs, taken, roll.choice([1, 1, 2, 3])


def minutes(weekday: int, clock: str) -> int:
    return weekday * 1440 + int(clock[:2]) * 60 + int(clock[3:5])


def medication(drug: str, clocks: list[str]) -> Medication:
    dosage = Dosage(times=tuple(time.fromisoformat(clock) for clock in clocks))
    return Medication(Source("MedicationRequest", drug), "active", drug, frozenset({drug}), dosages=(dosage,))


def check(resource: dict[str, Any], taken: dict[str, list[tuple[int, str]]], hours: dict[str, tuple[Decimal, Decimal]]):
    """No dose of magnesium lies too near to a dose of any of these drugs."""
    magnesium = set()
    for dosage in resource["dosageInstruction"]:
        repeat = dosage["timing"]["repeat"]
        assert repeat["frequency"] == len(set(repeat["timeOfDay"]))
        for day in repeat.get("dayOfWeek", DAYS):
            magnesium |= {(DAYS.index(day), clock[:5]) for clock in repeat["timeOfDay"]}
    steady = len({(day, clock) for day, clock in magnesium}) == 7 * len({clock for _, clock in magnesium})
    for drug, (after, before) in hours.items():
        doses = taken[drug]
        if steady and len(doses) == 7 * len({clock for _, clock in doses}):
            pair = Pair(
                medication("magnesium", sorted({clock for _, clock in magnesium})),
                medication(drug, sorted({clock for _, clock in doses})),
                None,
            )
            book = CurrentRulebook(shipped().library, None, frozenset(all_needs(shipped().library))).on(NOW.date())
            assert kept_apart(pair, drug, after, before, book), (drug, magnesium, doses)
        for moment in (minutes(*dose) for dose in magnesium):
            for dose in (minutes(*dose) for dose in doses):
                assert (moment - dose) % WEEK >= after * 60 and (dose - moment) % WEEK >= before * 60, (drug, resource)
    return magnesium


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_no_update_of_a_random_chart_breaks_an_interval_of_a_rule_that_fired(
    client: FlaskClient, content: Content
) -> None:
    services = client.get("/cds-services").json["services"]
    templates = next(item["prefetch"] for item in services if item["hook"] == "order-select")
    builder, seen = Builder(content.library, NOW), Counter[str]()
    for seed in range(CHARTS):
        drugs, taken, doses = chart(random.Random(seed))
        case = Scenario.model_validate({
            "name": "a random chart", "kind": "fires", "hook": "order-select", "drugs": drugs,
            "drafts": [{"drug": "magnesium_oxide", "times": doses}], "expect": {"outcome": "fired"},
            "labs": [{"lab": "egfr", "value": 90, "unit": "mL/min/{1.73_m2}"}],
        })  # fmt: skip
        body = orjson.dumps(builder.request(case, templates))
        answer = client.post("/cds-services/magnesium-order-select", data=body, content_type="application/json").json
        (card,) = [item for item in answer["cards"] if item["source"]["topic"]["code"] == "timing"]
        fired = [
            item["rule"] for item in answer["extension"]["org.magnesium-cds"]["outcomes"] if item["outcome"] == "fired"
        ]
        hours = {}
        for rule in (content.library.rules[name].rule for name in fired):
            if rule.separate:
                values = [rule.separate.drug_then_magnesium, rule.separate.magnesium_then_drug]
                hours[rule.separate.drug] = tuple(rule.thresholds[name].at(NOW.date()) for name in values)
        assert set(hours) == set(taken)
        seen["charts"] += 1
        for suggestion in card["suggestions"]:
            resource = suggestion["actions"][0]["resource"]
            if any("timeOfDay" in item["timing"]["repeat"] for item in resource["dosageInstruction"]):
                check(resource, taken, hours)
                fewer = resource["dosageInstruction"][0]["timing"]["repeat"]["frequency"] < doses
                seen[
                    "fewer doses" if fewer else "same days" if len(resource["dosageInstruction"]) == 1 else "by day"
                ] += 1
            else:
                seen["no times"] += 1
    print("\ncharts planned:", dict(seen))
    assert seen["charts"] >= 300
    assert min(seen[kind] for kind in ("same days", "fewer doses", "no times")) >= 20, seen
    assert seen["by day"] >= 5, seen


def test_the_check_would_see_a_broken_interval() -> None:
    order = {"dosageInstruction": [{"timing": {"repeat": {"frequency": 1, "timeOfDay": ["10:45:00"]}}}]}
    taken = {"levothyroxine": [(day, "07:00") for day in range(7)]}
    with pytest.raises(AssertionError):
        check(order, taken, {"levothyroxine": (Decimal(4), Decimal(4))})
    order["dosageInstruction"][0]["timing"]["repeat"]["timeOfDay"] = ["11:00:00"]
    check(order, taken, {"levothyroxine": (Decimal(4), Decimal(4))})
