"""A service on which something happened: calls of two EHRs over three months, cards shown and answered, an alarm."""

from __future__ import annotations

import random
from datetime import timedelta

from flask import Flask

from cds_service.hooks.rounds import Rounds
from cds_service.store import Store
from cds_service.store.counts import Slot
from tests.conftest import NOW
from tests.store.helpers import accepted, card, overridden
from tests.watch.simulated import chance

STOPPED, BUSY, SELDOM = "low_magnesium_with_depleting_drug", "levothyroxine_timing", "magnesium_with_kidney_failure"
DAYS = 105
SERVICE = "magnesium-patient-view"


def lived_in(app: Flask) -> Flask:
    """The same app. STOPPED is quiet for 30 hours where twelve a day are usual."""
    store: Store = app.extensions["advisor"].store
    dice, until = random.Random(8), NOW.replace(minute=0)
    for hour in range(DAYS * 24):
        at = until - timedelta(hours=DAYS * 24 - hour)
        quiet = DAYS * 24 - hour <= 30
        for client, share in (("north-ehr", 1.0), ("south-ehr", 0.3)):
            fired = [(BUSY, 0)] * chance(dice, 1.5 * share) + [(SELDOM, 0)] * (dice.random() < 0.004 * share)
            fired += [] if quiet else [(STOPPED, 0)] * chance(dice, 0.5 * share)
            fired += [(STOPPED, 3)] * 2 + [(BUSY, 4)] * 5
            labels = [
                (("version", "content", ""), 40), (("card", "info", ""), 2),
                (("input", "serum_magnesium", "given"), 38),
                (("input", "serum_magnesium", "absent"), 2), (("reason", STOPPED, "input_absent"), 2),
                (("read", "Observation", "code"), 60), (("not read", "Observation", "another system"), 4),
                (("lab", "serum_magnesium", "read"), 30), (("lab", "serum_magnesium", "unit not read"), 1),
                (("unit", "serum_magnesium", "mmol/L"), 30), (("age", "serum_magnesium", "1-7 d"), 20),
                (("age", "serum_magnesium", "older"), 3), (("repair", "dosage_as_text", ""), 1),
                (("refused", "400", ""), 1),
            ]  # fmt: skip
            store.add_counts(Slot(at, client, SERVICE), fired, labels)
        if hour % 500 == 0:
            written(store)
    written(store)
    answered(store)
    Rounds(app).look()
    return app


def written(store: Store) -> None:
    job = store.write_counts()
    assert job is None or job.done.wait(60)


def answered(store: Store) -> None:
    """Of sixty cards of one rule most are overridden, some with words; of another few were shown."""
    shown = [card(rule=BUSY, client="north-ehr", shown_at=NOW - timedelta(days=day % 20, hours=1)) for day in range(60)]
    store.record_shown(shown)
    few = [card(rule=SELDOM, client="south-ehr", shown_at=NOW - timedelta(days=2)) for _ in range(5)]
    store.record_shown(few)
    late = {"outcome_at": NOW, "received_at": NOW - timedelta(hours=1)}
    words = {"reason_code": "cds-not-applicable", "reason_display": "Does not apply to this patient"}
    items = [overridden(one, **late, **words) for one in shown[:56]]
    items += [accepted(shown[57], **late)]
    comments = ["=The patient takes it at night", "Already told to the nurse <script>alert(1)</script>", "Not again"]
    items += [
        overridden(one, comment=text, reason_code="already-addressed", reason_display="Already taken care of", **late)
        for one, text in zip(few, comments, strict=False)
    ]
    store.record_feedback(items)
