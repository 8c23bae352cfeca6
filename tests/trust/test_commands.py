"""`magnesium-cds clients` and `magnesium-cds mock-ehr`: what an administrator is told."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
import requests
from click.testing import CliRunner, Result

from cds_service.cli import main
from cds_service.sandbox.mock_ehr import KEYS_PATH, MockEhr, ScriptError, Signer, read_script
from cds_service.trust.clients import parse_clients, written
from tests.trust.support import BASE, DISCOVERY, ISSUER, SERVICE


class Shell:
    """The command line on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "clients.toml"

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None, **options: str) -> Result:
        named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        result = CliRunner().invoke(
            main, ["clients", *words, "--data-dir", str(self.folder), "--public-url", BASE, *named], input=stdin
        )
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
    assert known("list").output == (f"ehr: {ISSUER}, ES384, RS384, 1 pinned keys\n  reads https://ehr.example/fhir\n")
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
    result = CliRunner().invoke(
        main,
        ["clients", "add", "second", "--data-dir", str(known.folder)]
        + [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)],
    )
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
        ({"aud": "https://other.example/cds-services"}, f"accepted there: {BASE}/cds-services"),
        ({"exp": 1_000_000_000, "iat": 999_999_900}, "it has expired"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_100}, "compare the clocks"),
        ({"jti": None}, "a claim is missing"),
        ({"tenant": "x"}, "no such tenant"),
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
    assert "no usable key with this kid" in known("check", Signer(ISSUER).token(BASE + DISCOVERY), code=1).output
    assert "not a signed token" in known("check", "nonsense", code=1).output
    other = known("check", signer.token(BASE + DISCOVERY), code=1, service="magnesium-patient-view").output
    assert "aud is not the address" in other


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


def test_the_whole_file_is_checked(known: Shell) -> None:
    assert "1 clients" in known("check").output
    production = known("check", profile="production").output
    assert "all usable" in production
    broken = known.file.read_text().replace("ES384", "HS256", 1)
    known.file.write_text(broken)
    assert CliRunner().invoke(main, ["clients", "check", "--data-dir", str(known.folder)]).exit_code == 78


def test_an_entry_that_is_not_there_is_named_with_those_that_are(known: Shell) -> None:
    known.file.write_text(known.file.read_text() + 'unit = "mg/dL"\n')  # the table of the profile is the last
    told = known("check", code=78).output
    assert "profile.unit: there is no such entry; there are markdown, max_cards, on_incomplete, links, units" in told


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
