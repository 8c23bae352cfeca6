"""A screening that is killed, stopped, or out of disk goes on to the same bytes, and nothing of it is left at work."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.population import hospital
from tests.population.kills import command, killed_and_resumed, parts_of, steps
from tests.population.test_screening import WHOLE, screen
from tests.support.own_disk import OWN_DISK, own_disk


def test_a_screening_killed_at_any_point_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    kills = killed_and_resumed(tmp_path, patients=1500, kills=5, seed=7)
    assert kills == 5
    assert parts_of(tmp_path / "killed") == parts_of(tmp_path / "undisturbed")


def screened_undisturbed(folder: Path) -> None:
    """A hospital in `in`, and its screening in `undisturbed`, for `command` to be compared with."""
    hospital.write(folder / "in", 150, 3, files=4)
    (folder / "key").write_bytes(b"k" * 32)
    subprocess.run(command(folder, "undisturbed"), check=True, capture_output=True)


@pytest.mark.parametrize(("name", "ends_with"), [("SIGINT", 130), ("SIGTERM", -signal.SIGTERM)])
def test_a_screening_that_is_stopped_at_work_goes_on_to_the_same_bytes(
    name: str, ends_with: int, tmp_path: Path
) -> None:
    screened_undisturbed(tmp_path)
    process = subprocess.Popen(command(tmp_path, "stopped"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None and not steps(tmp_path / "stopped"):
        time.sleep(0.01)
    process.send_signal(signal.Signals[name])
    said = process.communicate(timeout=300)[0].decode()
    assert process.returncode == ends_with, said
    assert "Traceback" not in said
    assert name != "SIGINT" or "Stopped. Give the same command again to go on." in said
    assert json.loads((tmp_path / "stopped/screening.json").read_text())["finished"] is False
    assert not (tmp_path / "stopped/report.html").exists()
    subprocess.run(command(tmp_path, "stopped"), check=True, capture_output=True)
    assert parts_of(tmp_path / "stopped") == parts_of(tmp_path / "undisturbed")


FULL = """mount -t tmpfs -o size=$1 none $2 || exit 99
place=$2; shift 2
"$@"; echo "ended with $?"
mount -o remount,size=200m $place
"$@" || exit 98
cp -r $place/. $place-after"""


@own_disk
@pytest.mark.parametrize(
    ("size", "to_do"),
    [("500k", "give the same command again to go on"), ("1m", "write its report with --report-only")],
    ids=["when it tries", "when it reports"],
)
def test_a_screening_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    size: str, to_do: str, tmp_path: Path
) -> None:
    screened_undisturbed(tmp_path)
    (tmp_path / "full").mkdir()
    asked = command(tmp_path, "full/out")
    found = subprocess.run(
        [*OWN_DISK, FULL, "sh", size, str(tmp_path / "full"), *asked], capture_output=True, text=True, check=False
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said
    assert "ended with 1\n" in said
    assert "\nNo space left on device: " in said
    assert to_do in said
    assert "Traceback" not in said
    assert parts_of(tmp_path / "full-after/out") == parts_of(tmp_path / "undisturbed")


def test_charts_and_the_secret_left_by_a_run_that_was_killed_at_its_end_go_when_it_is_asked_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "in.ndjson").write_bytes(WHOLE[0])
    assert screen(tmp_path / "out", tmp_path / "in.ndjson", options=()).exit_code == 0
    (tmp_path / "out" / "work" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "work" / "runs" / "run-00000.arrow").write_bytes(b"charts")
    (tmp_path / "out" / "pseudonym-key").write_bytes(b"k" * 32)
    assert "holds this screening already" in screen(tmp_path / "out", tmp_path / "in.ndjson", options=()).output
    assert not (tmp_path / "out" / "work").exists()
    assert not (tmp_path / "out" / "pseudonym-key").exists()


def test_one_run_at_a_time_writes_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(WHOLE[0])
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = screen(tmp_path / "out", tmp_path / "in.ndjson", options=())
    assert refused.exit_code == 2
    assert "Another run is at work" in refused.output


def test_processes_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    hospital.write(tmp_path / "in", 300, seed=2)
    asked = [*command(tmp_path, "out"), "--processes", "1"]
    (tmp_path / "key").write_bytes(b"k" * 32)
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children: list[int] = []
    until = time.monotonic() + 60
    while not children and time.monotonic() < until:
        time.sleep(0.05)
        children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.wait()
    assert children
    until = time.monotonic() + 30
    while any(is_running(each) for each in children):
        assert time.monotonic() < until
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
