"""How `serve` and `demo` end: at once, without a traceback, and with nothing left behind that answers nobody."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.conformance.calls import clean_environment
from tests.trust.support import HEAD, free_port, running, wait_until

# What callers have sent who hold a thread each: nothing, a part of a head, a part of a body.
UNFINISHED = (b"", HEAD + b"X-A: ", HEAD + b"Content-Length: 1000\r\n\r\n{") * 3
MEMORY = Path("/dev/shm")
GRACE = 15  # seconds, less than a worker has for its last calls when it is asked to stop


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def group_is_gone(leader: int) -> bool:
    """Whether no process of this group is left (of those that have ended, but whose parent has not looked, none is)."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == leader and state not in "ZX":
            return False
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, as Linux has it")
@pytest.mark.parametrize(
    ("kill", "how", "unfinished"),
    [(os.kill, signal.SIGINT, UNFINISHED), (os.killpg, signal.SIGINT, UNFINISHED),
     (os.kill, signal.SIGQUIT, UNFINISHED), (os.kill, signal.SIGKILL, UNFINISHED), (os.kill, signal.SIGTERM, ())],
    ids=["SIGINT", "Ctrl-C", "SIGQUIT", "SIGKILL", "SIGTERM"],
)  # fmt: skip
def test_no_worker_outlives_its_master_whoever_is_still_sending(
    tmp_path: Path, kill: Callable[[int, int], None], how: int, unfinished: tuple[bytes, ...]
) -> None:
    with running(tmp_path, workers=2) as service, ExitStack() as stack:
        for first in unfinished:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10))
            sock.sendall(first)
        assert requests.get(f"{service.url}/healthz", timeout=10).ok
        kill(service.process.pid, how)
        assert service.process.wait(GRACE) == (-how if how == signal.SIGKILL else 0)
        wait_until(lambda: group_is_gone(service.process.pid), GRACE, "a worker is left")
        wait_until(lambda: not accepts(service.port), GRACE, "the port accepts, and nobody answers")
    assert "Traceback" not in service.log.read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, as Linux has it")
@pytest.mark.parametrize("moment", ["loading", "starting", "serving"])
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_ctrl_c_leaves_no_traceback_no_folder_and_no_process(tmp_path: Path, command: str, moment: str) -> None:
    port, log = free_port(), tmp_path / "output"
    with log.open("wb") as output, ExitStack() as stack:
        # In memory where there is some: the service writes what waits before it ends, and a busy disk takes seconds.
        held = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None))
        temporary = Path(held)
        process = subprocess.Popen(
            [sys.executable, "-m", "cds_service", command, "--port", str(port)],
            env=clean_environment() | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        stack.callback(lambda: None if group_is_gone(process.pid) else os.killpg(process.pid, signal.SIGKILL))
        reached = {
            "loading": lambda: "pydantic_core" in Path(f"/proc/{process.pid}/maps").read_text(),
            "starting": lambda: any(temporary.iterdir()),
            "serving": lambda: "Serving" in log.read_text() and accepts(port),
        }
        wait_until(reached[moment], 90, f"not {moment}: {log.read_text()}")
        if moment == "serving":
            for first in UNFINISHED:
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                sock.sendall(first)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(GRACE) in {0, 1, 130, -signal.SIGINT}
        wait_until(lambda: group_is_gone(process.pid), GRACE, "a process is left")
        wait_until(lambda: not accepts(port), GRACE, "the port accepts, and nobody answers")
        assert not list(temporary.iterdir())
    assert "Traceback" not in log.read_text()
    assert "Exception ignored" not in log.read_text()
