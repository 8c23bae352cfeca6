"""A FHIR server with Bulk Data `$export` and SMART Backend Services, on a port of its own, that fails on purpose."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers import ManyCallers

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Seen:
    """A call that the server received."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    status: int = 0
    at: float = 0.0

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class BulkServer:
    """What it holds and how it fails; all of it may be changed while it runs.

    `files`: name -> (kind in the manifest, type, bytes). `answers`: by path, what it gives instead, the first ones
    first: status, headers, body. `cut`: by name, after how many bytes the connection is reset, once each.
    """

    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    drip: dict[str, float] = field(default_factory=dict)  # seconds for each 1,000 bytes
    ranges: bool = True
    zipped: bool = False
    token_seconds: int | None = None  # with None no token is asked for
    elsewhere: str = ""  # origin at which the manifest says that files are
    signed: bool = False  # addresses of files are others each time, and the ones before are refused
    needs_token: bool = True  # what the manifest says
    pages: bool = False
    transaction_time: str = "2026-11-28T12:00:00Z"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    capabilities: list[str] = field(default_factory=lambda: ["permission-v2"])
    granted: str | None = None
    calls: list[Seen] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    tokens: dict[str, float] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    base: str = ""
    signature: str = "s0"

    def asked(self, method: str, start: str) -> list[Seen]:
        """The calls of a method to paths that begin so."""
        return [call for call in self.calls if call.method == method and call.path.startswith(start)]

    def add(self, kind: str, resource_type: str, resources: list[dict[str, Any]]) -> str:
        """A file of NDJSON. Its name."""
        name = f"{kind}-{resource_type}-{len(self.files)}"
        lines = b"".join(json.dumps({"resourceType": resource_type, **each}).encode() + b"\n" for each in resources)
        self.files[name] = (kind, resource_type, lines)
        return name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bulk: BulkServer

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        bulk, parts = self.bulk, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.seen = Seen(method, parts.path, parse_qs(parts.query), headers, at=time.monotonic())
        bulk.calls.append(self.seen)
        if planned := bulk.answers.get(parts.path):
            self._send(*planned.pop(0))
            return
        if parts.path == "/fhir/.well-known/smart-configuration":
            told = {"token_endpoint": f"{bulk.base.removesuffix('/fhir')}/token", "capabilities": bulk.capabilities}
            told["token_endpoint_auth_signing_alg_values_supported"] = ["ES384", "RS384"]
            self._send(200, {}, json.dumps(told).encode())
        elif parts.path == "/token" and method == "POST":
            self._token(parse_qs(body.decode()))
        elif parts.path.startswith("/files/"):
            self._file(parts.path.removeprefix("/files/"), parts.query)
        elif not self._may():
            self._send(401, {}, b"{}")
        elif parts.path.endswith("/$export"):
            job = uuid4().hex
            bulk.jobs.add(job)
            self._send(202, {"Content-Location": f"{bulk.base}/jobs/{job}"}, b"")
        elif parts.path.startswith("/fhir/jobs/"):
            self._job(method, parts.path.split("/")[3], parts.path.endswith("/2"))
        else:
            self._send(404, {}, b"{}")

    def _may(self) -> bool:
        return self.bulk.token_seconds is None or self.bulk.tokens.get(self.seen.token, 0) > time.monotonic()

    def _token(self, form: dict[str, list[str]]) -> None:
        """As a strict server: the assertion is verified whole, and taken once."""
        bulk = self.bulk
        try:
            assert form["grant_type"] == ["client_credentials"] and form["client_assertion_type"] == [JWT_BEARER]
            endpoint = f"{bulk.base.removesuffix('/fhir')}/token"
            assertion = form["client_assertion"][0]
            assert jwt.get_unverified_header(assertion)["kid"] == "ours"
            claims = jwt.decode(
                assertion, bulk.key.public_key(), ["ES384"], audience=endpoint, issuer="screening",
                options={"require": ["exp", "jti", "sub", "aud", "iss"]},
            )  # fmt: skip
            assert (
                claims["sub"] == "screening" and claims["exp"] <= time.time() + 300 and claims["jti"] not in bulk.used
            )
        except (AssertionError, KeyError, jwt.PyJWTError):
            self._send(400, {}, b'{"error": "invalid_client"}')
            return
        bulk.used.add(claims["jti"])
        bulk.scopes.append(form["scope"][0])
        token = uuid4().hex
        seconds = bulk.token_seconds or 300
        bulk.tokens[token] = time.monotonic() + seconds
        told = {"access_token": token, "token_type": "bearer", "expires_in": 300}
        told["scope"] = form["scope"][0] if bulk.granted is None else bulk.granted
        self._send(200, {}, json.dumps(told).encode())

    def _job(self, method: str, job: str, second: bool) -> None:
        bulk = self.bulk
        if job not in bulk.jobs:
            self._send(404, {}, b'{"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}')
        elif method == "DELETE":
            bulk.jobs.discard(job)
            self._send(202, {}, b"")
        else:
            if bulk.signed:
                bulk.signature = uuid4().hex
            told: dict[str, Any] = {"transactionTime": bulk.transaction_time, "request": f"{bulk.base}/$export"}
            told |= {"requiresAccessToken": bulk.needs_token, "output": [], "error": [], "deleted": []}
            named = list(bulk.files.items())
            if bulk.pages:
                named = named[1:] if second else named[:1]
                told["link"] = [] if second else [{"relation": "next", "url": f"{bulk.base}/jobs/{job}/2"}]
            for name, (kind, resource_type, _) in named:
                place = bulk.elsewhere or bulk.base.removesuffix("/fhir")
                url = f"{place}/files/{name}" + (f"?X-Amz-Signature={bulk.signature}" if bulk.signed else "")
                item = {"type": resource_type, "url": url}
                told[kind].append(item | ({"count": bulk.counts[name]} if name in bulk.counts else {}))
            self._send(200, {}, json.dumps(told).encode())

    def _file(self, name: str, query: str) -> None:
        bulk = self.bulk
        if bulk.needs_token and not self._may():
            self._send(401, {}, b"")
            return
        if name not in bulk.files or (bulk.signed and bulk.signature not in query):
            self._send(403, {}, b"")
            return
        data = bulk.files[name][2]
        headers = {"Content-Type": "application/fhir+ndjson"}
        if bulk.zipped:
            data = gzip.compress(data, mtime=0)
            headers["Content-Encoding"] = "gzip"
        status, start = 200, 0
        if bulk.ranges:
            headers["ETag"] = f'"{hash(data)}"'
            asked = self.seen.headers.get("range", "")
            if asked and self.seen.headers.get("if-range") == headers["ETag"]:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                    return
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, headers, data[start:], name)

    def _send(self, status: int, headers: dict[str, str], body: bytes, name: str = "") -> None:
        bulk = self.bulk
        self.seen.status = status
        self.send_response(status)
        for header, value in headers.items():
            # "in 2" is the date of two seconds from now.
            self.send_header(header, http_date(float(value[3:])) if value.startswith("in ") else value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cuts = bulk.cut.get(name)
        if cuts:
            self.wfile.write(body[: cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if seconds := bulk.drip.get(name):
            for start in range(0, len(body), 1000):
                self.wfile.write(body[start : start + 1000])
                self.wfile.flush()
                time.sleep(seconds)
            return
        self.wfile.write(body)


class _Server(ManyCallers):
    def handle_error(self, *_: Any) -> None:
        """A caller that was killed is no fault."""


@contextmanager
def bulk_server(**how: Any) -> Iterator[BulkServer]:
    """The server, running."""
    bulk = BulkServer(**how)
    handler = type("Handler", (_Handler,), {"bulk": bulk})
    with _Server(("127.0.0.1", 0), handler) as server:
        bulk.base = f"http://127.0.0.1:{server.server_address[1]}/fhir"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield bulk
        server.shutdown()


def http_date(seconds: float) -> str:
    """A date so many seconds from now, as Retry-After has it."""
    return formatdate(time.time() + seconds, usegmt=True)
