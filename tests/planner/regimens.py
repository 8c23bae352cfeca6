"""Builders for the planner's tests: the schedule table as it ships, intervals, and medicines in one line
each."""

from datetime import date
from functools import cache
from pathlib import Path

import yaml

from cds_service.content.tables import ScheduleTable
from cds_service.planner.model import DAYS, Dose, DrugTimes, Interval, Plan, PlanRequest, clock
from cds_service.planner.plan import plan_day
from cds_service.planner.schedule import Schedule, minute_of, schedule_from

TODAY = date(2026, 11, 21)  # a Saturday
TABLE = Path(__file__).resolve().parents[2] / "cards" / "tables" / "schedule.yaml"
HOUR = 60

# (drug then magnesium, magnesium then drug) in hours, as cited in the interaction table: id of its row.
HOURS = {
    "levothyroxine": (4, 4),  # levothyroxine: product labels, verified
    "ciprofloxacin": (2, 6),  # ciprofloxacin: Clin Pharmacol Ther 1989, verified
    "moxifloxacin": (4, 8),  # moxifloxacin: US label 2.2 and 7.1, verified
    "doxycycline": (3, 3),  # tetracyclines, verified
    "iron": (2, 2),  # iron_oral, verified
    "alendronate": (0.5, 4),  # alendronate: 30 min after the dose; 4 h before it (UK SmPC), verified
    "dolutegravir": (2, 6),  # dolutegravir: DHHS guideline table 18d, verified
    "mycophenolate": (2, 2),  # mycophenolate, verified
    "gabapentin": (2, 2),  # gabapentin: 2 h after magnesium is sourced, the other way is the general rule
    "cladribine": (3, 3),  # cladribine_oral: patient leaflet only, not verified
}


@cache
def table() -> dict:
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def usual_day(**site: object) -> Schedule:
    """The schedule as shipped, with a site's values."""
    return schedule_from(ScheduleTable.model_validate(table()), TODAY, site)


def interval(drug: str, **given: object) -> Interval:
    """The interval of a drug as cited, or of raltegravir: to be avoided."""
    if drug == "raltegravir":
        return Interval(drug, drug, 0, 0, avoid=True, verified=True)
    after, before = HOURS[drug]
    moment = "WAKE" if drug == "alendronate" else ""
    given = {"label": drug, "label_moment": moment, "verified": drug != "cladribine", **given}
    return Interval(drug, drug_then_magnesium=int(after * HOUR), magnesium_then_drug=int(before * HOUR), **given)


def takes(drug: str, *times: str, days: tuple[str, ...] = DAYS, movable: bool = False, **given) -> DrugTimes:
    """A medicine at clock times on some days; one without a cited interval is of no concern to magnesium."""
    doses = tuple(Dose(minute_of(time), movable=movable) for time in times)
    known = interval(drug) if drug in HOURS or drug == "raltegravir" else None
    week = tuple(doses if day in days else () for day in DAYS)
    return DrugTimes(drug, drug, given.pop("interval", known), week, **given)


def ask(*drugs: DrugTimes, doses: int = 1, schedule: Schedule | None = None, **given) -> PlanRequest:
    return PlanRequest(schedule or usual_day(), TODAY, doses, drugs=drugs, **given)


def plan(*drugs: DrugTimes, **given) -> Plan:
    return plan_day(ask(*drugs, **given))


def at(minutes: tuple[int, ...]) -> list[str]:
    """Clock times, readable in a failing test."""
    return [clock(minute) for minute in minutes]
