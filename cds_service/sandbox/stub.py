"""A read-only FHIR R4 server over the sample patients, with what the CDS Hooks Sandbox asks when it starts.

It has no access control and answers any origin: for the sample patients only, never for real ones.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from socket import AF_INET, AF_INET6
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from flask import Blueprint, Flask, Response, current_app, json, request
from werkzeug.exceptions import HTTPException, NotFound, UnsupportedMediaType
from werkzeug.serving import WSGIRequestHandler, make_server

from .expand import Resource
from .listening import Listening
from .patients import everything, load
from .search import PARAMETERS, SearchError, find, search, searchset

FHIR_PATH = "/fhir"
SANDBOX = "https://sandbox.cds-hooks.org/"
FIRST_PATIENT = "low-magnesium"
SCREENS = {
    "patient-view": ("patient-view", "Patient View"),
    "order-select": ("rx-view", "Rx View"),
    "order-sign": ("rx-sign", "Rx Sign"),
}
"""By hook: the Sandbox's own name of its screen (`src/components/Header/header.jsx`), and what it is called there."""
SHOWN = (
    ("low-magnesium", "patient-view", ""),
    ("levothyroxine", "order-select", "magnesium-oxide"),
    ("levothyroxine", "order-sign", "magnesium-oxide"),
)
"""Patients to open first, with a draft of theirs whose drug the Sandbox can prescribe."""

_TYPES = {
    "_id": "token",
    "patient": "reference",
    "subject": "reference",
    "date": "date",
    "authoredon": "date",
    "authored": "date",
    "questionnaire": "reference",
}
_ISSUES = {400: "invalid", 404: "not-found", 405: "not-supported", 415: "not-supported"}

blueprint = Blueprint("fhir_stub", __name__)
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


def _resources() -> list[Resource]:
    return everything(current_app.config["CLOCK"]())


def _fhir(body: Resource, status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/fhir+json")


def _outcome(status: int, code: str, text: str) -> Response:
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return _fhir({"resourceType": "OperationOutcome", "issue": [issue]}, status)


def _base() -> str:
    return request.host_url.rstrip("/") + FHIR_PATH


@blueprint.get("/metadata")
def metadata() -> Response:
    """The CapabilityStatement: exactly the types, interactions and parameters that are answered."""
    return _fhir(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-21",
            "kind": "instance",
            "software": {"name": "Magnesium CDS sandbox"},
            "implementation": {"description": "Invented sample patients, read only", "url": _base()},
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "rest": [
                {
                    "mode": "server",
                    "security": {"cors": True},
                    "resource": [
                        {
                            "type": kind,
                            "interaction": [{"code": "read"}, {"code": "search-type"}],
                            "searchParam": [{"name": name, "type": _TYPES.get(name, "token")} for name in parameters],
                        }
                        for kind, parameters in PARAMETERS.items()
                    ],
                }
            ],
        }
    )


@blueprint.get("/<kind>")
def search_by_get(kind: str) -> Response:
    """A search with its parameters in the address."""
    return _search(kind, list(request.args.items(multi=True)))


@blueprint.post("/<kind>/_search")
def search_by_post(kind: str) -> Response:
    """A search with its parameters in a form, and in the address if there are any."""
    if request.mimetype != "application/x-www-form-urlencoded" and request.content_length:
        raise UnsupportedMediaType("A search by POST carries application/x-www-form-urlencoded.")
    return _search(kind, [*request.args.items(multi=True), *request.form.items(multi=True)])


def _search(kind: str, parameters: list[tuple[str, str]]) -> Response:
    if kind not in PARAMETERS:
        return _outcome(404, "not-supported", "There are no resources of this type here.")
    try:
        page = search(_resources(), kind, parameters)
    except SearchError as fault:
        return _outcome(400, "invalid", str(fault))
    return _fhir(searchset(page, kind, _base()))


@blueprint.get("/<kind>/<identifier>")
def read(kind: str, identifier: str) -> Response:
    """One resource."""
    found = find(_resources(), kind, identifier)
    return _fhir(found) if found else _outcome(404, "not-found", "There is no such resource here.")


@blueprint.post("/_services/smart/Launch")
def launch() -> Response:
    """A launch context for a SMART link. The id means nothing to us: no app is authorised here."""
    body: Any = request.get_json(silent=True)
    if not isinstance(body, dict) or not isinstance(body.get("launchUrl"), str):
        return _outcome(400, "required", "launchUrl is missing.")
    return Response(json.dumps({"launch_id": str(uuid4())}), mimetype="application/json")


def _refuse(fault: HTTPException) -> Response:
    status = fault.code or 500
    answer = _outcome(status, _ISSUES.get(status, "processing"), fault.description or fault.name)
    allowed = getattr(fault, "valid_methods", None)
    if allowed:
        answer.headers["Allow"] = ", ".join(sorted(allowed))
    return answer


def _allow_any_origin(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = "authorization, content-type, accept, prefer"
    response.headers["Access-Control-Expose-Headers"] = "location"
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        response.headers["Access-Control-Allow-Private-Network"] = "true"
    return response


def create_stub(clock: Clock = _now) -> Flask:
    """The FHIR server as a Flask app, under /fhir. `clock` gives the time (zoned) that dates the samples."""
    app = Flask(__name__, static_folder=None)
    app.config["CLOCK"] = clock
    app.register_blueprint(blueprint, url_prefix=FHIR_PATH)
    app.register_error_handler(HTTPException, _refuse)
    app.after_request(_allow_any_origin)
    app.add_url_rule("/", "root", view_func=_root)
    return app


def _root() -> Response:
    raise NotFound(f"The FHIR server is at {FHIR_PATH}.")


def sandbox_address(
    fhir_url: str, cds_url: str, patient: str = FIRST_PATIENT, sandbox: str = SANDBOX, hook: str = "", drug: str = ""
) -> str:
    """The address that opens a CDS Hooks Sandbox on this FHIR server, this service and this patient; on the screen of
    this `hook`, with the `drug` of this RxNorm code chosen, where the Sandbox knows it."""
    discovery = cds_url.rstrip("/")
    if not discovery.endswith("/cds-services"):
        discovery += "/cds-services"
    query = {"fhirServiceUrl": fhir_url, "serviceDiscoveryURL": discovery, "patientId": patient}
    if hook:  # else it opens the screen of the last visit
        query |= {"hook": hook, "screen": SCREENS[hook][0]}
    if drug:
        query["prescribedMedication"] = drug
    return f"{sandbox.rstrip('/')}/?{urlencode(query)}"


class _Quiet(WSGIRequestHandler):
    """No access log: a path holds a patient's id."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


class StubServer(Listening):
    """The stub on a port of its own: `with StubServer() as stub: stub.fhir`.

    Port 0 takes any free port. OSError if the port is taken.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, clock: Clock = _now) -> None:
        # Bound here, since werkzeug ends the whole process when a port is taken; it listens on a copy.
        with socket.create_server((host, port), family=AF_INET6 if ":" in host else AF_INET) as bound:
            app = create_stub(clock)
            super().__init__(make_server(host, port, app, threaded=True, request_handler=_Quiet, fd=bound.fileno()))
        self.fhir = self.url + FHIR_PATH


def run(host: str, port: int, cds_url: str, echo: Callable[[str], None] = print) -> None:
    """Serves the stub until interrupted, after telling by `echo` where it is and what to open.

    `cds_url` is the CDS service's base address, or its discovery address. OSError if the port is taken.
    """
    with StubServer(host, port) as stub:
        try:
            for line in _greeting(stub.fhir, cds_url):
                echo(line)
            stub.wait()
        except KeyboardInterrupt:
            echo("Stopped.")


def _greeting(fhir_url: str, cds_url: str) -> Iterator[str]:
    yield f"FHIR R4 server with {len(load())} sample patients: {fhir_url}"
    yield f"CDS service: {cds_url}"
    yield "Open in a browser on this machine:"
    for patient, hook, draft in SHOWN:
        sample = load()[patient]
        drug = sample.drafts[draft].rxnorm if draft else ""
        yield f"{SCREENS[hook][1]}: {sample.title}"
        yield f"  {sandbox_address(fhir_url, cds_url, patient, hook=hook, drug=drug)}"
    if urlsplit(fhir_url).hostname in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        yield "Put an address that the browser can reach in place of these."
    yield "Other patients (patientId=...):"
    for sample in load().values():
        yield f"  {sample.id:15} {sample.title}"
