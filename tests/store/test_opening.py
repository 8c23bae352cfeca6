"""Opening the store: new, again, by several at once, damaged, foreign, newer; and its keys and files."""

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from cds_service.store import Store, StoreError, schema
from cds_service.store import engine as engines
from cds_service.store.engine import FILE_NAME, START_LOCK, journal_mode
from cds_service.store.keys import HashKey
from cds_service.store.tables import VERSION_TABLE, metadata
from tests.store.conftest import Opener
from tests.store.helpers import accepted, card, counts, rows


def test_migrations_make_the_tables_that_the_code_uses(database: Opener) -> None:
    store = database()
    with store._reader.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_no_column_could_hold_a_patient() -> None:
    """A column is added here only after a look at what could come in it."""
    columns = {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}
    assert columns == {
        "shown_cards": {
            *("card", "rule", "rule_version", "service", "hook", "indicator", "client", "shown_at"),
            *("software_version", "content_version", "site_revision", "subject_hash", "finding_hash"),
            *("suggestions", "override_reasons"),
        },
        "feedback": {
            *("id", "item_key", "service", "client", "card", "outcome", "outcome_at", "acted_at", "received_at"),
            *("received_count", "suggestions", "card_match", "reason_code", "reason_system", "reason_display"),
            *("comment", "comment_cut"),
        },
        "screens": {"screen", "findings", "seen_at"},
        "seen_tokens": {"issuer", "jti", "expires_at"},
        "revisions": {
            *("number", "document", "digest", "author", "reason", "made_at", "in_force_from", "in_force_until"),
            *("based_on", "approved_by", "changes", "effect"),
        },
        "withdrawals": {"number", "withdrawn_by", "withdrawn_at"},
        "hash_keys": {"fingerprint", "since"},
        "drafts": {
            *("id", "title", "owner", "authors", "document", "reason", "based_on", "in_force_from", "in_force_until"),
            *("effect", "version", "made_at", "changed_by", "changed_at", "approved_by", "approved_at"),
            *("approved_digest", "published_as", "discarded_by", "discarded_at"),
        },
        "draft_versions": {"draft", "version", "document", "changed_by", "changed_at"},
        "people": {"name", "password", "roles", "subject", "epoch", "made_at", "signed_in_at"},
        "sessions": {"id", "person", "epoch", "roles", "data", "made_at", "seen_at"},
        "sign_in_codes": {"code", "name", "until"},
        "sign_in_tries": {"who", "failures", "last_at", "until"},
        "audit_lines": {"number", "at", "person", "action", "target", "details", "before", "hash"},
        # Of counts: words of closed lists, as `hooks/tally.py` says.
        "call_counts": {"hour", "client", "service", "kind", "name", "detail", "number"},
        "rule_counts": {
            *("hour", "client", "service", "rule", "fired", "lead", "beneath", "not_evaluated", "not_applicable"),
            "fault",
        },
        "alarms": {
            *("id", "kind", "subject", "client", "opened_at", "closed_at", "acknowledged_by", "acknowledged_at"),
            *("reason", "details"),
        },
        "duties": {"name", "holder", "held_until", "done_at", "result"},
        "write_check": {"id", "filler"},
    }


def test_opened_again_it_holds_what_it_held_and_makes_the_same_hashes(database: Opener) -> None:
    first = database()
    item = accepted(card())
    first.record_feedback([item])
    subject = first.subject_hash("ehr", "patient-1", "rule")
    first.close()
    again = database()
    assert again.subject_hash("ehr", "patient-1", "rule") == subject
    assert again.record_feedback([item]).repeated == 1


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with Store.open(data_dir=folder) as store:
        store.record_feedback([accepted(card())])
        assert store.notes == ()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes.pop(f"{FILE_NAME}-journal", 0o600) == 0o600  # as SQLite's version has it
    assert modes == {FILE_NAME: 0o600, "hash-key-0001": 0o600, "start.lock": 0o600}


def test_a_file_left_open_to_others_is_closed_to_them(folder: Path) -> None:
    Store.open(data_dir=folder).close()
    for name in (FILE_NAME, "hash-key-0001"):
        (folder / name).chmod(0o644)
    Store.open(data_dir=folder).close()
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in (FILE_NAME, "hash-key-0001")} == {0o600}


def test_a_folder_with_other_things_in_it_is_left_as_it_is(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    (folder / "other").touch()
    with Store.open(data_dir=folder) as store:
        assert len(store.notes) == 1
        assert "open to other accounts" in store.notes[0]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_an_empty_folder_is_made_private(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with Store.open(data_dir=folder) as store:
        assert store.notes == ()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("version", "mode"),
    [((3, 35, 0), "persist"), ((3, 51, 2), "persist"), ((3, 51, 3), "wal"), ((4, 0, 0), "wal")],
)
def test_write_ahead_log_only_where_sqlite_is_safe_with_it(version: tuple[int, int, int], mode: str) -> None:
    assert journal_mode(version) == mode


def test_an_sqlite_too_old_is_refused() -> None:
    with pytest.raises(StoreError, match=r"3\.34\.1 is too old"):
        journal_mode((3, 34, 1))


@pytest.mark.parametrize("mode", ["wal", "persist"])
def test_each_journal_mode_works_and_syncs(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    for module in (engines, schema):
        monkeypatch.setattr(module, "journal_mode", lambda _: mode)
    with Store.open(data_dir=folder) as store:
        store.record_feedback([accepted(card())])
        for engine in (store._write_engine, store._reader.engine):
            with engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == mode
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
    assert len(rows(folder, "SELECT * FROM feedback")) == 1


def test_a_file_in_write_ahead_mode_is_taken_out_of_it(folder: Path) -> None:
    """It may come from a machine with a newer SQLite."""
    Store.open(data_dir=folder).close()
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute("PRAGMA journal_mode=wal")
    connection.close()
    Store.open(data_dir=folder).close()
    safe = journal_mode(sqlite3.sqlite_version_info) == "wal"
    assert rows(folder, "PRAGMA journal_mode") == [{"journal_mode": "wal" if safe else "delete"}]


def test_a_database_newer_than_the_program_is_refused_and_not_touched(database: Opener) -> None:
    store = database()
    with store._write_engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match=r"newer version .* schema is 9999, .* up to 0009"):
        database()


def test_a_damaged_database_is_refused(folder: Path) -> None:
    with Store.open(data_dir=folder) as store:
        store.record_feedback([accepted(card()) for _ in range(100)])
    path = folder / FILE_NAME
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * 8192)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(data_dir=folder)


@pytest.mark.parametrize("content", [b"not a database, but text" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be opened|damaged"):
        Store.open(data_dir=folder)
    assert (folder / FILE_NAME).read_bytes() == content


def test_an_empty_file_is_a_database_that_was_lost(folder: Path) -> None:
    with Store.open(data_dir=folder) as store:
        store.record_feedback([accepted(card())])
    path = folder / FILE_NAME
    copy = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"empty \(0 bytes\).* Put back a copy, or remove the file"):
        Store.open(data_dir=folder)
    assert path.read_bytes() == b""
    path.write_bytes(copy)
    Store.open(data_dir=folder).close()
    assert len(rows(folder, "SELECT * FROM feedback")) == 1
    path.unlink()
    with Store.open(data_dir=folder) as store:
        assert store.notes == ("There was a hash key but no database: a new, empty one was made.",)
        assert counts(store) == {}


def test_a_key_that_is_gone_while_cards_are_there_is_not_made_anew(database: Opener, folder: Path) -> None:
    first = database()
    hashed = first.subject_hash("ehr", "patient", "rule")
    first.record_shown([card(subject_hash=hashed)])
    first.close()
    path = folder / "hash-key-0001"
    copy = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreError, match=r"The hash key is gone: .* what was dismissed silences .* Put back a copy"):
        database()
    assert not path.exists()
    path.write_bytes(copy)
    assert database().subject_hash("ehr", "patient", "rule") == hashed
    path.write_text("n" * 32)
    with pytest.raises(StoreError, match=r"with the key .* what was dismissed silences .* magnesium-cds key adopt"):
        database()
    assert database(adopt=True).subject_hash("ehr", "patient", "rule") != hashed


def test_a_key_that_is_gone_before_any_card_was_shown_is_made_anew(folder: Path) -> None:
    """In the folder of a file's own; a server may have other machines, with the key that is gone here."""
    Store.open(data_dir=folder).close()
    (folder / "hash-key-0001").unlink()
    with Store.open(data_dir=folder) as store:
        assert store.notes == ()


def test_machines_of_one_database_have_one_key_and_one_with_another_does_not_start(
    database: Opener, tmp_path: Path
) -> None:
    first = database(key="a" * 32)
    first.record_shown([card()])
    assert database(key="a" * 32).subject_hash("ehr", "patient", "rule") == first.subject_hash("ehr", "patient", "rule")
    file = tmp_path / "key"
    for key in ("b" * 32, "too short"):
        file.write_text(f"{key}\n")
        with pytest.raises(StoreError, match=r"written with the key|has 9 characters, and at least 32"):
            database(key_file=file)
    with pytest.raises(StoreError, match="The hash key is gone"):
        database()
    file.write_text("b" * 32)
    assert database(key_file=file, adopt=True).key_name == database(key="b" * 32).key_name
    with pytest.raises(StoreError, match="written with the key"):
        database(key="a" * 32)
    with pytest.raises(StoreError, match="cannot be read"):
        database(key_file=tmp_path / "missing")


def test_a_given_key_is_written_nowhere(database: Opener, tmp_path: Path) -> None:
    secret = "a secret that is given, of more than 32 characters"
    store = database(key=secret)
    store.record_shown([card(subject_hash=store.subject_hash("ehr", "patient", "rule"))])
    store.close()
    held = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in each for each in held)
    assert not list(tmp_path.rglob("hash-key*"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("renamed", [FILE_NAME, "hash-key-0001"])
def test_f27_a_first_start_that_is_killed_between_database_and_key_can_be_made_again(
    folder: Path, renamed: str, when: str
) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from cds_service.store import Store\n"
        "rename = Path.rename\n"
        "def killed(self, target):\n"
        "    if Path(target).name != sys.argv[2]: return rename(self, target)\n"
        "    if sys.argv[3] == 'after': rename(self, target)\n"
        "    os._exit(9)\n"
        "Path.rename = killed\n"
        "Store.open(data_dir=Path(sys.argv[1])).close()\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(folder), renamed, when]).returncode == 9
    with Store.open(data_dir=folder) as store:
        assert store.notes == ()
        assert store.record_feedback([accepted(card())]).stored == 1
    assert {path.name for path in folder.iterdir()} >= {FILE_NAME, "hash-key-0001"}
    assert not list(folder.glob("*.new*"))


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        Store.open(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(data_dir=tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "Name a data folder"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////tmp/x?mode=ro", "must name a file"),
        ("mysql://secret@host/db", "not supported"),
        ("nonsense secret", "cannot be read"),
        ("postgresql://mg:secret@host/db", "needs a hash key, given by key_file or key"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_without_telling_secrets(url: str | None, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_postgresql_that_is_not_there_is_refused_without_telling_secrets(folder: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"PostgreSQL at .* database db") as caught:
        Store.open("postgresql://mg:secret@127.0.0.1:1/db", data_dir=folder)
    assert "secret" not in str(caught.value)


def test_options_of_a_postgresql_url_are_kept(postgres: Callable[[], str], folder: Path) -> None:
    url = f"{postgres()}&options=-csearch_path%3Dpublic%20-cwork_mem%3D1234kB"
    with Store.open(url, data_dir=folder) as store, store._reader.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "1234kB"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "200ms"


def test_a_postgresql_set_to_lose_commits_is_told_not_to(postgres: Callable[[], str], folder: Path) -> None:
    url = f"{postgres()}&options=-csynchronous_commit%3Doff"
    with Store.open(url, data_dir=folder) as store:
        in_force = store._write(lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar())
    assert in_force == "on"


OPEN_ONE = """
import sys
from pathlib import Path
from cds_service.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(data_dir=Path(sys.argv[1])) as store:
    print(store.subject_hash("ehr", "patient", "rule"), flush=True)
"""


def test_processes_that_start_at_once_make_one_database_and_one_key(folder: Path) -> None:
    command = [sys.executable, "-c", OPEN_ONE, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = {process.communicate(timeout=30)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1
    assert rows(folder, f"SELECT * FROM {VERSION_TABLE}") == [{"version_num": "0009"}]


def test_services_that_start_at_once_on_one_postgresql_take_turns(postgres: Callable[[], str], folder: Path) -> None:
    url = postgres()
    start = threading.Barrier(4)
    opened: list[Store] = []

    def open_one() -> None:
        start.wait()
        opened.append(Store.open(url, data_dir=folder))

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for store in opened:
        store.close()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {VERSION_TABLE}")).scalar() == 1
    engine.dispose()


def test_a_start_on_postgresql_waits_for_the_one_before_it(
    postgres: Callable[[], str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres()
    monkeypatch.setattr(schema, "START_WAIT", 0.2)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({START_LOCK})"))
        with pytest.raises(StoreError, match="locked by another process"):
            Store.open(url, data_dir=folder)
    engine.dispose()
    Store.open(url, data_dir=folder).close()


def test_a_start_does_not_wait_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "START_WAIT", 0.1)
    schema.prepare_folder(folder)
    with schema.start_lock(folder), pytest.raises(StoreError, match="Another process"):
        Store.open(data_dir=folder)


def test_a_key_too_short_or_lost_is_refused(folder: Path) -> None:
    Store.open(data_dir=folder).close()
    (folder / "hash-key-0001").write_text("")
    with pytest.raises(StoreError, match="no usable key"):
        Store.open(data_dir=folder)


def test_a_new_key_is_a_new_file_and_its_hashes_are_plainly_its_own(folder: Path) -> None:
    with Store.open(data_dir=folder) as store:
        old = store.subject_hash("ehr", "patient", "rule")
    (folder / "hash-key-0002").write_text("n" * 64)
    with Store.open(data_dir=folder, adopt=True) as store:
        new = store.subject_hash("ehr", "patient", "rule")
    assert new == HashKey("n" * 64).subject("ehr", "patient", "rule")
    assert old.split(".")[0] != new.split(".")[0]
    assert old.split(".")[1] != new.split(".")[1]


def test_no_key_can_be_read_out_of_a_hash_and_no_patient_out_of_the_files(folder: Path) -> None:
    with Store.open(data_dir=folder) as store:
        shown = card(
            subject_hash=store.subject_hash("ehr", "patient-zq4711", "rule"),
            finding_hash=store.finding_hash(["Observation/zq4711", "0.55 mmol/L"]),
        )
        store.record_shown([shown])
        store.record_feedback([accepted(shown)])
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert shown.subject_hash.encode() in content
    assert b"zq4711" not in content
    assert b"mmol" not in content


@pytest.mark.parametrize("step", range(0, 60, 4))
def test_f27_a_start_that_is_killed_while_it_makes_the_tables_can_be_made_again(folder: Path, step: int) -> None:
    """The process ends by itself at one statement after the other, as kill -9 would end it."""
    program = (
        "import os, sys; from pathlib import Path; from sqlalchemy import Engine, event\n"
        "from cds_service.store import Store\n"
        "left = int(sys.argv[2])\n"
        "@event.listens_for(Engine, 'before_cursor_execute')\n"
        "def _(*_):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os._exit(9)\n"
        "Store.open(data_dir=Path(sys.argv[1])).close()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(folder), str(step)]).returncode
    assert ended in (0, 9)
    if step < 8:
        assert ended == 9, "else nothing was tried"
    with Store.open(data_dir=folder) as store:
        assert store.record_feedback([accepted(card())]).stored == 1


def test_a_database_that_still_says_page_keeps_its_cards_and_calls_them_by_their_rule(database: Opener) -> None:
    store = database()
    store.record_shown([card(rule="low_magnesium", rule_version="2026-01-01.abc")])
    with store._write_engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "cds_service.store:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        held = connection.execute(text("SELECT page, page_version FROM shown_cards")).all()
    assert held == [("low_magnesium", "2026-01-01.abc")]
    store.close()
    again = database()
    assert counts(again) == {"low_magnesium": (1, 0, 0)}
    with again._write_engine.connect() as connection:
        assert connection.execute(text("SELECT rule_version FROM shown_cards")).scalar() == "2026-01-01.abc"
        here = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert not compare_metadata(here, metadata)
