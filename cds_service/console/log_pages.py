"""The audit log as a page: what was done, by whom and when, to filter and to take along; and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from flask import Blueprint, Response, request, url_for

from cds_service.console.access import needs
from cds_service.console.asked import NotUnderstood, asked_number
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.store import AuditLine
from cds_service.store.audit import Wanted, details_in_words

PAGE: Final = 100
COLUMNS: Final = (
    Column("number", "Line", "number"),
    Column("at", "When", "time"),
    Column("person", "Who"),
    Column("action", "What"),
    Column("target", "On what"),
    Column("details", "Details"),
)
HASHES: Final = (Column("before", "Hash of the line before"), Column("hash", "Hash"))


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/log, also as files, which hold every line that the filter lets through."""

    @blueprint.get("/log")
    @blueprint.get("/log.<any(csv, json):kind>")
    @needs("admin")
    def audit_log(kind: str = "") -> Response:
        wanted, faults = _wanted(request.args)
        if kind:
            if faults:  # a file has no place to say so
                raise NotUnderstood(" ".join(faults))
            return table("log", (*COLUMNS, *HASHES), rows_of(parts.store.audit_lines(wanted))).file(kind)
        lines = parts.store.audit_lines(wanted, PAGE + 1)
        older = lines[PAGE - 1].number if len(lines) > PAGE else None
        people, actions = parts.store.audit_words()
        checked = "check" in request.args
        return page(
            "log.html",
            lines=table("log", COLUMNS, rows_of(lines[:PAGE]), "What was done, the newest first"),
            older=url_for("console.audit_log", **_asked() | {"below": older}) if older else "",
            people=[name for name in people if name],
            actions=actions,
            asked=_asked(),
            faults=[f"{one} It was left out." for one in faults],
            checked=checked,
            status=400 if faults else 200,
            broken=parts.store.broken_line() if checked else None,
            newest=next(iter(parts.store.audit_lines(most=1)), None),
        )


def rows_of(lines: Sequence[AuditLine]) -> list[dict[str, Any]]:
    """Lines as rows of a table."""
    return [
        {"number": one.number, "at": one.at, "person": one.person or "(nobody signed in)", "action": one.action,
         "target": one.target, "details": details_in_words(one.details), "before": one.before, "hash": one.hash}
        for one in lines
    ]  # fmt: skip


def _asked() -> dict[str, Any]:
    return {name: request.args[name][:100] for name in ("person", "action", "since", "until") if request.args.get(name)}


def _wanted(asked: Mapping[str, str]) -> tuple[Wanted, list[str]]:
    """The filter, and what of it could not be read."""
    faults: list[str] = []

    def day(name: str, words: str) -> datetime | None:
        text = asked.get(name, "")
        if not text:
            return None
        try:
            found = date.fromisoformat(text)
        except ValueError:
            faults.append(f"{words} is not a date like 2026-11-30.")
            return None
        return datetime(found.year, found.month, found.day, tzinfo=UTC)

    since, until = day("since", "From"), day("until", "To")
    return Wanted(
        asked.get("person", "")[:100], asked.get("action", "")[:100], since,
        until + timedelta(days=1) if until and until.year < 9999 else None,
        asked_number("below", None),
    ), faults  # fmt: skip
