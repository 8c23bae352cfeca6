"""The log and the ids in it: a closed list of lines and fields, and calls that are found again in the EHR's log."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from flask import Flask

from cds_service.logs import LOG_EVENTS, LOG_FIELDS, configure
from cds_service.metrics.trace_ids import trace_of
from cds_service.sandbox.mock_ehr import MockEhr
from tests.trust.support import DISCOVERY, FEEDBACK, MARK, SERVICE, bare_body, body_for, log_events

PACKAGE = Path(__file__).resolve().parents[2] / "cds_service"
EVERY = {"event", "level", "logger", "timestamp"}
ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{ID}-b7ad6b7169203331-01"
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")


def log_calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Place, logger and call of each line that our code writes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        if "getLogger(" not in text and "get_logger(" not in text:
            continue  # it writes no line
        tree = ast.parse(text)
        loggers: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                made = ast.unparse(node.value)
                if re.match(r"(structlog\.get_logger|logging\.getLogger)\(", made) and isinstance(
                    node.targets[0], ast.Name
                ):
                    loggers[node.targets[0].id] = ast.unparse(node.value.args[0]).strip("'") if node.value.args else ""
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in loggers:
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", loggers[owner.id], node


CALLS = list(log_calls())


@pytest.mark.parametrize(("place", "logger", "call"), CALLS, ids=[place for place, _, _ in CALLS])
def test_each_line_that_the_code_writes_is_listed(place: str, logger: str, call: ast.Call) -> None:
    assert len(call.args) == 1 and isinstance(call.args[0], ast.Constant), "an event is a fixed text"
    event = LOG_EVENTS[str(call.args[0].value)]
    assert isinstance(call.func, ast.Attribute)
    assert call.func.attr == event.level
    names = {word.arg for word in call.keywords if word.arg}
    assert names <= {*event.fields}
    if event.fields and all(word.arg for word in call.keywords):
        assert names == {*event.fields}


def test_each_listed_line_is_written_somewhere_and_has_listed_fields() -> None:
    written = {str(call.args[0].value) for _, _, call in CALLS if isinstance(call.args[0], ast.Constant)}
    assert written == set(LOG_EVENTS)
    assert {name for event in LOG_EVENTS.values() for name in event.fields} | EVERY == set(LOG_FIELDS)
    loggers = {logger for _, logger, _ in CALLS}
    assert {f"magnesium_cds.{event.logger}" for event in LOG_EVENTS.values()} == loggers


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was written to the log since the test began."""
    root, text = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", text)
    configure("INFO")
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: log_events(text.getvalue())
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_what_is_no_listed_field_never_comes_to_the_log(lines: Callable[[], list[dict[str, Any]]]) -> None:
    structlog.get_logger("magnesium_cds.trial").warning("call refused", cause="key", patient=MARK, kid=MARK)
    (line,) = lines()
    assert set(line) == EVERY | {"cause"}


def test_the_ehrs_log_finds_a_call_by_its_hook_instance(app: Flask, lines: Callable[[], list[dict[str, Any]]]) -> None:
    instance = "D1577C69-DFBE-44AD-BA6D-3E05E953B2EA"
    app.test_client().post(SERVICE, json=body_for(app, hookInstance=instance))
    line = next(line for line in lines() if line["event"] == "request")
    shell = subprocess.run(
        ["sh", "-c", f"printf %s {instance.lower()} | sha256sum | cut -c1-16"], capture_output=True, text=True
    )
    assert line["hook_instance"] == shell.stdout.strip() == hashlib.sha256(instance.lower().encode()).hexdigest()[:16]
    assert instance.lower() not in json.dumps(lines()).lower()
    docs = (PACKAGE.parent / "docs/operate/observe.md").read_text()
    assert line["hook_instance"] in docs, "the example of the docs"


def test_a_callers_trace_is_logged_answered_and_passed_on_to_its_fhir_server(
    make_app: Callable[..., Flask], ehr: MockEhr, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    app = make_app(fhir_servers=(ehr.fhir,))
    headers = {"traceparent": PARENT, "tracestate": f"vendor={MARK}"}
    answer = app.test_client().post(SERVICE, json=bare_body(fhirServer=ehr.fhir), headers=headers)
    assert answer.headers["X-Request-Id"] == ID
    assert next(line for line in lines() if line["event"] == "request")["trace"] == ID
    spans = {call.traceparent for call in ehr.calls}
    assert len(spans) == 1
    version, trace, span, flags = spans.pop().split("-")
    assert (version, trace, flags) == ("00", ID, "01")
    assert span != "b7ad6b7169203331", "ours, below the caller's"
    assert MARK not in json.dumps(lines())


WRONG = {
    "upper case": PARENT.upper(),
    "no trace": f"00-{'0' * 32}-b7ad6b7169203331-01",
    "no span": f"00-{ID}-{'0' * 16}-01",
    "version ff": PARENT.replace("00-", "ff-", 1),
    "more than version 00 has": f"{PARENT}-more",
    "short": PARENT[:-1],
    "blank": f" {PARENT}",
    "line end": f"{PARENT}\n",
    "other digits": f"00-{ID[:-1]}٣-b7ad6b7169203331-01",
    "text": MARK,
    "long": f"01{PARENT[2:]}-{'x' * 600}",
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_a_trace_that_is_not_as_the_standard_has_it_is_replaced_by_ours(header: str) -> None:
    found = trace_of([header])
    assert found.id != ID and re.fullmatch("[0-9a-f]{32}", found.id)
    assert found.parent == "" and not found.sampled


def test_two_traces_are_none_and_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert trace_of([PARENT, PARENT]).id != ID
    assert trace_of([]).id != trace_of([]).id
    later = trace_of([f"01{PARENT[2:]}-what-is-to-come"])
    assert (later.id, later.parent, later.sampled) == (ID, "b7ad6b7169203331", True)
    assert not trace_of([PARENT.replace("-01", "-00")]).sampled
    assert trace_of([PARENT.replace("-01", "-03")]).traceparent.endswith("-01"), (
        "a flag that we do not know is not told"
    )


@pytest.mark.parametrize("path", ["/", DISCOVERY, SERVICE, FEEDBACK, "/healthz", "/evidence", "/nothing", "//nothing"])
def test_every_answer_has_an_id_an_error_too(app: Flask, path: str) -> None:
    answer = app.test_client().get(path)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    again = app.test_client().post(SERVICE, json={"hook": str(uuid4())})
    assert again.status_code == 400
    assert again.headers["X-Request-Id"] != answer.headers["X-Request-Id"]
