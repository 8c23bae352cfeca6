"""Servers for the benchmarks: started together, called over one kept connection each, measured from /proc."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 90.0
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """As where it is installed: Python keeps what it compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class Server:
    """A service in a child process. `cold` is the time in s from its start to its first card; `first` are the times in
    ms of its first calls; `token` makes one for each call, which is not timed."""

    name: str
    path: str
    command: Sequence[str]
    port: int
    cold: float = 0.0
    first: list[float] = field(default_factory=list)
    token: Callable[[], str] | None = None
    _child: subprocess.Popen[bytes] | None = None
    _connection: http.client.HTTPConnection | None = None
    _seen: dict[int, int] = field(default_factory=dict)

    def start(self, body: bytes) -> None:
        """Start and call until there is a card. Raises RuntimeError with the end of its log if none comes."""
        with tempfile.TemporaryFile() as log:
            before = time.perf_counter()
            self._child = subprocess.Popen(self.command, stdout=log, stderr=log, env=_environment())
            while True:
                try:
                    # gunicorn listens long before its worker answers: the first call is timed once there is one.
                    self.get("/")
                    break
                except OSError:
                    if self._child.poll() is not None or time.perf_counter() - before > START_SECONDS:
                        log.seek(0)
                        raise RuntimeError(f"{self.name}: {log.read()[-2000:].decode(errors='replace')}") from None
                    time.sleep(0.005)
            self.first.append(self.call(body))
            self.cold = time.perf_counter() - before

    def connect(self) -> http.client.HTTPConnection:
        """A new connection: servers close those that were idle for some seconds."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.connect()
        except OSError:
            connection.close()
            raise
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        return connection

    def call(self, body: bytes) -> float:
        """Milliseconds from sending to the last byte of the answer. Raises RuntimeError unless it holds a card."""
        return self._timed(self._connection or self.connect(), body)

    def call_from(self, callers: int, bodies: Sequence[bytes]) -> list[float]:
        """The times of `bodies`, sent by that many callers at once, each over a connection of its own."""
        waiting = iter(bodies)

        def caller(_: int) -> list[float]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                # An iterator over a list hands each entry to one thread.
                return [self._timed(connection, body) for body in waiting]
            finally:
                connection.close()

        with ThreadPoolExecutor(callers) as pool:
            return [took for found in pool.map(caller, range(callers)) for took in found]

    def _timed(self, connection: http.client.HTTPConnection, body: bytes) -> float:
        headers = HEADERS | ({"Authorization": f"Bearer {self.token()}"} if self.token else {})
        before = time.perf_counter()
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        took = (time.perf_counter() - before) * 1000
        if response.status != 200 or b'"summary"' not in answer:
            raise RuntimeError(f"{self.name}: {response.status} {answer[:300]!r}")
        return took

    def get(self, path: str) -> bytes:
        """The body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def cpu_ms(self) -> float:
        """Processor time of all its processes since this was last asked, in ms."""
        now = {
            int(task.name): int((task / "schedstat").read_text().split()[0])
            for process in self._processes()
            for task in Path(f"/proc/{process}/task").iterdir()
        }
        spent = sum(used - self._seen.get(task, 0) for task, used in now.items())
        self._seen = now
        return spent / 1e6

    def memory_mb(self) -> list[float]:
        """Resident memory of each process, largest first."""
        sizes = []
        for process in self._processes():
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            sizes += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
        return sorted(sizes, reverse=True)

    def stop(self) -> None:
        """End it."""
        if self._connection is not None:
            self._connection.close()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(15)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _processes(self) -> list[int]:
        assert self._child is not None
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                parents.setdefault(parent, []).append(int(entry.name))
        found, waiting = [], [self._child.pid]
        while waiting:
            found.append(waiting.pop())
            waiting += parents.get(found[-1], [])
        return found


def ours(data_dir: Path, *more: str) -> Server:
    """`magnesium-cds serve` with one worker."""
    port = free_port()
    command = [sys.executable, "-m", "cds_service", "serve", "--port", str(port), "--workers", "1"]
    command += ["--data-dir", str(data_dir), *more]
    return Server("ours", "/cds-services/magnesium-patient-view", command, port)


def floor() -> Server:
    """A static card under the same server."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.floor", str(port)]
    return Server("floor", "/cds-services/magnesium-patient-view", command, port)


def peer(python: Path) -> Server:
    """HealthChain in its own environment."""
    port = free_port()
    command = [str(python), str(Path(__file__).with_name("peer.py")), str(port)]
    return Server("peer", "/cds/cds-services/magnesium-patient-view", command, port)


def peer_python(folder: Path, requirement: str) -> Path | None:
    """The interpreter of an environment with the peer, made if need be; None, and said, where it cannot be had."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if subprocess.run([str(python), "-c", "import healthchain"], capture_output=True).returncode == 0:
        return python
    done = subprocess.run([str(python), "-m", "pip", "install", "-q", requirement], capture_output=True, text=True)
    if done.returncode:
        print(f"No peer: {requirement} cannot be installed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return python


def load() -> str:
    """The machine's load, for the report."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
