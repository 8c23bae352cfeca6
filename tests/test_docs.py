"""Every command and example in the README and the docs: it is run, or given to what reads it in the service."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.site import read_site
from cds_service.content.yamlfile import ContentError
from cds_service.settings import SettingsError, load_settings
from cds_service.trust.clients import parse_clients
from tests.doc_blocks import ROOT, WORDS, Block, blocks, commands, pages, shows

PAGES = pages()
LANGUAGES = {"console", "sh", "json", "yaml", "toml", "text", "sql"}
# Blocks of commands that no test runs, by page: each says its reason in a comment, and one more is a decision.
NOT_RUN = {
    "README.md": 2,
    "docs/develop.md": 2,
    "docs/first-card.md": 1,
    "docs/sandbox.md": 2,
    "docs/operate/backup.md": 4,
    "docs/operate/compose.md": 3,
    "docs/operate/image.md": 4,
    "docs/operate/kubernetes.md": 1,
    "docs/operate/postgres.md": 1,
    "docs/operate/systemd.md": 2,
    "docs/operate/upgrade.md": 1,
}
SECONDS = 120


def faults_of(block: Block) -> str | None:
    """What is wrong with how a block is marked."""
    if block.language not in LANGUAGES:
        return f"{block}: say the language: {', '.join(sorted(LANGUAGES))}"
    if strange := set(block.marks) - set(WORDS):
        return f"{block}: {', '.join(strange)}: not one of {', '.join(WORDS)}"
    if "run by" in block.marks and not (ROOT / block.marks["run by"]).is_file():
        return f"{block}: there is no {block.marks['run by']}"
    if block.language in PARSE and block.marks.get("holds") not in READ and "run by" not in block.marks:
        return f"{block}: say what it holds: {', '.join(READ)}"
    if typed_in(block) and block.language == "console" and not any(commands(block)):
        return f"{block}: no line begins with '$ '"
    if block.marks.get("not run") == "":
        return f"{block}: say why it is not run"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_what_it_is(page: str) -> None:
    assert [fault for block in blocks(page) if (fault := faults_of(block))] == []


def test_what_is_not_run_is_counted() -> None:
    found = {page: sum("not run" in block.marks for block in blocks(page)) for page in PAGES}
    assert {page: count for page, count in found.items() if count} == NOT_RUN


# What is to be typed.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Terminal:
    """An empty folder in which the blocks of one page are typed, one after the other; 8000 is a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.served: list[subprocess.Popen[str]] = []
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # ROOT: the package that is tested, wherever another one is installed. COLUMNS: as wide as the pages show it.
        self.env = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "80", "LANG": "C.UTF-8",
                    "MAGNESIUM_CDS_PORT": str(self.port), "TZ": "UTC"}  # fmt: skip

    def save(self, block: Block) -> None:
        if name := block.marks.get("file"):
            (self.folder / name).write_text(block.text, "utf-8")

    def type(self, block: Block) -> None:
        """Run a block; where a command does not end as it should, or says something else, the test fails."""
        for typed, shown in commands(block):
            words = typed.replace(":8000", f":{self.port}")
            if "serves" in block.marks:
                self._serve(words, block)
                continue
            here: dict[str, Any] = {"cwd": self.folder, "env": self.env, "stdin": subprocess.DEVNULL, "text": True}
            command = ["bash", "-euc", words]
            done = subprocess.run(command, **here, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            came = done.stdout.replace(f":{self.port}", ":8000")
            assert done.returncode == int(block.marks.get("exit", "0")), f"{block}: {typed}\n{came}"
            assert block.language == "sh" or shows(shown, came), f"{block}: {typed}\n{came}"

    def _serve(self, words: str, block: Block) -> None:
        log = self.folder / "served.log"
        with log.open("w") as output:
            command, here = ["bash", "-euc", f"exec {words}"], {"cwd": self.folder, "env": self.env}
            self.served.append(
                subprocess.Popen(command, **here, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True)
            )
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and self.served[-1].poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.2)
        pytest.fail(f"{block}: it does not serve\n{log.read_text()}")

    def close(self) -> None:
        for process in self.served:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    opened = Terminal(folder)
    try:
        yield opened
    finally:
        opened.close()


def typed_in(block: Block) -> bool:
    return block.language in ("console", "sh") and not {"not run", "run by"} & set(block.marks)


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(typed_in, blocks(page)))])
def test_the_commands_of_a_page_do_what_it_shows(page: str, tmp_path: Path) -> None:
    typed = 0
    with terminal(tmp_path) as opened:
        for block in blocks(page):
            opened.save(block)
            if typed_in(block):
                opened.type(block)
                typed += 1
    assert typed


PLANTED = {
    "a command that is not there": "```console\n$ magnesium-cds no-such-command\n```",
    "an option that is not there": "```sh\nmagnesium-cds check --no-such-option\n```",
    "another output": "```console\n$ magnesium-cds --version\nmagnesium-cds, version 0.0.0\n```",
    "an output left out": "```console\n$ magnesium-cds --version\n```",
    "another exit code": "<!-- exit: 1 -->\n```console\n$ magnesium-cds --version\n...\n```",
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_wrong_command_is_found(what: str, tmp_path: Path) -> None:
    with terminal(tmp_path) as opened, pytest.raises(AssertionError, match="planted:"):
        for block in blocks("planted", PLANTED[what]):
            opened.type(block)


# What is to be written.


@dataclass(frozen=True)
class Readers:
    """What reads an example: the service, its content, and a folder."""

    service: FlaskClient
    content: Content
    folder: Path

    def site(self, text: str) -> None:
        whole = text if re.search("^site:", text, re.MULTILINE) else f"site: Example hospital\n{text}"
        read_site(whole, "site.yaml", self.content.library, frozenset(all_needs(self.content.library)))

    def settings(self, text: str) -> None:
        file = self.folder / "settings.toml"
        file.write_text(text, "utf-8")
        load_settings({}, file, {})

    def clients(self, text: str) -> None:
        parse_clients(text, self.folder / "clients.toml")

    def plan_question(self, text: str) -> None:
        answer = self.service.post("/plan", data=text, content_type="application/json")
        assert answer.status_code == 200, answer.text

    def hook_request(self, text: str) -> None:
        hook = json.loads(text)["hook"]
        answer = self.service.post(f"/cds-services/magnesium-{hook}", data=text, content_type="application/json")
        assert answer.status_code == 200, answer.text

    def example(self, text: str) -> None:
        """Of a form that no reader of ours has: it was parsed."""


READ = ("clients", "example", "hook request", "plan question", "settings", "site")
PARSE: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


@pytest.fixture
def readers(make_app: Callable[..., Flask], content: Content, tmp_path: Path) -> Readers:
    return Readers(make_app().test_client(), content, tmp_path)


def read(block: Block, readers: Readers) -> Any:
    parsed = PARSE[block.language](block.text)
    getattr(readers, block.marks["holds"].replace(" ", "_"))(block.text)
    return parsed


EXAMPLES = [block for page in PAGES for block in blocks(page) if block.marks.get("holds") in READ]


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_is_read_by_what_reads_it_in_the_service(block: Block, readers: Readers) -> None:
    assert read(block, readers)


WRONG = {
    "site": ("yaml", "rules: {shared: {thresholds: {lower_limit: {value: 7, reason: Too high}}}}"),
    "settings": ("toml", "prot = 8000"),
    "clients": ("toml", '[[clients]]\nname = "our-ehr"'),
    "plan question": ("json", '{"magnesium": {"dosesPerDay": 90}, "medications": []}'),
    "hook request": ("json", '{"hook": "patient-view"}'),
    "example": ("json", '{"a": }'),
}


@pytest.mark.parametrize("holds", READ)
def test_a_wrong_example_is_found(holds: str, readers: Readers) -> None:
    language, text = WRONG[holds]
    with pytest.raises((AssertionError, ValueError, ContentError, SettingsError)):
        read(Block("planted", 1, language, text, {"holds": holds}), readers)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```\nmagnesium-cds check\n```", "say the language"),
        ("```yaml\nsite: One\n```", "say what it holds"),
        ("<!-- holds: something -->\n```yaml\nsite: One\n```", "say what it holds"),
        ("<!-- not run: -->\n```sh\nmagnesium-cds check\n```", "why it is not run"),
        ("```console\nmagnesium-cds check\n```", "no line begins with"),
        ("<!-- no run: slow -->\n```sh\nmagnesium-cds check\n```", "not one of"),
        ("<!-- run by: tests/test_gone.py -->\n```sh\nmagnesium-cds check\n```", "there is no"),
    ],
)
def test_a_block_that_says_too_little_is_found(text: str, words: str) -> None:
    (block,) = blocks("planted", text)
    assert words in (faults_of(block) or "")
