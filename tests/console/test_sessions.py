"""How long a session lasts, what ends it, and what its cookie gives away. On SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, update

from cds_service.store.errors import unavailable
from cds_service.store.tables import people, sessions
from tests.console.conftest import Clock
from tests.console.support import PASSWORD, Visitor, person, visitor
from tests.trust.support import BASE

Maker = Callable[..., Flask]
NEW = "ten more green apples"


def cookie(seen: Visitor) -> str:
    found = seen.http.get_cookie("magnesium-console")
    return found.value if found else ""


def with_cookie(app: Flask, value: str) -> Visitor:
    """A browser that holds this cookie."""
    found = Visitor(app)
    found.http.set_cookie("magnesium-console", value)
    return found


def test_thirty_minutes_without_use_end_a_session(either: Maker, clock: Clock) -> None:
    seen = visitor(either(), "anna")
    for _ in range(4):
        clock.on(minutes=28)
        assert seen.signed_in()
    clock.on(minutes=30)
    assert not seen.signed_in()


def test_twelve_hours_end_a_session_however_it_is_used(either: Maker, clock: Clock) -> None:
    seen = visitor(either(), "anna")
    for _ in range(28):
        clock.on(minutes=25)
        assert seen.signed_in()
    clock.on(minutes=25)
    assert not seen.signed_in()


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=1)], ids=["an hour", "a day"])
def test_a_clock_that_is_set_back_makes_no_session_last_longer_and_keeps_nobody_waiting(
    either: Maker, clock: Clock, back: timedelta
) -> None:
    """It was fast, and somebody mends it."""
    seen = visitor(either(), "anna")
    clock.now -= timedelta(seconds=50)
    assert seen.signed_in(), "replicas may be so far apart"
    clock.now -= back
    assert not seen.signed_in()
    assert seen.sign_in("anna").status_code == 303
    for _ in range(6):
        visitor(seen.app).sign_in("bruno", "not the password")
    assert visitor(seen.app).sign_in("bruno", "not the password").status_code == 429
    clock.now -= back
    assert visitor(seen.app).sign_in("bruno", "not the password").status_code == 401


def test_a_session_has_another_name_after_sign_in_and_the_old_one_is_worth_nothing(console: Flask) -> None:
    seen = visitor(console)
    person(seen.store, "anna")
    seen.get("/sign-in")
    planted = cookie(seen)
    seen.sign_in("anna")
    assert cookie(seen) != planted and seen.signed_in()
    assert not with_cookie(console, planted).signed_in()


def test_a_session_has_another_name_after_a_change_of_roles_and_the_new_roles_at_once(either: Maker) -> None:
    app = either()
    anna, bruno = visitor(app, "anna"), visitor(app, "bruno", ("viewer",))
    before = cookie(bruno)
    assert bruno.get("/people").status_code == 403
    assert anna.post("/people/bruno", roles=["viewer", "admin"]).status_code == 303
    assert bruno.get("/people").status_code == 200
    assert cookie(bruno) != before and not with_cookie(app, before).signed_in()
    assert anna.post("/people/bruno", roles=["viewer"]).status_code == 303
    assert bruno.get("/people").status_code == 403
    assert bruno.signed_in()


def test_a_form_from_before_a_change_of_roles_is_out_of_date_and_not_without_a_cookie(console: Flask) -> None:
    anna, bruno = visitor(console, "anna"), visitor(console, "bruno", ("viewer",))
    token = bruno.token()
    assert anna.post("/people/bruno", roles=["viewer", "admin"]).status_code == 303
    answer = bruno.post("/people", token=token, name="carla", roles=["viewer"])
    assert answer.status_code == 403 and "This form is out of date" in answer.text
    assert bruno.store.person("carla") is None


def test_signing_out_ends_the_session_whoever_kept_its_cookie(either: Maker) -> None:
    app = either()
    seen = visitor(app, "anna")
    kept = with_cookie(app, cookie(seen))
    assert kept.signed_in()
    assert seen.post("/sign-out").status_code == 303
    assert not cookie(seen)
    assert not kept.signed_in() and not seen.signed_in()


def test_another_password_ends_all_other_sessions(either: Maker) -> None:
    app = either()
    here, there = visitor(app, "anna"), visitor(app, "anna")
    before = cookie(here)
    assert here.post("/account", current=PASSWORD, password=NEW, again=NEW).status_code == 303
    assert here.signed_in() and not there.signed_in() and not with_cookie(app, before).signed_in()
    assert visitor(app).sign_in("anna").status_code == 401
    assert visitor(app).sign_in("anna", NEW).status_code == 303


def test_a_session_of_an_older_password_has_ended_even_where_its_row_is_still_there(either: Maker) -> None:
    """As when a sign-in with the old one is written while the password changes."""
    seen = visitor(either(), "anna")
    with seen.store._write_engine.begin() as connection:
        connection.execute(update(people).values(epoch=people.c.epoch + 1))
    assert not seen.signed_in()


def test_who_is_removed_is_out_at_once_and_stays_out_under_the_same_name(either: Maker) -> None:
    app = either()
    anna, bruno = visitor(app, "anna"), visitor(app, "bruno", ("viewer",))
    assert anna.post("/people/bruno/remove").status_code == 303
    assert not bruno.signed_in()
    person(anna.store, "bruno", "admin")
    assert not bruno.signed_in()


def test_a_form_of_a_session_that_has_ended_says_so_and_changes_nothing(console: Flask, clock: Clock) -> None:
    anna = visitor(console, "anna")
    token = anna.token()
    clock.on(hours=1)
    answer = anna.post("/people", token=token, name="bruno", roles=["viewer"])
    assert answer.status_code == 401 and "You are signed out" in answer.text
    assert anna.store.person("bruno") is None


def test_two_workers_agree_on_a_session(either: Maker) -> None:
    one, two = either(), either()
    seen = visitor(one, "anna")
    other = with_cookie(two, cookie(seen))
    assert other.signed_in()
    token = seen.token()
    assert other.post("/people", token=token, name="bruno", roles=["viewer"]).status_code == 200, (
        "the form of the first"
    )
    seen.post("/sign-out")
    assert not other.signed_in()


def test_the_database_holds_no_name_of_a_session_and_no_row_of_who_only_looked(console: Flask) -> None:
    stranger, anna = visitor(console), visitor(console, "anna")
    for _ in range(5):
        stranger.get("/sign-in")
    with anna.store._reader.engine.connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(sessions))]
    assert [row["person"] for row in rows] == ["anna"]
    assert cookie(anna) not in str(rows)


@pytest.mark.parametrize("value", ["", "x" * 64, "0" * 64, "../../etc/passwd", "é", "0" * 5000])
def test_a_cookie_that_nobody_gave_is_nobody(console: Flask, value: str) -> None:
    answer = console.test_client().get("/console", headers={"Cookie": f"magnesium-console={value}".encode("latin-1")})
    assert answer.status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_in_production_of_http(
    console: Flask, worker: Maker, signer_file: Path
) -> None:
    given = console.test_client().get("/console/sign-in").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(given.split("; ")) and "Max-Age" not in given
    app = worker(
        profile="production", public_url=BASE, clients=signer_file, trusted_proxies=1,
        data_dir=signer_file.parent / "production",
    )  # fmt: skip
    seen = Visitor(app, base=BASE)
    given = seen.get("/sign-in").headers["Set-Cookie"]
    assert given.startswith("__Host-magnesium-console=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(given.split("; ")) and "Domain" not in given
    person(seen.store, "anna")
    assert seen.sign_in("anna").status_code == 303 and seen.signed_in()
    gone = seen.post("/sign-out").headers["Set-Cookie"]
    assert gone.startswith("__Host-magnesium-console=;") and "Secure" in gone


def test_a_session_does_not_make_a_hook_call_slower_or_different(console: Flask) -> None:
    seen = visitor(console, "anna")
    answer = seen.http.get("/cds-services")
    assert answer.status_code == 200 and "Set-Cookie" not in answer.headers


def test_a_database_that_does_not_answer_is_said_so_on_a_page(anna: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise unavailable("gone")

    monkeypatch.setattr(anna.store, "session", gone)
    answer = anna.get()
    assert answer.status_code == 503 and "Cards are still given" in answer.text
    assert answer.headers["Retry-After"] and answer.headers["Content-Security-Policy"]
