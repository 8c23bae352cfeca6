"""What a caller was told already of a patient, and what it is told now: asked of the store, and written down there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cds_service.advice.advise import Candidate
from cds_service.advice.card_text import Shown
from cds_service.content.rulebook import Rulebook
from cds_service.metrics.stages import stage
from cds_service.store import Reason, Screen, ShownCard, Store
from cds_service.trust.profile import Part, services_served

# Accepted information is not told again this long: the same sitting. The order itself tells later ones.
SITTING = timedelta(minutes=15)
CRITICAL_SILENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Told:
    """One call, as the store keeps it: the client and the service, whose patient (kept as a hash alone), and when.

    `called`: the id under which the service was called, `part`: which of its cards are wanted; `off`: topics that the
    call wants no cards on. Of a `trial` nothing is asked and nothing written down. `rests`: how long information whose
    suggestion was accepted is not told again; zero: not at all.
    """

    store: Store
    rulebook: Rulebook
    service: str
    called: str
    part: Part
    client: str
    patient: str
    user: str
    now: datetime
    off: frozenset[str] = frozenset()
    trial: bool = False
    rests: timedelta = SITTING

    @stage("store")
    def before(self, candidates: Sequence[Candidate]) -> set[int]:
        """Findings that are not shown again, by index: information accepted in this sitting, what the site's own values
        silence, or what the same user saw on order-select. Only what stood there last counts: clients drop what was
        there before.

        The finding's hash holds its data, so new or worse data are never silenced by old ones.
        """
        if self.trial:
            return set()
        repeats = self.rulebook.site.repetition
        days = timedelta(days=repeats.after_override_days if repeats else 0)
        # Nothing that was done silences the others: the store is not asked about them.
        wanted = [
            self._key(item.rule, item.finding) if days or (item.indicator == "info" and self.rests) else None
            for item in candidates
        ]
        past = self.store.past_outcomes([key for key in wanted if key], self.now - max(SITTING, days))
        quiet = repeats.not_again_at_signing if repeats else ["info"]
        seen: set[str] = set()
        if self._hook == "order-sign" and any(item.indicator in quiet for item in candidates):
            services = self.rulebook.library.services.items()
            names = services_served((name for name, service in services if service.hook == "order-select"), True)
            screens = [self._screen(name) for name in names]
            seen = self.store.seen(screens, self.now - SITTING)
        snoozing = _snoozing(self.rulebook)
        found = set()
        for index, (item, key) in enumerate(zip(candidates, wanted, strict=True)):
            critical = item.indicator == "critical"
            silent = item.indicator in quiet and self.store.finding_hash([item.seen]) in seen
            wanted_here = self.part == "all" or (self.part == "information") == (item.indicator == "info")
            silent = silent or item.topic in self.off or not wanted_here
            if key and (done := past.get(key)):
                ago = self.now - done.acted_at
                if done.outcome == "accepted":
                    # Who ordered the test that a warning proposes may still order the drug that it warns of.
                    silent = silent or (item.indicator == "info" and bool(self.rests) and ago <= self.rests)
                elif days and (done.reason_system, done.reason_code) in snoozing:
                    silent = silent or ago <= (min(days, CRITICAL_SILENCE) if critical else days)
            if silent:
                found.add(index)
        return found

    def record(self, shown: Sequence[Shown], version: str) -> None:
        """Have what is about to be shown written down, without patient data. `version` is that of this software.

        The answer waits for it only where the next call of this sitting, in whichever process, is asked about it.
        """
        if self.trial:
            return
        rules, records = self.rulebook.rules, []
        for item in shown:
            rule = item.rules[0]
            subject, finding = self._key(rule, item.finding)
            reasons = item.card.get("overrideReasons", ())
            records.append(ShownCard(
                card=item.card["uuid"], rule=rule,
                rule_version=rules[rule].loaded.version if rule in rules else "",
                service=self.called, hook=self._hook, indicator=item.card["indicator"], client=self.client,
                shown_at=self.now, software_version=version, content_version=self.rulebook.library.digest,
                site_revision=self.rulebook.site_digest, subject_hash=subject, finding_hash=finding,
                suggestions=tuple(item.suggested),
                override_reasons=tuple(Reason(one["code"], one["system"], one["display"]) for one in reasons),
            ))  # fmt: skip
        screen = None
        if self._hook == "order-select":
            findings = tuple(self.store.finding_hash([item.seen]) for item in shown if item.seen)
            screen = Screen(self._screen(self.called), findings, self.now)
        self.store.record_shown(records, wait=screen is not None, screen=screen)

    @property
    def _hook(self) -> str:
        return self.rulebook.library.services[self.service].hook

    def _screen(self, service: str) -> str:
        """A keyed hash of the screen on which this user sees what a service says of this patient."""
        return self.store.subject_hash(self.client, self.patient, f"screen of {self.user} for {service}")

    def _key(self, rule: str, finding: str) -> tuple[str, str]:
        """Keyed hashes of the patient under the leading rule, and of the finding."""
        return self.store.subject_hash(self.client, self.patient, rule), self.store.finding_hash([finding])


@lru_cache(maxsize=8)
def _snoozing(rulebook: Rulebook) -> frozenset[tuple[str | None, str]]:
    """Override reasons (system, code) that silence. A client may send HL7's code: it silences where all of ours that it
    stands for do."""
    reasons = rulebook.library.override_reasons.values()
    meant = [((item.hl7.system, item.hl7.code), item.snoozes) for item in reasons]
    ours = {(item.system, item.code) for item in reasons if item.snoozes}
    return frozenset(ours | {code for code, _ in meant if all(snoozes for other, snoozes in meant if other == code)})
