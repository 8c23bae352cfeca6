"""Canaries through the real path, and the watch over real counts: done once for all, told where operators look."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, SiteDocument, SiteValues
from cds_service.hooks import services
from cds_service.hooks.rounds import CANARIES, Rounds
from cds_service.rules import evaluate as rules
from cds_service.store.counts import Slot
from tests.conftest import NOW
from tests.store.helpers import rows
from tests.test_repetition import Clock
from tests.trust.support import running
from tests.watch.conftest import store_of
from tests.watch.simulated import chance

LOW = "low_serum_magnesium"
UNTIL = NOW.replace(minute=0)


def results(app: Flask) -> dict[str, list[str]]:
    found = store_of(app).duty(CANARIES).result
    assert found is not None
    return {each["name"]: each["wrong"] for each in found["canaries"]}


def test_canaries_are_as_expected_and_leave_no_trace(workers: Callable[..., Flask], tmp_path: Path) -> None:
    app = workers()
    Rounds(app).look()
    assert set(results(app)) == set(app.extensions["advisor"].current.library.canaries)
    assert not any(results(app).values()), results(app)
    ready = app.test_client().get("/readyz").json
    assert (ready["status"], ready["alarms"], ready["canaries"]) == ("ready", 0, "as expected")
    assert store_of(app).write_counts() is None, "nothing was counted"
    assert store_of(app).counters().shown_written == 0


def test_canaries_are_run_once_for_all_workers_after_each_publish_and_every_hour(
    workers: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site, clock = tmp_path / "site.yaml", Clock()
    site.write_text("site: One\n")
    apps = [workers(now=clock, site=site) for _ in range(2)]
    rounds = [Rounds(app) for app in apps]
    ran: list[datetime] = []
    run = Rounds.canaries
    monkeypatch.setattr(Rounds, "canaries", lambda self, *given: ran.append(clock.now) or run(self, *given))
    for each in (*rounds, *rounds):
        each.look()
    assert len(ran) == 1, "at the start, by one of them"
    for app in apps:
        current = app.extensions["advisor"].current
        current.take(SiteValues(SiteDocument(site="Two"), "another"))
    rounds[1].look()
    rounds[0].look()
    assert len(ran) == 2, "after what is in force has changed"
    clock.now += timedelta(minutes=59)
    rounds[0].look()
    assert len(ran) == 2
    clock.now += timedelta(minutes=1)
    rounds[0].look()
    rounds[1].look()
    assert len(ran) == 3, "every hour"
    clock.now += timedelta(minutes=2)
    Rounds(workers(now=clock, site=site)).look()
    assert len(ran) == 4, "a service that was started anew"


def test_a_rule_that_no_longer_fires_is_told_within_a_round(
    workers: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, clock = workers(), Clock()
    before = rules._try

    def edited(ready: Any, *more: Any) -> Any:
        return rules.Outcome(ready.rule, "quiet") if ready.rule.id == LOW else before(ready, *more)

    with monkeypatch.context() as patch:
        patch.setattr(rules, "_try", edited)
        Rounds(app).look()
    ready = app.test_client().get("/readyz").json
    assert ready["status"] == "degraded"
    assert ready["alarms"] == 1
    assert "low_serum_magnesium did not fire (quiet)" in ready["canaries"][0]
    (alarm,) = store_of(app).open_alarms()
    assert (alarm.kind, alarm.subject) == ("canary", "very_low_magnesium")
    clock.now += timedelta(hours=2)
    Rounds(workers(now=clock)).look()
    assert app.test_client().get("/readyz").json["status"] == "ready"
    assert store_of(app).open_alarms() == [], "and it is over by itself"


def test_a_service_that_answers_with_an_error_is_no_well_canary(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    monkeypatch.setattr(services, "advise", lambda *_, **__: 1 / 0)
    app.testing = False
    Rounds(app).look()
    assert all(wrong == ["answered with HTTP status 500"] for wrong in results(app).values())


def ends(content: Content) -> list[tuple[str, str, str]]:
    """Every threshold of the canaries' rules, and the shared ones, at both ends of what a site may set."""
    library = content.library
    wanted = {rule for canary in library.canaries.values() for rule in canary.fires}
    found = [("shared", name, t) for name, t in library.shared_thresholds.items()]
    found += [(rule, name, t) for rule in sorted(wanted) for name, t in library.rules[rule].rule.thresholds.items()]
    return [(rule, name, str(end)) for rule, name, t in found if t.site_may_set for end in t.site_may_set]


def test_canaries_hold_whatever_a_site_sets_within_its_ranges(make_app: Callable[..., Flask], content: Content) -> None:
    app = make_app()
    rounds, current = Rounds(app), app.extensions["advisor"].current
    tried = ends(content)
    assert len(tried) > 80
    for rule, name, value in tried:
        set_ = {"site": "Any", "rules": {rule: {"thresholds": {name: {"value": value, "reason": "Tried"}}}}}
        current.take(SiteValues(SiteDocument.model_validate(set_), f"{rule} {name} {value}"))
        found = rounds.canaries(current.on(NOW.date()), NOW)["canaries"]
        assert not [each for each in found if each["wrong"]], (rule, name, value)


@pytest.mark.parametrize(
    "more",
    [
        {"region": "eu"}, {"region": "us"},
        {"rules": {LOW: {"show": "hidden", "reason": "Tried"}}},
        {"rules": {"levothyroxine_timing": {"show": "silent", "reason": "Tried"}}},
        {"inputs": {"medication_statements": {"available": False, "reason": "Tried"}}},
        {"inputs": {"serum_magnesium": {"available": False, "reason": "Tried"}}},
    ],
)  # fmt: skip
def test_canaries_ask_nothing_of_what_this_site_does_without(
    make_app: Callable[..., Flask], more: dict[str, Any]
) -> None:
    app = make_app()
    app.extensions["advisor"].current.take(SiteValues(SiteDocument.model_validate({"site": "Any"} | more), "any"))
    Rounds(app).look()
    assert not any(results(app).values()), results(app)


def filled(app: Flask, factor: Callable[[int], float], days: int = 100, client: str = "ehr", **wrong: Any) -> None:
    """Counts by the hour up to now, as calls would have left them: ten firings a day of one rule."""
    store, dice = store_of(app), random.Random(4)
    start = UNTIL - timedelta(days=days)
    for hour in range(days * 24):
        slot = Slot(start + timedelta(hours=hour), client, "magnesium-patient-view")
        fires = chance(dice, 10 / 24 * factor(hour - days * 24))
        absent = wrong["absent"](hour - days * 24) if "absent" in wrong else 0
        store.add_counts(slot, [(LOW, 0)] * fires, [
            (("version", "content", ""), 40), (("input", "serum_magnesium", "given"), 40 - absent),
            *([(("input", "serum_magnesium", "absent"), absent)] if absent else []),
        ])  # fmt: skip
    job = store.write_counts()
    assert job is None or job.done.wait(60)


def test_a_rule_that_stopped_is_an_alarm_until_it_fires_again(workers: Callable[..., Flask]) -> None:
    clock = Clock()
    app, other = workers(now=clock), workers(now=clock)
    filled(app, lambda hour: 0.0 if hour >= -30 else 1.0)
    Rounds(app).look()
    Rounds(other).look()
    (alarm,) = store_of(other).open_alarms()
    assert (alarm.kind, alarm.subject, alarm.client) == ("stopped", LOW, "ehr")
    assert alarm.details["observed"] == 0
    assert 9 < alarm.details["usual_a_day"] < 11
    assert app.test_client().get("/readyz").json["alarms"] == 1
    assert app.test_client().get("/readyz").json["status"] == "ready", "it is for people to judge"
    clock.now += timedelta(hours=1)
    Rounds(other).look()
    assert len(store_of(app).open_alarms()) == 1, "told once"
    for hour in range(30):  # it fires again
        slot = Slot(UNTIL + timedelta(hours=1 + hour), "ehr", "magnesium-patient-view")
        store_of(app).add_counts(slot, [(LOW, 0)] * (hour % 5 < 2), [(("version", "c", ""), 40)])
    job = store_of(app).write_counts()
    assert job is not None and job.done.wait(60)
    clock.now += timedelta(hours=30)
    Rounds(app).look()
    assert store_of(app).open_alarms() == []
    (alarm,) = store_of(app).alarms_since(NOW)
    assert alarm.closed_at == clock.now


def test_a_rule_that_this_site_hid_is_meant_to_be_silent(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        yaml.safe_dump({"site": "Any", "rules": {LOW: {"show": "hidden", "reason": "Another system does it"}}})
    )
    app = make_app(site=site)
    filled(app, lambda hour: 0.0 if hour >= -30 else 1.0)
    Rounds(app).look()
    assert store_of(app).open_alarms() == []


def test_a_prefetch_key_that_is_no_longer_sent_is_told_by_client(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    filled(app, lambda _: 1.0, absent=lambda hour: 20 if hour >= -24 else (hour % 7 == 0) * 2)
    filled(app, lambda _: 1.0, client="other")
    Rounds(app).look()
    found = {(alarm.kind, alarm.subject, alarm.client) for alarm in store_of(app).open_alarms()}
    assert found == {("data", "input serum_magnesium", "ehr")}


def test_a_fault_of_ours_is_an_alarm(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    store_of(app).add_counts(Slot(UNTIL - timedelta(hours=2), "ehr", "one"), [(LOW, 5)], [(("version", "c", ""), 1)])
    job = store_of(app).write_counts()
    assert job is not None and job.done.wait(60)
    Rounds(app).look()
    assert [(alarm.kind, alarm.subject) for alarm in store_of(app).open_alarms()] == [("fault", LOW)]


def test_the_rounds_end_with_the_service(workers: Callable[..., Flask]) -> None:
    app = workers()
    rounds = threading.Thread(target=Rounds(app)._go_on, daemon=True)
    rounds.start()
    app.extensions["advisor"].store.close()
    rounds.join(20)
    assert not rounds.is_alive()


def test_the_running_service_makes_its_rounds(tmp_path: Path) -> None:
    import time

    with running(tmp_path, workers=2):
        for _ in range(100):
            if len(rows(tmp_path, "SELECT name FROM duties WHERE done_at IS NOT NULL")) == 2:
                break
            time.sleep(0.2)
    assert {row["name"] for row in rows(tmp_path, "SELECT name FROM duties WHERE done_at IS NOT NULL")} == {
        "canaries",
        "watch",
    }
    assert rows(tmp_path, "SELECT * FROM rule_counts") == []


def test_every_rule_of_a_canary_is_in_force(content: Content) -> None:
    rulebook = make_rulebook(content.library, NO_SITE, NOW.date())
    assert all(rule in rulebook.rules for canary in content.library.canaries.values() for rule in canary.fires)
    assert replace(rulebook).site_digest == ""
