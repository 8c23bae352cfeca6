"""Screenings that are killed at any point and gone on with: `python -m tests.population.kills FOLDER --kills 50`."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.population import hospital

NOW = "2026-11-28T12:00:00+0000"


def command(folder: Path, out: str) -> list[str]:
    asked = [sys.executable, "-m", "cds_service", "screen", str(folder / "in"), "--out", str(folder / out)]
    return [*asked, "--now", NOW, "--key", str(folder / "key")]


def killed_and_resumed(folder: Path, *, patients: int, kills: int, seed: int) -> int:
    """Screens a hospital into `undisturbed`, and once more into `killed`, where all processes are killed `kills` times,
    each time after so many further steps and a moment; then it is left to end. One that ends before it is killed is
    begun anew. Gives how many times it was killed at work."""
    luck = random.Random(seed)
    hospital.write(folder / "in", patients, seed, files=4)
    (folder / "key").write_bytes(b"k" * 32)
    subprocess.run(command(folder, "undisturbed"), check=True, capture_output=True)
    done = 0
    for _ in range(4 * kills):
        if done == kills:
            break
        process = subprocess.Popen(
            command(folder, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wanted = steps(folder / "killed") + luck.randrange(4)
        while process.poll() is None and steps(folder / "killed") < wanted:
            time.sleep(0.01)
        time.sleep(luck.uniform(0, 0.5))
        if process.poll() is None:
            # The whole session at once, as a machine does that goes out.
            subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
            process.wait()
            done += 1
        elif process.returncode:
            raise AssertionError(f"ended with {process.returncode}")
        else:
            shutil.rmtree(folder / "killed")
    subprocess.run(command(folder, "killed"), check=True, capture_output=True)
    return done


def steps(out: Path) -> int:
    """How many runs and parts are made."""
    return len(list((out / "work").rglob("*.json")))


def parts_of(out: Path) -> dict[str, bytes]:
    """All Parquet parts."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.parquet"))}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--patients", type=int, default=2000)
    options.add_argument("--kills", type=int, default=50)
    given = options.parse_args()
    done = killed_and_resumed(given.folder, patients=given.patients, kills=given.kills, seed=1)
    same = parts_of(given.folder / "killed") == parts_of(given.folder / "undisturbed")
    print(f"killed {done} times; the results are {'the same' if same else 'OTHERS'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
