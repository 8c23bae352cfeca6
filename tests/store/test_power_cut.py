"""F22: whatever is acknowledged outlives a power cut, at whichever moment it comes.

The system calls of a process that stores feedback are recorded. A disk is then played: what was written to a file since
its last sync may be there, or not, or in part and in any order. The database is opened from every such disk.
"""

import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cds_service.store import Store
from cds_service.store.engine import FILE_NAME
from tests.store.helpers import accepted, card
from tests.support.requires import missing, require

ROOT = Path(__file__).resolve().parents[2]
COMMITS = 8
ACKNOWLEDGED = "acknowledged"
PROGRAM = f"""
import sys
from pathlib import Path
from cds_service.store import Store
from tests.store.helpers import accepted, card
folder = Path(sys.argv[1])
with Store.open(data_dir=folder) as store, (folder / {ACKNOWLEDGED!r}).open("a", buffering=1) as told:
    for number in range({COMMITS}):
        items = [accepted(card(), outcome="overridden", comment="x" * 900 * number) for _ in range(number % 3 + 1)]
        store.record_feedback(items)
        for item in items:
            told.write(item.card + "\\n")
"""
CALL = re.compile(r"^(\d+) +(\w+)\((\d+)<([^>]+)>(.*)\) += (-?\d+)")
HALF = re.compile(r"^(\d+) +(.*?) *<unfinished \.\.\.>$")
REST = re.compile(r"^(\d+) +<\.\.\. \w+ resumed> ?(.*)$")
SYNCS = ("fsync", "fdatasync")


@dataclass(frozen=True)
class Call:
    """One system call on one file: `data` at `at`; for ftruncate the length is `at`."""

    name: str
    file: str
    data: bytes = b""
    at: int = 0


def recorded(folder: Path, log: Path) -> list[Call]:
    """The program's calls on the files of the folder, in the order in which they ended."""
    strace = require("strace", "records what is written and synced", "strace")
    names = "pwrite64,write,writev,pwritev,fsync,fdatasync,ftruncate,fallocate,unlink,unlinkat,rename,renameat,mmap"
    command = [strace, "-f", "-y", "-xx", "-s", "200000", "-e", f"trace={names}", "-o", log]
    for name in (FILE_NAME, f"{FILE_NAME}-journal", f"{FILE_NAME}-wal", ACKNOWLEDGED):
        command += ["-P", folder / name]
    done = subprocess.run([*command, sys.executable, "-c", PROGRAM, folder], cwd=ROOT, capture_output=True, text=True)
    if "ptrace" in done.stderr and not (folder / ACKNOWLEDGED).exists():
        missing("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    return list(read_log(log.read_text()))


def read_log(text: str) -> Iterator[Call]:
    halves: dict[str, str] = {}
    for line in text.splitlines():
        if half := HALF.match(line):
            halves[half[1]] = f"{half[1]} {half[2]}"
            continue
        if rest := REST.match(line):
            line = halves.pop(rest[1]) + rest[2]
        if call := CALL.match(line):
            assert int(call[6]) >= 0, line
            yield read_call(call[2], Path(unquoted(call[4]).decode()).name, call[5].lstrip(", "))
        else:
            assert "+++" in line or "---" in line, f"not understood: {line[:200]}"


def unquoted(text: str) -> bytes:
    """Of strace's `-xx`."""
    return bytes.fromhex(text.replace("\\x", ""))


def read_call(name: str, file: str, rest: str) -> Call:
    if name in SYNCS:
        return Call(name, file)
    if name == "ftruncate":
        return Call(name, file, at=int(rest))
    quoted, _, numbers = rest.rpartition('"')
    data = unquoted(quoted.lstrip('"'))
    sizes = [int(number) for number in numbers.split(",") if number.strip()]
    assert name in ("pwrite64", "write"), f"a call that is not played: {name}"
    assert sizes[0] == len(data), "cut short by strace"
    return Call(name, file, data, sizes[1] if name == "pwrite64" else -1)


@dataclass
class Disk:
    """What is surely there of each file, and what was done since its last sync."""

    synced: dict[str, bytes]
    waiting: dict[str, list[Call]] = field(default_factory=dict)

    def take(self, call: Call) -> None:
        if call.name in SYNCS:
            self.synced[call.file] = played(self.synced.get(call.file, b""), self.waiting.pop(call.file, []))
        else:
            self.waiting.setdefault(call.file, []).append(call)

    def after_a_cut(self, chance: random.Random | None, share: float) -> dict[str, bytes]:
        """The files as the next start finds them: of what was not synced, each call with this likelihood."""
        found = dict(self.synced)
        for file, calls in self.waiting.items():
            kept = [call for call in calls if share == 1 or (chance is not None and chance.random() < share)]
            if chance is not None and share < 1:
                chance.shuffle(kept)
            found[file] = played(found.get(file, b""), kept)
        return found


def played(content: bytes, calls: list[Call]) -> bytes:
    result = bytearray(content)
    for call in calls:
        if call.name == "ftruncate":
            result = result[: call.at].ljust(call.at, b"\0")
            continue
        at = len(result) if call.at < 0 else call.at
        result = result.ljust(at, b"\0")
        result[at : at + len(call.data)] = call.data
    return bytes(result)


def cards_after(files: dict[str, bytes], folder: Path) -> set[str] | None:
    """The cards whose feedback is there when the database is opened from these files; None if it is damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    connection = sqlite3.connect(folder / FILE_NAME)
    try:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return None
        return {row[0] for row in connection.execute("SELECT card FROM feedback")}
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()


def faults_after(calls: list[Call], start: dict[str, bytes], folder: Path) -> list[str]:
    """For each moment and each disk that a cut may then leave: damage, and acknowledged feedback that is not there."""
    disk, acknowledged, faults = Disk(dict(start)), set[str](), []
    for number, call in enumerate(calls):
        if call.file == ACKNOWLEDGED:
            acknowledged |= set(call.data.decode().split())
        else:
            disk.take(call)
        chance = random.Random(number)
        for share in (0.0, 1.0, 0.5):
            there = cards_after(disk.after_a_cut(chance, share), folder)
            if there is None or acknowledged - there:
                faults.append(f"call {number}, {share:.0%}: {'damaged' if there is None else 'lost'}")
    return faults


@pytest.fixture
def recording(tmp_path: Path) -> tuple[list[Call], dict[str, bytes]]:
    folder = tmp_path / "data"
    with Store.open(data_dir=folder) as store:
        store.record_feedback([accepted(card())])
    names = (FILE_NAME, f"{FILE_NAME}-journal", f"{FILE_NAME}-wal")
    start = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    return recorded(folder, tmp_path / "calls"), start


def test_f22_what_is_acknowledged_is_there_after_a_cut_at_any_moment(
    recording: tuple[list[Call], dict[str, bytes]], tmp_path: Path
) -> None:
    calls, start = recording
    assert sum(call.file == ACKNOWLEDGED for call in calls) == sum(number % 3 + 1 for number in range(COMMITS))
    assert sum(call.name in SYNCS for call in calls) >= 2 * COMMITS
    assert faults_after(calls, start, tmp_path / "cut") == []


def test_f22_a_disk_that_does_not_sync_is_found_out(
    recording: tuple[list[Call], dict[str, bytes]], tmp_path: Path
) -> None:
    calls, start = recording
    faults = faults_after([call for call in calls if call.name not in SYNCS], start, tmp_path / "cut")
    assert any("lost" in fault for fault in faults), "else the test above could not fail"
