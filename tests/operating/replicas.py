"""Two replicas in profile production, PostgreSQL, and nginx with TLS: as compose.postgres.yaml, but processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from cds_service.commands.running import hook_request
from cds_service.sandbox import patients
from cds_service.sandbox.mock_ehr import Signer
from tests.support.proxy import KINDS, proxy
from tests.support.requires import require
from tests.trust.support import DISCOVERY, PATIENT, SERVICE, client_entry, clients_file, free_port, wait_until

ROOT = KINDS.parents[1]
KEY = "0123456789abcdef0123456789abcdef"
STARTED_WITHIN = 60.0
STOPPED_WITHIN = 30.0


def make_certificate(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run docker/nginx/make-certificate.sh as compose.yaml does."""
    require("openssl", "makes a certificate", "openssl")
    command = ["sh", str(KINDS / "make-certificate.sh"), str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@dataclass
class Replica:
    """One service, which can be started again on its port."""

    name: str
    folder: Path
    settings: dict[str, Any]
    code: Path | None = None  # of another version, in place of this one
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def environment(self) -> dict[str, str]:
        """Its settings, as variables."""
        values = {**self.settings, "instance": self.name, "port": self.port, "log_level": "WARNING"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAGNESIUM_CDS_")}
        return kept | {f"MAGNESIUM_CDS_{name.upper()}": str(value) for name, value in values.items()}

    def command(self, *asked: str) -> str:
        """What a command that is given these settings prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cds_service", *asked], env=self.environment(), cwd=ROOT, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def held(self) -> tuple[int, int, int]:
        """Bytes, open files and threads of its processes; what several share is counted once."""
        assert self.process is not None
        memory = files = threads = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) != self.process.pid:
                    continue
                rows = (folder / "smaps_rollup").read_text().splitlines()
                memory += 1024 * next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
                files += len(list((folder / "fd").iterdir()))
                threads += len(list((folder / "task").iterdir()))
            except (OSError, StopIteration):
                continue  # it has just ended
        return memory, files, threads

    def start(self, wait: bool = True) -> None:
        kept = self.environment()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cds_service", "serve"], env=kept, cwd=self.code or ROOT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        if wait:
            wait_until(self.ready, STARTED_WITHIN, f"{self.name} did not start: {self.log.read_text()}")

    def ready(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """As `docker stop` does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOPPED_WITHIN) == 0, self.log.read_text()

    def kill(self) -> None:
        """The whole of it at once, as a machine that fails."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Hospital:
    """Replicas, the proxy's address, and an EHR that calls it."""

    def __init__(self, replicas: Sequence[Replica], base: str, signer: Signer, certificate: Path) -> None:
        self.replicas = list(replicas)
        self.base = base
        self.signer = signer
        self.certificate = certificate

    def session(self) -> requests.Session:
        session = requests.Session()
        session.verify = str(self.certificate)
        session.trust_env = False  # where the machine names certificates of its own, they would win
        return session

    def token(self, path: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.signer.token(self.base + path)}"}

    def body(self) -> dict[str, Any]:
        """A call on patient-view for the sample patient with a low magnesium, its prefetch complete."""
        answer = self.session().get(self.base + DISCOVERY, headers=self.token(DISCOVERY), timeout=20)
        assert answer.status_code == 200, answer.text
        (service,) = (one for one in answer.json()["services"] if one["hook"] == "patient-view")
        return hook_request(patients.load()[PATIENT], "patient-view", service["prefetch"], datetime.now(UTC))


@contextmanager
def hospital(
    folder: Path, database: Sequence[str], code: Path | None = None, workers: int = 1, **settings: Any
) -> Iterator[Hospital]:
    """As many replicas as database URLs are given, two at most, each with its own; started, and stopped at the end.

    `code` is a folder with another version of the service, which the replicas then run.
    """
    certificates = folder / "certificates"
    certificates.mkdir()
    made = make_certificate(certificates)
    assert made.returncode == 0, made.stderr
    key = folder / "magnesium-cds.key"
    key.write_text(KEY)
    ports = [free_port() for _ in database]
    places = tuple(f"127.0.0.1:{port}" for port in ports)
    with proxy(places if len(places) == 2 else places[0], folder, certificates) as port:  # type: ignore[arg-type]
        base = f"https://localhost:{port}"
        signer = Signer("https://ehr.example/fhir")
        shared = {
            "profile": "production", "public_url": base, "key_file": key, "workers": workers, "trusted_proxies": 1,
            "clients": clients_file(folder, client_entry(signer)), "client_rate": 100_000, "address_rate": 100_000,
            "watch": "false", **settings,
        }  # fmt: skip
        replicas = []
        for number, (url, chosen) in enumerate(zip(database, ports, strict=True), 1):
            own = folder / f"replica-{number}"
            own.mkdir()
            if code is not None:  # versions before the setting key_file read it here
                (own / "hash-key-0001").write_text(KEY)
            values = {**shared, "data_dir": own, **({"database": url} if url else {})}
            replicas.append(Replica(f"replica-{number}", folder, values, code, chosen))
        try:
            for replica in replicas:
                replica.start()
            yield Hospital(replicas, base, signer, certificates / "tls.crt")
        finally:
            for replica in replicas:
                replica.kill()


class Callers:
    """Threads that call through the proxy, each with a new token for each call, and what they were told.

    What a caller is told is a status, the name of an error, or "no card": 200 without the card that this patient has.
    """

    def __init__(self, place: Hospital, count: int = 3, pause: float = 0.0, keep: bool = True) -> None:
        self.place = place
        self.body = place.body()
        self.pause = pause
        self.keep = keep  # the connection, from call to call
        self.told: Counter[int | str] = Counter()
        self.failed: list[tuple[float, int | str]] = []
        self.slowest = 0.0
        self.began = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        http = self.place.session()
        while not self._stopped.is_set():
            started = time.monotonic()
            told: int | str
            try:
                headers = self.place.token(SERVICE) | ({} if self.keep else {"Connection": "close"})
                answer = http.post(self.place.base + SERVICE, json=self.body, headers=headers, timeout=20)
                told = answer.status_code
                if told == 200 and "Low magnesium" not in answer.text:
                    told = "no card"
            except requests.RequestException as error:
                told, http = type(error).__name__, self.place.session()
            ended = time.monotonic()
            with self._lock:
                self.told[told] += 1
                self.slowest = max(self.slowest, ended - started)
                if told != 200:
                    self.failed.append((round(ended - self.began, 2), told))
            if self.pause:
                self._stopped.wait(self.pause)

    def wait_for(self, more: int, seconds: float = 60.0) -> None:
        """Until so many more calls are answered with the card."""
        wanted = self.told[200] + more
        wait_until(lambda: self.told[200] >= wanted, seconds, f"no further calls are answered: {self.told}")

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)


MIGRATION = '''"""What a later version needs."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{next}", "{last}", None, None


def upgrade() -> None:
    op.create_table("of_a_later_version", sa.Column("name", sa.String(100), primary_key=True))
    op.add_column("feedback", sa.Column("of_a_later_version", sa.String(100)))
'''


def other_version(folder: Path, commit: str = "") -> Path:
    """The folder of another version of the service: of a commit, or without one of a later version than this, which
    has one more migration."""
    if commit:
        folder.mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract", f"--directory={folder}"], input=archive, check=True)
        shutil.copytree(folder / "cards", folder / "cds_service/cards")
        shutil.copytree(folder / "tests/scenarios", folder / "cds_service/scenarios")
        shutil.rmtree(folder / "tests")
        return folder
    shutil.copytree(ROOT / "cds_service", folder / "cds_service")
    shutil.copytree(ROOT / "cards", folder / "cds_service/cards")
    shutil.copytree(ROOT / "tests/scenarios", folder / "cds_service/scenarios")
    versions = folder / "cds_service/store/migrations/versions"
    last = max(path.name[:4] for path in versions.glob("0*.py"))
    later = f"{int(last) + 1:04}"
    (versions / f"{later}_later.py").write_text(MIGRATION.format(next=later, last=last))
    return folder
