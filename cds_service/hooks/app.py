"""All routes on one Flask app, with the answers that every route shares: CORS, cache, log line."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import orjson
from flask import Flask, Response, g, request

from cds_service.content.current import CurrentRulebook
from cds_service.content.library import Library, load_library
from cds_service.fhir import FhirServer, Vocabulary
from cds_service.hooks.errors import install_error_handlers
from cds_service.hooks.evidence import evidence_blueprint, page_response
from cds_service.hooks.feedback import feedback_blueprint
from cds_service.hooks.prefetch import all_needs
from cds_service.hooks.request import HookRequest
from cds_service.hooks.service import Advisor, base_url, service_blueprint
from cds_service.hooks.vocabulary import make_vocabulary
from cds_service.logs import request_line
from cds_service.settings import Settings, SettingsError
from cds_service.store import Store, StoreUnavailable

LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\Z")
SANDBOX = "https://sandbox.cds-hooks.org"


class Content(NamedTuple):
    """The content and the index of its codes: read-only, so apps of one process may share them."""

    library: Library
    vocabulary: Vocabulary


def load_content(root: Path | None = None) -> Content:
    """All content below `root` (default: as shipped), checked. Raises ContentError."""
    library = load_library(root)
    return Content(library, make_vocabulary(library))


def install(app: Flask, settings: Settings, version: str, now: Callable[[], datetime], content: Content) -> None:
    """Everything on the app. Raises ContentError, StoreError, SettingsError."""
    if not settings.dev:
        raise SettingsError("profile production needs clients, and none can be configured yet: use profile dev")
    library = content.library
    current = CurrentRulebook(library, settings.site, frozenset(all_needs(library)))
    folder = settings.data_dir or Path(tempfile.mkdtemp(prefix="magnesium-cds-"))
    store = Store.open(settings.database, data_dir=folder)
    advisor = Advisor(settings, current, content.vocabulary, store, version, now, _server_for(settings))
    app.extensions["advisor"] = advisor
    install_error_handlers(app)
    app.register_blueprint(service_blueprint(advisor, _dev_client))
    app.register_blueprint(feedback_blueprint(store, library.services, client=_dev_client, now=now))
    app.register_blueprint(evidence_blueprint(current, settings.dev, now))
    _state_routes(app, settings, advisor)
    _shared_answers(app, settings)


def _dev_client() -> str:
    """The dev profile knows one caller and asks for no token."""
    return "dev"


def _server_for(settings: Settings) -> Callable[[HookRequest], FhirServer | None]:
    def choose(call: HookRequest) -> FhirServer | None:
        named = (call.envelope.fhirServer or "").rstrip("/")
        if named not in settings.fhir_servers:
            return None
        authorization = call.envelope.fhirAuthorization
        token = authorization.access_token if authorization else None
        return FhirServer(named, token, total_seconds=settings.fetch_seconds)

    return choose


def _state_routes(app: Flask, settings: Settings, advisor: Advisor) -> None:
    @app.get("/")
    def home() -> Response:
        return page_response("home.html", dev=settings.dev, library=advisor.current.library, base=base_url(settings))

    @app.get("/healthz")
    def healthz() -> Response:
        return _state({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        rulebook = advisor.current.on(advisor.now().date())
        store_ready = _answers(advisor.store)
        faults = [str(fault) for fault in advisor.current.faults]
        state: dict[str, Any] = {
            "status": "ready" if store_ready and not faults else "degraded",
            "version": advisor.version,
            "profile": settings.profile,
            "content": rulebook.library.digest,
            "pages": len(rulebook.rules),
            "site": {"digest": rulebook.site_digest, "faults": faults},
            "store": "ready" if store_ready else "not answering: feedback is refused, cards are still given",
        }
        return _state(state)


def _answers(store: Store) -> bool:
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True


def _state(body: dict[str, Any]) -> Response:
    response = Response(orjson.dumps(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _shared_answers(app: Flask, settings: Settings) -> None:
    def allowed(origin: str) -> bool:
        if origin in settings.origins:
            return True
        return settings.dev and (origin == SANDBOX or LOOPBACK.match(origin) is not None)

    @app.before_request
    def start() -> Response | None:
        g.started = perf_counter()
        if request.method == "OPTIONS" and request.path.startswith("/cds-services"):
            return Response(status=204)  # a pre-flight carries no credentials and is never authenticated
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        origin = request.headers.get("Origin")
        response.headers.add("Vary", "Origin")
        if origin and allowed(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            response.headers["Access-Control-Max-Age"] = "600"
        response.headers["X-Content-Type-Options"] = "nosniff"
        request_line(
            method=request.method,
            route=request.url_rule.rule if request.url_rule else "none",
            service=g.get("service", ""),
            status=response.status_code,
            ms=round((perf_counter() - g.get("started", perf_counter())) * 1000, 1),
            **g.get("summary", {}),
        )
        return response
