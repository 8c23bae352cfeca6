"""Every route of the console: who may come there, and an address of it. A new route needs its line here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Place:
    """`role` is needed ("": none), and one of `either`, if any are named. `values` fill the address. `page`: whether it
    shows a page to look at."""

    role: str
    values: dict[str, Any] = field(default_factory=dict)
    page: bool = True
    either: tuple[str, ...] = ()


PUBLISHERS = ("approver", "editor")  # an editor where no second person is asked for
SOMEBODY = "bruno@hospital.example"
PLACES = {
    "front": Place("viewer"),
    "values": Place("viewer"),
    "value": Place("viewer", {"owner": "shared", "name": "lower_limit"}),
    "change": Place("editor", {"key": "rules.shared.thresholds.lower_limit"}),
    "rule_show": Place("editor", page=False),
    "drafts": Place("viewer"),
    "draft_begin": Place("editor", page=False),
    "draft": Place("viewer", {"number": 1}, page=False),
    "draft_text": Place("editor", {"number": 1}, page=False),
    "draft_undo": Place("editor", {"number": 1}, page=False),
    "draft_approve": Place("approver", {"number": 1}, page=False),
    "draft_discard": Place("editor", {"number": 1}, page=False),
    "draft_publish": Place("viewer", {"number": 1}, page=False, either=PUBLISHERS),
    "together": Place("editor", {"number": 1}, page=False),
    "history": Place("viewer"),
    "revision": Place("viewer", {"number": 1}, page=False),
    "revision_document": Place("viewer", {"number": 1}, page=False),
    "compare": Place("viewer"),
    "roll_back": Place("viewer", {"number": 1}, page=False, either=PUBLISHERS),
    "withdraw": Place("viewer", {"number": 1}, page=False, either=PUBLISHERS),
    "preview": Place("viewer"),
    "preview_made": Place("viewer", page=False),
    "alarms": Place("viewer"),
    "alarm": Place("viewer", {"alarm_id": 1}, page=False),
    "alarm_seen": Place("editor", {"alarm_id": 1}, page=False),
    "canaries": Place("viewer"),
    "rules": Place("viewer"),
    "rule": Place("viewer", {"rule_id": "low_serum_magnesium"}),
    "firings": Place("viewer", {"rule_id": "low_serum_magnesium"}, page=False),
    "why": Place("viewer"),
    "why_pasted": Place("viewer", page=False),
    "data_quality": Place("viewer", {"name": "inputs"}),
    "comments": Place("editor"),
    "reports": Place("viewer"),
    "report": Place("viewer", {"month": "2026-11", "name": "calls"}),
    "people": Place("admin"),
    "add_person": Place("admin", page=False),
    "one_person": Place("admin", {"name": SOMEBODY}),
    "give_code": Place("admin", {"name": SOMEBODY}, page=False),
    "remove_person": Place("admin", {"name": SOMEBODY}, page=False),
    "audit_log": Place("admin"),
    "sign_in": Place(""),
    "sign_out": Place("", page=False),
    "first_run": Place(""),
    "welcome": Place(""),
    "account": Place("viewer"),
    "not_found": Place("viewer", {"rest": "nothing"}),
}
