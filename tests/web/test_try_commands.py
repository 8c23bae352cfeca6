"""What demo, sandbox and evaluate print leads somewhere, and the Sandbox's service forgets what was accepted."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from flask import Flask
from rich.console import Console

from cds_service.cli import main
from cds_service.commands import running
from cds_service.sandbox import patients
from tests.console.browser import served
from tests.support.some import some
from tests.web.support import bundle, cards, request_of

Maker = Callable[..., Flask]


@pytest.fixture
def today(make_app: Maker) -> Flask:
    """A service at the time of the command, whose samples are dated by the clock on the wall."""
    return make_app(now=lambda: datetime.now(UTC))


def shown(base: str, everybody: bool = False) -> str:
    text = io.StringIO()
    running.show_samples(Console(file=text, width=80, highlight=False), base, everybody)
    return text.getvalue()


def test_the_demo_shows_three_patients_with_one_card_each_and_where_to_open_them(today: Flask) -> None:
    with served(today) as base:
        said = shown(base)
        assert len(re.findall(r"^╭─ (?:warning|critical)", said, re.MULTILINE)) == 3 == said.count("╭─")
        assert "12:30" in said and "digoxin" in said and "eGFR 22" in said
        places = re.findall(r"In the browser: (\S+)$", said, re.MULTILINE)
        assert len(places) == 3
        for place in places:
            page = requests.get(place, timeout=30)
            assert page.status_code == 200 and page.text.count('<article class="card') == 1
        # Each address stands on one line, so that it can be clicked.
        for address in some(re.findall(r"http://\S+", said)):
            assert requests.get(address, timeout=30).status_code == 200, address


def test_demo_all_shows_every_sample_on_every_hook_that_has_something_to_say(today: Flask) -> None:
    with served(today) as base:
        said = shown(base, everybody=True)
    for sample in some(patients.load().values()):
        for hook in ("patient-view", "order-select", "order-sign"):
            told = f"sample={sample.id}&hook={hook}" in said
            assert told is (hook == "patient-view" or bool(sample.drafts)), (sample.id, hook)


def test_what_is_typed_next_says_how_to_activate_where_the_command_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert running.before_commands() == " (first: . bin/activate)"
    (tmp_path / "bin" / "activate").unlink()
    assert "pipx" in running.before_commands()
    command = tmp_path / "bin" / "magnesium-cds"
    command.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert running.before_commands() == ""


def test_evaluate_names_no_address_that_nobody_serves(tmp_path: Path) -> None:
    file = tmp_path / "patient.json"
    file.write_text(json.dumps(bundle("digoxin"), default=str))
    done = CliRunner().invoke(main, ["evaluate", str(file)])
    assert done.exit_code == 0, done.output
    assert "localhost" not in done.stdout and "127.0.0.1" not in done.stdout
    rules = set(re.findall(r"Evidence: magnesium-cds show (\w+)", done.stdout))
    for rule in some(rules):
        assert CliRunner().invoke(main, ["show", rule]).exit_code == 0, rule


@pytest.mark.parametrize(("minutes", "again"), [(15, 0), (0, 1)])
def test_a_card_that_was_accepted_comes_again_where_nothing_is_to_rest(
    make_app: Maker, tmp_path: Path, minutes: int, again: int
) -> None:
    app = make_app(data_dir=tmp_path, accepted_rests_minutes=minutes)
    body = request_of(app.test_client().get("/try?sample=unmeasured"))
    service = "/cds-services/magnesium-patient-view"
    (card,) = _cards(app, service, body)
    item = {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": "2026-11-21T09:30:00Z",
            "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}  # fmt: skip
    assert app.test_client().post(f"{service}/feedback", json={"feedback": [item]}).status_code == 200
    assert len(_cards(app, service, body)) == again


def _cards(app: Flask, service: str, body: Any) -> list[Any]:
    return list(app.test_client().post(service, json=body).json["cards"])


def test_the_sandbox_starts_its_service_so_that_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    class Started(Exception):
        pass

    def serving(*_: Any, temporary: bool, **settings: str) -> Any:
        given.update(settings)
        raise Started

    monkeypatch.setattr(running, "serving", serving)
    assert isinstance(CliRunner().invoke(main, ["sandbox"]).exception, Started)
    assert given == {"MAGNESIUM_CDS_ACCEPTED_RESTS_MINUTES": "0"}


def test_a_card_on_the_page_is_that_of_the_demo(today: Flask) -> None:
    """The page and the demo ask in the same words."""
    name, hook, draft = patients.FEATURED[0]
    page = today.test_client().get(f"/try?sample={name}&hook={hook}&draft={draft}")
    with served(today) as base:
        assert cards(page)[0].partition(":")[0] in shown(base)
