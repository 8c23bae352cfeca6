"""What is counted of each call: what was served, by hour, client, service and rule; nothing of a patient's."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from cds_service.commands.running import hook_request
from cds_service.hooks.trial import TRIAL
from cds_service.sandbox import patients
from cds_service.store import Store
from cds_service.store.counts import RULE_COLUMNS, Slot, Sums
from tests.conftest import NOW
from tests.store.helpers import card, locked, rows
from tests.store.test_trouble import eventually
from tests.trust.support import SERVICE, Json, bare_body, body_for, running, states
from tests.watch.conftest import store_of

EVER = (NOW - timedelta(days=4000), NOW + timedelta(days=1))
HOUR = NOW.replace(minute=0)


def counted(app: Flask, kind: str) -> dict[tuple[str, str], int]:
    """Numbers of one kind by name and detail, over all hours, clients and services."""
    total: Counter[tuple[str, str]] = Counter()
    for row in store_of(app).call_counts(*EVER, kinds=[kind]):
        total[row["name"], row["detail"]] += row["number"]
    return dict(total)


def rules_counted(app: Flask) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for row in store_of(app).rule_counts(*EVER):
        total.setdefault(row["rule"], Counter()).update({name: row[name] for name in RULE_COLUMNS})
    return {rule: {name: number for name, number in numbers.items() if number} for rule, numbers in total.items()}


def written(app: Flask) -> Flask:
    job = store_of(app).write_counts()
    assert job is None or job.done.wait(20)
    return app


def requests_of(app: Flask) -> list[tuple[str, Json]]:
    """A call of each hook for each sample patient, as far as it has orders for it."""
    made = []
    services = app.test_client().get("/cds-services").json["services"]
    for service in services:
        for sample in patients.load().values():
            if service["hook"] == "patient-view" or sample.drafts:
                made.append(
                    (f"/cds-services/{service['id']}", hook_request(sample, service["hook"], service["prefetch"], NOW))
                )
    return made


def served(answer: Json, total: dict[str, Counter[str]]) -> None:
    """Add what an answer says of each rule."""
    for rule, state in states(answer).items():
        if state != "quiet":
            total.setdefault(rule, Counter())[state] += 1


def test_a_call_is_counted_as_it_was_answered(workers: Callable[..., Flask]) -> None:
    app = workers()
    answer = app.test_client().post(SERVICE, json=body_for(app)).json
    written(app)
    expected: dict[str, Counter[str]] = {}
    served(answer, expected)
    found = rules_counted(app)
    assert {
        rule: {k: n for k, n in mine.items() if k not in ("lead", "beneath")} for rule, mine in found.items()
    } == expected
    leads = [card["source"]["url"].rpartition("/")[2] for card in answer["cards"]]
    assert sorted(rule for rule, mine in found.items() if mine.get("lead")) == sorted(leads)
    assert sum(mine.get("lead", 0) + mine.get("beneath", 0) for mine in found.values()) >= len(leads)
    assert counted(app, "card") == dict(Counter((each["indicator"], "") for each in answer["cards"]))
    digest = app.extensions["advisor"].current.library.digest
    assert counted(app, "version") == {(digest, ""): 1}
    assert dict(counted(app, "input").keys()) == answer["extension"]["org.magnesium-cds"]["inputs"]
    assert counted(app, "age")["serum_magnesium", "7-30 d"] == 1
    assert counted(app, "unit")["serum_magnesium", "mmol/L"] == 2
    (row,) = store_of(app).call_counts(*EVER, kinds=["version"])
    assert (row["hour"], row["client"], row["service"]) == (HOUR, "dev", SERVICE.rpartition("/")[2])


def test_the_sum_over_workers_is_what_was_served(workers: Callable[..., Flask]) -> None:
    apps, dice = [workers(), workers()], random.Random(14)
    asked, expected = requests_of(apps[0]), {}
    calls = [(dice.choice(apps), *dice.choice(asked)) for _ in range(60)]
    for number, (app, path, body) in enumerate(calls):
        answer = app.test_client().post(path, json=body)
        assert answer.status_code == 200
        served(answer.json, expected)
        if number % 17 == 0:
            written(app)
    for app in apps:
        written(app)
    found = rules_counted(apps[1])
    assert {
        rule: {k: n for k, n in mine.items() if k not in ("lead", "beneath")} for rule, mine in found.items()
    } == expected
    assert sum(counted(apps[0], "version").values()) == len(calls)


LABELS = st.tuples(st.sampled_from(["card", "input"]), st.sampled_from(["a", "b"]), st.sampled_from(["", "given"]))
SLOTS = [Slot(HOUR, "ehr", "one"), Slot(HOUR, "ehr", "two"), Slot(HOUR + timedelta(hours=1), "ehr", "one")]
PARTS = st.lists(
    st.tuples(
        st.sampled_from(SLOTS),
        st.lists(st.tuples(st.sampled_from(["low", "high"]), st.integers(0, len(RULE_COLUMNS) - 1)), max_size=4),
        st.lists(st.tuples(LABELS, st.integers(1, 5)), max_size=4),
        st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(PARTS)
def test_sums_do_not_depend_on_how_they_were_cut(parts: list[Any]) -> None:
    """What is taken back after a failure, and added again, is neither lost nor doubled."""
    whole, cut, waiting = {}, {}, {}
    for slot, rules, calls, taken_back in parts:
        made = Sums()
        for rule, column in rules:
            made.rules[rule][column] += 1
        for label, number in calls:
            made.calls[label] += number
        whole.setdefault(slot, Sums()).add(made)
        (waiting if taken_back else cut).setdefault(slot, Sums()).add(made)
    for slot, made in waiting.items():
        cut.setdefault(slot, Sums()).add(made)
    assert cut == whole


def test_a_trial_is_answered_as_ever_and_leaves_no_trace(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(data_dir=tmp_path)
    body = body_for(app)
    real = make_app().test_client().post(SERVICE, json=body).json
    tried = app.test_client().post(SERVICE, json=body, environ_overrides={TRIAL: True}).json
    assert [card["summary"] for card in tried["cards"]] == [card["summary"] for card in real["cards"]]
    assert states(tried) == states(real)
    written(app)
    for table in ("rule_counts", "call_counts", "shown_cards", "screens", "feedback"):
        assert rows(tmp_path, f"SELECT * FROM {table}") == [], table
    assert store_of(app).counters().shown_written == 0


def test_no_header_makes_a_trial(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    for name in (TRIAL, "magnesium-cds-trial", "HTTP_MAGNESIUM_CDS.TRIAL", "Magnesium_Cds.Trial"):
        app.test_client().post(SERVICE, json=body_for(app), headers={name: "True"})
    assert sum(counted(written(app), "version").values()) == 4


def test_a_trial_needs_no_token_where_calls_do(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    """Else no canary could be run in production; and who comes over the network has no such key."""
    from cds_service.sandbox.mock_ehr import Signer
    from tests.trust.support import ISSUER, client_entry, clients_file

    clients_file(tmp_path, client_entry(Signer(ISSUER)))
    app = make_app(data_dir=tmp_path)
    assert app.test_client().post(SERVICE, json=bare_body()).status_code == 401
    assert app.test_client().post(SERVICE, json=bare_body(), environ_overrides={TRIAL: True}).status_code == 200
    assert app.test_client().post(SERVICE, json=bare_body(), environ_overrides={TRIAL: "1"}).status_code == 401


def test_a_refused_call_is_counted_as_refused(make_app: Callable[..., Flask]) -> None:
    app = make_app(on_incomplete="412")
    client = app.test_client()
    assert client.post(SERVICE, json=bare_body()).status_code == 412
    assert client.post(SERVICE, json=bare_body(hook="order-sign")).status_code == 400
    assert client.post("/cds-services/no-such-service", json=bare_body()).status_code == 404
    written(app)
    assert counted(app, "refused") == {("400", ""): 1}
    assert sum(counted(app, "version").values()) == 1, "an evaluation that was answered with 412 is a call"
    assert counted(app, "card") == {}, "and showed no card"
    assert all("lead" not in mine for mine in rules_counted(app).values())
    assert counted(app, "input")["serum_magnesium", "absent"] == 1
    reasons = counted(app, "reason")
    assert reasons["low_serum_magnesium", "input_absent"] == 1, reasons


def test_a_rule_that_this_site_hides_is_not_taken_for_a_quiet_one(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("site: Test\nrules:\n  levothyroxine_timing: {show: hidden, reason: Elsewhere}\n")
    app = make_app(site=site)
    app.test_client().post(SERVICE, json=body_for(app))
    assert counted(written(app), "hidden") == {("levothyroxine_timing", ""): 1}


def test_a45_labels_are_of_closed_lists_whatever_is_sent(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(data_dir=tmp_path)
    client = app.test_client()
    sizes = []
    for turn in range(30):
        word = f"zq7mark{turn}"
        body = json.loads(json.dumps(body_for(app)))
        for entry in body["prefetch"]["serum_magnesium"]["entry"]:
            entry["resource"]["valueQuantity"] |= {"unit": word, "code": word}
        for entry in body["prefetch"]["conditions"]["entry"]:
            entry["resource"]["code"] = {"text": word, "coding": [{"system": f"urn:{word}", "code": word}]}
        body["prefetch"] |= {word: None}
        body["context"] |= {"patientId": "low-magnesium", "encounterId": word}
        assert client.post(SERVICE, json=body, headers={"X-Any": word}).status_code == 200
        written(app)
        sizes.append(
            len(rows(tmp_path, "SELECT * FROM call_counts")) + len(rows(tmp_path, "SELECT * FROM rule_counts"))
        )
    assert sizes[0] == sizes[-1], "the same rows after thirty calls as after one"
    everything = str(rows(tmp_path, "SELECT * FROM call_counts") + rows(tmp_path, "SELECT * FROM rule_counts"))
    assert "zq7mark" not in everything
    assert "low-magnesium" not in everything
    assert counted(app, "not read")["Condition", "another system"] == 60
    assert counted(app, "lab")["serum_magnesium", "unit not read"] == 60


def test_f17_counts_wait_for_a_locked_database_and_none_is_lost(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.store.counts._KEEP_COUNTS", 0.2)
    monkeypatch.setattr("cds_service.store.counts.COUNTS_WRITTEN_EVERY", 0.1)
    app = make_app(data_dir=tmp_path)
    with locked(tmp_path):
        for _ in range(7):
            assert app.test_client().post(SERVICE, json=bare_body()).status_code == 200
        time.sleep(1.0)  # several attempts fail
    assert eventually(lambda: sum(counted(app, "version").values()) == 7)
    time.sleep(0.5)
    assert sum(counted(app, "version").values()) == 7, "and none is there twice"


def test_a_service_that_ends_writes_its_counts_first(tmp_path: Path) -> None:
    import requests

    with running(tmp_path, workers=2) as service:
        for _ in range(9):
            assert requests.post(service.url + SERVICE, json=bare_body(), timeout=20).status_code == 200
    total = rows(tmp_path, "SELECT sum(number) AS calls FROM call_counts WHERE kind = 'version'")
    assert total == [{"calls": 9}]


def test_old_hours_are_deleted_a_few_at_a_time(database: Callable[..., Store]) -> None:
    from cds_service.store import Retention

    store = database(keep=Retention(counts=timedelta(days=30)))
    for days in (50, 40, 31, 29, 1):
        store.add_counts(Slot(HOUR - timedelta(days=days), "ehr", "one"), [("low", 0)], [(("card", "info", ""), 1)])
    job = store.write_counts()
    assert job is not None and job.done.wait(20)
    store._purge_at = 0.0
    store.record_shown([card(shown_at=NOW)])
    assert eventually(lambda: len(store.rule_counts(*EVER)) == 2)
    assert len(store.call_counts(*EVER)) == 2
    assert store.last_fired() == {"low": HOUR - timedelta(days=1)}


def test_counts_of_a_client_are_those_of_all_its_tenants(store: Store) -> None:
    for client in ("ehr", "ehr/north", "ehrling"):
        store.add_counts(Slot(HOUR, client, "one"), [("low", 0)], [])
    job = store.write_counts()
    assert job is not None and job.done.wait(20)
    assert [row["client"] for row in store.rule_counts(*EVER, client="ehr")] == ["ehr", "ehr/north"]


def test_worker_processes_share_one_duty(database: Callable[..., Store]) -> None:
    one, other = database(), database()
    hold = timedelta(minutes=5)
    assert one.take_duty("watch", "a", NOW, hold)
    assert not other.take_duty("watch", "b", NOW, hold)
    assert other.take_duty("watch", "b", NOW + hold, hold), "the holder was killed: another one takes over"
    one.end_duty("watch", "a", NOW + hold, {"of": "the one that came too late"})
    assert one.duty("watch").result is None
    other.end_duty("watch", "b", NOW + hold, {"fine": 1})
    assert one.duty("watch").result == {"fine": 1}
    assert one.take_duty("watch", "a", NOW + hold, hold)


def test_an_alarm_opens_once_is_acknowledged_once_and_closes(database: Callable[..., Store]) -> None:
    one, other = database(), database()
    subject = ("stopped", "low_serum_magnesium", "ehr")
    assert one.set_alarms({subject: {"expected": 10.0}}, ["stopped"], [], NOW) == ([subject], [])
    assert other.set_alarms({subject: {"expected": 11.0}}, ["stopped"], [], NOW) == ([], [])
    (alarm,) = other.open_alarms()
    assert (alarm.subject, alarm.details, alarm.closed_at) == ("low_serum_magnesium", {"expected": 10.0}, None)
    assert one.acknowledge(alarm.id, "ada", "The ward is closed", NOW)
    assert not other.acknowledge(alarm.id, "bob", "Me too", NOW)
    later: datetime = NOW + timedelta(hours=3)
    assert other.set_alarms({}, ["storm"], [subject], later) == ([], []), "of another kind"
    assert other.set_alarms({}, ["stopped"], [subject], later) == ([], [subject])
    assert one.open_alarms() == []
    (told,) = one.alarms_since(NOW)
    assert (told.closed_at, told.acknowledged_by, told.reason) == (later, "ada", "The ward is closed")
    assert one.set_alarms({subject: {}}, ["stopped"], [], later) == ([subject], []), "it comes again"
