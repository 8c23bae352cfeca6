"""What comes in (A25-A34, but for strictness): refused early, cheaply, in our words only."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.support import (
    DISCOVERY,
    FEEDBACK,
    HEAD,
    MARK,
    PATIENT,
    SERVICE,
    Service,
    alive,
    bare_body,
    body_for,
    context,
    raw,
    running,
    status,
    wait_until,
)

BAD_IDS = [
    "1&_include=*", "1?x", "..", ".", "...", "../Practitioner/1", "%2e%2e", "1\n", "1\r\nHost: x", "a b", "x" * 513,
    "x" * 10_000, "", "a/b", "a\\b", "é", "1;DROP TABLE", "\u202e1", "1\u0000", "\uff11", 7, None, ["1"], {"id": "1"},
    True,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
def test_a25_an_id_that_could_climb_in_an_address_is_refused(post: Any, bad: Any) -> None:
    assert post(context(patientId=bad)).status_code == 400
    assert post(context(userId=f"Practitioner/{bad}" if isinstance(bad, str) else bad)).status_code == 400
    if bad is not None:
        assert post(context(encounterId=bad)).status_code == 400


@settings(max_examples=150, deadline=None, database=None)
@given(identifier=st.text(max_size=70))
def test_a25_any_text_as_an_id_is_a_fhir_id_or_refused(app: Flask, identifier: str) -> None:
    import re

    answer = app.test_client().post(SERVICE, json=context(patientId=identifier))
    good = re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", identifier) and set(identifier) != {"."}
    assert answer.status_code == (200 if good else 400)


@pytest.mark.parametrize("key", ["patient", "conditions", "medications", "serum_magnesium"])
def test_a26_a_prefetched_resource_of_another_patient_stops_the_evaluation(app: Flask, post: Any, key: str) -> None:
    body = body_for(app)
    value = body["prefetch"][key]
    for resource in [value] if key == "patient" else [value["entry"][-1]["resource"]]:
        if key == "patient":
            resource["id"] = MARK
        else:
            resource["subject"] = {"reference": f"Patient/{MARK}"}
    answer = post(body)
    assert answer.status_code == 412
    assert answer.json["issue"][0]["code"] == "conflict"


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("text/plain", {}, 415), ("", {}, 415), ("application/x-www-form-urlencoded", {}, 415),
        ("multipart/form-data; boundary=x", {}, 415), ("application/xml", {}, 415), ("application/jsonx", {}, 415),
        ("application/json", {"Content_Encoding": "gzip"}, 415), ("application/json", {"Content_Encoding": "br"}, 415),
        ("application/json", {"Content_Encoding": "identity, gzip"}, 415),
        ("application/json; charset=utf-8", {}, 200), ("application/fhir+json", {}, 200),
        ("application/json", {"Content_Encoding": "identity"}, 200),
    ],
)  # fmt: skip
def test_a31_only_plain_json_is_read(post: Any, kind: str, headers: dict[str, str], status: int) -> None:
    assert post(bare_body(), kind=kind, **headers).status_code == status


def test_a31_a_compressed_bomb_is_not_opened(post: Any) -> None:
    assert post(gzip.compress(b"0" * 50_000_000), Content_Encoding="gzip").status_code == 415


ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False),
              st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["entry", "resource", "resourceType", "code", "coding", "subject", "x"]), inner,
                        max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
PLACES = st.sampled_from([
    ("hook",), ("hookInstance",), ("context",), ("context", "patientId"), ("context", "userId"), ("prefetch",),
    ("context", "selections"), ("context", "draftOrders"), ("fhirServer",), ("fhirAuthorization",), ("extension",),
    ("prefetch", "patient"), ("prefetch", "serum_magnesium"), ("prefetch", "medications"), ("prefetch", "conditions"),
    ("prefetch", "medications", "entry"), ("prefetch", "medications", "entry", 0, "resource"),
    ("prefetch", "serum_magnesium", "entry", 0, "resource", "valueQuantity"),
    ("prefetch", "serum_magnesium", "entry", 0, "resource", "code"), ("prefetch", "patient", "birthDate"),
    ("prefetch", "medications", "entry", 0, "resource", "dosageInstruction"),
])  # fmt: skip


@settings(max_examples=150, deadline=None, database=None)
@given(place=PLACES, value=ANY_JSON)
def test_a32_wrong_types_anywhere_are_answered_and_never_break_the_service(
    app: Flask, place: tuple[Any, ...], value: Any
) -> None:
    body = body_for(app)
    inner: Any = body
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    answer = app.test_client().post(SERVICE, json=body)
    assert answer.status_code in (200, 400, 412), answer.text


def test_a32_every_fault_is_named_by_its_place_and_no_value_is_echoed(post: Any) -> None:
    answer = post({"hook": MARK, "hookInstance": MARK, "context": {"patientId": f"{MARK}!", "userId": MARK}})
    assert answer.status_code == 400
    places = {place for issue in answer.json["issue"] for place in issue["expression"]}
    assert places == {"hook", "hookInstance", "context.patientId", "context.userId"}


# -- with real sockets


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with one worker."""
    with running(tmp_path_factory.mktemp("service"), threads=8, max_body=300_000) as one:
        yield one


def test_a28_a_body_that_is_too_large_is_refused_before_it_is_read(service: Service) -> None:
    said = raw(service, HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 100_000, 2)
    assert status(said) == 413
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    said = raw(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 6, 3)
    assert status(said) == 413
    assert alive(service)


def test_a28_a_body_in_pieces_is_read(service: Service) -> None:
    body = json.dumps(bare_body()).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50))
    said = raw(service, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + pieces + b"0\r\n\r\n")
    assert status(said) == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello",
        b"POST %s HTTP/1.1\r\nHost: x\r\nX-A: b\r\n Content-Length: 5\r\n\r\nhello",
        b"POST %s HTTP/1.1\nHost: x\nContent-Length: 0\n\n", b"GET %s HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 65_536,
        b"GET %s\r\n\r\n", b"GET %s HTTP/9.9\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["CL and TE", "two CL", "unknown TE", "TE twice", "signed CL", "space in a name", "folded", "bare LF",
         "64 kB header", "HTTP/0.9", "HTTP/9.9", "TLS", "HTTP/2", "bad chunk"],
)  # fmt: skip
def test_a34_a_request_that_two_readers_may_read_differently_is_refused(service: Service, request_: bytes) -> None:
    said = raw(service, request_.replace(b"%s", SERVICE.encode()), 2)
    assert status(said) in (0, 400, 408, 411, 413, 415, 431, 501, 505)
    assert b" 200 " not in said, "and no second request was seen in it"
    assert alive(service)


@pytest.mark.parametrize(
    ("method", "path", "status_"),
    [
        ("PUT", SERVICE, 405), ("DELETE", DISCOVERY, 405), ("PATCH", SERVICE, 405), ("TRACE", DISCOVERY, 405),
        ("POST", DISCOVERY, 405), ("GET", SERVICE, 405), ("GET", FEEDBACK, 405), ("FOO", DISCOVERY, 405),
        ("GET", "//cds-services", 404), ("GET", "/cds-services/", 404), ("GET", "/cds-services;x", 404),
        ("GET", "/cds-services%2fmagnesium-patient-view", 405), ("GET", "/CDS-services", 404),
        ("GET", "/x/../cds-services", 404), ("GET", "/cds-services%00", 404), ("POST", "/cds-services/unknown", 404),
        ("POST", "/cds-services/unknown/feedback", 404), ("HEAD", DISCOVERY, 200), ("OPTIONS", DISCOVERY, 204),
    ],
)  # fmt: skip
def test_a33_other_methods_and_paths_are_not_answered(service: Service, method: str, path: str, status_: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    connection.request(method, path, headers={"X-HTTP-Method-Override": "GET", "X-Method-Override": "POST"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == status_
    if status_ == 405:
        assert answer.headers["Allow"]


def test_f16_callers_that_leave_early_break_nothing(service: Service) -> None:
    body = json.dumps(bare_body(context={"userId": "Practitioner/x", "patientId": PATIENT})).encode()
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for cut in (10, len(HEAD) + 30, len(whole) - 5, len(whole)):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", service.port), 5) as sock:
                sock.sendall(whole[:cut])
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.5)
    assert alive(service)
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "WORKER" not in log.upper() or "was sent" not in log


def test_a42_every_log_line_is_one_json_object(service: Service) -> None:
    before = service.log.read_text().count('"event"')
    requests.post(service.url + SERVICE, data=b"{", timeout=5)
    requests.get(service.url + DISCOVERY, headers={"Origin": "x\u00e9"}, timeout=5)
    requests.get(service.url + "/%0d%0aInjected: x%1b[31m", timeout=5)
    wait_until(lambda: service.log.read_text().count('"event"') >= before + 3, 5, "no log")
    lines = [line for line in service.log.read_text().splitlines() if '"event"' in line]
    assert all(json.loads(line)["event"] for line in lines)
    assert "Injected" not in "".join(lines)
