"""Discovery and the service calls: a hook request in, advisory cards out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog
from flask import Blueprint, Response, g, request

from cds_service.advice.advise import Advice, advise
from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.card_text import MAX_CARDS, CardStyle
from cds_service.advice.needs import needs_of
from cds_service.content.current import CurrentRulebook
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart, FhirServer
from cds_service.hooks.counted import of_advice
from cds_service.hooks.diagnostics import diagnosed
from cds_service.hooks.errors import read_body
from cds_service.hooks.keeping import Keep
from cds_service.hooks.problems import Issue, Problem
from cds_service.hooks.profile import Dialect, crd_asked, crd_discovery
from cds_service.hooks.request import HookRequest, chart_of, parse_call
from cds_service.hooks.tally import of_call, of_rules, slot
from cds_service.hooks.told import Told
from cds_service.hooks.trial import is_trial, trial_of
from cds_service.metrics.stages import stage
from cds_service.metrics.trace_ids import hook_instance_hash
from cds_service.rules.faults import Fault
from cds_service.rules.index import index_of
from cds_service.rules.prepared import tells_that_none_is_there
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.terminology.index import Vocabulary
from cds_service.trust.gatekeeper import Caller
from cds_service.trust.profile import Profile, services_served

faults_log = structlog.get_logger("magnesium_cds.rules")
SPECIFICATION = "3.0.0"  # of CDS Hooks, in discovery


@dataclass(frozen=True)
class Advisor:
    """Everything that calls need, put together once."""

    settings: Settings
    current: CurrentRulebook
    vocabulary: Vocabulary
    store: Store
    version: str
    now: Callable[[], datetime]
    plan_secret: str
    server_for: Callable[[HookRequest, Caller], FhirServer | None]
    keep: Keep | None = None
    rule_faults: Counter[str] = field(default_factory=Counter)  # by rule, since this process started


@dataclass(frozen=True, slots=True)
class Call:
    """A checked call: what was asked of which service, by whom and when, the rulebook in force, and what was told
    before. A `trial` is answered as ever, and neither recorded nor counted nor kept."""

    request: HookRequest
    service: str
    caller: Caller
    now: datetime
    rulebook: Rulebook
    told: Told
    trial: bool = False


def base_url(settings: Settings) -> str:
    """The URL under which browsers reach us: configured, or (dev only) as called."""
    return settings.public_url or request.host_url.rstrip("/")


def service_blueprint(advisor: Advisor, caller: Callable[[], Caller]) -> Blueprint:
    """GET /cds-services and POST /cds-services/<id>. `caller` tells who calls, or raises the Problem of refusal."""
    blueprint = Blueprint("services", __name__)

    @blueprint.get("/cds-services")
    def discovery() -> Response:
        profile = Profile()
        if not advisor.settings.open_discovery or "Authorization" in request.headers:
            profile = caller().profile
        rulebook, windows = advisor.current.on(advisor.now().date()), advisor.settings.today_windows
        crd = crd_discovery(profile, rulebook.library, profile.max_cards or MAX_CARDS)
        services, parts = rulebook.library.services, rulebook.library.wording.parts
        listed = [
            {
                "hook": service.hook,
                "title": service.title if part == "all" else f"{service.title} ({parts[part]})",
                "description": service.description.strip(),
                "id": id_,
                "version": SPECIFICATION,
                "hookVersion": service.hook_version,
                "prefetch": {key: need.template for key, need in needs_of(rulebook, name, windows).items()},
                "usageRequirements": service.usage_requirements.strip(),
                "extension": {EXTENSION: {"serviceVersion": advisor.version, "content": rulebook.library.digest}} | crd,
            }
            for id_, (name, part) in services_served(services, advisor.settings.split_services).items()
            for service in (services[name],)
        ]
        return uncached({"services": listed})

    @blueprint.post("/cds-services//<service_id>")  # of an EHR whose base address ends in a slash
    @blueprint.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        who = caller()
        try:
            asked = _read(advisor, service_id, who)
            chart = _chart(advisor, asked)
            advice = _advise(advisor, asked, chart)
        except Problem as refusal:
            _count_refused(advisor, service_id, who, refusal)
            raise
        incomplete = _incomplete(advisor, asked, advice)
        _count(advisor, asked, advice, shown=incomplete is None)
        if incomplete is not None:
            raise incomplete
        _record(advisor, asked, advice)
        if (trial := trial_of(request.environ)) is not None:
            trial.look(chart, advice, asked.rulebook, asked.service)
        _keep(advisor, asked, advice)
        return _answer(advisor, asked, chart, advice)

    return blueprint


def make_ready(advisor: Advisor) -> None:
    """Make what the first call of each service would else make while a clinician waits: what is asked of the EHR, and
    the index of the rules."""
    rulebook = advisor.current.on(advisor.now().date())
    for name in rulebook.library.services:
        needs_of(rulebook, name, advisor.settings.today_windows)
        index_of(rulebook, name)
        tells_that_none_is_there(rulebook, name)


@stage("read")
def _read(advisor: Advisor, service: str, caller: Caller) -> Call:
    """The call in the request at hand. Raises Problem 400, 404, 412, 413, 415."""
    services, now = advisor.current.library.services, advisor.now()
    served = services_served(services, advisor.settings.split_services)
    if service not in served:
        known = ", ".join(served)
        raise Problem.of(404, f"There is no CDS service with this id; there are {known}.", error="no-such-service")
    g.service = service
    name, part = served[service]
    asked, rulebook = parse_call(read_body(request), services[name].hook), advisor.current.on(now.date())
    g.hook_instance = hook_instance_hash(asked.envelope.hookInstance)
    context, extension = asked.envelope.context, asked.envelope.extension or {}
    if part == "all" and caller.profile.trigger_extension:
        part = caller.profile.triggers.get(str(extension.get(caller.profile.trigger_extension)), "all")
    _, off = crd_asked(caller.profile, extension)
    trial = is_trial(request.environ)
    told = Told(
        advisor.store, rulebook, name, service, part, caller.id, context.patientId, context.userId, now, off, trial,
        timedelta(minutes=advisor.settings.accepted_rests_minutes),
    )  # fmt: skip
    return Call(asked, name, caller, now, rulebook, told, trial)


@stage("read")
def _chart(advisor: Advisor, call: Call) -> Chart:
    """What is known of the patient. Raises Problem 400, 412."""
    settings, rulebook, profile = advisor.settings, call.rulebook, call.caller.profile
    return chart_of(
        call.request,
        needs_of(rulebook, call.service, settings.today_windows).values(),
        advisor.vocabulary.of_site(rulebook.site),
        rulebook,
        call.now,
        advisor.server_for(call.request, call.caller),
        settings.validate_all,
        "failed" if profile.null_prefetch == "failed" else "empty",
    )


@stage("cards")
def _advise(advisor: Advisor, call: Call, chart: Chart) -> Advice:
    settings, profile, envelope = advisor.settings, call.caller.profile, call.request.envelope
    most, _ = crd_asked(profile, envelope.extension)
    style = CardStyle(
        base_url(settings), settings.dev, settings.phrase_in_text,
        advisor.plan_secret if profile.links == "absolute" else "",
        most or profile.max_cards or MAX_CARDS, profile.units,
    )  # fmt: skip
    return advise(
        chart, call.rulebook, call.service, call.told.before, units=advisor.vocabulary.units, style=style,
        encounter_named=envelope.context.encounterId is not None, client=call.caller.name,
    )  # fmt: skip


def _incomplete(advisor: Advisor, call: Call, advice: Advice) -> Problem | None:
    """The Problem 412 to be told where nothing fired, and the client wants that in place of the card about what was not
    evaluated."""
    wanted = call.caller.profile.on_incomplete or advisor.settings.on_incomplete
    missing = advice.not_checked() if wanted == "412" else []
    if not missing or advice.evaluation.of("fired"):
        return None
    return Problem(412, [_not_checked(reason) for reason in missing])


def _not_checked(reason: str) -> Issue:
    return Issue(f"Not checked: {reason}.", (), "incomplete", "warning", error="not-checked")


@stage("store")
def _count(advisor: Advisor, call: Call, advice: Advice, shown: bool) -> None:
    """Add the call to the sums of its hour; `shown`: whether its cards are."""
    if not call.trial:
        where = slot(call.now, call.caller.id, call.told.called)
        met = of_call(advice, call.rulebook, call.service, shown)
        advisor.store.add_counts(where, of_rules(advice, shown), met)
        of_advice(advice, call.told.called, shown)


def _count_refused(advisor: Advisor, service: str, caller: Caller, refusal: Problem) -> None:
    served = services_served(advisor.current.library.services, advisor.settings.split_services)
    if service in served and not is_trial(request.environ):
        where = slot(advisor.now(), caller.id, service)
        advisor.store.add_counts(where, (), [(("refused", str(refusal.status), ""), 1)])


@stage("store")
def _record(advisor: Advisor, call: Call, advice: Advice) -> None:
    """Write down what is shown. Count the rules that a fault of ours kept from answering, and log each fault with their
    ids, never with what is a patient's."""
    call.told.record(advice.shown, advisor.version)
    g.summary = advice.summary() | ({"trial": True} if call.trial else {})
    met: dict[Fault, list[str]] = {}
    for outcome in advice.evaluation.notable:
        if outcome.fault is not None:
            advisor.rule_faults[outcome.rule_id] += not call.trial
            met.setdefault(outcome.fault, []).append(outcome.rule_id)
    for fault, rules in met.items():
        faults_log.error("rules met a fault", rules=rules, kind=fault.kind, ref=fault.reference, places=fault.places)


def _keep(advisor: Advisor, call: Call, advice: Advice) -> None:
    """Have the call's facts kept, where that is switched on; those of a trial never."""
    if advisor.keep is not None and not call.trial:
        context = call.request.envelope.context
        advisor.keep(advice, call.request.envelope.hook, context.encounterId is not None, call.now)


@stage("cards")
def _answer(advisor: Advisor, call: Call, chart: Chart, advice: Advice) -> Response:
    """The answer in the caller's dialect, with what an integrator can mend."""
    client, hook = call.caller.name, call.request.envelope.hook
    body = Dialect(call.caller.profile, client, hook, call.rulebook).answer(advice)
    prefetch, known = call.request.prefetch, advisor.current.input_keys
    body["extension"][EXTENSION] |= diagnosed(prefetch, known, chart, advisor.settings.dev)
    return uncached(body)


def uncached(body: dict[str, Any]) -> Response:
    """A JSON answer that nobody may keep."""
    response = Response(orjson.dumps(body), 200, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
