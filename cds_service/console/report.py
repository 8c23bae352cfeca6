"""The report of a month, to be printed for a committee."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flask import Blueprint, Response, abort, url_for

from cds_service.console.access import needs
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.watched import KIND_WORDS, about, alarm_words
from cds_service.watch.statistics import in_parts, rule_numbers

TOP: Final = 15
MONTHS: Final = 13
COLUMNS: Final[dict[str, tuple[str, tuple[Column, ...]]]] = {
    "calls": ("Calls", (Column("client", "Client"), Column("service", "Service"), Column("calls", "Calls", "number"),
                        Column("refused", "Refused", "number"))),
    "cards": ("Cards shown", (Column("indicator", "Urgency"), Column("cards", "Cards", "number"),
                              Column("rate", "Rate", "number", "per 100 calls"))),
    "rules": ("Rules that fired most", (
        Column("title", "Rule"), Column("fired", "Fired", "number"),
        Column("per_100_calls", "Rate", "number", "per 100 calls"),
        Column("shown", "Shown", "number"), Column("accepted_share", "Accepted"),
        Column("overridden_share", "Overridden"), Column("review", "To be reviewed"))),
    "overrides": ("Why cards were overridden", (
        Column("title", "Rule"), Column("reason", "Reason"), Column("number", "Times", "number"))),
    "alarms": ("Alarms", (
        Column("opened", "Since", "time"), Column("about", "About"), Column("what", "What"), Column("told", "Seen"),
        Column("closed", "Over", "time"), Column("seen_by", "Looked at by"), Column("reason", "What came of it"))),
    "changes": ("What this site changed", (
        Column("at", "In force from", "time"), Column("number", "Revision", "number"), Column("change", "Change"),
        Column("author", "By"), Column("reason", "Why"))),
    "gaps": ("What could not be evaluated, and why", (
        Column("reason", "Reason"), Column("number", "Rules and calls", "number"), Column("rules", "Rules", "number"))),
}  # fmt: skip


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET /report for the months there are, /report/<month> for one."""

    @blueprint.get("/report")
    @needs("viewer")
    def reports() -> Response:
        now, months = parts.now().astimezone(UTC), []
        first = now.replace(day=1)
        for _ in range(MONTHS):
            months.append((url_for("console.report", month=f"{first:%Y-%m}"), f"{first:%B %Y}"))
            first = (first - timedelta(days=1)).replace(day=1)
        return page("reports.html", months=months)

    @blueprint.get("/report/<month>")
    @blueprint.get("/report/<month>/<name>.<any(csv, json):kind>")
    @needs("viewer")
    def report(month: str, name: str = "", kind: str = "") -> Response:
        if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", month):
            abort(404)
        since = datetime.strptime(f"{month} +0000", "%Y-%m %z")
        until = (since + timedelta(days=32)).replace(day=1)
        made = _tables(parts, since, until)
        if kind:
            if name not in COLUMNS:
                abort(404)
            caption, columns = COLUMNS[name]
            return table(f"{month}-{name}", columns, made[name], caption).file(kind)
        shown = [(each, table(each, columns, made[each])) for each, (_, columns) in COLUMNS.items()]
        return page(
            "report.html", month=since, captions={each: caption for each, (caption, _) in COLUMNS.items()},
            shown=shown, month_id=month, unfinished=until > parts.now(),
            site=parts.current.site.document.site, made_at=parts.now(), version=parts.version,
            calls=sum(row["calls"] for row in made["calls"]), cards=sum(row["cards"] for row in made["cards"]),
            crumbs=[(url_for("console.reports"), "Reports"), ("", f"{since:%B %Y}")],
        )  # fmt: skip


def _tables(parts: Parts, since: datetime, until: datetime) -> dict[str, list[dict[str, Any]]]:
    rulebook = parts.current.on(parts.now().date())
    numbers = rule_numbers(parts.store, rulebook, parts.settings.split_services, since, until)
    calls: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    cards: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    blocked: dict[str, set[str]] = {}
    kinds = ("version", "refused", "card", "reason")
    for row in in_parts(parts.store.call_sums, since, until, None, kinds):
        number, where = int(row["number"]), (row["client"], row["service"])
        if row["kind"] == "version":
            calls[where] += number
        elif row["kind"] == "refused":
            refused[where] += number
        elif row["kind"] == "card":
            cards[row["name"]] += number
        else:
            gaps[row["detail"]] += number
            blocked.setdefault(row["detail"], set()).add(row["name"])
    fired = sorted((one for one in numbers if one.fired or one.answers.shown), key=lambda one: (-one.fired, one.rule))
    return {
        "calls": [{"client": where[0], "service": where[1], "calls": calls[where], "refused": refused[where]}
                  for where in sorted({*calls, *refused})],
        "cards": [{"indicator": name, "cards": cards[name],
                   "rate": round(cards[name] / calls.total() * 100, 2) if calls.total() else None}
                  for name in ("critical", "warning", "info")],
        "rules": [one.row() for one in fired[:TOP]],
        "overrides": [{"title": one.title, "reason": words or code or "no reason given", "number": number}
                      for one in fired for (code, words), number in one.answers.reasons.most_common()],
        "alarms": [{"opened": each.opened_at, "about": about(each, parts), "what": KIND_WORDS.get(each.kind, each.kind),
                    "told": alarm_words(each), "closed": each.closed_at, "seen_by": each.acknowledged_by,
                    "reason": each.reason}
                   for each in parts.store.alarms_since(since) if each.opened_at < until],
        "changes": _changes(parts, since, until),
        "gaps": [{"reason": code.replace("_", " "), "number": number, "rules": len(blocked[code])}
                 for code, number in gaps.most_common()],
    }  # fmt: skip


def _changes(parts: Parts, since: datetime, until: datetime) -> list[dict[str, Any]]:
    if parts.settings.managed_by != "console":
        return []
    return [
        {"at": each.in_force_from, "number": each.number, "author": each.author, "reason": each.reason,
         "change": f"{one['key']}: {one['old'] or 'not set'} to {one['new'] or 'not set'}"}
        for each in parts.store.revisions()
        if since <= each.in_force_from < until and each.withdrawn_at is None
        for one in each.changes
    ]  # fmt: skip
