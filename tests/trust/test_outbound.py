"""Calls out (A21-A24, A59): only to registered servers, at allowed addresses, and never further than they were sent."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.fhir import FetchFailed, FhirServer
from cds_service.sandbox.mock_ehr import MockEhr, Signer
from cds_service.settings import SettingsError
from cds_service.trust.addresses import LOCAL, AddressRefused, allowed, resolve
from cds_service.trust.outbound import READS_AT_ONCE, Server, guarded_session, may_read
from tests.support.servers import ManyCallers
from tests.support.some import some
from tests.support.timing import within
from tests.trust.support import (
    BASE,
    PATIENT,
    SERVICE,
    Json,
    bare_body,
    client_entry,
    clients_file,
    inputs,
    reasons,
    states,
)

Make = Callable[..., Flask]
AUTHORIZATION = {
    "access_token": "an-access-token", "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read user/*.rs",
    "subject": "cds",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(make_app: Make, one_ehr: MockEhr) -> Flask:
    """A service in profile dev that may read the fake EHR."""
    return make_app(fhir_servers=(one_ehr.fhir,))


@pytest.fixture
def post(app: Flask, ehr: MockEhr) -> Callable[..., Json]:
    """A call without prefetch that names the fake EHR: the decoded answer."""

    def post(status: int = 200, **changes: Any) -> Json:
        answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=ehr.fhir) | changes)
        assert answer.status_code == status, answer.text
        return dict(answer.json or {})

    return post


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every name looked up and every connection begun."""
    seen: list[Any] = []
    lookup, connect = socket.getaddrinfo, socket.socket.connect
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *rest, **more: seen.append(host) or lookup(host, port, *rest, **more)
    )
    monkeypatch.setattr(socket.socket, "connect", lambda self, place: seen.append(place) or connect(self, place))
    return seen


def test_a_registered_server_is_read_for_what_the_prefetch_left_out(post: Any, ehr: MockEhr) -> None:
    answer = post(fhirAuthorization=AUTHORIZATION)
    assert "Low magnesium" in answer["cards"][0]["summary"]
    assert {call.token for call in ehr.calls} == {True}
    assert inputs(answer)["serum_magnesium"] == "fetched"


NOT_REGISTERED = [
    "https://evil.example/fhir", "http://127.0.0.1:1/fhir", "http://[::ffff:127.0.0.1]/fhir", "http://2130706433/fhir",
    "http://0x7f.1/fhir", "http://0177.0.0.1/", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd",
    "gopher://127.0.0.1/", "http://localhost:22/", "//evil.example", "", "http://", "javascript:alert(1)", "ftp://x",
]  # fmt: skip


@pytest.mark.parametrize("server", NOT_REGISTERED)
def test_a21_a_server_that_is_not_registered_is_never_asked(post: Any, outside: list[Any], server: str) -> None:
    answer = post(fhirServer=server, fhirAuthorization=AUTHORIZATION if server else None)
    assert outside == []
    assert set(states(answer).values()) <= {"not_evaluated", "not_applicable", "quiet"}
    assert "fired" not in states(answer).values()
    assert answer["cards"], "what was not checked is said"


def test_a21_nor_is_one_that_only_looks_like_a_registered_one(app: Flask, ehr: MockEhr, outside: list[Any]) -> None:
    base = ehr.fhir
    lookalikes = (
        base + "x", base + "/../other", base + "?x", base + "#x", base.replace("127.0.0.1", "127.0.0.1.evil.example"),
        base.replace("//", "//user:pass@"), base.replace("//", "//127.0.0.1\\@"), base.upper(), base + "//", base + " ",
        "\t" + base, base.replace("127.0.0.1", "localhost"), base.replace("127.0.0.1", "127.1"),
    )  # fmt: skip
    for server in some(one for one in lookalikes if one.rstrip("/") != base):
        answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=server))
        assert answer.status_code in (200, 400)
        assert outside == [], server


def test_a21_one_clients_server_is_not_asked_for_another(make_app: Make, ehr: MockEhr, folder: Path) -> None:
    mine, theirs = Signer("https://mine.example"), Signer("https://theirs.example")
    file = clients_file(
        folder,
        client_entry(mine, name="mine", fhir_servers=[ehr.fhir]),
        client_entry(theirs, name="theirs", fhir_servers=["https://theirs.example/fhir"]),
    )
    http = make_app(clients=file, public_url=BASE).test_client()

    def post(signer: Signer) -> Json:
        headers = {"Authorization": f"Bearer {signer.token(BASE + SERVICE)}"}
        answer = http.post(SERVICE, json=bare_body(fhirServer=ehr.fhir), headers=headers)
        return dict(answer.json or {})

    assert inputs(post(theirs))["patient"] == "absent"
    assert ehr.calls == []
    assert inputs(post(mine))["patient"] == "fetched"


@pytest.mark.parametrize("base", ["http://ehr.example/fhir", "https://ehr.example/fhir/", "https://EHR.example/fhir"])
def test_a21_production_registers_https_bases_in_their_one_form(
    make_app: Make, signer: Signer, folder: Path, base: str
) -> None:
    file = clients_file(folder, client_entry(signer, fhir_servers=[base]))
    with pytest.raises(SettingsError, match="fhir_servers"):
        make_app(profile="production", public_url=BASE, clients=file)


@settings(max_examples=60, deadline=None, database=None)
@given(server=st.one_of(st.text(max_size=60), st.from_regex(r"https?://[^/]{0,20}(/[^/]{0,9}){0,3}", fullmatch=True)))
def test_a21_any_text_as_a_server_is_answered_and_not_asked(app: Flask, server: str) -> None:
    asked: list[Any] = []
    connect = socket.socket.connect
    socket.socket.connect = lambda self, place: asked.append(place)  # type: ignore[method-assign]
    try:
        answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=server))
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
    assert answer.status_code in (200, 400)
    assert asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1", "198.18.0.1",
        "192.0.2.1", "2001:db8::1",
    ],
)  # fmt: skip
def test_a22_an_address_that_is_not_public_is_refused_unless_it_is_listed(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert not allowed(found, ())
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if inner is None and not address.startswith("64:"):
        assert allowed(found, (ipaddress.ip_network(found),))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_a22_a_public_address_is_allowed(address: str) -> None:
    assert allowed(ipaddress.ip_address(address), ())


def looked_up(*addresses: str) -> Callable[..., list[Any]]:
    """A resolver that knows one answer."""

    def lookup(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    return lookup


def test_a22_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("1.1.1.1", "10.0.0.1"))
    with pytest.raises(AddressRefused):
        resolve("ehr.example", 443, ())
    assert len(resolve("ehr.example", 443, (ipaddress.ip_network("10.0.0.0/24"),))) == 2


def test_a22_a_registered_name_that_stands_for_this_machine_is_not_connected_to(
    ehr: MockEhr, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = ehr.url.rpartition(":")[2]
    base = f"http://ehr.example:{port}/fhir"
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("127.0.0.1"))
    with pytest.raises(FetchFailed, match="not reachable"):
        FhirServer(base, session=guarded_session([Server(base)])).get(f"Patient/{PATIENT}")
    assert ehr.calls == []
    listed = guarded_session([Server(base, (ipaddress.ip_network("127.0.0.1/32"),))])
    assert FhirServer(base, session=listed).get(f"Patient/{PATIENT}")


def test_a22_the_address_that_was_judged_is_the_one_that_is_used(ehr: MockEhr, monkeypatch: pytest.MonkeyPatch) -> None:
    port = ehr.url.rpartition(":")[2]
    base = f"http://ehr.example:{port}/fhir"
    answers = iter([looked_up("127.0.0.1"), looked_up("169.254.169.254"), looked_up("10.0.0.1")])
    asked: list[Any] = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: next(answers)(*a, **k))
    monkeypatch.setattr(socket.socket, "connect", lambda self, place: asked.append(place) or connect(self, place))
    session = guarded_session([Server(base, (ipaddress.ip_network("127.0.0.1/32"),))])
    assert FhirServer(base, session=session).get(f"Patient/{PATIENT}")
    assert asked == [("127.0.0.1", int(port))], "looked up once, and not again to connect"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path, list[tuple[str, str]]]]:
    """An https server for ehr.example: its port, its authority's file, and (SNI, Host) of each call."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ehr.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ehr.example")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    authority, private = folder / "ca.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    seen: list[tuple[str, str]] = []
    names: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((names[-1], self.headers["Host"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ManyCallers(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], authority, seen
    server.shutdown()
    server.server_close()


def test_a22_a59_names_and_certificates_are_checked_though_the_address_is_chosen_before(
    tls: tuple[int, Path, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, authority, seen = tls
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("127.0.0.1"))
    base = f"https://ehr.example:{port}/fhir"
    assert FhirServer(base, session=guarded_session([Server(base, LOCAL, authority)])).get("Patient/x") == b"{}"
    assert seen == [("ehr.example", f"ehr.example:{port}")]
    other = f"https://other.example:{port}/fhir"
    for server in (Server(base, LOCAL), Server(other, LOCAL, authority)):
        with pytest.raises(FetchFailed, match="not reachable"):
            FhirServer(server.base_url, session=guarded_session([server])).get("Patient/x")
    assert len(seen) == 1


def test_a59_what_a_caller_says_about_certificates_is_not_listened_to(
    tls: tuple[int, Path, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("127.0.0.1"))
    base = f"https://ehr.example:{tls[0]}/fhir"
    session = guarded_session([Server(base, LOCAL)])
    session.verify = False
    with pytest.raises(requests.exceptions.SSLError):
        session.get(base, verify=False, timeout=(1, 1))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a23_a_redirect_is_not_followed_and_the_token_stays_where_it_was_sent(
    post: Any, ehr: MockEhr, code: int
) -> None:
    with MockEhr() as other:
        ehr.fail("", status=code, headers={"Location": other.fhir + "/Patient/x"}, body="x" * 5000)
        answer = post(fhirAuthorization=AUTHORIZATION)
        assert other.calls == []
    assert "failed" in inputs(answer).values()
    assert set(inputs(answer).values()) <= {"failed", "absent"}
    assert "fired" not in states(answer).values()


def test_a23_a_redirects_body_is_not_read_to_its_end(ehr: MockEhr) -> None:
    ehr.fail("Patient", status=302, headers={"Location": "/x", "Content-Length": "1000000"}, body="x" * 100, stall=60)
    with within(20), pytest.raises(FetchFailed, match="refused"):
        FhirServer(ehr.fhir, session=guarded_session([Server(ehr.fhir, LOCAL)])).get("Patient/x")


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:1/fhir/Observation?p=2", "http://169.254.169.254/x", "//evil.example/fhir", "/other/path",
     "../../admin", "file:///etc/passwd", "https://evil.example/fhir/Observation"],
)  # fmt: skip
def test_a24_a_next_page_elsewhere_is_not_read_and_the_input_is_incomplete(
    post: Any, ehr: MockEhr, outside: list[Any], link: str
) -> None:
    ehr.fail("Observation", next_link=link)
    answer = post(fhirAuthorization=AUTHORIZATION)
    assert {place[1] for place in outside if isinstance(place, tuple)} <= {int(ehr.url.rpartition(":")[2])}
    assert inputs(answer)["serum_magnesium"] == "incomplete"


def test_a24_a_reference_elsewhere_is_not_followed(make_app: Make, outside: list[Any]) -> None:
    order = {"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order",
             "subject": {"reference": f"Patient/{PATIENT}"}}  # fmt: skip
    for reference in (
        "http://169.254.169.254/Medication/1", "https://evil.example/fhir/Medication/1", "Medication/../../x",
        "//evil.example/Medication/1", "#loop", "urn:uuid:1",
    ):  # fmt: skip
        with MockEhr(resources=lambda: []) as ehr:
            del outside[:]
            bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [
                {"resource": order | {"medicationReference": {"reference": reference}}}]}  # fmt: skip
            app = make_app(fhir_servers=(ehr.fhir,))
            body = bare_body(fhirServer=ehr.fhir, prefetch={"medications": bundle})
            assert app.test_client().post(SERVICE, json=body).status_code == 200
            port = int(ehr.url.rpartition(":")[2])
            assert {place[1] for place in outside if isinstance(place, tuple)} <= {port}, reference
            assert not any("Medication/" in call.path for call in ehr.calls)


@pytest.mark.parametrize(
    ("scope", "read", "search"),
    [
        ("patient/*.read", True, True), ("user/Observation.read", True, True), ("system/*.*", True, True),
        ("patient/Observation.rs", True, True), ("patient/Observation.r", True, False), ("user/*.cruds", True, True),
        ("patient/Observation.s", False, True), ("patient/Observation.write", False, False), ("", False, False),
        ("patient/Observation.cud", False, False), ("patient/Condition.read", False, False), ("openid", False, False),
        ("patient/Observation.rs?category=laboratory", False, False), ("patient/Observation.sr", False, False),
        ("launch/patient openid patient/Condition.read user/Observation.rs", True, True),
        ("patient/Observation.", False, False), ("PATIENT/observation.READ", True, True),
        ("user/Observation.Read", True, True), ("patient/Observation.RS", True, True),
        ("patient/Condition.read,patient/Observations.read", True, True), ("patient/Observationss.read", False, False),
        ("Observation.Read", True, False), ("Observation.Search (R4)", False, True),
        ("OBSERVATION.SEARCH", False, True),
        ("Observation.Read (R4) Observation.Search (R4)", True, True), ("Observation.Search (STU3)", False, False),
        ("Observation.Search (Labs) (R4)", False, False), ("Observation.Search (Labs", False, False),
        ("Observation.Search (R4", False, False), ("Observation.Create (R4)", False, False),
        ("EPIC.FHIR.R4.SERVICES.OBSERVATION.SEARCH", False, False), ("xObservation.Read", False, False),
    ],
)  # fmt: skip
def test_a_scope_is_read_in_both_versions(scope: str, read: bool, search: bool) -> None:
    assert (may_read(scope, "Observation", "read"), may_read(scope, "Observation", "search")) == (read, search)


@pytest.mark.parametrize(
    ("scope", "kind", "laboratory", "allowed"),
    [
        ("Observation.Search (Labs) (R4)", "Observation", True, True),
        ("Observation.Search (Labs)", "Observation", True, True),
        ("observation.search (LABS) (r4)", "Observation", True, True),
        ("Observation.Search (Labs) (R4)", "Observation", False, False),
        ("Observation.Search (Labs) (STU3)", "Observation", True, False),
        ("Observation.Search (Labs) (DSTU2)", "Observation", True, False),
        ("Observation.Search (Vitals) (R4)", "Observation", True, False),
        ("Observation.Read (Labs) (R4)", "Observation", True, False),
        ("Observation.Search (Labs", "Observation", True, False),
        ("Condition.Search (Problems) (R4)", "Condition", False, False),
        ("Condition.Search (Problems) (R4) Condition.Search (Encounter Diagnosis) (R4)", "Condition", False, True),
        ("MedicationRequest.Search (Signed Medication Order) (R4)", "MedicationRequest", False, True),
        ("MedicationRequest.Search (Unsigned Order) (R4)", "MedicationRequest", False, False),
        ("MedicationRequest.Search (Outside Record) (R4)", "MedicationRequest", False, False),
        ("Encounter.Search (Patient Chart) (R4)", "Encounter", False, True),
    ],
)
def test_an_epic_scope_allows_what_its_name_says_and_no_more(
    scope: str, kind: str, laboratory: bool, allowed: bool
) -> None:
    assert may_read(scope, kind, "search", laboratory) is allowed


def test_a_scope_for_laboratories_reads_results_and_neither_an_ecg_nor_an_intake(post: Any, ehr: MockEhr) -> None:
    post(fhirAuthorization=AUTHORIZATION | {"scope": "Observation.Search (Labs) (R4) Patient.Read (R4)"})
    asked = [call.path for call in ehr.calls if "Observation" in call.path]
    assert any("19123-9" in path for path in asked), "magnesium"
    assert any("2160-0" in path for path in asked), "creatinine"
    assert not any("8636-3" in path for path in asked), "QTc"
    assert not any("82810-3" in path for path in asked), "pregnancy"


def test_f4_what_the_scope_does_not_allow_is_not_asked_and_counts_as_not_permitted(post: Any, ehr: MockEhr) -> None:
    narrow = AUTHORIZATION | {"scope": "patient/Patient.read patient/Condition.rs patient/MedicationRequest.rs"}
    answer = post(fhirAuthorization=narrow)
    assert ehr.asked("Observation") == 0
    assert inputs(answer)["serum_magnesium"] == "failed"
    assert inputs(answer)["conditions"] == "fetched"
    assert "serum magnesium could not be read: not permitted" in reasons(answer)


def test_s3_a_token_for_another_patient_stops_everything(post: Any, ehr: MockEhr) -> None:
    answer = post(412, fhirAuthorization=AUTHORIZATION | {"patient": "somebody-else"})
    assert answer["issue"][0]["code"] == "conflict"
    assert ehr.calls == []


def test_what_one_call_was_told_is_not_told_in_the_next(post: Any, ehr: MockEhr) -> None:
    ehr.fail("Patient", headers={"Set-Cookie": "session=of-another-user; Path=/"})
    sent: list[str] = []
    prepare = requests.Session.send

    def send(self: Any, request: Any, **how: Any) -> Any:
        sent.append(str(request.headers))
        return prepare(self, request, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", send)
        post(fhirAuthorization=AUTHORIZATION)
        post()
    assert not any("Cookie" in headers for headers in sent)
    assert sum("an-access-token" in headers for headers in sent) == len(sent) / 2


NO_BEARER = [
    "",
    "tok\u20acen",
    "t\u00f6ken",
    "two words",
    "a,b",
    "=",
    "a=b",
    "a\n",
    "a\r\nX: y",
    "Bearer x:y",
    "\ufeffa",
]


@pytest.mark.parametrize("token", NO_BEARER)
def test_a_token_that_is_none_is_refused_by_its_place_and_costs_the_next_call_nothing(
    make_app: Make, ehr: MockEhr, token: str
) -> None:
    app = make_app(fhir_servers=(ehr.fhir,), threads=8)
    http = app.test_client()
    for _ in range(READS_AT_ONCE + 2):
        body = bare_body(fhirServer=ehr.fhir, fhirAuthorization=AUTHORIZATION | {"access_token": token})
        answer = http.post(SERVICE, json=body)
        assert answer.status_code == 400
        assert [issue["expression"] for issue in answer.json["issue"]] == [["fhirAuthorization.access_token"]]
        assert not token.strip("=\n") or json.dumps(token)[1:-1] not in answer.text
    assert ehr.calls == []
    good = http.post(SERVICE, json=bare_body(fhirServer=ehr.fhir, fhirAuthorization=AUTHORIZATION))
    assert inputs(dict(good.json or {}))["serum_magnesium"] == "fetched"


@pytest.mark.parametrize("token", ["x", "mF_9.B5f-4.1JqM", "a~b+c/d==", "e30.e30.c2ln"])
def test_a_bearer_token_of_every_form_is_taken(post: Any, ehr: MockEhr, token: str) -> None:
    assert inputs(post(fhirAuthorization=AUTHORIZATION | {"access_token": token}))["serum_magnesium"] == "fetched"


def test_a_read_that_fails_before_it_is_sent_gives_its_place_back_and_is_no_failure_of_the_server(
    ehr: MockEhr,
) -> None:
    session = guarded_session([Server(ehr.fhir, LOCAL)])
    for _ in range(READS_AT_ONCE + 2):
        with pytest.raises(FetchFailed, match="unreadable"):
            FhirServer(ehr.fhir, "tok\u20acen", session=session).get(f"Patient/{PATIENT}")
    assert ehr.calls == []
    assert FhirServer(ehr.fhir, "token", session=session).get(f"Patient/{PATIENT}")
