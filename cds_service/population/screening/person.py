"""One patient's resources, as they stand in an export, to facts and the outcome of every rule: what each engine calls.

The calls are those that `advice.one_bundle.hook_request` makes of the same resources: both by `fhir.at_hand`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cds_service.advice.advise import outcomes_of
from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.fhir.at_hand import AtHand
from cds_service.fhir.searching import Search
from cds_service.patient import PatientFacts
from cds_service.population.cases import NotRead, Side, read_call
from cds_service.rules.evaluate import Evaluation, evaluate
from cds_service.rules.faults import Fault, attempt

VIEW, SIGN = "patient-view", "order-sign"


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to make a Screener of its own; it can be pickled.

    `cards`: folders of further rules. `site`: the text of a site file. `now`: aware. `validate`: whether
    what findings cite is validated, as a hook call does.
    """

    now: datetime
    site: str | None = None
    cards: tuple[str, ...] = ()
    validate: bool = False
    identified: bool = False
    secret: bytes = field(default=b"", repr=False)

    def content(self) -> Content:
        """Raises ContentError."""
        return load_content(cards=[Path(each) for each in self.cards])

    def rulebook(self, content: Content, named: str = "site values") -> Rulebook:
        """`named`: what its faults call the site file. Raises ContentError."""
        keys = frozenset(all_needs(content.library))
        site = read_site(self.site, named, content.library, keys) if self.site is not None else NO_SITE
        return make_rulebook(content.library, site, self.now.date())

    def screener(self, content: Content | None = None) -> Screener:
        """Raises ContentError."""
        content = content or self.content()
        return Screener(content, self.rulebook(content), self.now, validate=self.validate)

    def key(self, patient_id: str) -> str:
        """The pseudonym of a patient."""
        return hmac.digest(self.secret, patient_id.encode(), hashlib.sha256).hex()[:32]


class Call(NamedTuple):
    """What came of one hook for one patient: facts and outcomes, or why the chart could not be read."""

    hook: str
    facts: PatientFacts | None
    evaluation: Evaluation | None
    not_read: str = ""


class Screener:
    """Reads patients and tries every rule. `rules`: their ids, in the order of the rulebook."""

    def __init__(self, content: Content, rulebook: Rulebook, now: datetime, *, validate: bool = False) -> None:
        self.side = Side(content, rulebook, now)
        self.validate = validate
        hooks = [hook for hook in (VIEW, SIGN) if hook in self.side.services]
        self._searches = {hook: [Search.of(need) for need in self.side.needs(hook).values()] for hook in hooks}
        tried = {rule.id for hook in hooks for rule in rulebook.of_service(self.side.services[hook])}
        self.rules = tuple(rule for rule in rulebook.rules if rule in tried)

    def screen(self, patient_id: str, resources: Sequence[bytes], medications: Iterable[bytes] = ()) -> list[Call]:
        """The calls on one patient: `patient-view`, and `order-sign` where there are draft orders.

        `resources`: all of this patient, Bundles too; `medications`: the Medication resources that they refer to.
        """
        held = AtHand(self.side.vocabulary)
        for raw in (*resources, *medications):
            held.add(raw)
        held.forget_deleted()
        people = {bytes(each.entry.resource) for each in held.people}
        if len(people) != 1:
            return [Call(VIEW, None, None, f"it has {len(people)} different Patient resources")]
        if held.of_several_servers:
            return [Call(VIEW, None, None, "its resources name patients of more than one server")]
        hooks = (VIEW, SIGN) if held.drafts and SIGN in self._searches else (VIEW,)
        return [self._call(hook, patient_id, held) for hook in hooks]

    def _call(self, hook: str, patient_id: str, held: AtHand) -> Call:
        # A bug of ours that one chart meets must not take the other patients' answers away.
        call = attempt(self._tried, hook, patient_id, held)
        return Call(hook, None, None, f"a fault of this program: {call.reference}") if isinstance(call, Fault) else call

    def _tried(self, hook: str, patient_id: str, held: AtHand) -> Call:
        prefetch = dict(held.answers(self._searches[hook]))
        orders = held.orders() if hook != VIEW else None
        try:
            chart = read_call(self.side, hook, patient_id, prefetch, orders)
        except NotRead as fault:
            return Call(hook, None, None, str(fault))
        rulebook, service = self.side.rulebook, self.side.services[hook]
        if self.validate:
            chart, evaluation = outcomes_of(chart, rulebook, service)
        else:
            there = rulebook.at("", chart.facts.person.encounter_class)
            evaluation = evaluate(chart.facts, there, service)
        return Call(hook, chart.facts, evaluation)
