"""Discovery and the service calls: a hook request in, advisory cards out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog
from flask import Blueprint, Response, g, request

from cds_service.advice.advise import Advice, Candidate, advise
from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.card_text import MAX_CARDS, CardStyle, Shown
from cds_service.advice.needs import needs_of
from cds_service.content.current import CurrentRulebook
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import FhirServer, Need
from cds_service.hooks.diagnostics import diagnosed
from cds_service.hooks.errors import read_body
from cds_service.hooks.problems import Issue, Problem
from cds_service.hooks.profile import fit
from cds_service.hooks.request import HookRequest, chart_of, parse_call
from cds_service.rules.evaluate import Evaluation
from cds_service.rules.faults import Fault
from cds_service.settings import Settings
from cds_service.store import Reason, ShownCard, Store
from cds_service.terminology.index import Vocabulary
from cds_service.trust.clients import Profile

log = logging.getLogger(__name__)
faults_log = structlog.get_logger("magnesium_cds.rules")
SPECIFICATION = "3.0.0"  # of CDS Hooks, in discovery
# An accepted suggestion silences its own finding this long: the same sitting. The order itself tells later ones.
SITTING = timedelta(minutes=15)
CRITICAL_SILENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Silence:
    """What decides whether a finding was told already: whose, by whom, where and when."""

    rulebook: Rulebook
    hook: str
    client: str
    patient: str
    now: datetime


@dataclass(frozen=True)
class Advisor:
    """Everything that a call needs, put together once."""

    settings: Settings
    current: CurrentRulebook
    vocabulary: Vocabulary
    store: Store
    version: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    plan_secret: str = ""
    server_for: Callable[[HookRequest], FhirServer | None] = lambda _: None
    rule_faults: Counter[str] = field(default_factory=Counter)  # by rule, since this process started
    _needs: dict[str, tuple[Rulebook, Mapping[str, Need]]] = field(default_factory=dict)

    def needs(self, service: str, rulebook: Rulebook) -> Mapping[str, Need]:
        """The inputs of a service under the rulebook in force."""
        book, found = self._needs.get(service, (None, None))
        if found is None or book is not rulebook:
            rules = [rule.loaded.rule for rule in rulebook.of_service(service)]
            found = needs_of(rules, rulebook.library, rulebook.site, self.settings.today_windows)
            self._needs[service] = rulebook, found
        return found

    def silent(self, candidates: Sequence[Candidate], call: Silence) -> set[int]:
        """Findings that are not shown again, by index: accepted in this sitting, or silenced by the site's own values.

        The finding's hash holds its data, so new or worse data are never silenced by old ones.
        """
        repeats = call.rulebook.site.repetition
        days = repeats.after_override_days if repeats else 0
        wanted = [self.hashes(item.rule, item.finding, call.client, call.patient) for item in candidates]
        past = self.store.past_outcomes(wanted, call.now - max(SITTING, timedelta(days=days)))
        again: set[tuple[str, str]] = set()
        if repeats and repeats.same_sitting and call.hook == "order-sign":
            again = self.store.shown_before(wanted, call.now - SITTING, "order-select")
        library = call.rulebook.library
        snoozing = {(item.system, item.code) for item in library.override_reasons.values() if item.snoozes}
        found = set()
        for index, (item, key) in enumerate(zip(candidates, wanted, strict=True)):
            critical = item.indicator == "critical"
            done = past.get(key)
            accepted = done is not None and done.outcome == "accepted" and call.now - done.acted_at <= SITTING
            longest = min(timedelta(days=days), CRITICAL_SILENCE) if critical else timedelta(days=days)
            snoozed = (
                done is not None
                and done.outcome == "overridden"
                and (done.reason_system, done.reason_code) in snoozing
                and call.now - done.acted_at <= longest
            )
            if accepted or snoozed or (key in again and not critical):
                found.add(index)
        return found

    def hashes(self, rule: str, finding: str, client: str, patient: str) -> tuple[str, str]:
        """Keyed hashes of the patient under the leading rule, and of the finding."""
        return self.store.subject_hash(client, patient, rule), self.store.finding_hash([finding])

    def tell(self, evaluation: Evaluation) -> None:
        """Count the rules that a fault of ours kept from answering, and log each fault with their ids, never with what
        is a patient's."""
        met: dict[Fault, list[str]] = {}
        for outcome in evaluation.outcomes:
            if outcome.fault is not None:
                self.rule_faults[outcome.rule_id] += 1
                met.setdefault(outcome.fault, []).append(outcome.rule_id)
        for fault, rules in met.items():
            faults_log.error(
                "rules met a fault", rules=rules, kind=fault.kind, ref=fault.reference, places=fault.places
            )

    def record(
        self, shown: list[Shown], service: str, hook: str, client: str, patient: str, rulebook: Rulebook
    ) -> None:
        """Have what is about to be shown written down, without patient data.

        The answer waits for it only where the next call of this sitting, in whichever process, is asked about it.
        """
        rules, records = rulebook.rules, []
        for item in shown:
            rule = item.rules[0]
            subject, finding = self.hashes(rule, item.finding, client, patient)
            records.append(ShownCard(
                card=item.card["uuid"], rule=rule,
                rule_version=rules[rule].loaded.version if rule in rules else "",
                service=service, hook=hook, indicator=item.card["indicator"], client=client, shown_at=self.now(),
                software_version=self.version, content_version=rulebook.library.digest,
                site_revision=rulebook.site_digest, subject_hash=subject, finding_hash=finding,
                suggestions=item.suggestion_ids,
                override_reasons=tuple(
                    Reason(one["code"], one["system"], one["display"]) for one in item.card.get("overrideReasons", ())
                ),
            ))  # fmt: skip
        repeats = rulebook.site.repetition
        asked_about = repeats is not None and repeats.same_sitting and hook == "order-select"
        self.store.record_shown(records, wait=asked_about)


def base_url(settings: Settings) -> str:
    """The URL under which browsers reach us: configured, or (dev only) as called."""
    return settings.public_url or request.host_url.rstrip("/")


def service_blueprint(advisor: Advisor, client: Callable[[], str]) -> Blueprint:
    """GET /cds-services and POST /cds-services/<id>. `client` names the caller or raises the Problem of refusal."""
    blueprint = Blueprint("services", __name__)

    @blueprint.get("/cds-services")
    def discovery() -> Response:
        client()
        rulebook = advisor.current.on(advisor.now().date())
        services = [
            {
                "hook": service.hook,
                "title": service.title,
                "description": service.description.strip(),
                "id": name,
                "version": SPECIFICATION,
                "hookVersion": service.hook_version,
                "prefetch": {key: need.template for key, need in advisor.needs(name, rulebook).items()},
                "usageRequirements": service.usage_requirements.strip(),
                "extension": {EXTENSION: {"serviceVersion": advisor.version, "content": rulebook.library.digest}},
            }
            for name, service in rulebook.library.services.items()
        ]
        return _json({"services": services})

    @blueprint.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        caller = client()
        library = advisor.current.library
        if service_id not in library.services:
            known = ", ".join(library.services)
            raise Problem.of(404, f"There is no CDS service with this id; there are {known}.")
        g.service = service_id
        hook = library.services[service_id].hook
        asked = parse_call(read_body(request), hook)
        context, settings, now = asked.envelope.context, advisor.settings, advisor.now()
        rulebook = advisor.current.on(now.date())
        screen: Profile = g.caller.profile if "caller" in g else Profile()
        needs = advisor.needs(service_id, rulebook).values()
        chart = chart_of(
            asked, needs, advisor.vocabulary.of_site(rulebook.site), rulebook, now, advisor.server_for(asked),
            settings.validate_all, "failed" if screen.null_prefetch == "failed" else "empty",
        )  # fmt: skip
        style = CardStyle(
            base_url(settings), settings.dev, settings.phrase_in_text, advisor.plan_secret,
            screen.max_cards or MAX_CARDS, screen.units,
        )  # fmt: skip
        whose = Silence(rulebook, hook, caller, context.patientId, now)
        advice = advise(
            chart, rulebook, service_id, lambda candidates: advisor.silent(candidates, whose),
            units=advisor.vocabulary.units, style=style, encounter_named=context.encounterId is not None,
        )  # fmt: skip
        _refuse_incomplete(screen.on_incomplete or settings.on_incomplete, advice)
        advisor.tell(advice.evaluation)
        advisor.record(advice.shown, service_id, hook, caller, context.patientId, rulebook)
        g.summary = advice.summary()
        body = advice.answer()
        body["extension"][EXTENSION] |= diagnosed(asked.prefetch, advisor.current.input_keys, chart, settings.dev)
        body["cards"] = [fit(card, screen.markdown, screen.links == "absolute") for card in body["cards"]]
        return _json(body)

    return blueprint


def _refuse_incomplete(on_incomplete: str, advice: Advice) -> None:
    """412 instead of the not-evaluated card, where the client asked for it and nothing fired."""
    if on_incomplete == "412" and not advice.evaluation.of("fired") and (reasons := advice.not_checked()):
        raise Problem(412, [Issue(f"Not checked: {reason}.", (), "incomplete", "warning") for reason in reasons])


def _json(body: dict[str, Any]) -> Response:
    response = Response(orjson.dumps(body), 200, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
