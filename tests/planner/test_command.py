"""`magnesium-cds plan`: text, JSON and pictures from a question, a hook request and a Bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.planner import picture
from tests.conformance.calls import run_cli
from tests.test_accepting import order

HOURLY = [f"{hour:02d}:00" for hour in range(24)]
QUESTION = {
    "magnesium": {"dosesPerDay": 1},
    "medications": [
        {"name": "levothyroxine", "times": ["07:00"]},
        {"name": "Cipro", "times": ["08:00", "20:00"]},
        {"name": "no such drug", "times": ["09:00"]},
    ],
}


def save(folder: Path, document: Any) -> Path:
    file = folder / "question.json"
    file.write_text(json.dumps(document), "utf-8")
    return file


@pytest.fixture
def request_(app: Flask, content: Content) -> dict[str, Any]:
    """A hook request with levothyroxine, ciprofloxacin and a draft of magnesium oxide."""
    drugs = [{"drug": "levothyroxine", "at": ["07:00"]}, {"drug": "ciprofloxacin", "times": 2}]
    return order(content, app.test_client(), drugs, ["magnesium_oxide"])


def test_a_question_is_answered_as_text_and_drawn(tmp_path: Path) -> None:
    svg, png = tmp_path / "day.svg", tmp_path / "day.png"
    done = run_cli("plan", save(tmp_path, QUESTION), "--svg", svg, "--png", png)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    # (03:00, 11:00), (02:00, 10:00), (14:00, 22:00): free from 11:00 to 14:00.
    assert lines[:2] == ["When to take magnesium", "  Every day: 12:30"]
    assert "  12:30  Magnesium (with lunch)" in lines
    assert "  1 not recognised: no such drug" in lines
    assert any(line.startswith("  ciprofloxacin: magnesium at least 2 h after it and 6 h before it") for line in lines)
    assert ElementTree.parse(svg).getroot().get("role") == "img"
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    assert int.from_bytes(data[16:20], "big") == 2 * picture.WIDE.width


def test_without_its_extra_a_png_is_refused_with_what_to_install(tmp_path: Path) -> None:
    without = "import sys; sys.modules['resvg_py'] = None; from cds_service.cli import main; main()"
    png = tmp_path / "day.png"
    command = [sys.executable, "-c", without, "plan", str(save(tmp_path, QUESTION)), "--png", str(png)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, png.exists()) == (69, "", False)
    assert "pip install '.[png]'" in done.stderr and "Traceback" not in done.stderr


def test_the_json_is_that_of_the_api_without_an_address(tmp_path: Path, app: Flask) -> None:
    done = run_cli("plan", save(tmp_path, QUESTION), "--json")
    answer = app.test_client().post("/plan", json=QUESTION).json
    del answer["link"]
    assert json.loads(done.stdout) == answer


def test_a_hook_request_is_planned_from_its_orders(tmp_path: Path, request_: dict[str, Any]) -> None:
    done = run_cli("plan", save(tmp_path, request_))
    assert done.returncode == 0, done.stderr
    assert "  Every day: 12:30\n" in done.stdout
    assert "  08:00  ciprofloxacin (time assumed: twice a day)\n" in done.stdout


def test_a_bundle_is_planned_from_its_orders(tmp_path: Path, request_: dict[str, Any]) -> None:
    entries = [{"resource": request_["prefetch"]["patient"]}]
    entries += request_["prefetch"]["medications"]["entry"] + request_["context"]["draftOrders"]["entry"]
    done = run_cli("plan", save(tmp_path, {"resourceType": "Bundle", "type": "collection", "entry": entries}))
    assert done.returncode == 0, done.stderr
    assert "  Every day: 12:30\n" in done.stdout


def test_a_day_without_room_says_what_could_be_done_instead(tmp_path: Path) -> None:
    # Moxifloxacin at 14:00: (06:00, 18:00); doxycycline: (05:00, 11:00), (17:00, 23:00). With doxycycline half an hour
    # earlier, 19:30 reaches to 22:30, which is free.
    medications = [{"name": "moxifloxacin", "times": ["14:00"]}, {"name": "doxycycline", "times": ["08:00", "20:00"]}]
    done = run_cli("plan", save(tmp_path, {"medications": medications}))
    assert done.returncode == 0
    assert "  No time fits: moxifloxacin and doxycycline leave no room for 1 dose a day\n" in done.stdout
    assert "  1. doxycycline from 08:00 to 07:30 and from 20:00 to 19:30, if its own" in done.stdout


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"medication": []}, "medications"),
        ({"medications": [], "waking": ["06:00", "05:00"]}, "the night is shorter"),
        ({"resourceType": "Bundle", "entry": []}, "0 Patient resources"),
        ([], "not a question"),
        ({"medications": [{"name": "levothyroxine", "times": HOURLY}] * 3}, "500 doses in a week"),
    ],
    ids=["unknown member", "night too short", "no patient", "a list", "too many doses"],
)
def test_what_cannot_be_planned_is_refused_with_the_reason(document: Any, said: str, tmp_path: Path) -> None:
    done = run_cli("plan", save(tmp_path, document))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_orders_without_a_conflict_leave_nothing_to_plan(tmp_path: Path, request_: dict[str, Any]) -> None:
    request_["prefetch"]["medications"]["entry"] = []
    done = run_cli("plan", save(tmp_path, request_))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no medicine here" in done.stderr


def test_a_picture_that_cannot_be_written_is_exit_73(tmp_path: Path) -> None:
    done = run_cli("plan", save(tmp_path, QUESTION), "--svg", tmp_path / "no-such-folder" / "day.svg")
    assert done.returncode == 73 and "no-such-folder" in done.stderr


def test_a_sites_own_day_can_be_tried(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("site: Test hospital\nschedule:\n  lunch: {value: '13:15', reason: Meals on our wards}\n", "utf-8")
    done = run_cli("plan", save(tmp_path, QUESTION), "--site", site)
    assert "  Every day: 13:15\n" in done.stdout


def test_no_day_is_planned_where_something_may_speak_against_magnesium(
    tmp_path: Path, request_: dict[str, Any]
) -> None:
    request_["prefetch"]["conditions"] = {"resourceType": "Bundle", "total": 1, "entry": []}
    done = run_cli("plan", save(tmp_path, request_))
    assert (done.returncode, done.stdout) == (1, "")
    assert "a reason against magnesium may be hidden: problem list arrived incomplete" in done.stderr
