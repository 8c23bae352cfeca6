"""All routes on one Flask app, with the answers that every route shares: CORS, cache, log line."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit

import requests
import structlog
from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import NotFound

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.advice.plan_of_findings import plan_content
from cds_service.content.current import CurrentRulebook, site_source
from cds_service.content.library import Library
from cds_service.content.site import client_notes
from cds_service.content.site_in_words import muted_severe
from cds_service.fhir import FetchFailed, FhirServer
from cds_service.hooks.errors import install_error_handlers
from cds_service.hooks.feedback import export_blueprint, feedback_blueprint
from cds_service.hooks.keeping import keeping, open_facts
from cds_service.hooks.observing import observed
from cds_service.hooks.problems import Problem
from cds_service.hooks.profile import profile_faults
from cds_service.hooks.request import HookRequest
from cds_service.hooks.rounds import CANARIES, canary_faults
from cds_service.hooks.services import Advisor, base_url, service_blueprint, uncached
from cds_service.hooks.trial import trial_of
from cds_service.logs import request_line
from cds_service.metrics.instruments import count
from cds_service.metrics.stages import stage
from cds_service.rules.faults import fault_of
from cds_service.settings import Settings, SettingsError
from cds_service.store import Store, StoreUnavailable
from cds_service.store.by_settings import open_store
from cds_service.trust.clients import Client, clients_file
from cds_service.trust.gatekeeper import Caller, Gatekeeper, TooMany, servers_of
from cds_service.trust.limits import Gate
from cds_service.trust.outbound import CallSlots, guarded_session, may_read
from cds_service.trust.profile import services_served
from cds_service.trust.tokens import Refused
from cds_service.web.api_pages import api_blueprint
from cds_service.web.docs_pages import docs_blueprint
from cds_service.web.pages import content_blueprint, html_response
from cds_service.web.plan_routes import plan_blueprint

LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\Z")
SANDBOX = "https://sandbox.cds-hooks.org"
GATE_SECONDS: Final = 0.25
CONSOLE_GATE_SECONDS: Final = 5.0
LIMITED: Final = ("/cds-services", "/feedback", "/plan")  # what costs more than reading a page
T = TypeVar("T")
log = structlog.get_logger("magnesium_cds.trust")


def install(
    app: Flask, settings: Settings, version: str, now: Callable[[], datetime], content: Content,
    clients: tuple[Client, ...],
) -> None:  # fmt: skip
    """Everything on the app, for the clients declared. Raises ContentError, StoreError, SettingsError."""
    library = content.library
    faults = profile_faults(clients, library)
    if faults:
        raise SettingsError("\n".join(f"{clients_file(settings)}: {fault}" for fault in faults))
    folder = settings.data_dir or Path(tempfile.mkdtemp(prefix="magnesium-cds-"))
    store = open_store(settings, folder, renew=True)
    facts = open_facts(settings, folder)
    current = CurrentRulebook(library, site_source(settings, store, now), frozenset(all_needs(library)))
    keeper = Gatekeeper(settings, clients, store)
    servers = servers_of(settings, clients)
    session = guarded_session(servers)
    secret = store.finding_hash(["plan token"])  # signs addresses of plans; the same in every worker of this database
    advisor = Advisor(
        settings, current, content.vocabulary, store, version, now, secret, _server_for(settings, session, library),
        keeping(facts, content) if facts else None,
    )  # fmt: skip
    served = services_served(library.services, settings.split_services)
    app.extensions["advisor"] = advisor
    app.extensions["clients"] = clients
    app.extensions["facts"] = facts
    observed(app, settings, advisor, served, [server.base_url for server in servers])
    install_error_handlers(app, settings.public_url or "")
    app.register_blueprint(service_blueprint(advisor, lambda: _caller(keeper)))
    app.register_blueprint(
        feedback_blueprint(store, served, library.override_reasons, client=lambda: _caller(keeper), now=now)
    )
    app.register_blueprint(export_blueprint(store, library.override_reasons, client=lambda: _caller(keeper).id))
    app.register_blueprint(
        plan_blueprint(
            lambda day: plan_content(current.on(day), content.vocabulary),
            secret,
            client=lambda: _caller(keeper).id,
            banner=library.wording.dev_notice if settings.dev else "",
            now=now,
        )
    )
    app.register_blueprint(content_blueprint(current, content, settings.dev, now, lambda: base_url(settings)))
    app.register_blueprint(
        api_blueprint(
            current, settings, version, now=now, base=lambda: base_url(settings),
            open_calls=settings.dev and not clients,
        )
    )  # fmt: skip
    if settings.dev:
        app.register_blueprint(docs_blueprint())
    app.log_exception = _log_unexpected  # type: ignore[method-assign, assignment]
    _state_routes(app, settings, advisor, frozenset(client.name for client in clients))
    _limits(app, settings, keeper)
    _shared_answers(app, settings, frozenset(settings.origins).union(*(client.origins for client in clients)))


def _log_unexpected(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> None:
    """A fault of ours, by its kind and place. Its message and the path called may hold what is a patient's."""
    fault = fault_of(exc_info[1])
    log.error("unexpected fault", kind=fault.kind, ref=fault.reference, places=fault.places)


@stage("auth")
def _caller(keeper: Gatekeeper) -> Caller:
    """Who calls. Raises Problem 401, 429, 503.

    A refusal is the same to the byte whatever its cause: only the log knows, in one word of a closed list.
    """
    if (trial := trial_of(request.environ)) is not None:
        return trial.caller
    try:
        caller = keeper.admit(request.headers.getlist("Authorization"), request.path)
    except Refused as refusal:
        count("tokens_refused_total", refusal.cause)
        log.warning("call refused", cause=refusal.cause)
        text = "This call is not authenticated."
        raise Problem.of(401, text, error="not-authenticated", headers={"WWW-Authenticate": "Bearer"}) from None
    except TooMany as refusal:
        count("turned_away_total", "client_rate")
        raise _too_many(refusal.seconds) from None
    except StoreUnavailable as error:
        log.error("token not checked", cause=error.kind)
        text = "It cannot be learned now whether this token was used before. Try again later."
        raise Problem.of(503, text, error="token-not-checked", headers={"Retry-After": "5"}) from error
    g.client = caller.name
    return caller


def _too_many(seconds: int) -> Problem:
    text = "Too many calls. Try again later."
    return Problem.of(429, text, error="too-many-calls", headers={"Retry-After": str(seconds)})


class _CallersServer(FhirServer):
    """The FHIR server of one call, within what the caller's access token allows and the service can spare."""

    def __init__(self, *args: Any, scope: str | None, slots: CallSlots, elsewhere: Sequence[str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._scope = scope
        self._slots = slots
        self._elsewhere = elsewhere  # how searches for observations begin that no laboratory makes

    def get(self, query: str) -> bytes:
        """As FhirServer; what the scope does not allow is not asked for."""
        url = self.below_base(query)
        if url is not None and self._scope is not None:
            steps = urlsplit(url).path[len(urlsplit(self.base_url).path) :].strip("/").split("/")
            way: Literal["read", "search"] = "read" if len(steps) > 1 else "search"
            # A page link may be the base itself with a query: it goes on with a search that was allowed.
            asked = unquote(query)
            laboratory = (steps[0], way) == ("Observation", "search") and not any(c in asked for c in self._elsewhere)
            if steps[0] and not may_read(self._scope, steps[0], way, laboratory):
                self.told("not permitted")
                raise FetchFailed("not permitted")
        return super().get(query)

    def may_include_medications(self) -> bool:
        """As FhirServer; what the scope does not allow is not asked for."""
        return self._scope is None or may_read(self._scope, "Medication", "search")

    def at_once(self, work: Sequence[Callable[[], T]]) -> list[T | FetchFailed]:
        """As FhirServer; where too many calls wait for this server already, nothing is read."""
        if not work:
            return []
        with self._slots.slot(self.base_url) as free:
            if free:
                return super().at_once(work)
            for _ in work:
                self.told("not reachable")
            return [FetchFailed("not reachable") for _ in work]


def _server_for(
    settings: Settings, session: requests.Session, library: Library
) -> Callable[[HookRequest, Caller], FhirServer | None]:
    working = _working(settings)
    elsewhere = [need.first_code for need in all_needs(library).values() if need.first_code and not need.laboratory]
    slots = CallSlots(each=max(1, working // 2), together=max(1, working * 3 // 4))

    def choose(call: HookRequest, caller: Caller) -> FhirServer | None:
        """The server that the call names, if it is registered for the caller: compared as text, exact."""
        named = (call.envelope.fhirServer or "").rstrip("/")
        if named not in caller.fhir_servers:
            if named:
                log.warning("fhirServer not registered", client=caller.id)
            return None
        authorization = call.envelope.fhirAuthorization
        return _CallersServer(
            named,
            authorization.access_token if authorization else None,
            session=session,
            total_seconds=settings.fetch_seconds,
            scope=authorization.scope if authorization else None,
            slots=slots,
            elsewhere=elsewhere,
            traceparent=g.trace.traceparent,
        )

    return choose


def _working(settings: Settings) -> int:
    """Calls that one worker works on at the same time; its other threads wait for a little, or refuse."""
    return settings.threads // 2


def _limits(app: Flask, settings: Settings, keeper: Gatekeeper) -> None:
    calls = Gate(_working(settings), settings.threads // 4, GATE_SECONDS)
    pages = Gate(settings.threads // 4, settings.threads // 4, CONSOLE_GATE_SECONDS)

    @app.before_request
    def admit() -> Response | None:
        g.started = perf_counter()
        if request.environ["PATH_INFO"].startswith("//"):
            raise NotFound  # the framework would take it for the path with one slash
        in_console = settings.in_console(request.path)
        page = in_console or request.path.startswith("/try")  # whose own calls find their place among the others
        if not request.path.startswith(LIMITED) and not page:
            return None
        if request.method == "OPTIONS" and not in_console:
            return Response(status=204)  # a pre-flight carries no credentials and is never authenticated
        try:
            keeper.knock(address_of_call(settings.trusted_proxies))
        except TooMany as refusal:
            count("turned_away_total", "address_rate")
            raise _too_many(refusal.seconds) from None
        g.leaving = ExitStack()
        if not g.leaving.enter_context((pages if page else calls).place()):
            count("turned_away_total", "busy")
            text = "Too many calls at the same time. Try again later."
            raise Problem.of(503, text, error="busy", headers={"Retry-After": "1"})
        return None

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        if "leaving" in g:
            g.pop("leaving").close()


def address_of_call(trusted_proxies: int) -> str:
    """Where the call comes from: what our own proxies say, never what the caller wrote before they added to it."""
    listed = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    if 0 < trusted_proxies <= len(listed):
        return listed[-trusted_proxies].strip()[:64]
    return request.remote_addr or ""


def _state_routes(app: Flask, settings: Settings, advisor: Advisor, clients: frozenset[str]) -> None:
    @app.get("/")
    def home() -> Response:
        shown = app.extensions["try_home"]() if "try_home" in app.extensions else None
        if shown is not None:
            return cast(Response, shown)
        rulebook = advisor.current.on(advisor.now().date())
        held = {"library": rulebook.library, "muted": muted_severe(rulebook)}
        return html_response(render_template("home.html", dev=settings.dev, base=base_url(settings), **held))

    @app.get("/healthz")
    def healthz() -> Response:
        return uncached({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        rulebook = advisor.current.on(advisor.now().date())
        store_ready = _answers(advisor.store)
        faults = [str(fault) for fault in advisor.current.faults]
        notes = [*rulebook.site.notes, *client_notes(rulebook.site, clients)]
        alarms, wrong = _watched(advisor.store) if store_ready else ("not known", [])
        answer = uncached(
            {
                "status": "ready" if store_ready and not faults and not wrong else "degraded",
                "version": advisor.version,
                "profile": settings.profile,
                "instance": settings.instance,
                "content": rulebook.library.digest,
                "packages": [package.told() for package in rulebook.library.packages],
                "rules": len(rulebook.rules),
                "rule_faults": dict(advisor.rule_faults),
                "site": {"digest": rulebook.site_digest, "faults": faults, "notes": notes},
                "muted": [asdict(item) for item in muted_severe(rulebook)],
                "store": "ready" if store_ready else "not answering: feedback is refused, cards are still given",
                "alarms": alarms,
                "canaries": wrong or "as expected",
                "cards_not_recorded": advisor.store.counters().shown_dropped,
            }
        )
        if clients and not store_ready and advisor.store.tokens_in_database:  # every call is refused: go elsewhere
            answer.status_code = 503
        return answer


def _watched(store: Store) -> tuple[int | str, list[str]]:
    """How many alarms are open, and what is not as expected of patients whose cards are known."""
    try:
        return len(store.open_alarms()), canary_faults(store.duty(CANARIES))
    except StoreUnavailable:
        return "not known", []


def _answers(store: Store) -> bool:
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True


def _shared_answers(app: Flask, settings: Settings, origins: frozenset[str]) -> None:
    def allowed(origin: str) -> bool:
        if origin in origins:
            return True
        return settings.dev and (origin == SANDBOX or LOOPBACK.match(origin) is not None)

    @app.after_request
    def finish(response: Response) -> Response:
        # A refusal comes before the body is read. A proxy that still sends it would take our closing for a fault.
        with suppress(Exception):
            while request.stream.read(64 * 1024):
                pass
        origin = request.headers.get("Origin")
        response.vary.add("Origin")  # beside Accept, in one header
        if origin and allowed(origin) and not settings.in_console(request.path):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            response.headers["Access-Control-Max-Age"] = "600"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        if not settings.dev:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        request_line(
            method=request.method,
            route=request.url_rule.rule if request.url_rule else "none",
            service=g.get("service", ""),
            trace=g.trace.id,
            hook_instance=g.get("hook_instance", ""),
            status=response.status_code,
            ms=round((perf_counter() - g.get("started", perf_counter())) * 1000, 1),
            **g.get("summary", {}),
        )
        return response
