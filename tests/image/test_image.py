"""The image is built from docker/Dockerfile and answers a hook. Its base is made in build.py."""

import datetime
import email
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.image.build import Image, built_image
from tests.support.requires import require, require_root

DOCKER = Path(__file__).resolve().parents[2] / "docker"
USER = 10001
PORT = "8080"
STARTED_WITHIN = 60.0  # seconds, on a busy machine


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    require_root("buildah and debootstrap make whole file systems")
    require("buildah", "builds the container image", "buildah")
    require("debootstrap", "makes the base of the container image", "debootstrap")
    with built_image() as built:
        yield built


@dataclass(frozen=True)
class Service:
    """A running container."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one HTTP call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, json.loads(said) if said else None

    def ready(self) -> bool:
        """Whether it answers now, and says that it is ready."""
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (ConnectionError, TimeoutError):
            return False

    def processes(self) -> dict[int, list[int]]:
        """The container's own processes: pid -> real, effective, saved and file user."""
        children: dict[int, list[int]] = {}
        users: dict[int, list[int]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                lines = (folder / "status").read_text().splitlines()
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                continue
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            pid = int(folder.name)
            children.setdefault(int(status["PPid"]), []).append(pid)
            # Not the wrapper that buildah starts it with, which has the same words after its own.
            if words[0].endswith(b"/python3") and words[1].endswith(b"/magnesium-cds"):
                users[pid] = [int(user) for user in status["Uid"].split()]
        ours, left = set(), [self.process.pid]
        while left:
            pid = left.pop()
            ours.add(pid)
            left += children.get(pid, [])
        return {pid: user for pid, user in users.items() if pid in ours}


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def words_with_port(words: list[str], port: int) -> list[str]:
    """The image's own words with a free port: containers here share the machine's network."""
    assert any(PORT in word for word in words)
    return [word.replace(PORT, str(port)) for word in words]


@contextmanager
def started(command: list[str], port: int, log: Path) -> Iterator[Service]:
    """The command of a service, run until its port says that it is ready; killed at the end, whatever is left of it."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True)
    running = Service(port, process, log)
    try:
        until = time.monotonic() + STARTED_WITHIN
        while not running.ready():
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the service did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)
        yield running
    finally:
        for pid in running.processes():
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait(20)


@pytest.fixture(scope="module")
def service(image: Image) -> Iterator[Service]:
    """The image, started by its own ENTRYPOINT and CMD."""
    config, port = image.config(), free_port()
    words = words_with_port([*config["Entrypoint"], *config["Cmd"]], port)
    with started(image.command(*words), port, image.folder / "service.log") as running:
        yield running


def test_image_says_how_it_is_run(image: Image) -> None:
    config = image.config()
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["magnesium-cds"]
    assert config["Cmd"] == ["serve", "--host", "0.0.0.0", "--port", PORT, "--data-dir", "/data"]
    assert set(config["ExposedPorts"]) == {f"{PORT}/tcp"}
    assert set(config["Volumes"]) == {"/data"}
    assert config["WorkingDir"] == "/data"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_image_holds_no_compiler_no_pip_and_no_source_tree(image: Image) -> None:
    root = image.root()
    for program in ("gcc", "cc", "make", "pip", "pip3", "git", "curl"):
        assert not [place for place in ("bin", "usr/bin", "usr/local/bin") if (root / place / program).exists()], (
            program
        )
        assert not (root / "opt/magnesium-cds/bin" / program).exists(), program
    assert not (root / "build").exists()
    assert (root / "data").stat().st_uid == USER


def installed(image: Image) -> dict[str, str]:
    """Name -> version of every distribution in the image's environment, as its files say."""
    (site,) = (image.root() / "opt/magnesium-cds/lib").glob("python3*/site-packages")
    found = {}
    for file in site.glob("*.dist-info/METADATA"):
        head = email.message_from_string(file.read_text("utf-8"))
        found[canonicalize_name(head["Name"])] = str(head["Version"])
    return found


def test_image_holds_what_the_lock_file_names_and_nothing_else(image: Image) -> None:
    found = installed(image)
    assert found.pop("magnesium-cds") == image.config()["Labels"]["org.opencontainers.image.version"]
    lines = (DOCKER / "requirements.lock").read_text().splitlines()
    locked = dict(line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    assert found == {name: version for name, version in locked.items() if name in found}
    missing = set(locked) - set(found)
    assert not missing, f"locked, and not installed: {missing}"


def test_list_of_components_in_the_image_names_every_package_that_is_in_it(image: Image) -> None:
    listed = json.loads((image.root() / "usr/share/magnesium-cds/sbom.cdx.json").read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert listed["metadata"]["component"]["name"] == "magnesium-cds"
    named = {canonicalize_name(one["name"]): one["version"] for one in listed["components"]}
    named["magnesium-cds"] = listed["metadata"]["component"]["version"]
    assert named == installed(image)
    assert all(one.get("purl", "").startswith("pkg:pypi/") for one in listed["components"])
    assert "/build" not in json.dumps(listed), "a folder of the machine that built it"


def test_commands_in_the_image_are_not_run_as_root(image: Image) -> None:
    said = subprocess.run(image.command("id", "-u"), capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == str(USER), said.stderr


def test_running_service_is_healthy_by_the_images_own_check(image: Image, service: Service) -> None:
    check = image.config()["Healthcheck"]["Test"][1:]
    healthy = subprocess.run(image.command(*words_with_port(check, service.port)), capture_output=True, timeout=60)
    assert healthy.returncode == 0, healthy.stderr
    nobody_there = image.command(*words_with_port(check, free_port()))
    assert subprocess.run(nobody_there, capture_output=True, timeout=60).returncode != 0


def test_service_runs_as_the_user_of_the_image(service: Service) -> None:
    processes = service.processes()
    assert processes
    assert {user for users in processes.values() for user in users} == {USER}


def observation(value: float) -> dict[str, Any]:
    """A serum magnesium of yesterday, in mmol/L."""
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return {
        "resourceType": "Observation",
        "id": "magnesium-1",
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
        "subject": {"reference": "Patient/image-1"},
        "effectiveDateTime": yesterday.isoformat(timespec="seconds"),
        "valueQuantity": {
            "value": value,
            "unit": "mmol/L",
            "system": "http://unitsofmeasure.org",
            "code": "mmol/L",
        },
    }


def prefetch(templates: dict[str, str], value: float) -> dict[str, Any]:
    """Every key that discovery asks for: the patient, one serum magnesium, nothing else on record."""
    empty = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    filled: dict[str, Any] = {}
    for key, template in templates.items():
        if template.startswith("Patient/"):
            filled[key] = {
                "resourceType": "Patient",
                "id": "image-1",
                "gender": "female",
                "birthDate": "1970-05-17",
            }
        elif "2601-3" in template:
            filled[key] = {**empty, "total": 1, "entry": [{"resource": observation(value)}]}
        else:
            filled[key] = empty
    return filled


def test_hook_called_on_the_running_image_answers_with_a_card(service: Service) -> None:
    status, discovery = service.call("GET", "/cds-services")
    assert status == 200
    chosen = next(one for one in discovery["services"] if one["hook"] == "patient-view")
    request = {
        "hook": "patient-view",
        "hookInstance": "5f2c1d9e-6f0b-4b0e-9f57-0f6a0c5f1a10",
        "context": {"userId": "Practitioner/p-1", "patientId": "image-1"},
        "prefetch": prefetch(chosen["prefetch"], 0.5),
    }
    status, answer = service.call("POST", f"/cds-services/{chosen['id']}", request)
    assert status == 200, answer
    low = [card for card in answer["cards"] if "0.5" in card["summary"] and "magnesium" in card["summary"].lower()]
    assert low, answer
    assert low[0]["indicator"] in {"warning", "critical"}

    request["prefetch"] = prefetch(chosen["prefetch"], 0.9)
    status, answer = service.call("POST", f"/cds-services/{chosen['id']}", request)
    assert status == 200, answer
    assert not [card for card in answer["cards"] if card["indicator"] != "info"], answer


def test_running_service_writes_nothing_outside_data_and_tmp(image: Image, service: Service) -> None:
    assert service.call("GET", "/healthz")[0] == 200
    root = image.root()
    written = [
        path.relative_to(root)
        for folder, _, names in os.walk(root)
        for path in (Path(folder, name) for name in names)
        if path.lstat().st_uid == USER and path.relative_to(root).parts[0] not in {"data", "tmp", "proc", "sys", "dev"}
    ]
    assert written == []
    data = Path(f"/proc/{min(service.processes())}/root/data")  # the volume, as the service sees it
    assert list(data.iterdir()), "the store is kept in /data"


def test_terminated_service_stops_by_itself(service: Service) -> None:
    """Last in this file: what `docker stop` sends, to the first process."""
    os.kill(min(service.processes()), signal.SIGTERM)
    assert service.process.wait(30) == 0, service.log.read_text()[-4000:]
    assert service.processes() == {}


def test_service_runs_on_a_read_only_file_system_without_privileges(image: Image) -> None:
    """As compose.yaml asks for. buildah cannot do it, so the kernel is asked directly."""
    config, port = image.config(), free_port()
    words = words_with_port([*config["Entrypoint"], *config["Cmd"]], port)
    with started(image.read_only_command(*words), port, image.folder / "read-only.log") as running:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert running.call("GET", "/healthz")[0] == 200
        running.process.terminate()
        assert running.process.wait(30) == 0, running.log.read_text()[-4000:]
