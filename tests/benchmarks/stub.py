"""A FHIR server of one chart that takes a set time for each answer, in a process of its own."""

from __future__ import annotations

import http.client
import multiprocessing
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.benchmarks.bodies import MARK, PATIENT
from tests.benchmarks.servers import free_port

NUMBER = re.compile(re.escape(PATIENT).replace(re.escape(MARK.decode()), "([0-9]{8})"))


def question(url: str) -> str:
    """What a search asks for, whoever the patient is: its type, codes and status."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    code, status = (asked.get(name, [""])[0] for name in ("code", "status"))
    return f"{parts.path.rstrip('/').rpartition('/')[2]} {code} {status}"


def serve(port: int, request: bytes, delay_ms: float) -> None:
    """Serve the chart of this hook request; `POST /learn` with the service's discovery first."""
    chart = orjson.loads(request)["prefetch"]
    answers: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            told = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for service in told["services"]:
                for key, template in service["prefetch"].items():
                    if key in chart:
                        answers[question(template.replace("{{context.patientId}}", ""))] = orjson.dumps(chart[key])
            self._answer(b"{}")

        def do_GET(self) -> None:
            time.sleep(delay_ms / 1000)
            found = NUMBER.search(self.path)
            number = found[1].encode() if found else b"0" * 8
            self._answer(answers[question(self.path)].replace(MARK, number))

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


@contextmanager
def running(request: bytes, delay_ms: float) -> Iterator[str]:
    """Its base URL, while it runs."""
    port = free_port()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(port, request, delay_ms), daemon=True)
    child.start()
    try:
        yield f"http://127.0.0.1:{port}/fhir"
    finally:
        child.terminate()
        child.join(10)


def to_read(request: bytes, base: str, absent: Collection[str]) -> bytes:
    """The request without these inputs, which are to be read from `base`."""
    whole = orjson.loads(request)
    prefetch = {key: value for key, value in whole["prefetch"].items() if key not in absent}
    return orjson.dumps({**whole, "fhirServer": base, "prefetch": prefetch})


def learn(base: str, discovery: bytes) -> None:
    """Tell the stub which searches the service makes. It is waited for."""
    for _ in range(200):
        connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
        try:
            connection.request("POST", "/learn", discovery)
            connection.getresponse().read()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError("the stub did not start")
