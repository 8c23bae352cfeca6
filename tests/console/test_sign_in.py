"""Signing in: guessing, telling names apart, the first admin, codes, and how passwords are kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask

from cds_service.console import passwords, sign_in
from cds_service.console.sign_in import first_code
from tests.console.conftest import Clock
from tests.console.support import PASSWORD, Visitor, person, visitor

Maker = Callable[..., Flask]
NEW = "ten more green apples"
WRONG = "nine red apples, not green"


def plain(text: str, name: str) -> str:
    """A page without what differs between any two: the token of the form, and the name that was typed."""
    return re.sub(r'name="csrf_token"[^>]*>', "", text).replace(f'value="{name}"', 'value="NAME"')


def code_on(page: str) -> str:
    return re.findall(r'class="code">([^<]+)<', page)[0]


# Guessing.


EACH_ITS_OWN = ("Set-Cookie", "Content-Length", "X-Request-Id")


def test_a_name_that_nobody_has_and_a_wrong_password_get_the_same_answer_to_the_byte(
    console: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(console.extensions["advisor"].store, "anna")
    person(console.extensions["advisor"].store, "admin-of-all", "admin")
    checked: list[str] = []
    fits = PasswordHasher.verify

    def verify(self: PasswordHasher, hash_: str, password: str) -> Any:
        checked.append(hash_)
        return fits(self, hash_, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    answers = []
    for name in ("anna", "nobody", "not a name at all", "<script>", "a" * 100):
        answer = visitor(console).sign_in(name, WRONG)
        headers = {key: value for key, value in answer.headers if key not in EACH_ITS_OWN}
        answers.append((answer.status_code, headers, plain(answer.text, name.replace("<script>", "&lt;script&gt;"))))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401
    assert len(checked) == len(answers), "argon2 worked for each"
    assert len({hash_.rpartition("$")[0].rpartition("$")[0] for hash_ in checked}) == 1, "with the same cost"


def test_a_person_without_a_password_cannot_sign_in(anna: Visitor) -> None:
    anna.post("/people", name="bruno", roles=["viewer"])
    for password in ("", "x", WRONG):
        assert visitor(anna.app).sign_in("bruno", password).status_code in (400, 401)


def test_who_guesses_waits_ever_longer_and_the_right_password_waits_too(either: Maker, clock: Clock) -> None:
    app = either()
    seen = visitor(app)
    person(seen.store, "anna")
    person(seen.store, "bruno", "viewer")
    for _ in range(6):
        assert seen.sign_in("anna", WRONG).status_code == 401
    answer = seen.sign_in("anna")
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "30"
    assert seen.sign_in("bruno").status_code == 303, "others are not kept away"
    seen.post("/sign-out")
    waits = []
    for _ in range(7):
        clock.on(seconds=int(seen.sign_in("anna", WRONG).headers["Retry-After"]))
        assert seen.sign_in("anna", WRONG).status_code == 401
        waits.append(int(seen.sign_in("anna", WRONG).headers["Retry-After"]))
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    clock.on(seconds=900)
    assert seen.sign_in("anna").status_code == 303
    seen.post("/sign-out")
    assert seen.sign_in("anna", WRONG).status_code == 401, "and begins anew after a sign-in"


def test_a_name_that_nobody_has_is_locked_as_one_that_somebody_has(console: Flask) -> None:
    seen = visitor(console)
    person(seen.store, "anna")
    said = {name: [seen.sign_in(name, WRONG).status_code for _ in range(8)] for name in ("anna", "nobody")}
    assert said["anna"] == said["nobody"] and said["anna"][-1] == 429


def test_two_workers_agree_on_who_has_to_wait(either: Maker) -> None:
    one, two = visitor(either()), visitor(either())
    person(one.store, "anna")
    for seen in (one, two, one, two, one, two):
        assert seen.sign_in("anna", WRONG).status_code == 401
    assert one.sign_in("anna").status_code == two.sign_in("anna").status_code == 429


def test_guesses_at_the_same_moment_are_all_counted(either: Maker) -> None:
    workers = [either(), either()]
    person(workers[0].extensions["advisor"].store, "anna")
    forms = [visitor(workers[n % 2]) for n in range(10)]
    tokens = [seen.token() for seen in forms]
    found: list[int] = []

    def guess(seen: Visitor, token: str) -> None:
        found.append(seen.post("/sign-in", token=token, name="anna", password=WRONG).status_code)

    threads = [threading.Thread(target=guess, args=pair) for pair in zip(forms, tokens, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(401) <= 6 and found.count(401) + found.count(429) == 10, found


def test_one_address_that_tries_many_names_waits(either: Maker) -> None:
    seen = visitor(either())
    person(seen.store, "anna")
    said = [seen.sign_in(f"name{n}", WRONG).status_code for n in range(22)]
    assert said == [401] * 21 + [429]
    assert seen.sign_in("anna").status_code == 429


def test_sign_ins_that_succeed_do_not_lock_an_address(console: Flask) -> None:
    """A hospital of forty behind one address."""
    seen = visitor(console)
    person(seen.store, "anna")
    for _ in range(25):
        assert seen.sign_in("anna").status_code == 303
        seen.post("/sign-out")


def test_the_address_is_the_one_that_the_proxy_tells(worker: Maker) -> None:
    app = worker(trusted_proxies=1)
    seen = visitor(app)
    person(seen.store, "anna")
    for n in range(22):
        headers = {"Origin": seen.base, "X-Forwarded-For": f"203.0.113.{n}, 198.51.100.1"}
        seen.post("/sign-in", name=f"name{n}", password=WRONG, headers=headers)
    headers = {"Origin": seen.base, "X-Forwarded-For": "203.0.113.77, 198.51.100.1"}
    assert seen.post("/sign-in", name="anna", password=PASSWORD, headers=headers).status_code == 429
    headers = {"Origin": seen.base, "X-Forwarded-For": "198.51.100.2"}
    assert seen.post("/sign-in", name="anna", password=PASSWORD, headers=headers).status_code == 303


def test_what_is_kept_of_guesses_names_nobody(console: Flask) -> None:
    seen = visitor(console)
    seen.sign_in("somebody-unknown", "a password in the wrong field")
    with seen.store._reader.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM sign_in_tries").all()
        lines = connection.exec_driver_sql("SELECT * FROM audit_lines").all()
    assert len(kept) == 2
    assert "somebody-unknown" not in str(kept) + str(lines) and "127.0.0.1" not in str(kept) + str(lines)


def test_more_guesses_at_once_than_the_machine_can_hash_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.BoundedSemaphore(1)
    gate.acquire()
    monkeypatch.setattr(passwords, "_AT_ONCE", gate)
    monkeypatch.setattr(passwords, "_LONGEST_QUEUE", 0.05)
    with pytest.raises(passwords.TooManyTries):
        passwords.fits(None, "x")


# How passwords are kept.


def test_a_password_is_kept_as_argon2id_and_made_anew_when_that_became_weak(console: Flask, dear_hashes: None) -> None:
    seen = visitor(console)
    person(seen.store, "anna")
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    seen.store.set_password("anna", weak, None)
    assert seen.sign_in("anna").status_code == 303 and seen.signed_in()
    now = seen.store.person("anna").password
    assert now.startswith("$argon2id$v=19$m=65536,t=3,p=4$") and now != weak
    assert visitor(console).sign_in("anna").status_code == 303


@pytest.mark.parametrize("password", ["short", "a" * 11, "a" * 201])
def test_a_password_is_twelve_characters_or_more(anna: Visitor, password: str) -> None:
    assert anna.post("/account", current=PASSWORD, password=password, again=password).status_code == 400
    assert visitor(anna.app).sign_in("anna").status_code == 303


def test_another_password_needs_the_one_of_now(anna: Visitor) -> None:
    assert anna.post("/account", current=WRONG, password=NEW, again=NEW).status_code == 400
    assert anna.post("/account", current=PASSWORD, password=NEW, again=NEW + "x").status_code == 400
    for _ in range(6):
        answer = anna.post("/account", current=WRONG, password=NEW, again=NEW)
    assert answer.status_code == 429, "nor can it be guessed there"


# The first admin, and codes.


def test_the_first_admin_is_made_with_the_code_that_was_printed_and_nobody_else(either: Maker, clock: Clock) -> None:
    app = either()
    seen = visitor(app)
    code = first_code(seen.store, clock())
    assert "make the first admin" in seen.get("/sign-in").text
    wrong = seen.post("/first-run", name="mallory", code="AAAAA-BBBBB-CCCCC-DDDDD", password=NEW, again=NEW)
    assert wrong.status_code == 400 and "do not belong together" in wrong.text
    typed = code.lower().replace("-", " ")
    assert seen.post("/first-run", name="Anna", code=typed, password=NEW, again=NEW).status_code == 303
    assert seen.get("/people").status_code == 200
    assert set(seen.store.person("anna").roles) == {"viewer", "editor", "approver", "admin"}
    assert first_code(seen.store, clock()) is None
    again = visitor(app)
    assert again.get("/first-run").status_code == 303
    assert again.post("/first-run", name="eve", code=code, password=NEW, again=NEW).status_code == 303
    assert seen.store.person("eve") is None
    assert "make the first admin" not in again.get("/sign-in").text


def test_the_code_of_the_first_admin_holds_for_a_day_and_is_no_code_for_anybody_else(
    console: Flask, clock: Clock
) -> None:
    seen = visitor(console)
    code = first_code(seen.store, clock())
    seen.store.add_person("bruno", ("viewer",), sign_in.NewLine(clock(), "", "person added"))
    assert seen.post("/welcome", name="bruno", code=code, password=NEW, again=NEW).status_code == 400
    clock.on(hours=24)
    assert seen.post("/first-run", name="anna", code=code, password=NEW, again=NEW).status_code == 400


def test_two_who_use_the_first_code_at_once_make_one_admin(either: Maker, clock: Clock) -> None:
    app = either()
    code = first_code(app.extensions["advisor"].store, clock())
    forms = [visitor(app) for _ in range(3)]
    tokens = [seen.token() for seen in forms]

    def make(number: int) -> None:
        fields = {"name": f"admin{number}", "code": code, "password": NEW, "again": NEW}
        forms[number].post("/first-run", token=tokens[number], **fields)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(forms[0].store.people()) == 1


def test_a_code_works_once_for_its_person_and_for_a_week(anna: Visitor, clock: Clock) -> None:
    app = anna.app
    code = code_on(anna.post("/people", name="bruno", roles=["viewer"]).text)
    person(anna.store, "carla", "admin")
    form = {"code": code, "password": NEW, "again": NEW}
    assert visitor(app).post("/welcome", name="carla", **form).status_code == 400
    bruno = visitor(app)
    assert bruno.post("/welcome", name="bruno", **form).status_code == 303 and bruno.signed_in()
    assert visitor(app).post("/welcome", name="bruno", **form).status_code == 400
    clock.on(hours=1)
    anna.sign_in("anna")
    later = code_on(anna.post("/people/bruno/code").text)
    assert not bruno.signed_in() and visitor(app).sign_in("bruno", NEW).status_code == 401
    clock.on(days=7)
    assert visitor(app).post("/welcome", name="bruno", **form | {"code": later}).status_code == 400


def test_a_newer_code_ends_the_one_before_it(anna: Visitor) -> None:
    first = code_on(anna.post("/people", name="bruno", roles=["viewer"]).text)
    second = code_on(anna.post("/people/bruno/code").text)
    form = {"name": "bruno", "password": NEW, "again": NEW}
    assert visitor(anna.app).post("/welcome", code=first, **form).status_code == 400
    assert visitor(anna.app).post("/welcome", code=second, **form).status_code == 303


def test_codes_are_not_in_the_database(anna: Visitor) -> None:
    code = code_on(anna.post("/people", name="bruno", roles=["viewer"]).text)
    with anna.store._reader.engine.connect() as connection:
        for name in ("sign_in_codes", "audit_lines", "people", "sessions"):
            assert code not in str(connection.exec_driver_sql(f"SELECT * FROM {name}").all())


def test_a_wrong_password_takes_as_long_as_a_name_that_nobody_has(console: Flask, dear_hashes: None) -> None:
    seen = visitor(console)
    for number in range(3):
        person(seen.store, f"anna{number}")
        seen.store.set_password(f"anna{number}", passwords.hashed(PASSWORD), None)

    def took(name: str) -> float:
        token, began = seen.token(), time.perf_counter()
        seen.post("/sign-in", token=token, name=name, password=WRONG)
        return time.perf_counter() - began

    known = sorted(took(f"anna{n}") for n in range(3))[1]
    unknown = sorted(took(f"nobody{n}") for n in range(3))[1]
    assert known < unknown * 2 and unknown < known * 2
