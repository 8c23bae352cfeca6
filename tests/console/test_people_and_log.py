"""Managing people, and the log of what was done: on pages, by command, and when somebody changed it by hand."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from cds_service.console.access import audit
from cds_service.store import NewLine
from cds_service.store.audit import write_line
from cds_service.store.engine import FILE_NAME
from tests.conformance.calls import invoke
from tests.conftest import NOW
from tests.console.conftest import Clock
from tests.console.support import PASSWORD, Visitor, person, visitor

Maker = Callable[..., Flask]


def told(seen: Visitor) -> list[tuple[str, str, str]]:
    return [(one.person, one.action, one.target) for one in reversed(seen.store.audit_lines())]


# People.


def test_the_last_admin_cannot_be_taken_away(anna: Visitor) -> None:
    assert anna.post("/people/anna", roles=["viewer"]).status_code == 400
    assert anna.post("/people/anna/remove").status_code == 409
    anna.post("/people", name="bruno", roles=["admin"])
    assert anna.post("/people/anna/remove").status_code == 409, "bruno has no password yet"
    person(anna.store, "carla", "admin")
    assert anna.post("/people/anna/remove").status_code == 303
    assert not anna.signed_in()


def test_names_are_of_plain_characters_and_taken_once(anna: Visitor) -> None:
    for name in ("", "a", "<b>eve</b>", "eve smith", "../eve", "=cmd()", "x" * 65, "eve\n"):
        answer = anna.post("/people", name=name, roles=["viewer"])
        assert answer.status_code == (200 if name == "eve\n" else 400), name
    assert {one.name for one in anna.store.people()} == {"anna", "eve"}
    assert anna.post("/people", name="EVE", roles=["viewer"]).status_code == 400


def test_everything_that_is_done_to_people_is_in_the_log(anna: Visitor) -> None:
    begin = len(told(anna))
    anna.post("/people", name="bruno", roles=["viewer"])
    anna.post("/people/bruno", roles=["editor", "viewer"])
    anna.post("/people/bruno/code")
    anna.post("/people/bruno/remove")
    visitor(anna.app).sign_in("anna", "wrong wrong wrong")
    anna.post("/sign-out")
    assert told(anna)[begin:] == [
        ("anna", "person added", "bruno"),
        ("anna", "code given", "bruno"),
        ("anna", "roles changed", "bruno"),
        ("anna", "password taken away", "bruno"),
        ("anna", "person removed", "bruno"),
        ("", "sign-in failed", "anna"),
        ("anna", "signed out", ""),
    ]
    changed = next(one for one in anna.store.audit_lines() if one.action == "roles changed")
    assert changed.details == {"from": ["viewer"], "to": ["editor", "viewer"]}
    assert anna.store.broken_line() is None


def test_people_are_managed_by_command_too(tmp_path: Path, worker: Maker) -> None:
    def cli(*words: str, code: int = 0) -> Any:
        done = invoke(*words, "--data-dir", tmp_path / "data")
        assert done.returncode == code, done.stderr
        return done

    added = json.loads(cli("people", "add", "Anna", "--role", "admin", "--role", "viewer", "--json").stdout)
    assert added["name"] == "anna"
    seen = visitor(worker())
    form = {"name": "anna", "code": added["code"], "password": PASSWORD, "again": PASSWORD}
    assert seen.post("/welcome", **form).status_code == 303
    assert "only admin" in cli("people", "remove", "anna", code=1).stderr
    assert "only admin" in cli("people", "roles", "anna", "--role", "viewer", code=1).stderr
    for _ in range(7):
        visitor(seen.app).sign_in("anna", "wrong wrong wrong")
    code = cli("people", "reset", "anna").stdout.split()[-1]
    assert not seen.signed_in()
    assert seen.post("/welcome", **form | {"code": code}).status_code == 303, "and is no longer locked out"
    cli("people", "add", "bruno", "--role", "viewer")
    assert "already" in cli("people", "add", "bruno", "--role", "viewer", code=1).stderr
    assert "Letters" in cli("people", "add", "b r", "--role", "viewer", code=2).stderr
    cli("people", "roles", "bruno", "--role", "editor")
    listed = [json.loads(line) for line in cli("people", "list", "--json").stdout.splitlines()]
    assert [(one["name"], one["roles"], one["sign_in"]) for one in listed] == [
        ("anna", ["admin", "viewer"], "password"), ("bruno", ["editor"], "no password yet")]  # fmt: skip
    cli("people", "remove", "bruno")
    assert "no person" in cli("people", "reset", "bruno", code=1).stderr
    assert "whole" in cli("audit", "verify").stdout
    assert "(command line)  roles changed  bruno (from: viewer; to: editor)" in cli("audit", "list").stdout


# The log.


def test_no_line_can_be_changed_or_taken_out(either: Maker) -> None:
    seen = visitor(either(), "anna")
    for change in ("UPDATE audit_lines SET person = 'eve'", "DELETE FROM audit_lines WHERE number = 1"):
        with pytest.raises(SQLAlchemyError, match="never changed"), seen.store._write_engine.begin() as connection:
            connection.exec_driver_sql(change)


CHANGES = {
    "UPDATE audit_lines SET person = 'eve' WHERE number = 3": (3, "was changed after"),
    "UPDATE audit_lines SET details = '{}' WHERE number = 4": (4, "was changed after"),
    "DELETE FROM audit_lines WHERE number = 3": (3, "is missing"),
    "DELETE FROM audit_lines WHERE number = 1": (1, "is missing"),
    "UPDATE audit_lines SET hash = 'x' WHERE number = 2": (2, "was changed after"),
    "UPDATE audit_lines SET number = number - 1 WHERE number > 3": (4, ""),
}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (None, None),
        ("DELETE FROM audit_lines WHERE number = 1001", (1001, "is missing")),
        ("UPDATE audit_lines SET before = 'x' WHERE number = 1001", (1001, "does not follow")),
        ("UPDATE audit_lines SET person = 'eve' WHERE number = 2003", (2003, "was changed after")),
    ],
)
def test_a_long_log_is_looked_through_to_its_end(
    change: str | None, broken: tuple[int, str] | None, tmp_path: Path, worker: Maker
) -> None:
    """Some lines at a time, since SQLite lets nobody write while a question is open."""
    store = worker().extensions["advisor"].store
    with store._write_engine.begin() as connection:
        for number in range(2003):
            write_line(connection, NewLine(NOW, "anna", "tried", str(number)))
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as file:
        for kind in ("update", "delete"):
            file.execute(f"DROP TRIGGER audit_lines_no_{kind}")
        file.execute(change or "SELECT 1")
    found = store.broken_line()
    assert (found and (found[0], found[1].startswith(broken[1] if broken else ""))) == (broken and (broken[0], True))


@pytest.mark.parametrize("time", ["x", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"])
def test_a_line_whose_time_was_made_unreadable_is_named(time: str, tmp_path: Path, worker: Maker) -> None:
    seen = visitor(worker(), "anna")
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as file:
        file.execute("DROP TRIGGER audit_lines_no_update")
        file.execute("UPDATE audit_lines SET at = ?, details = '[' WHERE number = 2", (time,))
    broken = seen.store.broken_line()
    assert broken is not None and broken[0] == 2
    page = seen.get("/log?check=1")
    assert page.status_code == 200 and "Line 2 " in page.text


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_changed_by_hand_is_found_where_it_is(change: str, either: Maker) -> None:
    seen = visitor(either(), "anna")
    seen.post("/people", name="bruno", roles=["viewer"])
    drop = "DROP TRIGGER audit_lines_no_{}"
    postgresql = seen.store._write_engine.dialect.name == "postgresql"
    if "number - 1" in change:
        change = change if not postgresql else "UPDATE audit_lines SET before = 'x' WHERE number = 4"
    with seen.store._write_engine.begin() as connection:
        for kind in ("update", "delete"):
            connection.exec_driver_sql(drop.format(kind) + (" ON audit_lines" if postgresql else ""))
        if "number - 1" in change:
            connection.exec_driver_sql("DELETE FROM audit_lines WHERE number = 3")
            connection.exec_driver_sql("UPDATE audit_lines SET number = -number WHERE number > 3")
            change = "UPDATE audit_lines SET number = -number - 1 WHERE number < 0"
            place = 3
        else:
            place = CHANGES.get(change, (4, ""))[0]
        connection.exec_driver_sql(change)
    broken = seen.store.broken_line()
    assert broken is not None and broken[0] == place
    page = seen.get("/log?check=1").text
    assert f"Line {place} " in page and "The log is whole" not in page


def test_the_command_says_where_the_log_breaks_and_whether_its_end_is_there(tmp_path: Path, worker: Maker) -> None:
    seen = visitor(worker(), "anna")
    where = ("--data-dir", tmp_path / "data")
    whole = json.loads(invoke("audit", "verify", "--json", *where).stdout)
    kept = ("--number", str(whole["newest"]["number"]), "--hash", whole["newest"]["hash"])
    seen.post("/people", name="bruno", roles=["viewer"])
    assert invoke("audit", "verify", *kept, *where).returncode == 0
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as file:
        file.execute("DROP TRIGGER audit_lines_no_delete")
        file.execute("DELETE FROM audit_lines WHERE number >= ?", (whole["newest"]["number"],))
    assert invoke("audit", "verify", *where).returncode == 0, "a shorter chain is whole"
    cut = invoke("audit", "verify", *kept, *where)
    assert cut.returncode == 1 and "cut off" in cut.stderr
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as file:
        file.execute("DELETE FROM audit_lines WHERE number = 1")
    broken = invoke("audit", "verify", "--json", *where)
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["broken_line"] == {"number": 1, "why": "is missing"}


def test_two_workers_that_write_at_once_make_one_chain(either: Maker) -> None:
    one, two = visitor(either(), "anna"), visitor(either(), "anna")

    def write(seen: Visitor) -> None:
        for _ in range(15):
            with seen.app.test_request_context("/console"):
                audit("tried", number=1)

    threads = [threading.Thread(target=write, args=(seen,)) for seen in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = one.store.audit_lines()
    assert sum(line.action == "tried" for line in lines) == 30
    assert one.store.broken_line() is None
    assert [line.number for line in lines] == list(range(len(lines), 0, -1))


def test_the_log_is_filtered_and_the_files_hold_what_the_filter_lets_through(anna: Visitor, clock: Clock) -> None:
    clock.on(hours=-48)
    anna.sign_in("anna")
    person(anna.store, "dora", "viewer")
    anna.post("/people", name="bruno", roles=["viewer"])
    clock.on(hours=48)
    anna.sign_in("anna")
    anna.post("/people", name="carla", roles=["viewer"])

    def rows(query: str) -> list[dict[str, str]]:
        return json.loads(anna.get(f"/log.json?{query}").data)["log"]

    assert {row["person"] for row in rows("person=anna")} == {"anna"}
    assert [row["target"] for row in rows("action=person+added&person=anna")] == ["carla", "bruno"]
    assert [row["target"] for row in rows("action=person+added&person=anna&since=2026-11-20")] == ["carla"]
    assert rows("until=2026-11-10") == []
    page = anna.get("/log?since=yesterday&person=anna").text
    assert "is not a date like 2026-11-30. It was left out." in page and 'value="anna" selected' in page
    refused = anna.get("/log.csv?since=yesterday").text
    assert "is not a date like 2026-11-30." in refused and "left out" not in refused
    text = anna.get("/log.csv?person=anna").data.decode("utf-8-sig")
    listed = list(csv.DictReader(io.StringIO(text)))
    assert [row["Line"] for row in listed] == [str(row["number"]) for row in rows("person=anna")]
    assert listed[0]["Hash"] == anna.store.audit_lines(most=1)[0].hash


def test_a_long_log_is_shown_page_by_page(anna: Visitor) -> None:
    with anna.app.test_request_context("/console"):
        for number in range(120):
            audit("tried", f"number {number}")
    first = anna.get("/log").text
    assert "number 119" in first and "number 10<" not in first
    older = first.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "number 10<" in anna.get(older).text


def test_a_spreadsheet_runs_nothing_that_stands_in_the_log(anna: Visitor) -> None:
    with anna.app.test_request_context("/console"):
        for text in ("=cmd()", "+1", "-1", "@x", "\tx", "\rx"):
            audit("tried", text)
    text = anna.get("/log.csv").data.decode("utf-8-sig")
    found = [row["On what"] for row in csv.DictReader(io.StringIO(text, newline="")) if row["What"] == "tried"]
    assert found and all(cell.startswith("'") for cell in found)
    done = invoke("audit", "list", "--csv", "--data-dir", anna.app.extensions["advisor"].settings.data_dir)
    assert '"\'=cmd()"' in done.stdout and '"=cmd()"' not in done.stdout
