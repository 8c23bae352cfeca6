"""What the real CDS Hooks Sandbox asks of a FHIR server when it starts, in its order, and how the stub is run."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from cds_service.sandbox.patients import load
from cds_service.sandbox.search import PARAMETERS
from cds_service.sandbox.stub import StubServer, _greeting, sandbox_address

Get = Callable[..., Any]
SANDBOX = {"Origin": "https://sandbox.cds-hooks.org", "Accept": "application/json+fhir"}


def test_metadata_comes_first_and_says_r4(get: Get, stub: str) -> None:
    statement = get("metadata")
    CapabilityStatement.model_validate(statement)
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == stub
    assert {resource["type"] for resource in statement["rest"][0]["resource"]} == set(PARAMETERS)


def test_the_list_of_patients_has_the_names_that_the_sandbox_reads_unasked(get: Get) -> None:
    bundle = get("Patient")
    assert bundle["total"] == len(load())
    for entry in bundle["entry"]:
        name = entry["resource"]["name"][0]
        assert isinstance(name["given"], list)
        assert isinstance(name["family"], str)
        assert entry["resource"]["birthDate"]


@pytest.mark.parametrize("patient", load())
def test_each_patient_is_read_and_then_the_problems(get: Get, patient: str) -> None:
    assert get(f"Patient/{patient}")["id"] == patient
    problems = get(f"Condition?patient={patient}")
    assert problems["total"] == len(problems.get("entry", []))
    for entry in problems.get("entry", []):
        assert entry["resource"]["code"]["coding"][0]["code"]
        assert entry["resource"]["code"]["text"]


def test_the_user_that_the_sandbox_names_can_be_read(get: Get) -> None:
    assert get("Practitioner/COREPRACTITIONER1")["resourceType"] == "Practitioner"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "metadata"), ("POST", "Observation/_search"), ("POST", "_services/smart/Launch")]
)
def test_a_browser_on_any_page_may_ask(stub: str, method: str, path: str) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    asked["Access-Control-Request-Private-Network"] = "true"
    answer = requests.options(f"{stub}/{path}", headers=SANDBOX | asked, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert {"authorization", "content-type"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize("path", ["metadata", "Patient", "Patient/nobody", "Encounter", "Observation?_count=x", "$all"])
def test_a_browser_may_read_every_answer_refusals_too(stub: str, path: str) -> None:
    assert requests.get(f"{stub}/{path}", headers=SANDBOX, timeout=10).headers["Access-Control-Allow-Origin"] == "*"


def test_a_smart_link_gets_a_launch_id(stub: str) -> None:
    body = {"launchUrl": "https://app.example/launch", "parameters": {"patient": "healthy", "appContext": "a"}}
    answer = requests.post(f"{stub}/_services/smart/Launch", json=body, headers=SANDBOX, timeout=10)
    assert answer.status_code == 200
    UUID(answer.json()["launch_id"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"launchUrl": 1}'])
def test_a_launch_without_its_address_is_refused(stub: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{stub}/_services/smart/Launch", data=body, headers=headers, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Patient/nobody", "not-found"),
        ("Encounter", "not-supported"),
        ("Encounter/1", "not-found"),
        ("Patient/healthy/_history", "not-found"),
        ("", "not-found"),
    ],
)
def test_what_is_not_there_is_an_operation_outcome(get: Get, path: str, code: str) -> None:
    outcome = get(path, status=404)
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == code
    assert "nobody" not in str(outcome)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "Patient/healthy"), ("DELETE", "Patient/healthy"), ("POST", "Patient")]
)
def test_nothing_can_be_written(stub: str, method: str, path: str) -> None:
    answer = requests.request(method, f"{stub}/{path}", timeout=10)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.json()["issue"][0]["code"] == "not-supported"


def test_a_search_by_post_takes_forms_only(stub: str) -> None:
    answer = requests.post(f"{stub}/Patient/_search", json={"_id": "healthy"}, timeout=10)
    assert answer.status_code == 415
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_outside_the_fhir_path_it_says_where_to_go(stub: str) -> None:
    answer = requests.get(stub.removesuffix("/fhir") + "/", timeout=10)
    assert answer.status_code == 404
    assert "/fhir" in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    "cds", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/cds-services"]
)
def test_the_sandbox_address_holds_server_service_and_patient(cds: str) -> None:
    address = urlsplit(sandbox_address("http://127.0.0.1:8001/fhir", cds, "kidney"))
    assert (address.scheme, address.netloc, address.path) == ("https", "sandbox.cds-hooks.org", "/")
    assert parse_qs(address.query) == {
        "fhirServiceUrl": ["http://127.0.0.1:8001/fhir"],
        "serviceDiscoveryURL": ["http://127.0.0.1:8000/cds-services"],
        "patientId": ["kidney"],
    }


def test_a_taken_port_is_an_error_and_not_silence(stub: str) -> None:
    with pytest.raises(OSError, match="in use"):
        StubServer(port=urlsplit(stub).port or 0)


def test_run_prints_what_to_open_and_serves_until_interrupted() -> None:
    # A shell that starts the tests in the background has interrupts ignored, and a child inherits that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cds_service.sandbox.stub import run; run('127.0.0.1', 0, 'http://127.0.0.1:8000')"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        printed = [process.stdout.readline()]
        while not printed[-1].startswith("  unmeasured"):
            printed.append(process.stdout.readline())
            assert printed[-1], printed
        address = next(line.strip() for line in printed if "sandbox.cds-hooks.org" in line)
        fhir = parse_qs(urlsplit(address).query)["fhirServiceUrl"][0]
        assert requests.get(f"{fhir}/Patient/kidney", timeout=10).status_code == 200
        process.send_signal(2)
        rest, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert rest == "Stopped.\n"
    assert errors == ""
    assert process.returncode == 0


def test_the_addresses_printed_open_the_screen_that_they_name() -> None:
    """By `hook` and `screen` of the Sandbox's own source (main-view.jsx); without them it opens that of the last
    visit."""
    lines = list(_greeting("http://127.0.0.1:8001/fhir", "http://127.0.0.1:8000"))
    addresses = {
        lines[at - 1].partition(":")[0]: urlsplit(line.strip()) for at, line in enumerate(lines) if "://sandbox" in line
    }
    opened = {name: parse_qs(address.query) for name, address in addresses.items()}
    assert {name: (query["hook"], query["screen"]) for name, query in opened.items()} == {
        "Patient View": (["patient-view"], ["patient-view"]),
        "Rx View": (["order-select"], ["rx-view"]),
        "Rx Sign": (["order-sign"], ["rx-sign"]),
    }
    assert "prescribedMedication" not in opened["Patient View"]
    # Magnesium oxide 400 mg as a capsule, the only one of our drafts that is in the Sandbox's list of medicines.
    assert opened["Rx View"]["prescribedMedication"] == opened["Rx Sign"]["prescribedMedication"] == ["252430"]
