"""The command line: exit codes, what goes to stdout and what to stderr, and the shapes of `--json`."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service import __version__
from cds_service.advice.loaded_content import Content, load_content
from cds_service.cli import COMMANDS, main
from cds_service.content.library import default_root
from cds_service.sandbox import patients
from cds_service.serving import Server
from cds_service.store.engine import FILE_NAME
from tests import test_golden
from tests.conformance.calls import Body, invoke, own, run_cli, sample_call
from tests.conftest import NOW

EXTENSION = "org.magnesium-cds"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the content with one fault."""
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "timing" / "levothyroxine_timing.yaml").open("a", encoding="utf-8") as file:
        file.write("colour: red\n")
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


def save(folder: Path, document: Any) -> Path:
    file = folder / "document.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return file


# Exit codes.


def test_exit_0_done(tmp_path: Path) -> None:
    version = run_cli("--version")
    assert (version.returncode, version.stdout.strip().split()[-1]) == (0, __version__)
    done = invoke("check")
    assert (done.returncode, done.stderr) == (0, "")


def test_exit_1_failed(tmp_path: Path) -> None:
    done = invoke("evaluate", save(tmp_path, "not json"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not JSON" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-command",),
        ("evaluate",),
        ("evaluate", "no-such-file.json"),
        ("check", "--content", "no-such-folder"),
        ("site", "validate", "no-such-file.yaml"),
        ("site", "no-such-command"),
    ],
)
def test_exit_2_usage(words: tuple[str, ...]) -> None:
    done = invoke(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage:" in done.stderr


@pytest.mark.parametrize("words", [("--port", "70000"), ("--profile", "testing")])
def test_exit_2_for_an_option_of_serve_that_cannot_be(words: tuple[str, ...]) -> None:
    done = run_cli("serve", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert words[0] in done.stderr


def test_exit_69_unavailable_where_the_port_is_taken(taken: int, tmp_path: Path) -> None:
    done = run_cli("serve", "--port", str(taken), "--data-dir", tmp_path)
    assert (done.returncode, done.stdout) == (69, "")
    assert f"port {taken}" in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_73_where_the_database_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cli("serve", "--port", "0", "--data-dir", tmp_path / "file" / "data")
    assert (done.returncode, done.stdout) == (73, "")
    assert "Traceback" not in done.stderr


def test_exit_73_where_the_catalogue_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__", "README.md"))
    (folder / "README.md").mkdir()
    done = invoke("catalogue", "--content", folder)
    assert done.returncode == 73
    assert "Traceback" not in done.stderr and "README.md" in done.stderr


def test_exit_78_on_faulty_content(broken: Path) -> None:
    for command in ("check", "catalogue"):
        done = invoke(command, "--content", broken)
        assert (done.returncode, done.stdout) == (78, "")
        assert "timing/levothyroxine_timing.yaml" in done.stderr and "colour" in done.stderr


def test_exit_78_on_a_setting_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('prot = 8000\nworkers = "many"\n')
    done = run_cli("serve", "--settings", file)
    assert (done.returncode, done.stdout) == (78, "")
    assert "port" in done.stderr and "workers" in done.stderr
    assert str(file) in done.stderr


def test_a_key_is_made_once_and_another_one_is_taken_into_use_only_when_asked(tmp_path: Path) -> None:
    old, new = tmp_path / "keys" / "old", tmp_path / "keys" / "new"
    for file in (old, new):
        assert run_cli("key", "make", file).returncode == 0
        assert file.stat().st_mode & 0o777 == 0o600
    assert old.read_text() != new.read_text()
    again = run_cli("key", "make", old)
    assert (again.returncode, again.stderr) == (73, f"{old} is there already, and is left as it is\n")
    settings = {}
    for file in (old, new):
        settings[file] = tmp_path / f"{file.name}.toml"
        settings[file].write_text(f'data_dir = "{tmp_path / "data"}"\nkey_file = "{file}"\n')
    assert run_cli("people", "add", "anna", "--role", "admin", "--settings", settings[old]).returncode == 0
    refused = run_cli("site", "history", "--settings", settings[new])
    assert refused.returncode == 73
    assert "magnesium-cds key adopt" in refused.stderr
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as database:  # a clock was fast when the old one came
        database.execute("UPDATE hash_keys SET since = '2199-01-01 00:00:00.000000'")
    adopted = run_cli("key", "adopt", "--settings", settings[new])
    assert (adopted.returncode, "Restart every service" in adopted.stdout) == (0, True)
    assert run_cli("site", "history", "--settings", settings[new]).returncode == 0
    assert run_cli("site", "history", "--settings", settings[old]).returncode == 73


def test_exit_78_for_production_without_clients(tmp_path: Path) -> None:
    done = run_cli("serve", "--profile", "production", "--port", "0", "--data-dir", tmp_path)
    assert done.returncode == 78
    assert "client" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_exit_codes_are_told_by_help() -> None:
    told = " ".join(invoke("--help").stdout.split())
    for words in ("0 done", "1 failed", "2 usage", "69 unavailable", "73 cannot create", "78 configuration"):
        assert words in told


# evaluate.


def test_evaluate_reads_a_hook_request(tmp_path: Path) -> None:
    file = save(tmp_path, test_golden.recorded("order-select-reason"))
    done = invoke("evaluate", file)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "for multiple sclerosis" in done.stdout
    assert "used: " in done.stdout
    assert any(line.split()[:2] == ["fired", "magnesium_for_multiple_sclerosis"] for line in done.stdout.splitlines())
    assert any(line.startswith("not_evaluated ") and ": " in line for line in done.stdout.splitlines())


def test_evaluate_reads_a_bundle_of_one_patient_from_stdin() -> None:
    bundle = json.dumps(patients.load()["low-magnesium"].bundle(NOW))
    done = run_cli("evaluate", "-", "--json", stdin=bundle)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert set(answer) == {"cards", "extension"}
    assert set(own(answer)) >= {"outcomes", "inputs"}
    assert answer["cards"]
    for card in answer["cards"]:
        assert {"uuid", "summary", "indicator", "detail", "source", "extension"} <= set(card)


@pytest.mark.parametrize("mode", ["match", "include"])
def test_evaluate_takes_all_of_a_bundle_for_all_there_is(tmp_path: Path, mode: str) -> None:
    """Twenty results, which is as many as an EHR is asked for, in no order; they may be includes of an export."""
    bundle = patients.load()["low-magnesium"].bundle(NOW)
    newest = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation")
    for number in range(18):
        older = newest | {"id": f"older-{number}", "effectiveDateTime": f"2020-01-{number + 1:02}"}
        bundle["entry"].insert(1, {"resource": older, "search": {"mode": mode}})
    answer = json.loads(invoke("evaluate", save(tmp_path, bundle), "--json").stdout)
    assert own(answer)["inputs"]["serum_magnesium"] == "given"
    assert "0.58 mmol/L" in answer["cards"][0]["summary"]


def test_evaluate_tries_the_drafts_of_a_bundle_on_an_order_hook(tmp_path: Path) -> None:
    sample = patients.load()["levothyroxine"]
    bundle = sample.bundle(NOW)
    bundle["entry"] += [{"resource": sample.draft(name, NOW)} for name in sample.drafts]
    done = invoke("evaluate", save(tmp_path, bundle), "--hook", "order-sign", "--json")
    assert done.returncode == 0
    assert any("levothyroxine" in card["summary"] for card in json.loads(done.stdout)["cards"])


def test_evaluate_with_site_values_says_that_they_are_the_sites(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: Test hospital\nrules:\n  levothyroxine_timing:\n    thresholds:\n      drug_then_magnesium:\n"
        "        {value: 6, reason: Local guideline}\n"
    )
    sample = patients.load()["levothyroxine"]
    bundle = sample.bundle(NOW)
    bundle["entry"] += [{"resource": sample.draft(name, NOW)} for name in sample.drafts]
    done = invoke("evaluate", save(tmp_path, bundle), "--hook", "order-sign", "--site", site, "--json")
    assert done.returncode == 0
    assert "this site's own setting" in done.stdout


def two_patients() -> Body:
    one, two = (patients.load()[name].bundle(NOW) for name in ("healthy", "digoxin"))
    return one | {"entry": one["entry"] + two["entry"]}


def changed(**entry: Any) -> Body:
    bundle = patients.load()["levothyroxine"].bundle(NOW)
    one = next(one for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation")
    one["resource"] |= entry
    return bundle


RUBBISH = {
    "an empty file": "",
    "a number": "7",
    "a list": "[]",
    "another resource": {"resourceType": "Patient", "id": "one"},
    "an empty bundle": {"resourceType": "Bundle", "type": "collection"},
    "entries that are no list": {"resourceType": "Bundle", "entry": 5},
    "two patients": two_patients(),
    "a patient without an id": {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]},
    "a hook that nobody answers": {"hook": "appointment-book", "context": {}},
    "a hook that is no text": {"hook": ["patient-view"], "context": {}},
    "a context that is no object": {"hook": "patient-view", "context": []},
    "a request without the rest": {"hook": "patient-view", "context": {"patientId": "one"}},
    "a number too large for JSON libraries": '{"hook": "patient-view", "context": {}, "extension": {"n": 1'
    + "0" * 30
    + "}}",
    "half of a surrogate pair": '{"hook": "patient-view", "context": {}, "extension": {"n": "\\ud800"}}',
    "deep nesting": '{"hook": "patient-view", "context": {}, "extension": ' + '{"a":' * 400 + "1" + "}" * 400 + "}",
    "deeper nesting": "[" * 100_000,
}


@pytest.mark.parametrize("what", RUBBISH)
def test_evaluate_refuses_rubbish_with_exit_1_and_a_plain_word(tmp_path: Path, what: str) -> None:
    done = invoke("evaluate", save(tmp_path, RUBBISH[what]))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


ODD = {
    "codings that are a number": changed(code={"coding": 5}),
    "codings that are no objects": changed(code={"coding": ["x", None]}),
    "a status that is a list": changed(status=["active"]),
    "a type that is a number": changed(resourceType=5),
}


@pytest.mark.parametrize("what", ODD)
def test_evaluate_answers_a_bundle_with_one_odd_entry(tmp_path: Path, what: str) -> None:
    done = invoke("evaluate", save(tmp_path, ODD[what]), "--json")
    assert done.returncode == 0, done.stderr
    assert own(json.loads(done.stdout))["outcomes"]


@pytest.mark.parametrize("command", ["evaluate", "plan", "why"])
@pytest.mark.parametrize(
    ("sent", "instead"),
    [('"status": "final"', '"status": "final", "status": "cancelled"'), ('"value": 0.58', '"value": NaN')],
)
def test_a_file_that_can_be_read_two_ways_is_refused_and_never_an_all_clear(
    tmp_path: Path, command: str, sent: str, instead: str
) -> None:
    text = json.dumps(patients.load()["low-magnesium"].bundle(NOW), default=str)
    assert sent in text
    words = ["low_serum_magnesium"] if command == "why" else []
    done = invoke(command, save(tmp_path, text.replace(sent, instead, 1)), *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "twice" in done.stderr or "not JSON" in done.stderr


def test_evaluate_answers_as_the_service_does(tmp_path: Path, make_app: Callable[..., Flask]) -> None:
    client = make_app(now=lambda: datetime.now(UTC)).test_client()
    call = sample_call(client, "low-magnesium", "patient-view")
    there = test_golden.normalised(client.post("/cds-services/magnesium-patient-view", json=call).json)
    here = test_golden.normalised(json.loads(invoke("evaluate", save(tmp_path, call), "--json").stdout))
    assert {item["rule"]: item["outcome"] for item in own(here)["outcomes"]} == {
        item["rule"]: item["outcome"] for item in own(there)["outcomes"]
    }
    assert [card["indicator"] for card in here["cards"]] == [card["indicator"] for card in there["cards"]] != []


def test_evaluate_names_no_plan_that_nobody_could_open(tmp_path: Path, client: FlaskClient) -> None:
    call = sample_call(client, "levothyroxine", "order-select")
    links = [link["url"] for card in client.post("/cds-services/magnesium-order-select", json=call).json["cards"]
             for link in card["links"]]  # fmt: skip
    assert any("/plan/" in url for url in links)
    answer = json.loads(invoke("evaluate", save(tmp_path, call), "--json").stdout)
    kept = [link["url"] for card in answer["cards"] for link in card["links"]]
    assert len(kept) == len(links) - 1
    assert not any("/plan/" in url for url in kept)


def imported(*words: str) -> set[str]:
    """The packages of others that a command has imported when it ends."""
    code = f"import sys\nfrom cds_service.cli import main\nmain({words!r}, standalone_mode=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_evaluate_starts_neither_the_web_framework_nor_a_server(tmp_path: Path) -> None:
    file = save(tmp_path, json.dumps(patients.load()["low-magnesium"].bundle(NOW), default=str))
    assert imported("evaluate", str(file)) & {"flask", "gunicorn", "alembic", "fhir", "click"} == {"fhir", "click"}


def test_check_and_help_wait_for_nothing_that_they_do_not_need() -> None:
    heavy = {"flask", "gunicorn", "sqlalchemy", "alembic", "fhir", "requests", "cryptography", "rich", "pydantic"}
    assert imported("check") & heavy == {"pydantic"}
    assert imported("--help") & heavy == set()


def test_people_are_managed_without_the_pages_of_the_console(tmp_path: Path) -> None:
    assert run_cli("people", "add", "anna", "--role", "admin", "--data-dir", tmp_path).returncode == 0
    assert imported("people", "list", "--data-dir", str(tmp_path)) & {"flask", "wtforms", "sqlalchemy"} == {
        "sqlalchemy"
    }


START = """
import sys
from pathlib import Path
from cds_service.commands import running
from cds_service.settings import Settings
from cds_service import create_app, serving
create_app(Settings(data_dir=Path(sys.argv[1]))).extensions["advisor"].store.close()
print(*sys.modules)
"""


def test_serve_loads_nothing_that_a_first_card_does_not_need(tmp_path: Path) -> None:
    first, again = (
        subprocess.run([sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True) for _ in range(2)
    )
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    names = {name.partition(".")[0] for name in again.stdout.splitlines()[-1].split()}
    heavy = {"alembic", "argon2", "authlib", "cryptography", "duckdb", "jwt", "opentelemetry", "pyarrow", "pygal"}
    assert names & (heavy | {"markdown_it", "sphinx", "wtforms", "flask", "fhir"}) == {"flask", "fhir"}
    assert "alembic" in first.stdout.split()  # which made the tables


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_each_command_what_its_own_help_says_first(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.help is not None
    first = " ".join(command.help.partition("\n\n")[0].split())
    assert first.startswith(COMMANDS[name][1])
    assert COMMANDS[name][1] in " ".join(invoke("--help").stdout.split())


def test_evaluate_refuses_a_request_of_another_hook_than_asked_for(tmp_path: Path, client: FlaskClient) -> None:
    file = save(tmp_path, sample_call(client, "healthy"))
    done = invoke("evaluate", file, "--hook", "order-sign")
    assert (done.returncode, done.stdout) == (1, "")
    assert "patient-view" in done.stderr


def test_evaluate_names_every_fault_of_a_refused_request(tmp_path: Path, client: FlaskClient) -> None:
    body = sample_call(client, "healthy", hookInstance="one", context={"patientId": "a b"})
    done = invoke("evaluate", save(tmp_path, body))
    assert done.returncode == 1
    assert "Refused (400)" in done.stderr
    for place in ("hookInstance", "context.patientId", "context.userId"):
        assert place in done.stderr


def test_evaluate_prints_hostile_text_as_it_is_and_colours_nothing(tmp_path: Path, client: FlaskClient) -> None:
    body = sample_call(client, "levothyroxine", "order-select")
    for entry in body["prefetch"]["medications"]["entry"]:
        entry["resource"]["medicationCodeableConcept"]["text"] += " [red]zzq[/red] \u001b[31mzzq"
    done = invoke("evaluate", save(tmp_path, body))
    assert done.returncode == 0
    assert "zzq" not in done.stdout
    assert "\u001b[31m" not in done.stdout


# check and catalogue.


def test_check_as_json_counts_what_was_loaded() -> None:
    done = invoke("check", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert set(found) >= {"faults", "rules", "terminology", "references", "claims", "digest"}
    entries = [path for path in default_root().glob("*/*.yaml") if path.parent.name not in ("tables", "terminology")]
    assert found["rules"] == len(entries) > 50


def test_check_as_json_lists_faults_with_file_line_key_and_message(broken: Path) -> None:
    done = invoke("check", "--content", broken, "--json")
    assert done.returncode == 78
    faults = json.loads(done.stdout)["faults"]
    lines = (broken / "timing" / "levothyroxine_timing.yaml").read_text("utf-8").splitlines()
    assert [set(fault) for fault in faults] == [{"file", "line", "key", "message"}]
    assert (faults[0]["file"], faults[0]["line"]) == ("timing/levothyroxine_timing.yaml", len(lines))
    assert "colour" in faults[0]["key"]


def test_the_catalogue_is_current() -> None:
    done = invoke("catalogue", "--check")
    assert done.returncode == 0, done.stderr


def test_a_catalogue_that_is_not_current_is_exit_1_and_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "README.md").write_text("old\n")
    done = invoke("catalogue", "--content", folder, "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert "magnesium-cds catalogue" in done.stderr
    assert (folder / "README.md").read_text() == "old\n"


def test_workers_serve_the_content_that_was_checked_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded once, before they are forked: a start costs less, and they share the memory."""
    loaded: list[Content] = []
    served: list[Server] = []

    def load(cards: Sequence[Path] = ()) -> Content:
        loaded.append(load_content(cards=cards))
        return loaded[-1]

    monkeypatch.setattr("cds_service.commands.running.load_content", load)
    monkeypatch.setattr("cds_service.serving.configure", lambda _: None)
    monkeypatch.setattr(Server, "run", lambda server: served.append(server))
    assert invoke("serve", "--port", "0", "--data-dir", tmp_path).returncode == 0
    app = served[0].load()
    with app.extensions["advisor"].store:
        assert app.extensions["advisor"].vocabulary is loaded[0].vocabulary
    assert len(loaded) == 1
