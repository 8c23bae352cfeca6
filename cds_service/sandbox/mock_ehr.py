"""A fake EHR that fails on purpose: FHIR over the sample patients, a key set, tokens; each fault a line of script.

For tests and for trying a service out, never for real patients: it has no access control and issues tokens to anybody.
"""

from __future__ import annotations

import socket
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from struct import pack
from time import sleep, time
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .expand import Resource
from .listening import Listening
from .patients import everything
from .search import MAX_PAGE, PARAMETERS, SearchError, find, search, searchset

FHIR_PATH: Final = "/fhir"
KEYS_PATH: Final = "/jwks.json"
TOKEN_PATH: Final = "/token"  # noqa: S105 - an address


class ScriptError(Exception):
    """A script that cannot be used, with the reason."""


class Answer(BaseModel):
    """How calls to `path` are answered. Entries left out behave as a server in good health does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(description="start of the path, as Observation, Patient/x or /jwks.json; empty: all")]
    times: Annotated[int | None, Field(ge=1, description="so many calls, then no more; default: all")] = None
    status: Annotated[int, Field(ge=200, le=599)] = 200
    headers: Annotated[dict[str, str], Field(description="added to the answer, or replacing it")] = {}
    body: Annotated[str | None, Field(description="instead of what there is")] = None
    delay: Annotated[float, Field(ge=0, description="seconds before the status line")] = 0
    stall: Annotated[float, Field(ge=0, description="seconds between headers and body")] = 0
    drip: Annotated[float | None, Field(gt=0, description="bytes a second, headers included")] = None
    cut_at: Annotated[int | None, Field(ge=0, description="bytes of the answer after which it is reset")] = None
    patient: Annotated[str | None, Field(description="id of the patient whom the answer then is about")] = None
    pages: Annotated[int, Field(ge=1, description="pages of a search, each with the same entries")] = 1
    next_link: Annotated[str | None, Field(description="address of the next page, instead of ours")] = None
    entries: Annotated[int | None, Field(ge=0, description="entries on a page, the first one repeated")] = None


def read_script(text: str) -> tuple[list[Answer], float]:
    """The answers of a script (TOML: [[answer]] tables) and its `clock`, seconds that tokens are dated ahead by.

    Raises ScriptError.
    """
    try:
        document = tomllib.loads(text)
        answers = [Answer.model_validate(item) for item in document.pop("answer", [])]
        clock = float(document.pop("clock", 0))
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ScriptError(f"answer: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise ScriptError("clock must be a number, and answer a list of tables") from error
    if document:
        raise ScriptError(f"there is no entry {next(iter(document))}; there are answer and clock")
    return answers, clock


@dataclass(frozen=True, slots=True)
class Call:
    """One call that the fake EHR received. `token`: whether it carried an Authorization header."""

    method: str
    path: str
    token: bool
    traceparent: str = ""


@dataclass
class Signer:
    """A key pair, and tokens signed with it as an EHR signs them. `clock`: seconds that its clock is ahead."""

    issuer: str
    jku: str | None = None
    clock: float = 0
    kid: str = field(default_factory=lambda: uuid4().hex)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    def public(self) -> Resource:
        """The public half as a JWK."""
        jwk: Resource = dict(ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True))
        return jwk | {"kid": self.kid, "use": "sig", "alg": "ES384"}

    def token(self, audience: str | Sequence[str], *, life: int = 300, **claims: Any) -> str:
        """A token for an address. `claims` are added; one that is None is left out."""
        now = round(time() + self.clock)
        base = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + life, "jti": uuid4().hex}
        said = {name: value for name, value in (base | claims).items() if value is not None}
        header = {"kid": self.kid} | ({"jku": self.jku} if self.jku else {})
        return jwt.encode(said, self.key, algorithm="ES384", headers=header)


class MockEhr(Listening):
    """The fake EHR on a port of its own: `with MockEhr() as ehr: ehr.fhir`.

    `script` may be changed at any time, by `fail` as well; the first entry that fits a call counts. `calls` holds what
    came in. Port 0 takes any free port. OSError if the port is taken.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        script: Sequence[Answer] = (),
        clock: float = 0,
        resources: Callable[[], list[Resource]] | None = None,
    ) -> None:
        self.script = list(script)
        self.calls: list[Call] = []
        self._resources = resources or (lambda: everything(datetime.now(UTC)))
        self._lock = threading.Lock()
        self._used: dict[int, int] = {}
        super().__init__(_Server((host, port), type("Handler", (_Handler,), {"ehr": self})))
        self.fhir = self.url + FHIR_PATH
        self.signer = Signer(self.url, self.url + KEYS_PATH, clock)
        self.published: list[Resource] = [self.signer.public()]

    def fail(self, path: str, **how: Any) -> None:
        """One more line of script, before the others."""
        self.script.insert(0, Answer(path=path, **how))

    def heal(self) -> None:
        """Forget the script and the calls."""
        self.script.clear()
        self.calls.clear()
        self._used.clear()

    def rotate(self) -> None:
        """A new key in place of the old one."""
        self.signer = Signer(self.url, self.url + KEYS_PATH, self.signer.clock)
        self.published = [self.signer.public()]

    def asked(self, start: str) -> int:
        """Calls to a path below the FHIR base (or to one that begins with a slash)."""
        place = start if start.startswith("/") else f"{FHIR_PATH}/{start}"
        return sum(call.path.startswith(place) for call in list(self.calls))

    def _plan(self, path: str) -> Answer:
        with self._lock:
            for answer in self.script:
                place = answer.path if answer.path.startswith("/") else f"{FHIR_PATH}/{answer.path}"
                if path.startswith(place):
                    used = self._used.get(id(answer), 0)
                    if answer.times is None or used < answer.times:
                        self._used[id(answer)] = used + 1
                        return answer
        return Answer(path="")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that left is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    ehr: MockEhr
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: a path holds a patient's id."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        self.ehr.calls.append(
            Call(self.command, self.path, "Authorization" in self.headers, self.headers.get("traceparent", ""))
        )
        plan = self.ehr._plan(self.path)
        sleep(plan.delay)
        status, kind, content = self._content(plan, body)
        if plan.status != 200:
            status = plan.status
            content = content if plan.body is not None else _outcome("exception")
        if plan.body is not None:
            content = plan.body.encode()
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **plan.headers}
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items() if value)]
        head = "\r\n".join([*lines, "", ""]).encode()
        try:
            self._send(plan, head, content)
        except OSError:
            self.close_connection = True

    def _send(self, plan: Answer, head: bytes, content: bytes) -> None:
        if plan.cut_at is not None:
            self.wfile.write((head + content)[: plan.cut_at])
            # An immediate reset, as of a process that died.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        for part in (head, content):
            if plan.drip is None:
                self.wfile.write(part)
            else:
                for index in range(len(part)):
                    self.wfile.write(part[index : index + 1])
                    sleep(1 / plan.drip)
            if part is head:
                sleep(plan.stall)

    def _content(self, plan: Answer, body: bytes) -> tuple[int, str, bytes]:
        parts = urlsplit(self.path)
        if parts.path == KEYS_PATH:
            return 200, "application/json", orjson.dumps({"keys": self.ehr.published})
        if parts.path == TOKEN_PATH:
            asked = dict(parse_qsl(body.decode("utf-8", "replace") or parts.query))
            return 200, "application/jwt", self.ehr.signer.token(asked.get("aud", "")).encode()
        steps = parts.path.removeprefix(FHIR_PATH).strip("/").split("/")
        if not parts.path.startswith(FHIR_PATH) or steps[0] not in PARAMETERS or len(steps) > 2:
            return 404, "application/fhir+json", _outcome("not-found")
        resources = self.ehr._resources()
        if len(steps) == 2:
            found = find(resources, *steps)
            if found is None:
                return 404, "application/fhir+json", _outcome("not-found")
            return 200, "application/fhir+json", _moved(orjson.dumps(found), plan.patient)
        return 200, "application/fhir+json", self._page(plan, resources, steps[0], parse_qsl(parts.query))

    def _page(self, plan: Answer, resources: list[Resource], kind: str, asked: list[tuple[str, str]]) -> bytes:
        number = int(dict(asked).get("_mock_page", 1))
        query = [pair for pair in asked if pair[0] != "_mock_page"]
        try:
            bundle = searchset(search(resources, kind, [*query, ("_count", str(MAX_PAGE))]), kind, self.ehr.fhir)
        except SearchError:
            return _outcome("invalid")
        if number < plan.pages or plan.next_link:
            here = self.path.partition("&_mock_page=")[0]
            following = plan.next_link or f"{self.ehr.url}{here}&_mock_page={number + 1}"
            following = f"{self.ehr.url}{self.path}" if following == "self" else following
            bundle["link"] = [{"relation": "next", "url": following}]
        if plan.entries is not None and bundle.get("entry"):
            first = bundle["entry"][0]
            bundle["entry"] = [
                {"resource": first["resource"] | {"id": f"{first['resource']['id']}-{number}-{index}"}}
                for index in range(plan.entries)
            ]
        return _moved(orjson.dumps(bundle), plan.patient)


def _moved(body: bytes, patient: str | None) -> bytes:
    """The same about another patient."""
    if patient is None:
        return body
    document = orjson.loads(body)
    entries: list[Mapping[str, Any]] = document.get("entry", [{"resource": document}])
    for entry in entries:
        resource = entry["resource"]
        if resource["resourceType"] == "Patient":
            resource["id"] = patient
        elif "subject" in resource:
            resource["subject"] = {"reference": f"Patient/{patient}"}
    return orjson.dumps(document)


def _outcome(code: str) -> bytes:
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]})
