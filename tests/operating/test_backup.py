"""A backup is made while the service serves, and what is restored from it is whole: on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from flask import Flask

from cds_service.store import Store, StoreError
from cds_service.store.audit import NewLine
from cds_service.store.engine import FILE_NAME
from tests.conformance.calls import ROOT, invoke
from tests.conftest import KEY
from tests.store.helpers import accepted, card
from tests.support.own_disk import on_own_disk, own_disk
from tests.support.requires import require, require_root
from tests.trust.support import SERVICE, body_for

CARDS = 50


def filled(store: Store) -> dict[str, int]:
    """Cards, their feedback and lines of the audit log are put into it; how many of each."""
    cards = [card() for _ in range(CARDS)]
    store.record_shown(cards)
    store.record_feedback([accepted(one) for one in cards[::2]])
    for number in range(20):
        store.audit(NewLine(datetime.now(UTC), "anna", "tried", str(number)))
    return counted(store)


def counted(store: Store) -> dict[str, int]:
    with store._reader.engine.connect() as connection:
        tables = ("shown_cards", "feedback", "audit_lines")
        return {name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() or 0 for name in tables}


def test_backup_of_sqlite_is_made_while_it_serves_and_starts_whole_elsewhere(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    folder, copy = tmp_path / "data", tmp_path / "monday.sqlite3"
    app = make_app(data_dir=folder, key=KEY, now=lambda: datetime.now(UTC))
    filled(app.extensions["advisor"].store)
    told: Counter[int] = Counter()
    body, stopped, began = body_for(app), threading.Event(), threading.Event()

    def call() -> None:
        client = app.test_client()
        while not stopped.is_set():
            told[client.post(SERVICE, json=body).status_code] += 1
            began.set()

    caller = threading.Thread(target=call)
    caller.start()
    assert began.wait(30)
    done = invoke("backup", str(copy), "--data-dir", str(folder))
    stopped.set()
    caller.join(30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(told) == {200}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "monday.sqlite3"]

    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(copy, restored / FILE_NAME)
    with Store.open(data_dir=restored, key=KEY) as store:
        assert counted(store)["shown_cards"] >= CARDS
        assert counted(store)["feedback"] == CARDS // 2
        assert store.broken_line() is None
    (tmp_path / "key").write_text(KEY)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'data_dir = "{restored}"\nkey_file = "{tmp_path / "key"}"\n')
    assert invoke("audit", "verify", "--settings", str(settings)).stdout.startswith("whole: 20 lines")
    with pytest.raises(StoreError, match="was written with the key"):
        Store.open(data_dir=restored, key="x" * 40)
    with sqlite3.connect(restored / FILE_NAME) as file:
        for (trigger,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {trigger}")
        file.execute("UPDATE audit_lines SET person = 'eve' WHERE number = 3")
    with Store.open(data_dir=restored, key=KEY) as store:
        assert store.broken_line() is not None


@own_disk
def test_backup_on_a_full_disk_names_the_copy_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    with Store.open(data_dir=tmp_path / "data"):
        pass
    copy = tmp_path / "small" / "monday.sqlite3"
    words = [sys.executable, "-m", "cds_service", "backup", copy, "--data-dir", tmp_path / "data"]
    code, said = on_own_disk("64k", copy.parent, words, after="ls -A")
    assert (code, said) == (73, f"{copy} cannot be written: No space left on device.\n")


def test_backup_says_why_it_makes_none(tmp_path: Path) -> None:
    other = tmp_path / "there"
    other.write_text("something else")
    assert invoke("backup", str(other), "--data-dir", str(tmp_path / "none")).returncode == 69
    assert not (tmp_path / "none").exists(), "a database that is not there is not made"
    with Store.open(data_dir=tmp_path / "data"):
        pass
    assert invoke("backup", str(other), "--data-dir", str(tmp_path / "data")).returncode == 73
    assert other.read_text() == "something else"
    assert invoke("backup", str(tmp_path / "no/folder"), "--data-dir", str(tmp_path / "data")).returncode == 73
    (tmp_path / "settings.toml").write_text('database = "postgresql://mg@db/x"\n')
    done = invoke("backup", str(tmp_path / "new"), "--settings", str(tmp_path / "settings.toml"))
    assert (done.returncode, "pg_dump" in done.stdout + done.stderr) == (2, True)
    (tmp_path / "data" / FILE_NAME).write_bytes(b"not a database" * 1000)
    assert invoke("backup", str(tmp_path / "new"), "--data-dir", str(tmp_path / "data")).returncode == 73
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "settings.toml", "there"]


def test_dump_of_postgresql_is_made_while_it_is_written_and_starts_whole_elsewhere(
    postgres: Callable[[], str], tmp_path: Path
) -> None:
    programs = {name: require(name, "copies a PostgreSQL", "postgresql") for name in ("pg_dump", "pg_restore")}
    first, second, dump = postgres(), postgres(), tmp_path / "monday.dump"
    with Store.open(first, key=KEY) as store:
        held = filled(store)
        subprocess.run([programs["pg_dump"], "--format=custom", f"--file={dump}", first], check=True)
        store.record_shown([card()])  # after the copy
    restore = [programs["pg_restore"], "--no-owner", "--exit-on-error", "--single-transaction"]
    subprocess.run([*restore, f"--dbname={second}", dump], check=True)
    with pytest.raises(StoreError, match="was written with the key"):
        Store.open(second, key="x" * 40)
    with Store.open(second, key=KEY) as store:
        assert counted(store) == held
        assert store.broken_line() is None
        store.record_shown([card()])
        assert store.counters().shown_written == 1


@contextmanager
def folder_of_a_service() -> Iterator[tuple[Path, int]]:
    """A data folder of another account than root's, which may go through those above it; with the account's number."""
    require_root("is not the account of the service")
    account = pwd.getpwnam("nobody").pw_uid
    with TemporaryDirectory(prefix="mgdata") as above:
        data = Path(above) / "data"
        data.mkdir(mode=0o700)
        for each in (Path(above), data):
            os.chown(each, account, -1)
        # What is loaded only when it is needed may lie where that account cannot read it.
        Store.open(data_dir=Path(above) / "other").close()
        assert invoke("audit", "verify", "--data-dir", str(Path(above) / "other")).returncode == 0
        yield data, account


@contextmanager
def running_as(account: int) -> Iterator[None]:
    os.seteuid(account)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_root_makes_in_the_folder_of_a_service_is_the_services(tmp_path: Path) -> None:
    with folder_of_a_service() as (data, account):
        with running_as(account), Store.open(data_dir=data) as store:
            filled(store)
        (data / "start.lock").unlink()  # a copy of the database alone was put back
        done = invoke("audit", "verify", "--data-dir", str(data))
        assert (done.returncode, done.stdout.startswith("whole: 20 lines")) == (0, True), done
        assert {path.stat().st_uid for path in data.iterdir()} == {account}
        with running_as(account), Store.open(data_dir=data) as store:
            assert counted(store)["shown_cards"] == CARDS
        mine = data.parent / "copy.sqlite3"
        assert invoke("backup", str(mine), "--data-dir", str(data)).returncode == 0
        assert invoke("key", "make", str(data.parent / "key")).returncode == 0
        assert {path.stat().st_uid for path in (mine, data.parent / "key")} == {0}, "whoever owns the folder"
    with folder_of_a_service() as (data, account):
        now = datetime.now(UTC)
        with Store.open(data_dir=data) as store:
            assert store.use_token("https://ehr.example", "1", now + timedelta(minutes=5), now, now)
        assert invoke("people", "add", "anna", "--role", "admin", "--data-dir", str(data)).returncode == 0
        assert {path.stat().st_uid for path in data.iterdir()} == {account}, "the database, its journal and the key"


@pytest.mark.parametrize("name", ["start.lock", FILE_NAME, "hash-key-0001"])
def test_a_file_that_the_service_may_not_open_is_named_with_what_to_do(name: str) -> None:
    with folder_of_a_service() as (data, account):
        with running_as(account), Store.open(data_dir=data):
            pass
        os.chown(data / name, 0, 0)
        with running_as(account):
            done = invoke("audit", "verify", "--data-dir", str(data))
        assert done.returncode == 73
        assert f"chown --reference={data} {data / name}" in done.stderr, done.stderr


def test_the_commands_for_systemd_take_the_settings_that_its_unit_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operate/backup.md writes them, in other folders."""
    key, data = tmp_path / "magnesium-cds.key", tmp_path / "data"
    key.write_text(KEY)
    with Store.open(data_dir=data, key=KEY) as store:
        filled(store)
    text = (ROOT / "docs/operate/backup.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "/var/lib/magnesium-cds" in line and "bin/magnesium-cds " in line]
    ran = 0
    for line in lines:
        line = line.replace("/etc/magnesium-cds/magnesium-cds.key", str(key))
        line = line.replace("/var/lib/magnesium-cds", str(data)).replace("monday.sqlite3", str(tmp_path / "monday"))
        words = shlex.split(line)
        with monkeypatch.context() as context:
            while "=" in words[0]:
                context.setenv(*words.pop(0).split("=", 1))
            done = invoke(*words[1:])
            assert done.returncode == 0, done.stdout + done.stderr
            ran += 1
    assert ran == 2, "a backup and the check after it"
