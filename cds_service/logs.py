"""Logs: one JSON object a line on stderr.

Our own lines hold the fields of LOG_FIELDS and no other, so no path, query, id, name, address or header of a patient's
call can be in them: what a line says beside is dropped. LOG_EVENTS lists every line that we write; the reference in the
docs is made from both. Lines of libraries (gunicorn, OpenTelemetry) have `event`, `level`, `logger` and `timestamp`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog
from structlog.typing import Processor

OURS: Final = "magnesium_cds"


@dataclass(frozen=True, slots=True)
class LogField:
    """A member of a line: its JSON type and what it means."""

    type: Literal["string", "integer", "number", "array of strings"]
    meaning: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line by its `event`: who writes it, how bad it is, what else it holds, what it means and what to do."""

    logger: str
    level: Literal["info", "warning", "error"]
    fields: tuple[str, ...]
    meaning: str


LOG_FIELDS: Final = {
    # On every line.
    "event": LogField("string", "what happened, in the words of the list of events"),
    "level": LogField("string", "info, warning or error"),
    "logger": LogField("string", "part that writes, beginning with magnesium_cds; others are libraries"),
    "timestamp": LogField("string", "time in UTC, ISO 8601"),
    # Of a request.
    "method": LogField("string", "HTTP method"),
    "route": LogField("string", "pattern of the address, such as /cds-services/<service_id>; none where there is none"),
    "service": LogField("string", "id of the CDS service, empty for other addresses"),
    "status": LogField("integer", "HTTP status of the answer"),
    "ms": LogField("number", "milliseconds from the head of the request to the answer"),
    "trace": LogField("string", "trace id: of the caller's traceparent, else ours; answered as X-Request-Id"),
    "hook_instance": LogField("string", "first 16 hex digits of the SHA-256 of hookInstance in lower case"),
    "cards": LogField("integer", "cards shown; in `record of cards dropped`: cards without a record"),
    "fired": LogField("integer", "rules that fired"),
    "not_evaluated": LogField("integer", "rules that could not be evaluated"),
    "faults": LogField("integer", "rules that a fault of ours kept from answering"),
    "unreadable": LogField("integer", "resources that could not be read"),
    # Of what goes wrong.
    "cause": LogField("string", "why, in a word of a closed list or the kind of an exception"),
    "kind": LogField("string", "kind of the exception, never its text"),
    "ref": LogField("string", "short hash of kind and places: the same fault has the same one"),
    "places": LogField("array of strings", "file and line of our code through which the fault came"),
    "rules": LogField("array of strings", "ids of the rules that met the fault"),
    "where": LogField("string", "path in the request, never its value"),
    "number": LogField("integer", "how many; in `audit line`: the number of the line"),
    "client": LogField(
        "string", "name of the client, as it is configured; with its tenant where the line is of counts"
    ),
    "server": LogField("string", "FHIR base URL, as it is registered"),
    "digest": LogField("string", "digest of the site values"),
    "told": LogField("array of strings", "what is wrong in the site values: file, line, key and what is allowed"),
    "remark": LogField("string", "what the start found, in our words"),
    "canary": LogField("string", "name of the invented patient"),
    "wrong": LogField("array of strings", "what was not as expected of it"),
    "alarm": LogField("string", "kind of the alarm"),
    "about": LogField("string", "rule or kind of data that the alarm is about"),
    "hash": LogField("string", "hash that chains the lines of the audit log"),
}
"""Every field of our lines, in the order of the docs."""

_FAULT: Final = ("kind", "ref", "places")
_ALARM: Final = ("alarm", "about", "client")
REQUEST_FIELDS: Final = (
    "method", "route", "service", "status", "ms", "trace", "hook_instance", "cards", "fired", "not_evaluated", "faults",
    "unreadable",
)  # fmt: skip

LOG_EVENTS: Final = {
    "request": LogEvent("requests", "info", REQUEST_FIELDS, "A request was answered."),
    "request not read": LogEvent("serving", "warning", ("kind",), "What came is no HTTP. Nothing to do if it is rare."),
    "unexpected fault": LogEvent(
        "serving", "error", _FAULT, "A fault of ours; the caller got 500. Report `ref` and `places`."
    ),
    "page of a fault not made": LogEvent("pages", "error", ("kind",), "A fault of ours; the caller got it as JSON."),
    "rules met a fault": LogEvent(
        "rules", "error", ("rules", *_FAULT), "These rules were not evaluated, and the card says so. Report it."
    ),
    "call refused": LogEvent("trust", "warning", ("cause",), "401. The causes are explained in docs/integration.md."),
    "token not checked": LogEvent(
        "trust", "error", ("cause",), "503: the store does not answer, so a replay could not be told."
    ),
    "fhirServer not registered": LogEvent(
        "trust", "warning", ("client",), "A call names a FHIR server that its client does not have; it is not read."
    ),
    "server not asked for a while": LogEvent(
        "trust", "warning", ("server",), "A FHIR server failed five times in a row."
    ),
    "keys not read": LogEvent(
        "trust", "warning", ("client", "cause"), "The client's key set cannot be read; known keys go on being used."
    ),
    "key left out": LogEvent("trust", "warning", ("client", "cause"), "A key of the client's set is of no use."),
    "identity mismatch": LogEvent(
        "hooks", "warning", ("where",), "412: what stands there is of another patient than the call."
    ),
    "cited resources left out": LogEvent(
        "advice", "warning", ("number",), "Resources that a rule rests on are not valid FHIR."
    ),
    "compiled content not used": LogEvent(
        "advice",
        "warning",
        ("remark",),
        "The files were read. If it comes at each start, see who writes there.",
    ),
    "site values in force": LogEvent("content", "info", ("digest",), "Changed site values were taken over."),
    "site values not taken over": LogEvent(
        "content", "error", ("told",), "The last good ones stay in force. Mend what `told` names."
    ),
    "worker not started": LogEvent(
        "serving",
        "error",
        ("kind", "ref", "places"),
        "What it reads at its start cannot be used now, such as the database, the site's values or the clients' file. "
        "The other workers go on; it is tried again every two seconds.",
    ),
    "database opened with a remark": LogEvent("store", "warning", ("remark",), "Read it: it says what to do."),
    "record of cards dropped": LogEvent(
        "store", "error", ("cards",), "The database took no record of cards that were shown."
    ),
    "counts dropped": LogEvent("store", "error", (), "The database has taken no counts for long; more are not kept."),
    "metrics not written": LogEvent(
        "metrics",
        "error",
        ("kind",),
        "Their folder is full or gone: /metrics is wrong until a restart. Calls are answered.",
    ),
    "kept facts are still there": LogEvent(
        "facts", "warning", (), "keep_facts is 0: delete what was kept with `magnesium-cds facts off`."
    ),
    "kept facts not purged": LogEvent(
        "facts", "warning", (), "The database did not answer at the start; it is tried again."
    ),
    "a call was not kept": LogEvent(
        "facts",
        "error",
        ("kind", "number"),
        "Its facts could not be written. It was answered. Told once a minute; `number`: since the start.",
    ),
    "audit line": LogEvent("audit", "info", ("number", "hash"), "A line was added to the log of the console."),
    "a canary is not as expected": LogEvent("watch", "error", ("canary", "wrong"), "See docs/firing-watch.md."),
    "alarm opened": LogEvent("watch", "error", _ALARM, "See it in the console, or docs/firing-watch.md."),
    "alarm closed": LogEvent("watch", "info", _ALARM, "It is over."),
    "alarm seen to": LogEvent("console", "info", _ALARM, "Somebody wrote in the console what it was."),
    "nothing was watched": LogEvent("watch", "error", ("cause",), "A look failed; the next is soon."),
    "page not answered": LogEvent("console", "error", ("cause",), "The store does not answer."),
    "card of the first page not made": LogEvent("console", "error", ("cause",), "The store does not answer."),
    "session not read": LogEvent("console", "error", ("cause",), "The store does not answer."),
    "session not kept": LogEvent("console", "error", ("cause",), "The store does not answer."),
    "issuer not reached": LogEvent("console", "error", ("kind",), "Sign-in with OpenID Connect does not work now."),
    "sign-in elsewhere not taken": LogEvent("console", "warning", ("kind",), "What the issuer gave was refused."),
}
"""Every line that we write, by its event."""

_requests = structlog.get_logger("magnesium_cds.requests")


def only_listed(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops what is no field of LOG_FIELDS from a line of ours."""
    if str(line.get("logger", "")).startswith(OURS):
        for name in [name for name in line if name not in LOG_FIELDS and not name.startswith("_")]:
            del line[name]
    return line


def configure(level: str = "INFO") -> None:
    """Set up logging for a process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, only_listed, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The first ones log URLs, which hold patient ids; the last one talks at every start.
    for name in ("urllib3", "requests", "werkzeug", "gunicorn.access", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def request_line(**fields: object) -> None:
    """One line for one answered request."""
    _requests.info("request", **{key: value for key, value in fields.items() if key in REQUEST_FIELDS})
