"""What the machine and its files bring with them: hostile settings (A58) or new ones (F31), locale and zone (F44)."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cds_service.sandbox import patients
from tests.conformance.calls import ROOT, clean_environment, run_cli
from tests.conftest import NOW
from tests.trust.support import SERVICE, body_for

MEBIBYTE = 1024 * 1024
SITE_FILES: dict[str, bytes] = {
    "a call in a tag": b"!!python/object/apply:os.mkdir [made]\n",
    "a name in a tag": b"site: !!python/name:os.system\n",
    "aliases of aliases": b"site: Test\na: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
    "deep": b"site: " + b"[" * 200_000 + b"]" * 200_000,
    "deep in another way": b"- " * 200_000 + b"x",
    "deep and not closed": b"{a: " * 100_000,
    "NUL": b"site: a\0b\n",
    "UTF-16": "site: Test\n".encode("utf-16"),
    "Latin-1": "site: Zürich\n".encode("latin-1"),
    "large": b"site: " + b"x" * MEBIBYTE,
    "twice": b"site: Test\nsite: Test\n",
}
CLIENT_FILES: dict[str, bytes] = {
    "deep": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "NUL": b'a = "\0"\n',
    "UTF-16": "a = 1\n".encode("utf-16"),
    "twice": b"a = 1\na = 2\n",
    "large": b'a = "' + b"x" * MEBIBYTE + b'"',
}


def refused(done: subprocess.CompletedProcess[str], file: Path) -> None:
    assert done.returncode == 78, done.stderr[-500:]
    assert file.name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", SITE_FILES)
def test_a58_a_hostile_site_file_is_refused_in_words(tmp_path: Path, name: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(SITE_FILES[name])
    refused(run_cli("site", "validate", file), file)  # a process of its own: some would have ended it
    assert not (ROOT / "made").exists()


@pytest.mark.parametrize("name", CLIENT_FILES)
def test_a58_a_hostile_file_of_clients_is_refused_in_words(tmp_path: Path, name: str) -> None:
    file = tmp_path / "clients.toml"
    file.write_bytes(CLIENT_FILES[name])
    refused(run_cli("clients", "list", "--clients", file, "--data-dir", tmp_path), file)


SURROUNDINGS: list[dict[str, str]] = [
    {"LC_ALL": "C", "TZ": "UTC"},
    {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
    {"LC_ALL": "de_DE.ISO-8859-1", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7"},
]


def evaluated(surroundings: dict[str, str]) -> Any:
    """What the command line says of a sample patient there, without what is new each time."""
    bundle = json.dumps(patients.load()["low-magnesium"].bundle(NOW))
    done = subprocess.run(
        [sys.executable, "-m", "cds_service", "evaluate", "-", "--json"],
        input=bundle.encode(), capture_output=True, cwd=ROOT, env=clean_environment() | surroundings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.decode("utf-8"))
    for card in answer["cards"]:
        for each in (card, *card.get("suggestions", ())):
            each.pop("uuid", None)
    return answer


def test_f44_the_locale_and_zone_of_the_machine_change_no_card() -> None:
    usual = evaluated(SURROUNDINGS[0])
    assert usual["cards"]
    for other in SURROUNDINGS[1:]:
        assert evaluated(other) == usual


def test_f31_site_values_that_change_during_calls_are_never_mixed(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.content.current.LOOK_EVERY", 0.0)
    file, stop = tmp_path / "site.yaml", threading.Event()

    def put(site: str, limit: str) -> None:
        """Both change together, and the file is whole at every moment."""
        values = f"lower_limit: {{value: {limit}, reason: Our own interval}}"
        new = tmp_path / "new.yaml"
        new.write_text(f"site: {site} hospital\nrules: {{shared: {{thresholds: {{{values}}}}}}}\n")
        new.replace(file)

    put("First", "0.60")
    app = make_app(site=file)
    body = body_for(app)
    for entry in body["prefetch"]["serum_magnesium"]["entry"]:  # the laboratory's own range would come first
        for name in ("referenceRange", "interpretation"):
            entry["resource"].pop(name, None)

    def answer() -> str:
        found = app.test_client().post(SERVICE, json=body)
        assert found.status_code == 200, found.text
        return re.sub(r'"uuid":"[^"]*"|"id":"[^"]*"', "", found.text)

    alone = {answer()}
    put("Second", "0.70")
    alone.add(answer())
    assert len(alone) == 2, "the two sites' cards differ"

    def turn() -> None:
        for number in itertools.count():
            if stop.wait(0.003):
                return
            put(*(("First", "0.60") if number % 2 else ("Second", "0.70")))

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as callers:
            seen = set(callers.map(lambda _: answer(), range(60)))
    finally:
        stop.set()
        thread.join()
    assert seen <= alone
