"""`magnesium-cds export`: patients fetched from a server that fails in every way that a server can."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cds_service.advice.loaded_content import Content
from cds_service.population.screening.calls_out import CallsOut
from cds_service.population.screening.exported import said_of
from tests.conformance.calls import ROOT, clean_environment, invoke
from tests.population.bulk_server import BulkServer, bulk_server

Done = subprocess.CompletedProcess[str]
NAMES = ["Johnson", "Okafor", "Lindqvist"]
TYPES = [
    "Patient", "Condition", "Encounter", "Medication", "MedicationAdministration", "MedicationRequest",
    "MedicationStatement", "Observation", "QuestionnaireResponse",
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[BulkServer]:
    """Three patients with two results each; no token is asked for."""
    with bulk_server(needs_token=False) as bulk:
        bulk.add("output", "Patient", [{"id": f"p{n}", "name": [{"family": name}]} for n, name in enumerate(NAMES)])
        bulk.add("output", "Observation", [{"id": f"o{n}", "note": [{"text": "x" * 900}]} for n in range(6)])
        yield bulk


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, content: Content) -> list[int]:
    """Where the server says nothing, the next try is at once. How many steps of the backoff were taken."""
    monkeypatch.setattr("cds_service.advice.loaded_content.load_content", lambda **_: content)
    steps: list[int] = []
    monkeypatch.setattr(CallsOut, "backoff", lambda _, tries: (steps.append(tries), 0.01)[1])
    return steps


def export(server: BulkServer, out: Path, *more: str | Path) -> Done:
    words = [] if "--key" in more else ["--open"]
    return invoke("export", server.base, "--out", out, "--json", *words, *more)


def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "export.json").read_text())
    return found


def lines(out: Path, kind: str) -> list[dict[str, Any]]:
    """The resources of a type, from all files of it."""
    found = []
    for file in sorted(out.glob(f"{kind}.*")):
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        found += [json.loads(line) for line in text.splitlines()]
    return found


def whole(out: Path) -> bool:
    return [each["id"] for each in lines(out, "Patient")] == ["p0", "p1", "p2"] and len(lines(out, "Observation")) == 6


def test_patients_are_asked_for_as_the_guide_says_and_the_server_is_told_at_the_end(
    server: BulkServer, tmp_path: Path
) -> None:
    done = export(server, tmp_path / "out")
    assert (done.returncode, whole(tmp_path / "out")) == (0, True), done.stderr
    kick_off = server.asked("GET", "/fhir/Patient/$export")[0]
    assert (kick_off.headers["accept"], kick_off.headers["prefer"]) == ("application/fhir+json", "respond-async")
    assert kick_off.query["_type"] == [",".join(TYPES)]
    assert kick_off.query["_outputFormat"] == ["application/fhir+ndjson"] and "_since" not in kick_off.query
    assert server.jobs == set() and len(server.asked("DELETE", "/fhir/jobs/")) == 1
    assert json.loads(done.stdout)["counts"] == {"Patient": 3, "Observation": 6}
    assert told(tmp_path / "out")["status_url"] is None
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert modes == {0o600} and (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_group_and_a_day_are_asked_for_and_charts_that_are_not_whole_are_said_to_be(
    server: BulkServer, tmp_path: Path
) -> None:
    done = export(server, tmp_path, "--group", "ward-3", "--since", "2026-11-01T00:00:00Z", "--without", "Encounter")
    kick_off = server.asked("GET", "/fhir/Group/ward-3/$export")[0]
    assert done.returncode == 0 and kick_off.query["_since"] == ["2026-11-01T00:00:00Z"]
    assert "Encounter" not in kick_off.query["_type"][0].split(",")
    assert any("charts are not whole" in line for line in said_of(tmp_path)[1])


def test_types_of_which_nothing_came_are_said_and_no_patients_at_all_is_no_export(
    server: BulkServer, tmp_path: Path
) -> None:
    done = export(server, tmp_path / "one")
    assert "No file came of: Condition" in done.stderr and "the export cannot tell" in done.stderr
    assert told(tmp_path / "one")["not_given"] == [each for each in TYPES if each not in ("Patient", "Observation")]
    server.files = {name: file for name, file in server.files.items() if file[1] != "Patient"}
    done = export(server, tmp_path / "two")
    assert done.returncode == 1 and "No patients came." in said_of(tmp_path / "two")[0]


def test_a_server_that_is_at_work_is_asked_again_when_it_says_and_never_shown_word_for_word(
    server: BulkServer, tmp_path: Path, soon: list[int]
) -> None:
    busy = {"X-Progress": "Johnson, 40% done", "Retry-After": "1"}
    work: list[tuple[int, dict[str, str], bytes]] = [
        (202, busy, b""),
        (429, {"Retry-After": "in 2.5"}, b""),
        (503, {}, b""),
        (202, {}, b""),
    ]
    server.answers["/fhir/Patient/$export"] = [
        (429, {"Retry-After": "1"}, b""),
        (202, {"Content-Location": f"{server.base}/jobs/a"}, b""),
    ]
    server.jobs.add("a")
    server.answers["/fhir/jobs/a"] = work
    done = export(server, tmp_path)
    assert done.returncode == 0 and whole(tmp_path), done.stderr
    assert "(40 %)" in done.stderr and "Johnson" not in done.stderr
    kicks = server.asked("GET", "/fhir/Patient/")
    assert kicks[1].at - kicks[0].at >= 1
    polls = [call.at for call in server.asked("GET", "/fhir/jobs/a")]
    assert polls[1] - polls[0] >= 1 and polls[2] - polls[1] >= 1, "seconds, and a date"
    assert soon == [1, 1], "without Retry-After longer and longer: after a 503, and when it is at work"


def test_a_file_that_breaks_off_is_gone_on_with_where_it_broke(server: BulkServer, tmp_path: Path) -> None:
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    server.cut[name] = [2000, 1500]
    done = export(server, tmp_path)
    assert done.returncode == 0 and whole(tmp_path), done.stderr
    asked = [call.headers.get("range") for call in server.asked("GET", f"/files/{name}")]
    assert asked == [None, "bytes=2000-", "bytes=3500-"]


def test_a_server_without_ranges_gives_the_file_from_its_start(server: BulkServer, tmp_path: Path) -> None:
    server.ranges = False
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    server.cut[name] = [2000]
    done = export(server, tmp_path)
    assert done.returncode == 0 and whole(tmp_path), done.stderr
    assert [call.headers.get("range") for call in server.asked("GET", f"/files/{name}")] == [None, None]


def test_a_file_that_became_another_in_between_is_not_glued_together(server: BulkServer, tmp_path: Path) -> None:
    name = server.add("output", "Condition", [{"id": f"c{n}"} for n in range(400)])
    server.cut[name] = [3000]
    server.drip[name] = 0.001
    before = server.files[name]

    def change() -> None:
        while not server.asked("GET", f"/files/{name}"):
            time.sleep(0.001)
        server.files[name] = (*before[:2], before[2].replace(b"c1", b"new"))

    threading.Thread(target=change).start()
    done = export(server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path, "Condition")) == 400
    assert {call.status for call in server.asked("GET", f"/files/{name}")} == {200}, "If-Range refused the rest"


def test_gzip_is_kept_as_it_comes_and_gone_on_with(server: BulkServer, tmp_path: Path) -> None:
    server.zipped = True
    name = next(name for name, file in server.files.items() if file[1] == "Patient")
    server.cut[name] = [40]
    done = export(server, tmp_path)
    assert done.returncode == 0 and whole(tmp_path), done.stderr
    assert [file.name for file in tmp_path.glob("Patient*")] == ["Patient.00001.ndjson.gz"]
    assert server.asked("GET", f"/files/{name}")[1].headers["range"] == "bytes=40-"


@pytest.mark.parametrize("how", ["count", "line", "type"])
def test_a_file_that_is_not_what_it_should_be_is_fetched_once_more_and_then_named(
    server: BulkServer, tmp_path: Path, how: str
) -> None:
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    kind, held, data = server.files[name]
    if how == "count":
        server.counts[name] = 7
    else:
        wrong = data[:-20] if how == "line" else data + b'{"resourceType": "Practitioner"}\n'
        server.files[name] = (kind, held, wrong)
    done = export(server, tmp_path)
    assert len(server.asked("GET", f"/files/{name}")) == 2
    expected = {
        "count": "the server said 7 resources, it holds 6",
        "line": "1 of its lines are not whole JSON",
        "type": "1 of its lines are of another type",
    }
    assert done.returncode == 1 and "NOT ALL COULD BE EXPORTED" in done.stderr
    assert said_of(tmp_path)[0] == [f"Observation.00002.ndjson: {expected[how]}."]


def test_a_right_count_is_taken(server: BulkServer, tmp_path: Path) -> None:
    server.counts = {name: file[2].count(b"\n") for name, file in server.files.items()}
    assert export(server, tmp_path).returncode == 0
    assert said_of(tmp_path)[0] == []


def test_what_the_server_could_not_export_is_said_loudly_and_its_words_are_not(
    server: BulkServer, tmp_path: Path
) -> None:
    issue = {"severity": "error", "code": "exception", "diagnostics": "Patient/Johnson has no consent"}
    server.add("error", "OperationOutcome", [{"issue": [issue]}, {"issue": [{"severity": "warning"}]}])
    name = server.add("error", "OperationOutcome", [{"issue": "none"}])
    server.files[name] = (*server.files[name][:2], server.files[name][2] + b"{nonsense\n")
    done = export(server, tmp_path)
    assert (
        done.returncode == 1 and "NOT ALL COULD BE EXPORTED. No number made from this is an all-clear." in done.stderr
    )
    assert told(tmp_path)["messages"] == {"error": 1, "warning": 1, "unreadable": 2}
    assert "3 of its messages are errors" in said_of(tmp_path)[0][0]
    assert "Johnson" not in done.stderr + done.stdout + (tmp_path / "export.json").read_text()
    assert "Johnson" in (tmp_path / "not-screened" / "error.00003.ndjson").read_text(), "kept, for who may read it"
    again = export(server, tmp_path)
    assert again.returncode == 1 and len(server.asked("GET", "/fhir/Patient/")) == 1, "it stays so"


def test_what_was_deleted_lies_apart_and_is_counted(server: BulkServer, tmp_path: Path) -> None:
    server.add("deleted", "Bundle", [{"type": "transaction", "entry": [{"request": {"url": "Patient/p9"}}]}])
    done = export(server, tmp_path)
    assert done.returncode == 0 and told(tmp_path)["deleted"] == 1
    assert not list(tmp_path.glob("Bundle*")) and list((tmp_path / "not-screened").glob("deleted.*"))


def test_types_that_nobody_asked_for_are_not_fetched(server: BulkServer, tmp_path: Path) -> None:
    name = server.add("output", "Practitioner", [{"id": "dr"}])
    done = export(server, tmp_path)
    assert done.returncode == 0 and server.asked("GET", f"/files/{name}") == []
    assert told(tmp_path)["left_out"] == ["Practitioner"]


def test_all_pages_of_a_manifest_are_read(server: BulkServer, tmp_path: Path) -> None:
    server.pages = True
    done = export(server, tmp_path)
    assert done.returncode == 0 and whole(tmp_path), done.stderr


# Tokens.


@pytest.fixture
def key(server: BulkServer, tmp_path: Path) -> Path:
    """The file of the key that the server knows as `ours`; from here on it asks for tokens."""
    server.token_seconds, server.needs_token = 300, True
    file = tmp_path / "key.json"
    file.write_text(json.dumps(jwt.algorithms.ECAlgorithm.to_jwk(server.key, as_dict=True) | {"kid": "ours"}))
    file.chmod(0o600)
    return file


def test_a_token_is_had_with_our_key_and_sent_with_each_call(server: BulkServer, tmp_path: Path, key: Path) -> None:
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert done.returncode == 0 and whole(tmp_path / "out"), done.stderr
    assert server.scopes == [" ".join(f"system/{kind}.rs" for kind in TYPES)]
    calls = [call for call in server.calls if not call.path.endswith(("/token", "/smart-configuration"))]
    assert {call.token for call in calls} == set(server.tokens)
    secret = json.loads(key.read_text())["d"]
    written = "".join(file.read_text() for file in (tmp_path / "out").glob("export.json*"))
    for hidden in (secret, *server.tokens):
        assert hidden not in written + done.stdout + done.stderr


def test_scopes_are_asked_for_in_the_words_that_the_server_knows(server: BulkServer, tmp_path: Path, key: Path) -> None:
    server.capabilities = ["permission-v1"]
    export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert server.scopes[0].split()[0] == "system/Patient.read"


def test_scopes_are_asked_for_where_a_person_names_the_token_endpoint(
    server: BulkServer, tmp_path: Path, key: Path
) -> None:
    """Such a server may say nothing of itself."""
    server.answers["/fhir/.well-known/smart-configuration"] = [(404, {}, b"{}")]
    place = f"{server.base.removesuffix('/fhir')}/token"
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key, "--token-url", place)
    assert done.returncode == 0 and whole(tmp_path / "out"), done.stderr
    assert server.scopes == [" ".join(f"system/{kind}.rs" for kind in TYPES)]


def test_a_token_that_ends_in_the_middle_is_taken_anew(server: BulkServer, tmp_path: Path, key: Path) -> None:
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    server.token_seconds = 1
    server.cut[name] = [2000]
    server.drip[name] = 0.4
    server.answers["/files/" + next(iter(server.files))] = [(503, {"Retry-After": "2"}, b"")]
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key, "--at-once", "1")
    assert done.returncode == 0 and whole(tmp_path / "out"), done.stderr
    assert len(server.tokens) >= 2 and any(call.status == 401 for call in server.calls)


def test_a_token_that_is_refused_twice_ends_it_with_what_to_do(server: BulkServer, tmp_path: Path, key: Path) -> None:
    server.token_seconds = -1
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert done.returncode == 1 and "401" in done.stderr and len(server.asked("GET", "/fhir/Patient/")) == 2
    server.key = ec.generate_private_key(ec.SECP384R1())
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert done.returncode == 1 and "invalid_client. Is the public key registered there" in done.stderr


def test_a_token_that_lets_less_be_read_than_was_asked_for_is_said(
    server: BulkServer, tmp_path: Path, key: Path
) -> None:
    server.granted = " ".join(
        f"system/{kind}.rs" + ("?category=laboratory" if kind == "Observation" else "")
        for kind in TYPES
        if kind != "Condition"
    )
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert done.returncode == 1
    assert said_of(tmp_path / "out")[0] == [
        "The server's token does not let all be read of: Condition and Observation."
    ]


@pytest.mark.parametrize("needs_token", [True, False])
def test_the_token_goes_to_another_host_only_where_the_manifest_asks_for_it(
    server: BulkServer, tmp_path: Path, key: Path, needs_token: bool
) -> None:
    with bulk_server(needs_token=False) as store:
        store.files = server.files
        server.elsewhere, server.needs_token = store.base.removesuffix("/fhir"), needs_token
        words = ["--client-id", "screening", "--key", key]
        host = store.base.removeprefix("http://").removesuffix("/fhir")
        refused = export(server, tmp_path / "one", *words)
        assert refused.returncode == 1 and "not a public address" in refused.stderr and store.calls == []
        done = export(server, tmp_path / "out", *words, "--allow", host)
        assert done.returncode == 0 and whole(tmp_path / "out"), done.stderr
        assert {bool(call.token) for call in store.calls} == {needs_token}


def test_a_redirect_to_another_host_is_followed_without_the_token(
    server: BulkServer, tmp_path: Path, key: Path
) -> None:
    with bulk_server(needs_token=False) as store:
        store.files = server.files
        place = store.base.removesuffix("/fhir")
        for name in server.files:
            server.answers[f"/files/{name}"] = [(302, {"Location": f"{place}/files/{name}"}, b"")]
        words = ["--client-id", "screening", "--key", key, "--allow", place.removeprefix("http://")]
        done = export(server, tmp_path / "out", *words)
        assert done.returncode == 0 and whole(tmp_path / "out"), done.stderr
        assert [call.token for call in store.calls] == ["", ""]
        assert all(call.token for call in server.asked("GET", "/files/"))


def test_a_status_address_elsewhere_is_not_asked_and_never_given_the_token(
    server: BulkServer, tmp_path: Path, key: Path
) -> None:
    server.answers["/fhir/Patient/$export"] = [(202, {"Content-Location": "https://other.example/jobs/1"}, b"")]
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key)
    assert done.returncode == 1 and "--allow other.example" in done.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://ehr.example/fhir", "must be https"),
        ("https://user:secret@ehr.example/fhir", "credentials"),
        ("ftp://ehr.example", "not an http(s) URL"),
    ],
)
def test_only_https_goes_out_of_this_machine(tmp_path: Path, url: str, words: str) -> None:
    done = invoke("export", url, "--out", tmp_path / "out", "--open")
    assert done.returncode == 2 and words in done.stderr and not (tmp_path / "out").exists()


def test_files_without_tls_are_not_fetched(server: BulkServer, tmp_path: Path) -> None:
    server.elsewhere = "http://files.example"
    done = export(server, tmp_path)
    assert done.returncode == 1 and "without TLS" in done.stderr and told(tmp_path)["finished"] is False


def test_how_we_say_who_we_are_is_decided_by_a_person(server: BulkServer, tmp_path: Path) -> None:
    done = invoke("export", server.base, "--out", tmp_path)
    assert done.returncode == 2 and "--open" in done.stderr and server.calls == []


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (lambda: pem(ec.generate_private_key(ec.SECP384R1())), 0o640, "chmod 600"),
        (lambda: pem(ec.generate_private_key(ec.SECP256R1())), 0o600, "P-384"),
        (lambda: "secret", 0o600, "neither a JWK"),
        (lambda: '{"keys": [{"kty": "EC", "x": "a"}]}', 0o600, "no private key"),
        (lambda: '{"kty": "oct", "k": "a", "d": "b"}', 0o600, "RS384"),
    ],
)
def test_a_key_that_cannot_be_used_is_said_to_be(
    server: BulkServer, tmp_path: Path, text: Callable[[], str], mode: int, words: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text())
    file.chmod(mode)
    done = export(server, tmp_path / "out", "--client-id", "a", "--key", file)
    assert done.returncode == 1 and words in done.stderr and server.calls == []


def test_a_key_in_pem_has_its_name_from_the_command(server: BulkServer, tmp_path: Path, key: Path) -> None:
    key.write_text(pem(server.key))
    done = export(server, tmp_path / "out", "--client-id", "screening", "--key", key, "--kid", "ours")
    assert done.returncode == 0, done.stderr


# Killed, stopped, forgotten.


def start(server: BulkServer, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cds_service", "export", server.base, "--out", str(out), "--open", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def received(out: Path) -> int:
    return sum(file.stat().st_size for file in out.glob("*.part"))


def test_killed_in_the_middle_it_goes_on_where_it_was(server: BulkServer, tmp_path: Path) -> None:
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    kind, held, data = server.files[name]
    server.files[name] = (kind, held, data * 100)
    server.drip[name] = 0.02
    process = start(server, tmp_path)
    until(lambda: received(tmp_path) > 60_000)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert told(tmp_path)["finished"] is False and len(server.jobs) == 1
    assert "not finished" in said_of(tmp_path)[0][0]
    server.drip.clear()
    done = export(server, tmp_path)
    assert done.returncode == 0 and len(lines(tmp_path, "Observation")) == 600, done.stderr
    assert len(server.asked("GET", "/fhir/Patient/")) == 1, "the same export"
    assert server.asked("GET", f"/files/{name}")[-1].headers["range"].startswith("bytes=")
    patients = next(name for name, file in server.files.items() if file[1] == "Patient")
    assert len(server.asked("GET", f"/files/{patients}")) == 1, "what was whole is not fetched again"


def test_ctrl_c_tells_the_server_to_drop_the_export(server: BulkServer, tmp_path: Path) -> None:
    server.drip[next(iter(server.files))] = 0.5
    server.files[next(iter(server.files))] = ("output", "Patient", b'{"resourceType":"Patient","id":"p"}\n' * 1000)
    process = start(server, tmp_path)
    until(lambda: bool(server.asked("GET", "/files/")))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1 and server.jobs == set()


@pytest.mark.parametrize("when", ["waiting", "fetching"])
def test_an_export_that_the_server_forgot_is_asked_for_anew_and_nothing_of_the_old_one_stays(
    server: BulkServer, tmp_path: Path, when: str
) -> None:
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    if when == "fetching":  # its first part is there, the file is then refused, and so is the job
        server.answers[f"/files/{name}"] = [(410, {}, b"")]
    process = start(server, tmp_path, "--keep") if when == "waiting" else None
    if process:
        extra = server.add("output", "Condition", [{"id": "c"}])
        server.drip[name] = 0.5
        until(lambda: bool(server.asked("GET", f"/files/{name}")) and bool(list(tmp_path.glob("Condition*.ndjson"))))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        server.drip.clear()
        server.jobs.clear()
        assert list(tmp_path.glob("Condition*"))
        del server.files[extra]
        patients = next(name for name, file in server.files.items() if file[1] == "Patient")
        server.files[patients] = (
            "output",
            "Patient",
            server.files[patients][2] + b'{"resourceType":"Patient","id":"p3"}\n',
        )
        done = export(server, tmp_path)
        assert "no longer has this export: it is asked for anew" in done.stderr
        assert len(lines(tmp_path, "Patient")) == 4
    else:
        done = export(server, tmp_path)
        assert "the server does not give it" in done.stderr and done.returncode == 1
        server.jobs.clear()
        done = export(server, tmp_path)
        assert len(lines(tmp_path, "Patient")) == 3
    assert done.returncode == 0 and len(lines(tmp_path, "Observation")) == 6, done.stderr
    assert len(list(tmp_path.glob("*.ndjson"))) == 2


def test_signed_addresses_that_ran_out_are_had_anew_and_kept_nowhere(server: BulkServer, tmp_path: Path) -> None:
    server.signed = True
    name = next(name for name, file in server.files.items() if file[1] == "Observation")
    server.answers[f"/files/{name}"] = [(403, {}, b"")]
    done = export(server, tmp_path, "--at-once", "1")
    assert done.returncode == 0 and whole(tmp_path), done.stderr
    assert "Signature" not in (tmp_path / "export.json").read_text() + done.stderr


def test_an_export_that_fails_in_the_server_is_said_with_its_code_alone(server: BulkServer, tmp_path: Path) -> None:
    server.answers["/fhir/Patient/$export"] = [(202, {"Content-Location": f"{server.base}/jobs/a"}, b"")]
    outcome = {"resourceType": "OperationOutcome", "issue": [{"code": "processing", "diagnostics": "Johnson"}]}
    server.answers["/fhir/jobs/a"] = [(500, {}, json.dumps(outcome).encode())]
    done = export(server, tmp_path)
    assert done.returncode == 1 and "500 (processing)" in done.stderr and "Johnson" not in done.stderr
    assert export(server, tmp_path).returncode == 0, "asked anew"


def test_a_fault_that_passes_is_waited_for(server: BulkServer, tmp_path: Path) -> None:
    server.answers["/fhir/Patient/$export"] = [(202, {"Content-Location": f"{server.base}/jobs/a"}, b"")]
    server.jobs.add("a")
    server.answers["/fhir/jobs/a"] = [(500, {}, b'{"issue": [{"code": "transient"}]}')]
    assert export(server, tmp_path).returncode == 0 and whole(tmp_path)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"transactionTime": "x", "output": [{"url": "a"}]}', b"\xff", b"<html>"]
)
def test_a_manifest_that_cannot_be_read_ends_it_in_words(server: BulkServer, tmp_path: Path, body: bytes) -> None:
    server.answers["/fhir/Patient/$export"] = [(202, {"Content-Location": f"{server.base}/jobs/a"}, b"")]
    server.answers["/fhir/jobs/a"] = [(200, {}, body)]
    done = export(server, tmp_path)
    assert done.returncode == 1 and "The manifest cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_does_not_know_a_type_is_quoted_with_what_to_do(server: BulkServer, tmp_path: Path) -> None:
    server.answers["/fhir/Patient/$export"] = [(400, {}, b'{"issue": [{"code": "not-supported"}]}')]
    done = export(server, tmp_path)
    assert done.returncode == 1 and "400 (not-supported)" in done.stderr and "--without" in done.stderr


def test_a_folder_of_something_else_is_left_as_it_is(server: BulkServer, tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text("{}\n")
    done = export(server, tmp_path)
    assert done.returncode == 1 and "Choose another folder" in done.stderr and server.calls == []
    assert export(server, tmp_path / "out").returncode == 0
    done = export(server, tmp_path / "out", "--group", "a")
    assert done.returncode == 1 and "an export of something else" in done.stderr


def test_files_that_are_gone_afterwards_are_missed(server: BulkServer, tmp_path: Path) -> None:
    export(server, tmp_path)
    assert said_of(tmp_path)[0] == []
    next(tmp_path.glob("Observation*")).unlink()
    assert said_of(tmp_path)[0] == ["1 files of the export are gone or were changed since."]
    (tmp_path / "export.json").write_text("{")
    assert said_of(tmp_path)[0] == ["export.json cannot be read: whether all was exported is not known."]


def test_a_screening_knows_what_was_not_exported_and_reads_patients_alone(server: BulkServer, tmp_path: Path) -> None:
    server.add("error", "OperationOutcome", [{"issue": [{"severity": "error", "code": "exception"}]}])
    server.add("deleted", "Bundle", [{"type": "transaction", "entry": [{"request": {"url": "Patient/p9"}}]}])
    export(server, tmp_path / "in")
    done = invoke("screen", tmp_path / "in", "--out", tmp_path / "out", "--processes", "1")
    assert done.returncode == 0, done.stderr
    assert "NOT ALL WAS EXPORTED. No number of this screening is an all-clear." in done.stderr
    found = json.loads((tmp_path / "out" / "screening.json").read_text())
    assert found["export"]["missing"] == [
        "The server could not export all: 1 of its messages are errors (not-screened/)."
    ]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Not all was exported" in report and found["export"]["missing"][0] in report
    assert found["files"] == 2
    assert (found["patients"], found["lines_not_read"]) == (3, 6), "the results name no patient"
