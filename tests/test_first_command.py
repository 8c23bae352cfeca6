"""What the README says to type first, typed as it stands there, in a copy of the project."""

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAIN_JOB = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/magnesium-cds demo"
TESTS = "python3 tests/run.py"
SHOWN_WITHIN = 400.0  # seconds: it downloads what the service needs


def test_readme_holds_both_commands() -> None:
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    assert MAIN_JOB in lines
    assert TESTS in lines


def test_first_command_shows_cards_and_keeps_serving(tmp_path: Path) -> None:
    leave_out = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "node_modules", "tests", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "project", ignore=leave_out)
    shutil.copytree(ROOT / "tests" / "scenarios", tmp_path / "project" / "tests" / "scenarios")  # they ship
    log = tmp_path / "output"
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSAFEPATH"}}
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", MAIN_JOB],
            cwd=tmp_path / "project",
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + SHOWN_WITHIN
        while "Serving until" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"no cards: exit {process.poll()}\n{log.read_text()[-6000:]}")
            time.sleep(0.5)
        said = log.read_text()
        assert re.search(r"magnesium .*evidence: (high|moderate|low|very low)", said, re.IGNORECASE), said[-6000:]
        address = re.search(r"http://127\.0\.0\.1:\d+(?=/cds-services)", said)
        assert address
        with urllib.request.urlopen(f"{address.group()}/healthz", timeout=10) as answer:
            assert answer.status == 200
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        assert process.wait(30) in {0, 130, -signal.SIGINT}, log.read_text()[-6000:]
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{address.group()}/healthz", timeout=10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
