"""A standalone cluster of Spark on this machine: a master and two worker processes, each with one core."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pyspark

HOME = Path(pyspark.__file__).parent
START_SECONDS = 300


class Cluster:
    """A master and its workers, whose executors run `python`."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self._folder, self._processes = folder, list[subprocess.Popen[bytes]]()
        self._port, self._page = free_port(), free_port()
        self.master = f"spark://127.0.0.1:{self._port}"
        self._start("Master", "--port", str(self._port), "--webui-port", str(self._page))
        self.workers = [self.add_worker() for _ in range(workers)]
        self._wait(workers)

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more worker process, which runs executors of one core."""
        words = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(self._folder / "work")]
        return self._start("Worker", *words, self.master)

    def _start(self, what: str, *words: str) -> subprocess.Popen[bytes]:
        name = f"org.apache.spark.deploy.{what.lower()}.{what}"
        env = os.environ | {"SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        env |= {"SPARK_LOCAL_DIRS": str(self._folder / "scratch")}
        with (self._folder / f"{what}-{len(self._processes)}.log").open("wb") as log:
            command = [HOME / "bin/spark-class", name, "--host", "127.0.0.1", *words]
            made = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self._processes.append(made)
        return made

    def told(self) -> dict[str, object]:
        """What the master says of itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=5) as answer:
            told: dict[str, object] = json.load(answer)
        return told

    def _wait(self, workers: int) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                if self.told()["aliveworkers"] == workers:
                    return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.2)
        self.close()
        raise AssertionError(f"no cluster in {START_SECONDS} s: see {self._folder}")

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port
