"""Commands as an operator gives them: with the wrong place, without the key, with blanks, onto a full disk."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from cds_service.store import Store
from tests.conformance.calls import run_cli
from tests.conftest import KEY
from tests.store.helpers import card


def test_a_command_without_the_key_takes_no_database_over(tmp_path: Path) -> None:
    """As printed in the docs, beside a service whose unit gives it the key: nothing was hashed yet."""
    key, data = tmp_path / "key", tmp_path / "data"
    assert run_cli("key", "make", key).returncode == 0
    given = {"MAGNESIUM_CDS_KEY_FILE": str(key)}
    assert run_cli("people", "add", "anna", "--role", "admin", "--data-dir", data, env=given).returncode == 0
    for words in (("people", "add", "ben", "--role", "admin"), ("stats",), ("site", "history")):
        refused = run_cli(*words, "--data-dir", data)
        assert refused.returncode == 73, refused
        assert "name it in the settings (key_file)" in refused.stderr
    assert sorted(one.name for one in data.iterdir() if one.name.startswith("hash-key")) == []
    assert run_cli("people", "list", "--data-dir", data, env=given).stdout.startswith("anna")
    assert run_cli("stats", "--data-dir", data, env=given).returncode == 0


def test_a_key_that_is_given_replaces_one_that_was_made_and_hashed_nothing(tmp_path: Path) -> None:
    """`people add` came before the service, without the key."""
    key, data = tmp_path / "key", tmp_path / "data"
    assert run_cli("people", "add", "anna", "--role", "admin", "--data-dir", data).returncode == 0
    assert run_cli("key", "make", key).returncode == 0
    with Store.open(data_dir=data, key_file=key) as store:
        assert [one.name for one in store.people()] == ["anna"]


def test_where_the_key_of_the_data_folder_is_lost_adopting_makes_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Store.open(data_dir=data) as store:
        store.record_shown([card()])
        lost = store.key_name
    (data / "hash-key-0001").unlink()
    refused = run_cli("stats", "--data-dir", data)
    assert (refused.returncode, "magnesium-cds key adopt" in refused.stderr) == (73, True)
    adopted = run_cli("key", "adopt", "--data-dir", data)
    assert (adopted.returncode, adopted.stdout.startswith("The key ")) == (0, True), adopted
    assert lost not in adopted.stdout and (data / "hash-key-0001").stat().st_mode & 0o777 == 0o600
    assert run_cli("stats", "--data-dir", data).returncode == 0


def test_the_key_of_a_data_folder_without_cards_is_adopted_anew_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_cli("people", "add", "anna", "--role", "admin", "--data-dir", data).returncode == 0
    (data / "hash-key-0001").unlink()
    assert run_cli("people", "list", "--data-dir", data).returncode == 73
    assert run_cli("key", "adopt", "--data-dir", data).returncode == 0
    assert run_cli("people", "list", "--data-dir", data).stdout.startswith("anna")


@pytest.mark.parametrize(
    "words", [("audit", "verify"), ("people", "list"), ("site", "history"), ("stats",), ("key", "adopt")]
)
def test_a_command_that_reads_makes_no_database_where_a_folder_is_mistyped(tmp_path: Path, words: tuple[str]) -> None:
    done = run_cli(*words, "--data-dir", tmp_path / "typo")
    assert (done.returncode, done.stdout) == (69, "")
    assert "There is no database" in done.stderr
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("words", [("feedback",), ("feedback", "--format", "csv"), ("stats", "--json")], ids=" ".join)
def test_what_is_to_be_said_of_the_database_is_no_part_of_what_was_asked(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A backup that was put back into a folder which others may look into, as `mkdir` makes it."""
    with Store.open(data_dir=tmp_path / "data"):
        pass
    (tmp_path / "data" / "notes.txt").write_text("monday's")
    (tmp_path / "data").chmod(0o755)
    done = run_cli(*words, "--data-dir", tmp_path / "data")
    assert done.returncode == 0
    assert "is open to other accounts" in done.stderr
    assert "is open to other accounts" not in done.stdout


def test_a_key_file_that_was_not_put_back_is_told_with_what_to_do(tmp_path: Path) -> None:
    done = run_cli("serve", "--data-dir", tmp_path, "--port", "0", env={"MAGNESIUM_CDS_KEY_FILE": "lost.key"})
    assert (done.returncode, done.stdout) == (73, "")
    assert done.stderr == (
        "The key file lost.key cannot be read: No such file or directory. Put a copy of the key there; for a new "
        "database, magnesium-cds key make FILE writes one.\n"
    )


def test_a_settings_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xff\xfe")
    done = run_cli("serve", "--settings", file)
    assert (done.returncode, done.stderr) == (78, f"{file}: cannot be read: it is no UTF-8 text\n")


def test_a_check_of_clients_that_are_not_there_is_no_good_one(tmp_path: Path) -> None:
    done = run_cli("clients", "check", "--clients", tmp_path / "missing.toml")
    assert done.returncode == 78
    assert "is not there" in done.stdout


def test_clients_are_not_added_to_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "clients.toml").write_bytes(b"\xff\xfe")
    words = ("--issuer", "https://ehr.example", "--jku", "https://ehr.example/jwks")
    done = run_cli("clients", "add", "ehr", "--clients", tmp_path / "clients.toml", *words)
    assert done.returncode == 78
    assert "UTF-8" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_takes_nothing_is_told_plainly() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cds_service", "check"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["evaluate -", "plan -", "why - low_serum_magnesium", "clients check - --data-dir ."])
def test_a_document_from_a_closed_standard_input_is_told_plainly(words: str, tmp_path: Path) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m cds_service {words} <&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "standard input is closed" in done.stderr and "Traceback" not in done.stderr


def test_production_keeps_nothing_in_a_folder_that_goes(tmp_path: Path) -> None:
    done = run_cli("serve", "--profile", "production", "--port", "0")
    assert done.returncode == 78
    assert "needs data_dir or database" in done.stderr


def test_a_database_that_does_not_answer_now_is_no_wrong_setting(tmp_path: Path) -> None:
    """systemd starts again after 69, and not after 73."""
    key = tmp_path / "key"
    assert run_cli("key", "make", key).returncode == 0
    given = {"MAGNESIUM_CDS_KEY_FILE": str(key), "MAGNESIUM_CDS_DATABASE": "postgresql://nobody@127.0.0.1:9/none"}
    done = run_cli("people", "list", "--data-dir", tmp_path, env=given)
    assert done.returncode == 69, done.stderr
    assert "cannot be reached, or does not take this user, password" in done.stderr


def opened_at(url: str) -> tuple[int, str]:
    """What a command on the database at this address ends with, and says."""
    given = {"MAGNESIUM_CDS_KEY": KEY, "MAGNESIUM_CDS_DATABASE": url}
    done = run_cli("people", "add", "anna", "--role", "admin", env=given)
    assert "Traceback" not in done.stderr and "a-secret" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        ("postgresql://mg:a-secret@127.0.0.1/x?sslmode=bogus", "sslmode cannot have the value that it gives"),
        ("postgresql://mg:a-secret@127.0.0.1/x?nosuch=1", "an option that PostgreSQL does not know"),
        ("postgresql://mg:a-secret@127.0.0.1:99999/x", "port cannot have the value that it gives"),
        ("postgresql://mg:a-secret@127.0.0.1/x?sslmode=verify-full&sslrootcert=/none/root.crt",
         "The file /none/root.crt, which the database URL names as sslrootcert, is not there"),
    ],
)  # fmt: skip
def test_a_fault_in_the_database_url_is_no_server_that_is_away(faulty: str, words: str) -> None:
    code, told = opened_at(faulty)
    assert (code, words in told) == (73, True), told


def asked(url: str, *statements: str) -> None:
    """Somebody else's statements in that database."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def named_in(url: str) -> str:
    """The database that a URL of the tests' server names."""
    return url.partition("@/")[2].partition("?")[0]


def test_a_user_who_may_not_make_tables_is_told_who_may(postgres: Callable[[], str]) -> None:
    url = postgres()
    asked(url, "CREATE ROLE reader LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    code, told = opened_at(url.replace("mg@", "reader@"))
    assert (code, "make it the owner of the database" in told) == (73, True), told
    asked(url, f"ALTER DATABASE {named_in(url)} OWNER TO reader")
    assert opened_at(url.replace("mg@", "reader@"))[0] == 0


@pytest.mark.parametrize("name", ["people", "invoices"])
def test_a_postgresql_database_of_another_program_is_left_as_it_is(name: str, postgres: Callable[[], str]) -> None:
    url = postgres()
    asked(url, f"CREATE TABLE {name} (name text)", "CREATE SCHEMA of_ours")
    code, told = opened_at(url)
    assert (code, "belongs to another program" in told) == (73, True), told
    beside = f"{url}&options=-csearch_path%3Dof_ours"
    assert opened_at(beside)[0] == 0, "a schema of our own beside it is empty"
    assert opened_at(beside)[0] == 1, "anna is there"


def test_a_postgresql_database_in_another_encoding_is_refused_with_how_to_make_one(postgres: Callable[[], str]) -> None:
    url = postgres()
    asked(url, "CREATE DATABASE plain ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    name = named_in(url)
    code, told = opened_at(url.replace(name, "plain"))
    assert (code, "has the encoding SQL_ASCII, and UTF8 is needed" in told) == (73, True), told
    line = told[told.index("CREATE DATABASE plain") :].strip()
    asked(url, "DROP DATABASE plain", line)
    assert opened_at(url.replace(name, "plain"))[0] == 0


def test_a_name_with_letters_that_no_account_has_is_refused_with_those_that_it_may_have(tmp_path: Path) -> None:
    done = run_cli("people", "add", "Jörg", "--role", "admin", "--data-dir", tmp_path / "data")
    assert (done.returncode, "Letters from a to z" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("blank", ["", "  ", "\u200b\u200b\u200b"])
def test_nobody_without_a_name_sets_values(tmp_path: Path, blank: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("site: here\n")
    for given in (("", "why", "ben"), ("anna", blank, "ben"), ("anna", "why", blank)):
        words = zip(("--author", "--reason", "--approved-by"), given, strict=True)
        done = run_cli(
            "site", "apply", site, "--data-dir", tmp_path / "data", *[word for pair in words for word in pair]
        )
        assert done.returncode == 2
        assert "it is empty" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("diff", "0", "77"), ("export", "77"), ("rollback", "77", "--dry-run", "--author", "anna", "--reason", "back")],
    ids=lambda words: words[0],
)
def test_a_revision_that_never_was_is_a_wrong_word_and_no_difference(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert run_cli("people", "add", "anna", "--role", "admin", "--data-dir", tmp_path).returncode == 0
    done = run_cli("site", *words, "--data-dir", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "there is no revision 77")
