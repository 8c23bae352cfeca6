"""Known malfunctions of decision support, replayed: `python -m tests.watch.malfunctions` prints the table of
docs/firing-watch.md (some minutes; `--runs`, `--months`).

Each is made in the real service: calls over HTTP with the chart, or the content, changed as the malfunction changes it.
What the service then counts of each kind of patient, before and after, is scaled to a stream of calls by the hour, and
the watch looks at it every hour. A rule that fires ten times a day stands among others of a hospital.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask

from cds_service import create_app
from cds_service.content.library import Library
from cds_service.logs import configure
from cds_service.sandbox import patients
from cds_service.sandbox.asking import hook_request
from cds_service.settings import Settings
from cds_service.store.counts import Label
from cds_service.watch.judge import judge, prices
from cds_service.watch.sources import QUALITY_TESTS
from cds_service.watch.streams import DAY, Stream
from tests.conftest import NOW, shipped
from tests.watch.simulated import CALLS, FLEET, PAST, calls, chance, fleet, stream

LOW, DEPLETED = "low_serum_magnesium", "low_magnesium_with_depleting_drug"
SERVICE = "magnesium-patient-view"
RARE, USUAL = "low-magnesium", "healthy"  # of the sample patients; the first is met ten times a day
SHARE = 10 / (CALLS * DAY)
Body = dict[str, Any]


@dataclass(frozen=True)
class Malfunction:
    """`chart` changes a request, `content` the content of the service. `kind`: what the rule is to be told of."""

    name: str
    told: str
    rule: str
    kinds: frozenset[str]
    chart: Callable[[Body], Body] = lambda body: body
    content: Callable[[Library], Library] = lambda library: library
    hours: int = 24


def _observations(body: Body) -> list[Body]:
    return [entry["resource"] for entry in body["prefetch"]["serum_magnesium"]["entry"]
            if entry["resource"]["resourceType"] == "Observation"]  # fmt: skip


def other_code(body: Body) -> Body:
    """The laboratory's new system sends codes of its own."""
    for each in _observations(body):
        each["code"] = {"coding": [{"system": "urn:oid:1.2.3.4.5", "code": "MG-NEW"}], "text": "MG-NEW"}
    return body


def other_unit(body: Body) -> Body:
    """It sends conventional units, in words that no list has."""
    for each in _observations(body):
        each["valueQuantity"] = {"value": round(each["valueQuantity"]["value"] * 2.43, 2), "unit": "mgpdl"}
    return body


def other_range(body: Body) -> Body:
    """After an upgrade the laboratory's range is that of another test. (One in another unit is not believed.)"""
    for each in _observations(body):
        for given in each.get("referenceRange", []):
            given["low"]["value"], given["high"]["value"] = 1.0, 1.3
    return body


def key_dropped(body: Body) -> Body:
    """The EHR no longer sends one key of the prefetch."""
    del body["prefetch"]["serum_magnesium"]
    return body


def other_drugs(body: Body) -> Body:
    """A service that maps drugs gives each the code and name of another."""
    for entry in body["prefetch"]["medications"].get("entry", []):
        if entry["resource"]["resourceType"] == "MedicationRequest":
            entry["resource"]["medicationCodeableConcept"] = {
                "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "861007"}],
                "text": "metformin hydrochloride 500 MG Oral Tablet",
            }
    return body


def edited(library: Library) -> Library:
    """Somebody meant 30 days, and a digit was lost."""
    table = library.threshold_table
    thresholds = dict(table.thresholds)
    name = next(name for name, each in thresholds.items() if "says something about today up to" in each.label
                and "serum magnesium" in each.label.lower() and "outside hospital" in each.label)  # fmt: skip
    values = {day: type(value)(3) for day, value in thresholds[name].values.items()}
    thresholds[name] = thresholds[name].model_copy(update={"values": values})
    return replace(library, threshold_table=table.model_copy(update={"thresholds": thresholds}))


STOPS = frozenset({"stopped", "fell"})
MALFUNCTIONS = (
    Malfunction("code changed", "the laboratory sends a code of its own for magnesium", LOW, STOPS, other_code),
    Malfunction("rule edited by accident", "a limit of 30 days became 3", LOW, STOPS, content=edited),
    Malfunction("upgrade storm", "the laboratory's range is that of another test", LOW,
                frozenset({"storm", "rose"}), other_range),
    Malfunction("unit changed", "mg/dL in words that nobody knows", LOW, STOPS, other_unit),
    Malfunction("prefetch key dropped", "serum_magnesium is no longer sent", LOW, STOPS, key_dropped),
    Malfunction("class service wrong", "each drug comes as another", DEPLETED, STOPS, other_drugs),
)  # fmt: skip


class Real:
    """The service, and what it counts of one call."""

    def __init__(self, folder: Path) -> None:
        self.app: Flask = create_app(Settings(data_dir=folder), now=lambda: NOW, content=shipped())
        self.client = self.app.test_client()
        services = {each["id"]: each for each in self.client.get("/cds-services").json["services"]}
        self.templates = services[SERVICE]["prefetch"]

    def counts(self, patient: str, malfunction: Malfunction | None = None) -> tuple[Counter[str], Counter[Label]]:
        """Rules that fired, and all else that is counted."""
        body = json.loads(json.dumps(hook_request(patients.load()[patient], "patient-view", self.templates, NOW)))
        advisor, fired, labels = self.app.extensions["advisor"], Counter[str](), Counter[Label]()

        def gather(_: object, rules: Any, given: Any) -> None:
            fired.update(rule for rule, column in rules if column == 0)
            for label, number in given:
                labels[label] += number

        current, before, add = advisor.current, advisor.current.library, advisor.store.add_counts
        try:
            advisor.store.add_counts = gather
            if malfunction is not None:
                body = malfunction.chart(body)
                current.library, current._rulebook = malfunction.content(before), None
            answer = self.client.post(f"/cds-services/{SERVICE}", json=body)
            assert answer.status_code == 200, answer.text
        finally:
            advisor.store.add_counts = add
            current.library, current._rulebook = before, None
        return fired, labels

    def close(self) -> None:
        self.app.extensions["advisor"].store.close()


@dataclass(frozen=True)
class Rates:
    """A call, on average: firings of the rule, and of what is wrong with data by subject, with all there is of it."""

    fired: float
    data: dict[str, tuple[float, float]]


def rates(real: Real, rule: str, malfunction: Malfunction | None) -> Rates:
    from cds_service.watch.sources import _subject

    fired, data = 0.0, {}
    for patient, share in ((RARE, SHARE), (USUAL, 1 - SHARE)):
        rules, labels = real.counts(patient, malfunction)
        fired += share * rules[rule]
        for (kind, name, detail), number in labels.items():
            about = _subject({"kind": kind, "name": name, "detail": detail})
            if about is not None:
                whole, wrong = data.get(about[0], (0.0, 0.0))
                data[about[0]] = whole + share * number, wrong + (share * number if about[1] else 0)
    return Rates(fired, data)


OTHERS = 60  # of the fleet: those that fire at least once a day decide what a false alarm costs


def _change(dice: random.Random) -> int:
    return PAST * DAY - dice.randrange(7 * DAY)


def replayed(dice: random.Random, others: Sequence[Stream], before: Rates, after: Rates, hours: int,
             kinds: frozenset[str]) -> tuple[int | None, int | None]:  # fmt: skip
    """Hours until the rule's alarm, and until one on data; None where there is none in time."""
    days = PAST + hours // DAY + 1
    made, change = calls(days), _change(dice)
    watched = stream(
        dice, made, before.fired * CALLS * DAY, lambda h: after.fired / before.fired if h >= change else 1.0
    )
    quality = []
    for subject in sorted({*before.data, *after.data}):
        whole, wrong = ([], [])
        for hour in range(days * DAY):
            now = after if hour >= change else before
            there, bad = now.data.get(subject, (0.0, 0.0))
            bad_now = chance(dice, bad * CALLS)
            whole.append(bad_now + chance(dice, max(0.0, there - bad) * CALLS))
            wrong.append(bad_now)
        quality.append(Stream(subject, "", replace(made, groups={"one": whole}), {"one": wrong}))
    paid, paid_data = prices([*others, watched], change), prices(quality, change, QUALITY_TESTS, 0.5)
    rule_at = data_at = None
    for end in range(change + 1, change + hours + 1):
        if rule_at is None and (worst := judge(watched, end, paid).worst) and worst.kind in kinds:
            rule_at = end - change
        if data_at is None and any(judge(each, end, paid_data, QUALITY_TESTS).worst for each in quality):
            data_at = end - change
    return rule_at, data_at


def quiet(dice: random.Random, months: int, rates_: Sequence[float], every: int = 1) -> int:
    """False alarms of a whole fleet in so many months of 30 days, watched every hour."""
    days = months * 30
    streams = fleet(dice, calls(PAST + days), rates_)
    alarms, standing, paid = 0, set(), {}
    for hour in range(PAST * DAY, (PAST + days) * DAY, every):
        if not paid or hour % DAY == 0:
            paid = prices(streams, hour)
        for each in streams:
            verdict = judge(each, hour, paid)
            standing -= {(each.subject, kind) for kind in verdict.over}
            now = {(each.subject, verdict.worst.kind)} if verdict.worst else set()
            alarms += len(now - standing)
            standing |= now
    return alarms


def _row(name: str, told: str, times: Sequence[int | None]) -> str:
    found = sorted(each for each in times if each is not None)
    if not found:
        return f"| {name} | {told} | 0 of {len(times)} | - | - |"
    late = found[min(len(found) - 1, int(0.95 * len(times)))] if len(found) >= 0.95 * len(times) else None
    last = f"{late} h" if late is not None else "not in time"
    return f"| {name} | {told} | {len(found)} of {len(times)} | {statistics.median(found):.0f} h | {last} |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--months", type=int, default=12)
    asked = parser.parse_args()
    dice = random.Random(2026)
    several = [fleet(dice, calls(PAST + 8), FLEET[:OTHERS]) for _ in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        real = Real(Path(folder))
        print("| malfunction | what was changed | found by the rule's count | median | 95th |\n|---|---|---|---|---|")
        of_data = []
        for each in MALFUNCTIONS:
            before, after = rates(real, each.rule, None), rates(real, each.rule, each)
            both = [
                replayed(dice, several[run % 4], before, after, each.hours, each.kinds)
                for run in range(asked.runs // 4)
            ]
            print(_row(each.name, each.told, [rule for rule, _ in both]), flush=True)
            of_data.append(_row(each.name, "data of the client", [data for _, data in both]))
        print("\n| malfunction | seen in | found | median | 95th |\n|---|---|---|---|---|")
        print("\n".join(of_data), flush=True)
        real.close()
    print("\n| change of a rule | fires usually | found in time | median | 95th |\n|---|---|---|---|---|")
    for a_day in (10, 30):
        for name, factor, hours, kinds in (
            ("stops, within 24 h", 0.0, 24, STOPS), ("three times as often, within 24 h", 3.0, 24, {"storm", "rose"}),
            ("four times as often, within 24 h", 4.0, 24, {"storm", "rose"}),
            ("half as often, within 7 days", 0.5, 168, STOPS),
        ):  # fmt: skip
            rate = a_day / (CALLS * DAY)
            times = [
                replayed(dice, several[run % 4], Rates(rate, {}), Rates(rate * factor, {}), hours, frozenset(kinds))[0]
                for run in range(asked.runs)
            ]
            print(_row(name, f"{a_day} a day", times), flush=True)
    alarms = sum(quiet(dice, 1, FLEET) for _ in range(asked.months))
    years = max(len(FLEET) * asked.months / 12, 1e-9)
    print(f"\nfalse alarms of {len(FLEET)} quiet rules in {asked.months} months: {alarms}, "
          f"{alarms / max(asked.months, 1):.2f} a month, {alarms / years:.4f} for each rule and year")  # fmt: skip


if __name__ == "__main__":
    configure("ERROR")
    main()
