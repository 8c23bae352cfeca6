"""Each call seen from outside: its trace, its times, its counts. And `/metrics`, where they are read."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound

from cds_service.hooks.problems import Problem
from cds_service.hooks.rounds import ALARM_KINDS, CANARIES, canary_faults
from cds_service.hooks.services import Advisor
from cds_service.hooks.trial import is_trial
from cds_service.metrics.folder import in_use
from cds_service.metrics.instruments import CONTENT_TYPE, begin, count, exposition, level, observe
from cds_service.metrics.processes import Values, process_values
from cds_service.metrics.spans import Spans
from cds_service.metrics.stages import Recorder
from cds_service.metrics.trace_ids import REQUEST_ID, trace_of
from cds_service.settings import Settings, SettingsError
from cds_service.store import StoreUnavailable
from cds_service.trust.tokens import CAUSES

CALL: Final = "services.call"  # the endpoint of hook calls
STATE: Final = ("home", "healthz", "readyz", "metrics")
_SHORTEST_TOKEN: Final = 16


def observed(
    app: Flask, settings: Settings, advisor: Advisor, served: Collection[str], servers: Collection[str]
) -> None:
    """Have every call seen, and `/metrics` answered. To be installed before all else that looks at calls.

    `served`: ids of services, `servers`: FHIR servers that may be read. Raises SettingsError.
    """
    spans = Spans.of(settings.traces_to, advisor.version)
    app.extensions["spans"] = spans
    _begin_at_nought(servers)

    @app.before_request
    def arrives() -> None:
        g.trace = trace_of(request.headers.getlist("traceparent"), sampled=spans is not None)
        if request.endpoint == CALL and not is_trial(request.environ):
            g.recorder = Recorder().start()

    @app.after_request
    def leaves(response: Response) -> Response:
        status = f"{response.status_code // 100}xx"
        if request.method != "OPTIONS":
            response.headers[REQUEST_ID] = g.trace.id
        if not is_trial(request.environ):
            count("requests_total", _part(), status)
        recorder: Recorder | None = g.pop("recorder", None)
        if recorder is not None:
            took, named = recorder.end(), str((request.view_args or {}).get("service_id"))
            service = named if named in served else "other"
            count("calls_total", service, g.get("client", "none"), status)
            observe("call_seconds", took, service)
            for name, seconds in recorder.spent.items():
                observe("stage_seconds", seconds, name)
            if spans is not None:
                told = {"service": service, "client": g.get("client", ""), "hook_instance": g.get("hook_instance", "")}
                spans.tell(g.trace, recorder, took, advisor.now(), response.status_code, told | g.get("summary", {}))
        return response

    @app.teardown_request
    def gone(_: BaseException | None) -> None:
        if (recorder := g.pop("recorder", None)) is not None:
            recorder.end()

    if settings.metrics == "on":
        _metrics_route(app, settings, advisor)


def _part() -> str:
    if request.url_rule is None:
        return "none"
    if request.endpoint in STATE:
        return "state"
    return (request.blueprint or "other").partition(".")[0]


def _begin_at_nought(servers: Collection[str]) -> None:
    for cause in CAUSES:
        begin("tokens_refused_total", cause)
    for why in ("address_rate", "client_rate", "busy"):
        begin("turned_away_total", why)
    for outcome in ("accepted", "overridden"):
        begin("feedback_total", outcome)
    for result in ("new", "repeated", "unmatched", "unreadable", "not_stored"):
        begin("feedback_stored_total", result)
    for what in ("shown_dropped", "shown_late", "counts_dropped", "feedback_refused"):
        begin("store_total", what)
    begin("worker_exits_total")
    for server in servers:
        level("fhir_breaker_open", 0, server)


def _metrics_route(app: Flask, settings: Settings, advisor: Advisor) -> None:
    token = _token(settings.metrics_token_file)

    @app.get("/metrics")
    def metrics() -> Response:
        if token is not None:
            given = request.headers.get("Authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, b"Bearer " + token):
                text = "Send the token of the setting metrics_token_file: Authorization: Bearer TOKEN."
                raise Problem.of(401, text, error="metrics-token", headers={"WWW-Authenticate": "Bearer"})
        elif not settings.dev and ("X-Forwarded-For" in request.headers or "Forwarded" in request.headers):
            raise NotFound  # it came through a proxy: the numbers are for those who reach the service itself
        response = Response(exposition(_learned(settings, advisor)), content_type=CONTENT_TYPE)
        response.headers["Cache-Control"] = "no-store"
        return response


def _token(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"metrics_token_file: {file} cannot be read") from error
    if len(token) < _SHORTEST_TOKEN or not token.isascii():
        raise SettingsError(f"metrics_token_file: {file} must hold at least {_SHORTEST_TOKEN} characters of ASCII")
    return token


def _learned(settings: Settings, advisor: Advisor) -> Values:
    """What is learned when it is asked for. What the store does not tell is left out, never told as 0."""
    rulebook = advisor.current.on(advisor.now().date())
    revision, since = advisor.current.written
    values: Values = {
        "info": [((advisor.version, rulebook.library.digest, settings.profile), 1)],
        "rules": [((), len(rulebook.rules))],
        "site_info": [((settings.managed_by, revision or "none", rulebook.site_digest), 1)],
        "site_faults": [((), len(advisor.current.faults))],
        **process_values(in_worker=in_use() is not None),
    }
    if since is not None:
        values["site_changed_timestamp_seconds"] = [((), since)]
    store = advisor.store
    try:
        store.ping()
        values["store_up"] = [((), 1)]
        duty = store.duty(CANARIES)
        values["canaries_failing"] = [((), len(canary_faults(duty)))]
        if duty.done_at is not None:
            values["canaries_run_timestamp_seconds"] = [((), duty.done_at.timestamp())]
        opened = Counter(alarm.kind for alarm in store.open_alarms())
        values["alarms_open"] = [((kind,), opened[kind]) for kind in ALARM_KINDS]
    except StoreUnavailable:
        values["store_up"] = [((), 0)]
    return values
