"""What clinicians did with cards, for other machines: JSON Lines, CSV, and as Da Vinci CRD's metric data has it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson

from cds_service.content.shared import OverrideReason
from cds_service.publish.csv_text import csv_text
from cds_service.store.statements import EXPORTED

Format = Literal["jsonl", "csv"]
HL7_REASON: Final = "reason_hl7_code"
TYPES: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_ENGAGED: Final = {"accepted": "accept", "overridden": "override", None: "ignored"}


def moment(text: str) -> datetime:
    """A date, or a time with its offset, as people write a bound. Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None and len(text) > len("2026-01-31"):
        raise ValueError("a time needs its offset")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def exported(rows: Iterable[Mapping[str, Any]], form: Format, reasons: Collection[OverrideReason]) -> str:
    """The rows, times in UTC, one line each, with HL7's code for the reason. In CSV a text that a spreadsheet would
    compute has an apostrophe before it, and the suggestions taken stand in one cell."""
    told = {(reason.system, reason.code): reason.hl7.code for reason in reasons}
    told |= {(reason.hl7.system, reason.hl7.code): reason.hl7.code for reason in reasons}
    every = [{**row, HL7_REASON: told.get((row["reason_system"], row["reason_code"]))} for row in rows]
    if form == "jsonl":
        return "".join(orjson.dumps(row).decode() + "\n" for row in every)
    names = (*EXPORTED, HL7_REASON)
    return csv_text(names, ([_cell(row[name]) for name in names] for row in every), mark=False)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return " ".join(map(str, value)) if isinstance(value, list) else value


def crd_metrics(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line for each card, as far as we keep what CRD's metric data asks for: no person, organisation, order or hook
    instance is kept. Of a card that was answered twice the last answer holds."""
    cards = {row["card"]: row for row in rows if row["shown_at"] is not None}
    lines = []
    for row in cards.values():
        answer = {"engagement": _ENGAGED[row["outcome"]]}
        made = {"source": "payer-src", "hookType": row["hook"], "requestTime": row["shown_at"], "httpResponse": 200}
        made |= {"responseTime": row["shown_at"], "request": [{"response": [answer]}]}
        lines.append(orjson.dumps(made).decode() + "\n")
    return "".join(lines)
