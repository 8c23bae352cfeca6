"""Calls as an EHR makes them: through the app's HTTP client, or to a service that runs as its own process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import requests
import structlog
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.sandbox import patients
from cds_service.sandbox.search import prefetch
from tests.conftest import NOW

EXTENSION = "org.magnesium-cds"
ROOT = Path(__file__).resolve().parents[2]
Body = dict[str, Any]


def services(client: FlaskClient) -> dict[str, Body]:
    """What discovery says, by hook."""
    answer = client.get("/cds-services")
    assert answer.status_code == 200
    return {item["hook"]: item for item in json.loads(answer.data)["services"]}


def sample_call(client: FlaskClient, patient: str, hook: str = "patient-view", *drafts: str, **more: Any) -> Body:
    """The call of `hook` for a sample patient, with complete prefetch. `more` replaces members of the body."""
    sample = patients.load()[patient]
    templates = services(client)[hook]["prefetch"]
    context: Body = {"patientId": sample.id, "userId": f"Practitioner/{uuid4()}"}
    if hook != "patient-view":
        context |= sample.draft_context(NOW, *drafts)
        if hook == "order-sign":
            del context["selections"]
    filled = prefetch(sample.resources(NOW), templates, {"patientId": sample.id})
    return {"hook": hook, "hookInstance": str(uuid4()), "context": context, "prefetch": filled} | more


def every_sample_call(client: FlaskClient) -> Iterator[tuple[str, Body]]:
    """Every sample patient on every hook that has something to say, and a few more, each with a name for it."""
    for name, sample in patients.load().items():
        for hook in services(client):
            if hook == "patient-view" or sample.drafts:
                yield f"{name} on {hook}", sample_call(client, name, hook)
    yield "a severely low result on patient-view", severe_call(client)
    for hook in services(client):
        yield f"a young woman on {hook}", young_woman_call(client, hook)
        yield f"a hospital stay on {hook}", inpatient_call(client, hook)
        yield f"a mother on {hook}", mother_call(client, hook)
        yield f"a mother after an infusion on {hook}", mother_call(client, hook, ended=True)


def severe_call(client: FlaskClient) -> Body:
    """The call for a patient whose newest magnesium is 0.38 mmol/L."""
    body = sample_call(client, "low-magnesium")
    body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["valueQuantity"]["value"] = 0.38
    return body


def young_woman_call(client: FlaskClient, hook: str = "patient-view") -> Body:
    """The call for a woman of thirty whose newest magnesium is 0.58 mmol/L, digoxin drafted on the order hooks."""
    body = sample_call(client, "low-magnesium", hook)
    body["prefetch"]["patient"] |= {"gender": "female", "birthDate": "1996-03-01"}
    for entry in body["context"].get("draftOrders", {}).get("entry", []):
        coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "3407"}
        entry["resource"]["medicationCodeableConcept"] = {"coding": [coding], "text": "digoxin"}
    return body


def inpatient_call(client: FlaskClient, hook: str = "patient-view") -> Body:
    """The call for the patient with low magnesium during a hospital stay, digoxin drafted on the order hooks."""
    body = young_woman_call(client, hook)
    body["prefetch"]["patient"]["birthDate"] = "1968-03-04"
    body["context"]["encounterId"] = "stay"
    body["prefetch"]["encounter"] = {
        "resourceType": "Encounter",
        "id": "stay",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": "Patient/low-magnesium"},
    }
    return body


def mother_call(client: FlaskClient, hook: str = "patient-view", ended: bool = False) -> Body:
    """The call for a pregnant woman with magnesium 3.0 mmol/L, magnesium drafted on the order hooks; `ended`: an order
    for an infusion of ten hours ago is over."""
    body = young_woman_call(client, hook)
    newest = body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]
    newest["valueQuantity"]["value"] = 3.0
    newest["effectiveDateTime"] = (NOW - timedelta(hours=1)).isoformat()
    subject = {"reference": "Patient/low-magnesium"}
    code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "Z33.1"}]}
    active = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
    pregnant = {"resourceType": "Condition", "id": "mother", "clinicalStatus": active, "code": code, "subject": subject}
    body["prefetch"]["conditions"].setdefault("entry", []).append({"resource": pregnant})
    infusion = {"text": "Magnesium sulfate 1 g/h infusion"}
    order = {"resourceType": "MedicationRequest", "id": "over", "status": "completed", "intent": "order"}
    order |= {"medicationCodeableConcept": infusion, "subject": subject}
    order |= {"authoredOn": (NOW - timedelta(hours=10)).isoformat(), "dosageInstruction": [{"route": {"text": "iv"}}]}
    if ended:
        body["prefetch"]["ended_medications"]["entry"] = [{"resource": order}]
    for entry in body["context"].get("draftOrders", {}).get("entry", []):
        entry["resource"]["medicationCodeableConcept"] = {"text": "Magnesium oxide 400 mg tablet"}
    return body


def post(client: FlaskClient, body: Any, hook: str | None = None, **headers: str) -> TestResponse:
    """POST a call to the service of its hook; `body` may be bytes."""
    named = hook or body["hook"]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = headers.pop("content_type", "application/json")
    return client.post(f"/cds-services/magnesium-{named}", data=data, content_type=kind, headers=headers)


def answered(client: FlaskClient, body: Body, hook: str | None = None) -> Body:
    """The answer to a call that must succeed."""
    response = post(client, body, hook)
    assert response.status_code == 200, response.json
    answer: Body = json.loads(response.data)
    return answer


def own(answer_or_card: Body) -> Body:
    """Our extension of an answer or a card."""
    found: Body = answer_or_card["extension"][EXTENSION]
    return found


def outcome(answer: Body, rule: str) -> Body:
    """The outcome of one rule."""
    found: Body = next(item for item in own(answer)["outcomes"] if item["rule"] == rule)
    return found


def problem(response: TestResponse, status: int) -> list[Body]:
    """The issues of a refusal, which must be an OperationOutcome with this status that nobody may cache."""
    assert response.status_code == status, response.get_data(as_text=True)[:500]
    assert response.mimetype == "application/fhir+json"
    assert response.headers["Cache-Control"] == "no-store"
    body = json.loads(response.data)
    assert body["resourceType"] == "OperationOutcome"
    issues: list[Body] = body["issue"]
    assert issues
    for issue in issues:
        assert {"severity", "code", "details"} <= issue.keys()
    return issues


def places(issues: list[Body]) -> list[str]:
    """Where the faults are."""
    return [place for issue in issues for place in issue.get("expression", [])]


def in_production(make_app: Callable[..., Flask], **settings: Any) -> Flask:
    """A service in production with one client, which never calls here."""
    clients = Path(str(make_app().extensions["advisor"].settings.data_dir)) / "clients.toml"
    clients.write_text('[[clients]]\nname = "a"\nissuer = "https://a.example"\njku = ["https://a.example/k"]\n')
    return make_app(profile="production", public_url="https://cds.example", clients=clients, **settings)


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value of a JSON document with its path, containers included."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, index))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def run_cli(
    *arguments: str | Path, stdin: str | None = None, timeout: float = 90, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`magnesium-cds ...` as its own process. `env`: what its environment holds besides."""
    command = [sys.executable, "-m", "cds_service", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=ROOT,
        env=clean_environment() | dict(env or {}),
    )  # fmt: skip


def invoke(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """As `run_cli`, within this process, which is faster: for commands that end by themselves.

    A fault that is not caught gives exit code 1 and its traceback on stderr, as it would there.
    """
    from cds_service.cli import main

    # The logs of the tests' own process stay as they are, and none of them mixes with what the command writes.
    with ExitStack() as kept:
        for command in ("evaluate", "plan", "why"):
            kept.enter_context(patch(f"cds_service.commands.{command}.configure"))
        kept.enter_context(structlog.testing.capture_logs())
        done = CliRunner().invoke(main, [str(word) for word in arguments], input=stdin, env={"COLUMNS": "200"})
    trouble = done.exc_info if done.exception and not isinstance(done.exception, SystemExit) else None
    stderr = done.stderr + ("".join(traceback.format_exception(*trouble)) if trouble else "")
    return subprocess.CompletedProcess(list(arguments), done.exit_code, done.stdout, stderr)


def clean_environment() -> dict[str, str]:
    """The environment without settings of the machine that the tests run on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAGNESIUM_CDS_")}
    return kept | {"COLUMNS": "200", "NO_COLOR": "1"}


@dataclass
class Running:
    """A service in its own process."""

    base: str
    process: subprocess.Popen[bytes]
    log_file: Path
    services: dict[str, Body] = field(default_factory=dict)

    def log(self) -> str:
        """What it has written to stderr."""
        return self.log_file.read_text("utf-8")

    def call(self, patient: str, hook: str = "patient-view", *drafts: str, **more: Any) -> requests.Response:
        """POST the call of a sample patient, dated now."""
        from datetime import UTC, datetime

        now, sample = datetime.now(UTC), patients.load()[patient]
        context: Body = {"patientId": sample.id, "userId": f"Practitioner/{uuid4()}"}
        if hook != "patient-view":
            context |= sample.draft_context(now, *drafts)
        filled = prefetch(sample.resources(now), self.services[hook]["prefetch"], {"patientId": sample.id})
        body = {"hook": hook, "hookInstance": str(uuid4()), "context": context, "prefetch": filled} | more
        return requests.post(f"{self.base}/cds-services/{self.services[hook]['id']}", json=body, timeout=20)


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[Running]:
    """`magnesium-cds serve` on a free port with its data in `folder`, ready when entered, stopped when left."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    log_file = folder / "serve.log"
    command = [sys.executable, "-m", "cds_service", "serve", "--port", str(port), "--workers", "1"]
    command += ["--data-dir", str(folder / "data"), *map(str, options)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT, env=clean_environment())
        try:
            running = Running(base, process, log_file)
            until(lambda: _ready(running), 60, lambda: f"serve is not ready:\n{running.log()}")
            found = requests.get(f"{base}/cds-services", timeout=20).json()["services"]
            running.services = {item["hook"]: item for item in found}
            yield running
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(running: Running) -> bool:
    assert running.process.poll() is None, f"serve ended:\n{running.log()}"
    try:
        return requests.get(f"{running.base}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def until(done: Callable[[], object], seconds: float, otherwise: Callable[[], str] = lambda: "") -> float:
    """Wait until `done`; fails after `seconds`. The seconds that it took."""
    start = monotonic()
    while not done():
        assert monotonic() - start < seconds, otherwise() or f"not within {seconds} s"
        sleep(0.1)
    return monotonic() - start
