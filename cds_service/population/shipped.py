"""The patients that ship: the sample patients, and those that every rule is tried on. All are invented."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from functools import partial
from typing import Any

from cds_service.advice.loaded_content import Content
from cds_service.advice.one_bundle import hook_request
from cds_service.content.rulebook import Rulebook
from cds_service.population.cases import CallCase, Case, Cohort, Request, Side
from cds_service.population.compare import compare
from cds_service.sandbox import patients
from cds_service.sandbox.scenario import Builder, Scenario, scenario_files
from cds_service.terminology.index import Vocabulary

ORDERS = "order-sign"


def samples_cohort(now: datetime) -> Cohort:
    """The sample patients: as they are, and with each order that a clinician may be about to sign."""

    def cases() -> Iterator[Case]:
        for sample in patients.load().values():
            bundle = sample.bundle(now)
            yield CallCase(f"sample {sample.id}", sample.id, "patient-view", partial(_call, bundle, "patient-view"))
            for name in sample.drafts:
                drafted = {**bundle, "entry": [*bundle["entry"], {"resource": sample.draft(name, now)}]}
                yield CallCase(f"sample {sample.id}, {name}", sample.id, ORDERS, partial(_call, drafted, ORDERS))

    return Cohort("sample patients", cases, private=False)


def scenarios_cohort(content: Content, now: datetime) -> Cohort:
    """The patients of every rule's scenarios. Site values of a scenario's own are left aside."""
    builder = Builder(content.library, now)

    def cases() -> Iterator[Case]:
        for rule, file in scenario_files().items():
            if rule in content.library.rules:
                for case in file.scenarios:
                    name = f"{rule}: {case.name}"
                    yield CallCase(name, name, case.hook, partial(_scenario, builder, case))

    return Cohort("scenario patients", cases, private=False)


def shipped_cohort(content: Content, now: datetime) -> Cohort:
    """All patients that ship."""
    parts = samples_cohort(now), scenarios_cohort(content, now)

    def cases() -> Iterator[Case]:
        for part in parts:
            yield from part.cases()

    return Cohort("sample and scenario patients", cases, private=False)


def effect_of(
    before: Rulebook,
    after: Rulebook,
    content: Content | None = None,
    now: datetime | None = None,
    most_seconds: float | None = None,
) -> dict[str, Any]:
    """What a change does to all patients that ship, as numbers alone: the `effect` of a revision.

    Keys as `Comparison.effect`. It takes many seconds: hold no lock meanwhile, or give `most_seconds`; it then says
    that it is not complete. `content`: the one of both rulebooks, else made again. `now` (aware): the time that the
    patients are made for, noon of the rulebook's day unless it is given.
    """
    content = content or Content(after.library, Vocabulary(after.library))
    now = now or datetime.combine(after.day, time(12), UTC)
    cohort = shipped_cohort(content, now)
    return compare(cohort, before, after, content, now, examples=0, most_seconds=most_seconds).effect()


def _call(bundle: Request, hook: str, side: Side) -> Request:
    return hook_request(bundle, hook, side.needs(hook).values(), side.vocabulary)


def _scenario(builder: Builder, case: Scenario, side: Side) -> Request:
    return builder.request(case, {key: need.template for key, need in side.needs(case.hook).items()})
