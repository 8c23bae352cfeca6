"""Kept facts: what of a real call is kept, that it says the same again, and that nobody is to be found in it."""

from __future__ import annotations

import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask

from cds_service.patient import Person
from cds_service.population import compare, shipped_cohort
from cds_service.population.cases import Case, Side
from cds_service.population.kept import KeptCase, kept_cohort
from cds_service.population.kept_facts import CLASSES, PROBLEMS, keeper_of, read_kept
from cds_service.population.trying import advice_of
from cds_service.sandbox.scenario import Builder, scenario_files
from cds_service.store import Store
from cds_service.store import facts as facts_module
from cds_service.store.facts import FACTS_FILE, KEY_FILE, FactsStore
from tests.conformance.calls import invoke
from tests.conftest import NOW, shipped
from tests.population.test_compare import limit, rulebook
from tests.store.helpers import eventually
from tests.trust.support import SERVICE, body_for

SHARES = 8
MARK, DIGITS = "Zq7", "40817263"


def again(case: Case, side: Side) -> tuple[Any, Any, bytes]:
    """The advice on a call, the same from what is kept of it, and that."""
    live = advice_of(side, case, case.chart(side))
    raw = keeper_of(shipped()).kept(live.evaluation.context.facts, case.hook, case.encounter_named)
    kept = KeptCase("kept", read_kept(raw, NOW.date()))
    return live, advice_of(side, kept, kept.chart(side)), raw


@pytest.mark.parametrize("share", range(SHARES))
def test_kept_facts_of_every_patient_that_ships_give_the_same_outcomes(share: int) -> None:
    side = Side(shipped(), rulebook(), NOW)
    tried = 0
    for case in islice(shipped_cohort(shipped(), NOW).cases(), share, None, SHARES):
        live, kept, _ = again(case, side)
        assert [(o.rule_id, o.kind) for o in kept.evaluation.outcomes] == [
            (o.rule_id, o.kind) for o in live.evaluation.outcomes
        ], case.name
        assert [(s.rules, s.card["indicator"]) for s in kept.shown] == [
            (s.rules, s.card["indicator"]) for s in live.shown
        ], case.name
        assert not any(outcome.fault for outcome in kept.evaluation.outcomes)
        tried += 1
    assert tried > 700


def marked(value: Any, key: str = "") -> Any:
    """The same with every text, id, name and number of a person marked; codes and units stay."""
    if isinstance(value, dict):
        return {name: marked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        own = [{"system": f"urn:{MARK}", "code": f"{MARK}1", "display": MARK}] if key == "coding" else []
        return [marked(inner, key) for inner in value] + own
    if isinstance(value, str) and key in ("family", "given", "text", "display", "div", "unit", "lineNote"):
        return f"{value} {MARK}"
    if isinstance(value, str) and key == "id":
        return f"{MARK}{value}"[:60]
    if isinstance(value, str) and key == "reference" and "/" in value:
        return value.replace("/", f"/{MARK}", 1)
    return value


def test_no_mark_of_a_person_is_in_what_is_kept_of_any_scenario() -> None:
    builder, side = Builder(shipped().library, NOW), Side(shipped(), rulebook(), NOW)
    assert len(scenario_files()) > 200
    for rule, file in scenario_files().items():
        for scenario in file.scenarios[:3]:

            def request(side: Side, scenario: Any = scenario) -> dict[str, Any]:
                needs = side.needs(scenario.hook)
                made = builder.request(scenario, {key: need.template for key, need in needs.items()})
                told: dict[str, Any] = marked(made)
                told["context"]["patientId"] = f"{MARK}{made['context']['patientId']}"
                if "selections" in told["context"]:
                    told["context"]["selections"] = [s.replace("/", f"/{MARK}") for s in told["context"]["selections"]]
                return told

            from cds_service.population.cases import CallCase

            live, _, raw = again(CallCase(rule, rule, scenario.hook, request), side)
            assert MARK.encode() not in raw, (rule, scenario.name, re.findall(rf".{{40}}{MARK}.{{20}}", raw.decode()))
            assert not re.search(rb"20[0-9]{2}-[0-9]{2}|19[0-9]{2}-[0-9]{2}", raw), "a date"
            assert b"Patient/" not in raw
            assert live.evaluation.outcomes


def test_the_oldest_are_kept_as_ninety_and_only_infants_in_weeks() -> None:
    from cds_service.population.kept_facts import _aged

    assert _aged(Person(age_years=97, age_days=35_500)) == Person(age_years=90)
    assert _aged(Person(age_years=58, age_days=21_200)) == Person(age_years=58)
    assert _aged(Person(age_years=0, age_days=100)) == Person(age_years=0, age_days=98)
    assert _aged(Person(age_range=(88, 99))) == Person(age_range=(88, 90))


def test_every_class_of_facts_is_kept_by_fields_that_are_named() -> None:
    assert "PatientFacts" not in CLASSES
    assert all(re.fullmatch(r"[a-z ]+", words) for words in PROBLEMS)


# The service.


@pytest.fixture
def service(make_app: Callable[..., Flask], tmp_path: Path) -> Iterator[Flask]:
    app = make_app(keep_facts=3, data_dir=tmp_path / "data")
    yield app
    app.extensions["facts"].close()


def post(app: Flask, body: dict[str, Any]) -> dict[str, Any]:
    answer = app.test_client().post(SERVICE, data=orjson.dumps(body), content_type="application/json")
    assert answer.status_code == 200, answer.json
    told: dict[str, Any] = orjson.loads(answer.data)
    return told


def test_nothing_is_kept_unless_it_is_switched_on(app: Flask) -> None:
    assert app.extensions["facts"] is None
    post(app, body_for(app))
    folder = app.extensions["advisor"].settings.data_dir
    assert not (folder / FACTS_FILE).exists()
    assert not (folder / KEY_FILE).exists()


def test_the_last_calls_are_kept_in_a_private_file_that_only_its_key_opens(service: Flask, tmp_path: Path) -> None:
    for _ in range(5):
        answer = post(service, body_for(service))
    store: FactsStore = service.extensions["facts"]
    store.flush()
    store.purge(NOW.date())
    assert store.count().calls == 3, "the last ones"
    assert store.dropped == 0
    raw = store.of_card(answer["cards"][0]["uuid"])
    assert raw is not None
    assert orjson.loads(raw)["hook"] == "patient-view"
    assert store.of_card("11111111-1111-4111-8111-111111111111") is None
    for name in (FACTS_FILE, KEY_FILE):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    held = (tmp_path / "data" / FACTS_FILE).read_bytes()
    assert b"serum_magnesium" not in held, "it is encrypted"
    assert answer["cards"][0]["uuid"].encode() not in held


def test_kept_calls_become_a_cohort(service: Flask) -> None:
    post(service, body_for(service))
    store: FactsStore = service.extensions["facts"]
    store.flush()
    found = compare(kept_cohort(store.all, NOW.date()), rulebook(), limit("0.60"), shipped(), NOW)
    assert (found.charts, found.private) == (1, True)
    assert found.rules["low_serum_magnesium"].vanishes + found.rules["low_serum_magnesium"].changes >= 0
    assert found.cards["before"].total() >= 1


def test_what_is_too_old_goes_and_no_row_tells_the_day_of_its_call(service: Flask) -> None:
    post(service, body_for(service))
    store: FactsStore = service.extensions["facts"]
    store.flush()
    until = date.fromisoformat(str(store.count().first_until))
    assert until.weekday() == 0
    assert timedelta(days=30) <= until - NOW.date() < timedelta(days=37)
    assert store.purge(until) == 0
    assert store.purge(until + timedelta(days=1)) == 1


def test_a_database_that_hangs_holds_no_hook(service: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    post(service, body_for(service))
    store: FactsStore = service.extensions["facts"]
    monkeypatch.setattr(store, "_add", lambda *_: time.sleep(3))
    began = time.monotonic()
    post(service, body_for(service))
    assert time.monotonic() - began < 2.0


def test_a_fault_of_ours_keeps_nothing_and_says_no_word_of_it(
    service: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    store: FactsStore = service.extensions["facts"]

    def broken() -> bytes:
        raise ValueError(f"{MARK} words of a patient")

    store.keep(broken, ["a"], NOW.date())
    store.flush()
    assert (store.dropped, store.count().calls) == (1, 0)
    told = capsys.readouterr().out
    assert "a call was not kept" in told and "ValueError" in told
    assert MARK not in told


def test_calls_that_the_disk_does_not_take_are_told(
    service: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told once, however many they are."""
    facts: FactsStore = service.extensions["facts"]
    monkeypatch.setattr(facts_module, "_WAIT", 0.2)
    held = sqlite3.connect(tmp_path / "data" / FACTS_FILE, isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    for number in range(3):
        facts.keep(lambda: b"facts", [str(number)], NOW.date())
    assert eventually(lambda: facts.dropped == 3)
    held.close()
    assert capsys.readouterr().out.count("a call was not kept") == 1


def test_a_lost_key_opens_nothing_and_breaks_nothing(service: Flask, tmp_path: Path) -> None:
    post(service, body_for(service))
    service.extensions["facts"].close()
    (tmp_path / "data" / KEY_FILE).unlink()
    with FactsStore_opened(tmp_path) as store:
        assert store.count().calls == 1
        assert list(store.all()) == []


class FactsStore_opened:
    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.store = FactsStore.open(url, data_dir=folder / "data", keep=3, days=30)

    def __enter__(self) -> FactsStore:
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


def test_on_postgresql_they_have_a_schema_of_their_own(
    postgres: Callable[[], str],
    tmp_path: Path,
) -> None:
    url = postgres()
    Store.open(url, data_dir=tmp_path / "data").close()
    with FactsStore_opened(tmp_path, url) as store:
        for number in range(5):
            store.keep(lambda number=number: b'{"call": %d}' % number, [f"card-{number}"], NOW.date())
        store.flush()
        store.purge(NOW.date())
        assert [orjson.loads(raw)["call"] for raw in store.all()] == [4, 3, 2]
        assert store.of_card("card-4") == b'{"call": 4}'
        assert store.of_card("card-0") is None
        assert store.purge() == 3


def test_the_commands_show_and_delete(service: Flask, tmp_path: Path) -> None:
    folder = ("--data-dir", tmp_path / "data")
    post(service, body_for(service))
    service.extensions["facts"].close()
    draft = tmp_path / "draft.yaml"
    draft.write_text("site: Test hospital\n")
    assert "kept calls: 1 charts" in invoke("site", "preview", draft, "--cohort", "kept", *folder).stdout
    assert "1 call kept" in invoke("facts", "show", *folder).stdout
    line = orjson.loads(invoke("facts", "show", "--calls", *folder).stdout)
    assert line["labs"]
    assert orjson.loads(invoke("facts", "purge", "--all", "--json", *folder).stdout) == {"deleted": 1}
    done = invoke("facts", "off", *folder).stdout
    assert KEY_FILE in done
    assert FACTS_FILE in done
    assert not (tmp_path / "data" / FACTS_FILE).exists()
    assert invoke("facts", "show", *folder).stdout == "No calls are kept.\n"
    assert facts_module.FACTS_FILE == FACTS_FILE
