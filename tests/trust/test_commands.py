"""`magnesium-cds clients` and `magnesium-cds mock-ehr`: what an administrator is told."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jwt
import orjson
import pytest
import requests
from click.testing import CliRunner, Result

from cds_service.cli import main
from cds_service.sandbox.mock_ehr import KEYS_PATH, MockEhr, ScriptError, Signer, read_script
from cds_service.trust.clients import parse_clients, written
from cds_service.trust.keys import SANDBOX_ISSUER
from tests.conftest import KEY
from tests.trust.support import BASE, DISCOVERY, ISSUER, SERVICE


def invoke(*words: str, stdin: str | None = None) -> Result:
    """`magnesium-cds clients ...`; the logs of the tests' own process stay as they are."""
    with patch("cds_service.commands.clients.configure"):
        return CliRunner().invoke(main, ["clients", *words], input=stdin)


class Shell:
    """The command line on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "clients.toml"

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None, **options: str) -> Result:
        named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        result = invoke(*words, "--data-dir", str(self.folder), "--public-url", BASE, *named, stdin=stdin)
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result


@pytest.fixture
def shell(folder: Path) -> Shell:
    return Shell(folder)


@pytest.fixture
def known(shell: Shell, signer: Signer) -> Shell:
    """A file with the signer as client `ehr`."""
    keys = shell.folder / "keys.json"
    keys.write_bytes(orjson.dumps({"keys": [signer.public()]}))
    shown = {"max_cards": "3", "unit": "serum_magnesium=mg/dL"}
    shell("add", "ehr", issuer=ISSUER, jwks=str(keys), fhir_server="https://ehr.example/fhir", **shown)
    return shell


def test_a_client_is_added_listed_and_removed(known: Shell) -> None:
    assert known("list").output == (f"ehr: {ISSUER}, ES384, RS384, 1 pinned key\n  reads https://ehr.example/fhir\n")
    known("add", "other", issuer="https://other.example", jku="https://other.example/jwks.json", tenant="north")
    text = known.file.read_text()
    assert [client.name for client in parse_clients(text, known.file)] == ["ehr", "other"]
    assert parse_clients(text, known.file)[0].profile.max_cards == 3
    assert parse_clients(text, known.file)[0].profile.units == {"serum_magnesium": "mg/dL"}
    known("remove", "ehr")
    assert [client.name for client in parse_clients(known.file.read_text(), known.file)] == ["other"]
    assert "other" in known("remove", "ehr", code=1).output


def test_what_was_written_by_hand_stays(known: Shell) -> None:
    known.file.write_text("# our EHRs\n" + known.file.read_text() + "\n# end\n")
    known("add", "other", issuer="https://other.example", jku="https://other.example/jwks.json")
    known("remove", "other")
    assert known.file.read_text().startswith("# our EHRs\n")
    assert "# end" in known.file.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"issuer": "x"}, "exactly one of jwks, jwks_file, jku"),
        ({"issuer": "x", "jku": "http://x.example/jwks", "profile": "production"}, "must be https"),
        ({"issuer": "x", "jku": "https://x.example/jwks", "origin": "*"}, "origins"),
        ({"issuer": "x", "jku": "https://x.example/jwks", "network": "10.0.0.1/8"}, "address range"),
        ({"issuer": "x", "jku": "https://x.example/jwks", "unit": "mg/dL"}, "such as serum_magnesium=mg/dL"),
        ({"issuer": "x", "jku": "https://x.example/jwks", "unit": "albumin=g/ml"}, "not one of g/L, g/dL"),
        ({"issuer": ISSUER, "jku": "https://x.example/jwks"}, "same issuer and tenant"),
        (
            {"issuer": "x", "jku": "https://x.example/jwks", "fhir_server": "https://x.example/fhir/"},
            "slash at its end",
        ),
    ],
)
def test_a_client_that_could_not_be_served_is_not_written(known: Shell, options: dict[str, str], words: str) -> None:
    before = known.file.read_text()
    named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    result = invoke("add", "second", "--data-dir", str(known.folder), *named)
    assert result.exit_code in (2, 78)
    assert words in result.output
    assert known.file.read_text() == before


def test_a_private_key_is_not_taken_in(shell: Shell, signer: Signer) -> None:
    keys = shell.folder / "keys.json"
    keys.write_bytes(orjson.dumps({"keys": [signer.public() | {"d": "secret-part"}]}))
    result = shell("add", "ehr", issuer=ISSUER, jwks=str(keys), code=2)
    assert "private or secret key" in result.output
    assert "secret-part" not in result.output
    assert not shell.file.exists()


def test_a_good_token_is_explained_and_not_used_up(known: Shell, signer: Signer) -> None:
    token = signer.token(BASE + SERVICE)
    for _ in range(2):
        output = known("check", token).output
        assert "REFUSED" not in output
        assert f"aud is right for {SERVICE}" in output
    assert "accepted, once" in known("check", "-", stdin=f"Bearer {token}\n").output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://who.example"}, f"Issuers known: {ISSUER}"),
        ({"aud": "https://other.example/cds-services"}, f"accepted: {BASE}/cds-services"),
        ({"aud": BASE}, f"accepted: {BASE}/cds-services"),
        ({"aud": f"{BASE}/cds-services/"}, f"accepted: {BASE}/cds-services"),
        ({"aud": f"{BASE}/cds-services/other"}, f"accepted: {BASE}/cds-services"),
        ({"exp": 1_000_000_000, "iat": 999_999_900}, "it has expired"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_100}, "compare the clocks"),
        ({"iat": 1_795_000_000_000, "exp": 1_795_000_300_000}, "in milliseconds"),
        ({"jti": None}, "jti missing"),
        ({"exp": None, "jti": None}, "exp, jti missing"),
        ({"jti": 7}, "a claim is of the wrong kind"),
        ({"tenant": "x"}, "no such tenant (or has tenants, and the token names none). It says x; known: none"),
        ({"iss": SANDBOX_ISSUER}, "anybody can sign with its key"),
        ({"life": 9000}, "lives longer than 3600 s"),
    ],
)
def test_a_refused_token_is_explained_in_plain_words(
    known: Shell, signer: Signer, changes: dict[str, Any], words: str
) -> None:
    life = changes.pop("life", 300)
    audience = changes.pop("aud", BASE + DISCOVERY)
    output = known("check", signer.token(audience, life=life, **changes), code=1).output
    assert words in output
    assert output.count("REFUSED") == 1


def test_a_forged_token_and_nonsense_are_explained(known: Shell, signer: Signer) -> None:
    forged = Signer(ISSUER, kid=signer.kid).token(BASE + DISCOVERY)
    assert "not made with the client's key" in known("check", forged, code=1).output
    unknown = known("check", Signer(ISSUER, kid="other").token(BASE + DISCOVERY), code=1).output
    assert f"no usable key with this kid. It says other; known: {signer.kid}" in unknown
    assert "not a signed token" in known("check", "nonsense", code=1).output
    other = known("check", signer.token(BASE + DISCOVERY), code=1, service="magnesium-patient-view").output
    assert "aud is not the address" in other
    nowhere = known("check", signer.token(BASE + DISCOVERY), code=2, service="patient-view").output
    assert "there is no such service; there are magnesium-patient-view" in nowhere


@pytest.mark.parametrize(
    ("algorithm", "header", "words"),
    [
        ("HS256", {}, "a shared secret is never taken. It says HS256; accepted: ES384, RS384"),
        ("none", {}, "its signature is empty (alg none)"),
        ("ES384", {"kid": None}, "its header names no kid"),
        ("ES384", {"typ": "at+jwt"}, "an access token of the FHIR server, perhaps"),
        ("ES384", {"crit": ["exp"], "exp": 1}, "something critical"),
    ],
)
def test_a_token_of_the_wrong_form_is_told_what_it_is(
    known: Shell, signer: Signer, algorithm: str, header: dict[str, Any], words: str
) -> None:
    said = jwt.decode(signer.token(BASE + SERVICE), options={"verify_signature": False})
    key: Any = {"HS256": "a secret of more than thirty-two bytes", "none": None}.get(algorithm, signer.key)
    names = {name: value for name, value in ({"kid": signer.kid} | header).items() if value is not None}
    token = jwt.encode(said, key, algorithm=algorithm, headers=names)
    assert words in known("check", token, code=1).output
    assert "it is encrypted" in known("check", f"{token}.x.y", code=1).output


def test_of_an_expired_token_the_rest_is_checked_as_of_when_it_was_sent(known: Shell, signer: Signer) -> None:
    old = {"exp": 1_000_000_000, "iat": 999_999_900}
    output = known("check", signer.token(BASE + SERVICE, **old), code=1).output
    assert "it has expired; issued" in output
    assert "a new one like it would be accepted" in output
    forged = known("check", Signer(ISSUER, kid=signer.kid).token(BASE + SERVICE, **old), code=1).output
    assert "would be accepted" not in forged
    assert forged.count("REFUSED") == 2
    assert "not made with the client's key" in forged


def test_what_was_right_is_said_before_what_was_not(known: Shell, signer: Signer) -> None:
    output = known("check", Signer(ISSUER).token(BASE + SERVICE), code=1).output
    assert f"aud is right for {SERVICE}" in output
    assert "by the clock here" in output


def test_it_is_said_for_which_service_a_token_was_checked_so_that_forgotten_settings_show(
    known: Shell, signer: Signer
) -> None:
    token = signer.token(BASE + SERVICE)
    assert f"as of a service in profile dev at {BASE}" in known("check", token).stderr
    forgotten = invoke("check", token, "--data-dir", str(known.folder))
    assert forgotten.exit_code == 1
    assert "as of a service in profile dev at http://localhost:8000 or http://127.0.0.1:8000" in forgotten.stderr


def test_of_a_key_address_that_cannot_be_read_the_token_tells(known: Shell) -> None:
    known("add", "far", issuer="https://far.example", jku="http://127.0.0.1:9/jwks.json")
    output = known("check", Signer("https://far.example").token(BASE + SERVICE), code=1).stdout
    assert "no key set could be read. Check its address: http://127.0.0.1:9/jwks.json" in output


def test_a_key_set_is_read_and_explained(known: Shell, ehr: MockEhr) -> None:
    address = ehr.url + KEYS_PATH
    assert "cannot be read" in known("check", address, code=1).output, "not of a client: only public addresses"
    known("add", "mock", issuer=ehr.url, jku=address)
    assert "verifies ES384" in known("check", address).output
    ehr.published.append({"kty": "oct", "kid": "shared", "k": "c2VjcmV0"})
    try:
        output = known("check", address, code=1).output
    finally:
        ehr.published.pop()
    assert "key shared: it is a private or secret key" in output


def test_the_whole_file_is_checked(known: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGNESIUM_CDS_KEY", KEY)
    assert "1 client in" in known("check").output
    production = known("check", profile="production").output
    assert "all usable" in production
    broken = known.file.read_text().replace("ES384", "HS256", 1)
    known.file.write_text(broken)
    assert invoke("check", "--data-dir", str(known.folder)).exit_code == 78


def test_an_entry_that_is_not_there_is_named_with_those_that_are(known: Shell) -> None:
    known.file.write_text(known.file.read_text() + 'unit = "mg/dL"\n')  # the table of the profile is the last
    told = known("check", code=78).output
    assert "profile.unit: there is no such entry; there are " in told
    assert ", units" in told


def test_what_is_written_is_read_back_the_same() -> None:
    entries = {
        "name": "a", "issuer": 'quote " back \\ tab \t line \n é 🙂 \x7f', "jku": ["https://a.example/x"],
        "profile": {"max_cards": 2, "markdown": "none"},
    }  # fmt: skip
    assert tomllib.loads(written(entries)) == {"clients": [entries]}


def test_a_mock_ehr_serves_faults_keys_and_tokens(folder: Path) -> None:
    script = folder / "script.toml"
    script.write_text('clock = -30\n[[answer]]\npath = "Patient"\nstatus = 503\ntimes = 1\n')
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "cds_service", "mock-ehr", "--script", str(script)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        base = process.stderr.readline().split()[1]
        assert [requests.get(f"{base}/Patient/{SAMPLE}", timeout=5).status_code for _ in range(2)] == [503, 200]
        root = base.rpartition("/")[0]
        assert requests.get(root + KEYS_PATH, timeout=5).json()["keys"][0]["crv"] == "P-384"
        token = requests.post(root + "/token", data={"aud": BASE}, timeout=5).text
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == BASE
    finally:
        process.terminate()
        process.communicate(timeout=10)


SAMPLE = "low-magnesium"


@pytest.mark.parametrize("text", ["answer = 7", "[[answer]]\nstatus = 200", "x = 1", "[[answer]", "clock = 'late'"])
def test_a_script_that_cannot_be_used_is_told(text: str) -> None:
    with pytest.raises(ScriptError):
        read_script(text)


def test_the_help_of_every_command_names_its_options() -> None:
    for words in (["clients"], ["clients", "add"], ["clients", "check"], ["mock-ehr"]):
        result = CliRunner().invoke(main, [*words, "--help"])
        assert result.exit_code == 0
        assert "--help" in result.output
