"""docs/integration.md says what is: its commands are run, its tables hold every name there is and no other.

The blocks of the other pages are run by tests/test_docs.py; here a token has to be of the second that is shown.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import click
import orjson
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.cli import main
from cds_service.commands.clients import add
from cds_service.commands.running import serve
from cds_service.content.site_checks import units_of
from cds_service.fhir import bundles, server, strict_json
from cds_service.hooks import feedback
from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import Settings, load_settings
from cds_service.store.records import MAX_COMMENT_BYTES
from cds_service.trust import breaker, keys, tokens
from cds_service.trust.clients import Client, Profile, parse_clients
from cds_service.trust.gatekeeper import ADDRESS_RATE, CLIENT_RATE
from tests.support.proxy import CONFIGURATION
from tests.support.some import some
from tests.trust.support import BASE, FEEDBACK, SERVICE, body_for, client_entry, clients_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "integration.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
HOOKS = ROOT / "cds_service" / "hooks"
WIRE = [HOOKS / f"{name}.py" for name in ("app", "errors", "services", "feedback", "request")]
WIRE += [ROOT / "cds_service" / f"{name}.py" for name in ("serving", "fhir/strict_json")]


def table(heading: str, page: str = PAGE) -> list[list[str]]:
    """The cells of the rows below the head that begins so."""
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def blocks(language: str, page: str = PAGE) -> list[str]:
    """The fenced blocks of a language, without the indent of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


# The tables.


def test_every_entry_of_a_client_is_told_with_its_option() -> None:
    rows = table("entry")
    assert [name for row in rows for name in named(row[0])] == list(Client.model_fields)
    screen = table("entry of `[clients.profile]`")
    assert [name for row in screen for name in named(row[0])] == list(Profile.model_fields)
    options = {name for option in add.params if isinstance(option, click.Option) for name in option.opts}
    shared = {"--settings", "--public-url", "--profile", "--data-dir", "--clients"}
    assert {name for row in rows + screen for name in named(row[1])} == options - shared


def test_every_unit_that_a_client_may_choose_is_told(content: Content) -> None:
    told = re.search(r"Units can be chosen for (.*?)\. Two EHRs", PAGE, re.DOTALL)
    assert told
    found = {lab: units.split(", ") for lab, units in re.findall(r"`(\w+)`\s+\(([^)]+)\)", told[1])}
    assert found == units_of(content.library)


def test_every_cause_of_the_log_is_told() -> None:
    told = [name for row in table("cause in the log") for name in named(row[0])]
    assert sorted(told) == sorted(get_args(tokens.Cause))


def test_every_setting_is_told_with_its_default_and_how_it_is_set() -> None:
    rows = {named(row[0])[0]: row for row in table("setting", SETTINGS)}
    assert list(rows) == list(Settings.model_fields)
    options = {option.name: option.opts[0] for option in serve.params if isinstance(option, click.Option)}
    for name, field in Settings.model_fields.items():
        meaning, default, _, variable, option = rows[name][1:]
        assert named(variable) == [f"MAGNESIUM_CDS_{name.upper()}"]
        assert named(option) == ([options[name]] if name in options else [])
        assert (default, meaning) == (_plain(field.default), field.description)
    assert set(options) - set(rows) == {"settings_file"}


def _plain(value: Any) -> str:
    return "" if value in (None, ()) else str(value).lower() if isinstance(value, bool) else str(value)


def statuses() -> Iterator[int]:
    """Those that the CDS endpoints refuse with: as problems in our code, or of the framework and given our words."""
    for file in WIRE:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Problem", "Problem.of"):
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, int):
                    yield first.value
            if file.stem == "errors" and isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "words":
                yield from ast.literal_eval(node.value)
    yield 500


def test_every_status_of_a_refusal_is_told_in_the_words_of_the_service() -> None:
    rows = table("status")
    proxys = CONFIGURATION.read_text()
    of_proxy = {int(found) for found in re.findall(r"\b([45]\d\d) [a-z-]+;", proxys)}
    assert {int(row[0]) for row in rows} == set(statuses()) | of_proxy
    source = " ".join(file.read_text("utf-8") for file in WIRE) + proxys
    source = re.sub(r'"\s*f?"', "", source)  # texts that go on in the next line
    for row in rows:
        for words in re.findall(r'"([^"]+)"', row[1]):
            assert words.replace("magnesium-patient-view", "{known}") in source, words


def test_the_bounds_of_a_body_are_those_in_force() -> None:
    for bound in (strict_json.MOST_PARTS, strict_json.MOST_TEXTS, strict_json.MOST_ODD_NAMES, strict_json.DEEPEST):
        assert f"({bound:,}" in PAGE


def test_what_a_refusal_says_is_what_a_caller_gets(
    make_app: Callable[..., Flask], signer: Signer, folder: Path
) -> None:
    file = clients_file(folder, client_entry(signer, profile={"on_incomplete": "412"}))
    app = make_app(profile="production", public_url=BASE, clients=file)
    http = app.test_client()
    # A rate at which nothing comes back while the test runs, however slow the machine is.
    strict = make_app(profile="production", public_url=BASE, clients=file, client_rate=0.001).test_client()
    told = {(int(row[0]), words) for row in table("status") for words in re.findall(r'"([^"]+)"', row[1])}

    def refused(status: int, path: str = SERVICE, method: str = "POST", http: FlaskClient = http, **how: Any) -> None:
        headers = {"Authorization": f"Bearer {signer.token(BASE + path)}"} | how.pop("headers", {})
        answer = http.open(path, method=method, headers=headers, **how)
        assert answer.status_code == status, answer.text
        assert answer.json is not None
        words = answer.json["issue"][0]["details"]["text"]
        assert any(code == status and words.startswith(text) for code, text in told), words

    other = body_for(app)
    other["prefetch"]["patient"]["id"] = "somebody-else"
    refused(401, headers={"Authorization": ""})
    refused(404, "/cds-services/none", json={})
    refused(405, method="PUT")
    refused(412, json=other)
    refused(412, json=body_for(app, prefetch={}))
    refused(413, data=b" " * 9_000_000, content_type="application/json")
    refused(415, data=b"<xml/>", content_type="application/xml")
    refused(415, data=b"{}", content_type="application/json", headers={"Content-Encoding": "gzip"})
    for _ in range(20):
        token = signer.token(BASE + FEEDBACK)
        if strict.post(FEEDBACK, json={}, headers={"Authorization": f"Bearer {token}"}).status_code == 429:
            break
    refused(429, FEEDBACK, http=strict, json={})


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("at most once in 30 seconds", keys.PAUSE == 30),
        ("refused within 10 minutes", keys.STALE == 600),
        ("used for 24 hours", keys.DEAD == 24 * 3600),
        ("within 2 seconds, up to 256 KiB", (keys.LONGEST_READ, keys.MAX_BYTES) == (2, 256 * 1024)),
        ("(an hour at most)", tokens.LONGEST_LIFE == 3600),
        ("60 seconds of difference are allowed", tokens.LEEWAY == 60),
        ("(up to 16 KiB)", tokens.MAX_TOKEN == 16 * 1024),
        ("At most 10 pages\n  and 5,000 entries", (server.MAX_PAGES, bundles.MAX_ENTRIES) == (10, 5000)),
        ("five times in a row is left alone for ten seconds", (breaker.OPENS_AFTER, breaker.PAUSE) == (5, 10)),
        ("Up to 500 items and 1 MiB", (feedback.MAX_ITEMS, feedback.MAX_BYTES) == (500, 1024 * 1024)),
        ("cut at 4 KiB", MAX_COMMENT_BYTES == 4096),
        ("default: 200, in dev no limit", CLIENT_RATE == 200),
        ("default: 400, in dev no limit", ADDRESS_RATE == 400),
        ("have 1.5 seconds together", Settings().fetch_seconds == 1.5),
    ],
)
def test_every_number_told_is_that_of_the_service(words: str, value: bool) -> None:
    assert words in PAGE + SETTINGS
    assert value


def test_every_link_has_its_target() -> None:
    for page in ("integration.md", "sandbox.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for file, anchor in some(re.findall(r"\]\((?!http)([\w./-]*)(?:#([\w-]+))?\)", text)):
            target = ROOT / "docs" / (file or page)
            assert target.exists(), file
            heads = [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
                     for head in re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)]  # fmt: skip
            assert not anchor or anchor in heads, anchor


# What is to be typed.


def test_the_files_shown_can_be_used(content: Content, tmp_path: Path) -> None:
    first, second = blocks("toml")
    (tmp_path / "settings.toml").write_text(first)
    assert load_settings({}, tmp_path / "settings.toml", {}).public_url == "https://cds.example"
    shown = parse_clients(second, tmp_path / "clients.toml")
    assert [(client.name, client.profile.units["serum_magnesium"]) for client in shown] == [
        ("boston", "mg/dL"),
        ("leeds", "mmol/L"),
    ]


def test_the_commands_shown_say_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment that the page shows: its clock stands still, so that every second told is compared too."""
    monkeypatch.chdir(tmp_path)
    moment = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    at, now = "https://cds.example/cds-services", int(moment.timestamp())

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Then:
            return cls.fromtimestamp(now, tz)

    for place in ("time.time", "cds_service.sandbox.mock_ehr.time"):
        monkeypatch.setattr(place, lambda: float(now))
    for place in ("jwt.api_jwt.datetime", "cds_service.commands.clients.datetime"):
        monkeypatch.setattr(place, Then)
    signer = Signer("https://ehr.example", kid="2026-11")
    given = {
        "INTERNAL": signer.token("http://10.0.0.5:8000/cds-services"),
        "EXPIRED": signer.token(f"{at}/magnesium-patient-view", iat=now - 900, exp=now - 600),
        "OTHERKEY": Signer("https://ehr.example", kid="2025-01").token(at),
        "TOKEN": signer.token(at),
    }
    Path("ehr-keys.json").write_bytes(orjson.dumps({"keys": [signer.public()]}))
    Path("settings.toml").write_text(blocks("toml")[0])
    count = 0
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed, _, shown = part.replace("\\\n", " ").partition("\n")
            name, *words = shlex.split(typed)
            assert name == "magnesium-cds"
            words = [given[word[1:]] if word.startswith("$") else word for word in words]
            with patch("cds_service.commands.clients.configure"):
                done = CliRunner().invoke(main, words)
            assert done.output == shown, typed
            count += 1
    assert count == 8


def test_what_clinicians_write_need_not_be_kept(make_app: Callable[..., Flask]) -> None:
    for keep, kept in ((True, ["Zq7 typed"]), (False, [None])):
        app = make_app(keep_comments=keep)
        item = {"card": "a-card", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z",
                "overrideReason": {"userComment": "Zq7 typed"}}  # fmt: skip
        assert app.test_client().post(FEEDBACK, json={"feedback": [item]}).status_code == 200
        engine = app.extensions["advisor"].store._write_engine
        with engine.connect() as connection:
            assert [row[0] for row in connection.exec_driver_sql("SELECT comment FROM feedback")] == kept


def test_the_readme_and_the_page_of_the_sandbox_lead_here() -> None:
    for file in (ROOT / "README.md", ROOT / "docs" / "sandbox.md"):
        assert "integration.md" in file.read_text("utf-8")
    assert tomllib.loads(blocks("toml")[0])["profile"] == "production"
