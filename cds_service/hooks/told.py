"""What a caller was told already of a patient, and what it is told now: asked of the store, and written down there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cds_service.advice.advise import Candidate
from cds_service.advice.card_text import Shown
from cds_service.content.rulebook import Rulebook
from cds_service.store import Reason, ShownCard, Store

# An accepted suggestion silences its own finding this long: the same sitting. The order itself tells later ones.
SITTING = timedelta(minutes=15)
CRITICAL_SILENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Told:
    """One call, as the store keeps it: the client and the service, whose patient (kept as a hash alone), and when."""

    store: Store
    rulebook: Rulebook
    service: str
    client: str
    patient: str
    now: datetime

    def before(self, candidates: Sequence[Candidate]) -> set[int]:
        """Findings that are not shown again, by index: accepted in this sitting, or silenced by the site's own values.

        The finding's hash holds its data, so new or worse data are never silenced by old ones.
        """
        repeats = self.rulebook.site.repetition
        days = timedelta(days=repeats.after_override_days if repeats else 0)
        wanted = [self._key(item.rule, item.finding) for item in candidates]
        past = self.store.past_outcomes(wanted, self.now - max(SITTING, days))
        again: set[tuple[str, str]] = set()
        if repeats and repeats.same_sitting and self._hook == "order-sign":
            again = self.store.shown_before(wanted, self.now - SITTING, "order-select")
        reasons = self.rulebook.library.override_reasons.values()
        snoozing = {(item.system, item.code) for item in reasons if item.snoozes}
        found = set()
        for index, (item, key) in enumerate(zip(candidates, wanted, strict=True)):
            critical = item.indicator == "critical"
            silent = key in again and not critical
            if done := past.get(key):
                ago = self.now - done.acted_at
                if done.outcome == "accepted":
                    silent = silent or ago <= SITTING
                elif (done.reason_system, done.reason_code) in snoozing:
                    silent = silent or ago <= (min(days, CRITICAL_SILENCE) if critical else days)
            if silent:
                found.add(index)
        return found

    def record(self, shown: Sequence[Shown], version: str) -> None:
        """Have what is about to be shown written down, without patient data. `version` is that of this software.

        The answer waits for it only where the next call of this sitting, in whichever process, is asked about it.
        """
        rules, records = self.rulebook.rules, []
        for item in shown:
            rule = item.rules[0]
            subject, finding = self._key(rule, item.finding)
            reasons = item.card.get("overrideReasons", ())
            records.append(ShownCard(
                card=item.card["uuid"], rule=rule,
                rule_version=rules[rule].loaded.version if rule in rules else "",
                service=self.service, hook=self._hook, indicator=item.card["indicator"], client=self.client,
                shown_at=self.now, software_version=version, content_version=self.rulebook.library.digest,
                site_revision=self.rulebook.site_digest, subject_hash=subject, finding_hash=finding,
                suggestions=item.suggestion_ids,
                override_reasons=tuple(Reason(one["code"], one["system"], one["display"]) for one in reasons),
            ))  # fmt: skip
        repeats = self.rulebook.site.repetition
        asked_about = repeats is not None and repeats.same_sitting and self._hook == "order-select"
        self.store.record_shown(records, wait=asked_about)

    @property
    def _hook(self) -> str:
        return self.rulebook.library.services[self.service].hook

    def _key(self, rule: str, finding: str) -> tuple[str, str]:
        """Keyed hashes of the patient under the leading rule, and of the finding."""
        return self.store.subject_hash(self.client, self.patient, rule), self.store.finding_hash([finding])
