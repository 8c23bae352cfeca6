"""An EHR with keys, calls of it, and a service that knows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from jwt.algorithms import RSAAlgorithm

from cds_service.advice.needs import needs_of
from cds_service.commands.running import hook_request
from cds_service.sandbox import patients
from cds_service.sandbox.mock_ehr import Signer
from cds_service.trust.clients import written

Json = dict[str, Any]
BASE = "https://cds.example"
ISSUER = "https://ehr.example/fhir"
SERVICE = "/cds-services/magnesium-patient-view"
DISCOVERY = "/cds-services"
FEEDBACK = SERVICE + "/feedback"
HEAD = f"POST {SERVICE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
PATIENT = "low-magnesium"
SANDBOX_JWK = {
    "kty": "EC", "use": "sig", "crv": "P-384", "kid": "44823f3d-0b01-4a6c-a80e-b9d3e8a7226f",
    "x": "dw_JGR8nB2I6XveNxUOl2qk699ZPLM2nYI5STSdiEl9avAkrm3CkfYMbrrjr8laB",
    "y": "Sm3mLE-n1zYNla_aiE3cb3nZsL51RbC7ysw3q8aJLxGm-hx79RPMYpITDjp7kgzy", "alg": "ES384",
}  # fmt: skip
MARK = "zq7mark"


def client_entry(signer: Signer, **changes: Any) -> Json:
    """A client with this signer's key pinned."""
    return {"name": "ehr", "issuer": signer.issuer, "jwks": [signer.public()]} | changes


def clients_file(folder: Path, *entries: Json) -> Path:
    path = folder / "clients.toml"
    path.write_text("\n".join(map(written, entries)), encoding="utf-8")
    return path


def rsa_pair(bits: int = 2048) -> tuple[rsa.RSAPrivateKey, Json]:
    key = rsa.generate_private_key(65537, bits)
    return key, dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))


def body_for(app: Flask, **changes: Any) -> Json:
    """A patient-view call with everything in its prefetch, for the sample patient with low magnesium."""
    advisor = app.extensions["advisor"]
    now = advisor.now()
    service = SERVICE.rpartition("/")[2]
    templates = {key: need.template for key, need in needs_of(advisor.current.on(now.date()), service).items()}
    return hook_request(patients.load()[PATIENT], "patient-view", templates, now) | changes


def bare_body(**changes: Any) -> Json:
    """A patient-view call without prefetch."""
    context = {"userId": "Practitioner/example", "patientId": PATIENT}
    return {"hook": "patient-view", "hookInstance": str(uuid4()), "context": context} | changes


def context(**changes: Any) -> Json:
    """A patient-view call without prefetch, with these changes of its context."""
    body = bare_body()
    return body | {"context": body["context"] | changes}


def states(answer: Json) -> dict[str, str]:
    """Outcome by rule."""
    return {item["rule"]: item["outcome"] for item in answer["extension"]["org.magnesium-cds"]["outcomes"]}


def inputs(answer: Json) -> dict[str, str]:
    """State by input."""
    return dict(answer["extension"]["org.magnesium-cds"].get("inputs", {}))


def reasons(answer: Json) -> str:
    """Why rules were not evaluated, all in one text."""
    listed = answer["extension"]["org.magnesium-cds"]["outcomes"]
    return "; ".join(item.get("reason", "") for item in listed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A running service, as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


@contextmanager
def running(folder: Path, port: int | None = None, open_files: int | None = None, **settings: Any) -> Iterator[Service]:
    """`magnesium-cds serve` with these settings (by environment), ready when entered; `open_files` limits its own."""
    chosen = port or free_port()
    values = {"data_dir": folder, "port": chosen, "workers": 1, **settings}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAGNESIUM_CDS_")}
    environment |= {f"MAGNESIUM_CDS_{key.upper()}": str(value) for key, value in values.items()}
    log = folder / f"serve-{uuid4().hex[:6]}.log"
    command = [sys.executable, "-m", "cds_service", "serve"]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -S -n {open_files}; exec "$@"', "sh", *command]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stderr=output, stdout=output, start_new_session=True)
    service = Service(process, chosen, log)
    try:
        wait_until(lambda: _ready(service), 40, f"the service did not start: {log.read_text()}")
        yield service
    finally:
        service.stop()


def _ready(service: Service) -> bool:
    assert service.process.poll() is None, service.log.read_text()
    try:
        return requests.get(f"{service.url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def wait_until(true: Callable[[], bool], seconds: float, text: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, text
        time.sleep(0.05)


def log_events(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def raw(service: Service, data: bytes, wait: float = 5, more: Callable[[socket.socket], None] | None = None) -> bytes:
    """What the service says to these bytes, until it closes or `wait` seconds are over."""
    with socket.create_connection(("127.0.0.1", service.port), wait) as sock:
        with suppress(TimeoutError, ConnectionError):
            sock.sendall(data)
            if more:
                more(sock)
        return heard(sock, wait)


def heard(sock: socket.socket, wait: float) -> bytes:
    """What comes until the other side closes, or says nothing for `wait` seconds."""
    sock.settimeout(wait)
    said = b""
    with suppress(TimeoutError, ConnectionError):
        while part := sock.recv(65_536):
            said += part
    return said


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.") else 0


def alive(service: Service) -> bool:
    return requests.get(service.url + DISCOVERY, timeout=5).status_code == 200
