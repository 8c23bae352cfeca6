"""Reasons to dismiss a card: codes of our own in the words of a ward, and HL7's beside them where they are exported."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Any

from cds_service.publish.feedback_export import exported
from cds_service.store.statements import EXPORTED
from tests.conftest import shipped

REASONS = shipped().library.override_reasons
OURS = "urn:magnesium-cds:override-reason"
HL7 = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"


def row(code: str | None, system: str | None) -> dict[str, Any]:
    return dict.fromkeys(map(str, EXPORTED)) | {"reason_code": code, "reason_system": system}


def test_no_two_reasons_share_a_code_or_their_words() -> None:
    assert max(Counter(reason.code for reason in REASONS.values()).values()) == 1
    assert max(Counter(reason.display.casefold() for reason in REASONS.values()).values()) == 1
    assert {reason.system for reason in REASONS.values()} == {OURS}


def test_the_words_fit_on_a_button_and_name_no_recipient() -> None:
    for reason in REASONS.values():
        assert len(reason.display) <= 40 and "recipient" not in reason.display.casefold()


def test_an_export_gives_hl7s_code_for_ours_and_for_one_that_came_as_hl7s() -> None:
    rows = [
        row("specialist-agrees", OURS),
        row("cds-not-applicable", HL7),
        row("77", "urn:ehr"),
        row(None, None),
    ]
    lines = [json.loads(line) for line in exported(rows, "jsonl", REASONS.values()).splitlines()]
    assert [line["reason_hl7_code"] for line in lines] == ["risk-benefit-ratio", "cds-not-applicable", None, None]
    table = list(csv.DictReader(io.StringIO(exported(rows, "csv", REASONS.values()))))
    assert [line["reason_hl7_code"] for line in table] == ["risk-benefit-ratio", "cds-not-applicable", "", ""]
