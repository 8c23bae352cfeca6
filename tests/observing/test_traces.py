"""Traces by OpenTelemetry, as a collector gets them: real OTLP over HTTP from a real service with two workers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cds_service.metrics.spans import ATTRIBUTES, Spans
from cds_service.metrics.stages import STAGES
from cds_service.settings import SettingsError
from tests.support.servers import ManyCallers
from tests.trust.support import SERVICE, bare_body, log_events, running, wait_until

ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
MARK = "zq7mark"


class Collector:
    """What a collector was sent, decoded."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                sent = ExportTraceServiceRequest.FromString(body)
                with collector.lock:
                    for resource in sent.resource_spans:
                        collector.resources.append(
                            {each.key: each.value.string_value for each in resource.resource.attributes}
                        )
                        collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ManyCallers(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def calls(self) -> list[Any]:
        with self.lock:
            return [span for span in self.spans if span.kind == span.SPAN_KIND_SERVER]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_a_collector_gets_each_call_with_its_stages_from_every_worker_and_nothing_of_a_patient(
    tmp_path: Path, collector: Collector
) -> None:
    with running(tmp_path, workers=2, traces_to=collector.address) as service:
        body = bare_body()
        body["context"] |= {"patientId": MARK, "userId": f"Practitioner/{MARK}"}
        headers = {"traceparent": f"00-{ID}-{PARENT}-01"}
        answer = requests.post(service.url + SERVICE, json=body, headers=headers, timeout=30)
        assert answer.headers["X-Request-Id"] == ID
        unwanted = requests.post(
            service.url + SERVICE, json=bare_body(), headers={"traceparent": f"00-{'a' * 32}-{PARENT}-00"}, timeout=30
        )
        assert unwanted.status_code == 200
        own = {
            requests.post(service.url + SERVICE, json=bare_body(), timeout=30).headers["X-Request-Id"]
            for _ in range(20)
        }
        before = time.time_ns()
    # What waited is sent when the workers end.
    wait_until(lambda: len(collector.calls()) >= 21, 20, "not all were sent")
    calls = {span.trace_id.hex(): span for span in collector.calls()}
    assert set(calls) == {ID, *own}, "a caller that does not keep its trace keeps none here"
    first = calls[ID]
    assert first.parent_span_id.hex() == PARENT
    assert first.name == "POST /cds-services/{id}"
    said = {each.key: each.value for each in first.attributes}
    assert set(said) <= set(ATTRIBUTES)
    assert said["http.response.status_code"].int_value == 200
    assert said["service"].string_value == SERVICE.rpartition("/")[2]
    line = next(
        each for each in log_events(service.log.read_text()) if each["event"] == "request" and each["trace"] == ID
    )
    assert said["hook_instance"].string_value == line["hook_instance"]
    parts = [span for span in collector.spans if span.parent_span_id == first.span_id]
    assert {span.name for span in parts} == {*STAGES} - {"fetch"}
    for span in parts:
        assert span.trace_id == first.trace_id
        assert first.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= first.end_time_unix_nano <= before
        assert not span.attributes
    assert not any(MARK in str(span) for span in collector.spans)
    assert {(each["service.name"]) for each in collector.resources} == {"magnesium-cds"}


def test_a_collector_that_is_away_costs_no_call(tmp_path: Path) -> None:
    with running(tmp_path, traces_to="http://127.0.0.1:9/v1/traces") as service:
        for _ in range(5):
            assert requests.post(service.url + SERVICE, json=bare_body(), timeout=5).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 15, "the end waits for a moment only"


def test_without_the_extra_the_start_says_what_to_install(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"traces_to: .*pip install '\.\[otel\]'"):
        make_app(traces_to="http://collector.example:4318/v1/traces")


def test_off_nothing_of_it_is_loaded() -> None:
    assert Spans.of(None, "0") is None
    program = "import sys, cds_service.hooks.app; print([n for n in sys.modules if n.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
