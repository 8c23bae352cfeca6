"""The list of rules with what each does, and a page for each rule."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any, Final

import pygal
from flask import Blueprint, Response, abort, request, url_for

from cds_service.advice.phrasing import number
from cds_service.console.access import needs, who
from cds_service.console.asked import asked_choice
from cds_service.console.pages import Column, chart, page, table
from cds_service.console.parts import Parts
from cds_service.console.watched import KIND_WORDS, rule_alarms, span, state_badge, watched
from cds_service.content.rulebook import limits_of
from cds_service.publish.rule_in_words import in_force, in_words
from cds_service.sandbox.scenario import scenario_file
from cds_service.store.outcomes import Comment
from cds_service.watch.statistics import SPARK_DAYS, RuleNumbers, rule_numbers

DAYS: Final = (7, 28, 90, 365)
SORTS: Final = {
    "fired": ("most fired first", lambda one: (-one.fired, one.rule)),
    "rate": ("highest rate first", lambda one: (-(one.per_100 or 0), one.rule)),
    "last": ("longest silent first", lambda one: (one.last_fired is None, str(one.last_fired), one.rule)),
    "overridden": ("most overridden first", lambda one: (-one.overridden.value, -one.answers.shown, one.rule)),
    "name": ("by name", lambda one: one.title.lower()),
}
STATES: Final = ("active", "silent", "hidden", "draft", "retired")
COLUMNS: Final = (
    Column("title", "Rule", "link"), Column("state", "State", "badge"), Column("now", "Now"),
    Column("last_fired", "Last fired", "time"), Column("fired", "Fired", "number"),
    Column("per_100_calls", "Rate", "number", "per 100 calls"), Column("days", f"Last {SPARK_DAYS} days"),
    Column("shown", "Shown", "number"), Column("accepted_share", "Accepted"), Column("overridden_share", "Overridden"),
    Column("no_answer_share", "No answer"), Column("review", "To be reviewed"),
)  # fmt: skip


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET /rules and below."""

    def asked_days() -> int:
        days: int = asked_choice("days", DAYS, 28)
        return days

    def asked_client() -> str | None:
        return request.args.get("client", "")[:300].strip() or None

    def found(days: int, client: str | None) -> list[RuleNumbers]:
        now = parts.now()
        rulebook, split = parts.current.on(now.date()), parts.settings.split_services
        return rule_numbers(parts.store, rulebook, split, *span(days, now), client)

    @blueprint.get("/rules")
    @blueprint.get("/rules.<any(csv, json):kind>")
    @needs("viewer")
    def rules(kind: str = "") -> Response:
        days, client = asked_days(), asked_client()
        state, words = asked_choice("state", (*STATES, "review")), request.args.get("q", "")[:100].strip().lower()
        order = asked_choice("sort", SORTS, "fired")
        wanted = [
            one for one in found(days, client)
            if (not state or one.state == state or (state == "review" and one.review))
            and (not words or words in one.title.lower() or words in one.rule)
        ]  # fmt: skip
        wanted.sort(key=SORTS[order][1])
        looked, alarms = watched(parts), rule_alarms(parts)
        rows = [
            one.row() | state_badge(one)
            | {"now": looked.words(one.rule), "alarms": alarms.get(one.rule, ()),
               "title_url": url_for("console.rule", rule_id=one.rule),
               "idle": not (one.fired or one.answers.shown or alarms.get(one.rule) or words or state),
               "spark": url_for("console.firings", rule_id=one.rule, client=client) if any(one.days) else ""}
            for one in wanted
        ]  # fmt: skip
        listed = table("rules", COLUMNS, rows, f"{len(rows)} rule{'' if len(rows) == 1 else 's'}, the last {days} days")
        if kind:
            full = [Column(key, key) for key in RuleNumbers("", "", "active").row()]
            return table("rules", full, rows).file(kind)
        return page(
            "rules.html", rules=listed, days=days, client=client or "", state=state, q=words, sort=order, looked=looked,
            choices=DAYS, sorts={name: told for name, (told, _) in SORTS.items()}, states=STATES,
            nothing=not any(one.calls for one in wanted),
        )  # fmt: skip

    @blueprint.get("/rules/<rule_id>")
    @needs("viewer")
    def rule(rule_id: str) -> Response:
        library, now = parts.current.library, parts.now()
        if rule_id not in library.rules:
            abort(404)
        days, loaded = asked_days(), library.rules[rule_id]
        rulebook = parts.current.on(now.date())
        numbers = next(one for one in found(days, None) if one.rule == rule_id)
        reasons = [
            {"reason": words or code or "no reason given", "number": times}
            for (code, words), times in numbers.answers.reasons.most_common()
        ]
        codes: dict[str, int] = {}
        for row in parts.store.call_sums(*span(days, now), None, ("reason",)):
            if row["name"] == rule_id:
                codes[row["detail"]] = codes.get(row["detail"], 0) + int(row["number"])
        blocked = [
            {"reason": code.replace("_", " "), "number": n} for code, n in sorted(codes.items(), key=lambda e: -e[1])
        ]
        may_read = parts.settings.comments_in_console and who().may("editor")
        comments: list[Comment] = parts.store.comments(*span(days, now), None, rule_id, 50) if may_read else []
        return page(
            "rule.html", rule_id=rule_id, rule=loaded.rule, version=loaded.version, numbers=numbers, row=numbers.row(),
            state=state_badge(numbers), looked=watched(parts), days=days, choices=DAYS,
            alarms=rule_alarms(parts).get(rule_id, ()), kind_words=KIND_WORDS,
            parts_in_words=in_words(loaded.rule, library, in_force(loaded, rulebook)),
            thresholds=table("thresholds", THRESHOLDS, _thresholds(parts, rule_id), "Limits of this rule"),
            sources=[library.references[name] for name in loaded.rule.evidence.references],
            history=table("changes", HISTORY, _history(parts, rule_id), "Changes by this site"),
            written=library.changes.get(rule_id, []),
            reasons=table("reasons", (("reason", "Reason"), ("number", "Times", "number")), reasons, "Why overridden"),
            blocked=table("gaps", (("reason", "Reason"), ("number", "Calls", "number")), blocked, "Why not evaluated"),
            patients=table("patients", PATIENTS, _patients(rule_id), "Invented patients, tried before each release"),
            canaries=[each for each in library.canaries.values() if rule_id in each.fires],
            comments=comments, may_read=may_read, crumbs=[(url_for("console.rules"), "Rules"), ("", loaded.rule.title)],
            spark=_days_table(numbers, parts),
        )  # fmt: skip

    @blueprint.get("/rules/<rule_id>/firings.svg")
    @needs("viewer")
    def firings(rule_id: str) -> Response:
        """Firings by day as a small picture."""
        if rule_id not in parts.current.library.rules:
            abort(404)
        days = [0] * SPARK_DAYS
        until = parts.now().astimezone(UTC)
        first = until.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=SPARK_DAYS - 1)
        for row in parts.store.rule_counts(first, until + timedelta(hours=1), asked_client(), rule_id):
            days[min(SPARK_DAYS - 1, (row["hour"] - first).days)] += row["fired"]
        drawing = pygal.Bar(
            show_legend=False, show_y_labels=False, show_x_labels=False, show_y_guides=False, margin=2, spacing=1,
            min_scale=1, range=(0, max(1, *days)), no_data_text="",
        )  # fmt: skip
        drawing.add("fired", days)
        return chart(drawing, width=224, height=56)


THRESHOLDS: Final = (
    Column("label", "Limit"), Column("value", "In force", "number"), Column("unit", "Unit"),
    Column("default", "Default", "number"), Column("range", "A site may set"), Column("set_by", "Set by"),
    Column("why", "Why this number"),
)  # fmt: skip
HISTORY: Final = (
    Column("at", "In force from", "time"), Column("change", "Change"), Column("author", "By"), Column("reason", "Why"),
)  # fmt: skip


PATIENTS: Final = (Column("name", "Patient"), Column("outcome", "What the rule does"))
OUTCOMES: Final = {
    "fired": "fires", "quiet": "stays quiet", "not_evaluated": "says what it could not check",
    "not_applicable": "does not apply",
}  # fmt: skip


def _patients(rule_id: str) -> list[dict[str, Any]]:
    """The scenarios of a rule, as they ship."""
    try:
        cases = scenario_file(rule_id).scenarios
    except FileNotFoundError:  # a rule of a site's own folder
        return []
    return [{"name": case.name, "outcome": OUTCOMES[case.expect.outcome]} for case in cases]


def _asked_shared(parts: Parts, rule_id: str) -> set[str]:
    """The shared limits that a rule asks for."""
    library, rule = parts.current.library, parts.current.library.rules[rule_id].rule
    asked = {name.name for name in rule.named() if name.mark.what == "threshold"}
    return (asked & library.shared_thresholds.keys()) - rule.thresholds.keys()


def _thresholds(parts: Parts, rule_id: str) -> list[dict[str, Any]]:
    """The rule's own limits, then those that it shares with others."""
    rulebook = parts.current.on(parts.now().date())
    library, loaded = rulebook.library, rulebook.library.rules[rule_id]
    own = loaded.rule.thresholds
    asked = _asked_shared(parts, rule_id)
    shared = {name: item for name, item in library.shared_thresholds.items() if name in asked}
    rows = []
    for owner, thresholds in ((rule_id, own), ("shared", shared)):
        for name, limit in limits_of(owner, thresholds, rulebook.site, rulebook.day, loaded.rule.waits).items():
            allowed, source = thresholds[name].site_may_set, library.references[limit.reference]
            mine = rulebook.site.document.rules.get(owner)
            set_here = mine.thresholds.get(name) if mine else None
            why = source.title + (f", {source.section}" if source.section else "")
            rows.append({
                "label": limit.label, "value": number(limit.value), "unit": limit.unit,
                "default": "" if limit.default is None else number(limit.default),
                "range": f"{number(allowed[0])} to {number(allowed[1])}" if allowed else "not by a site",
                "set_by": "this site" if limit.site else "the rule",
                "why": f"{set_here.reason} (this site). Default: {why}" if set_here else why,
            })  # fmt: skip
    return rows


def _history(parts: Parts, rule_id: str) -> list[dict[str, Any]]:
    """What this site changed about the rule and the limits that it shares, the newest first; nothing where a file
    rules."""
    if parts.settings.managed_by != "console":
        return []
    shared = tuple(f"shared.{name}" for name in _asked_shared(parts, rule_id))
    return [
        {"at": revision.in_force_from, "author": revision.author, "reason": revision.reason,
         "change": f"{each['key']}: {each['old'] or 'not set'} to {each['new'] or 'not set'}"}
        for revision in parts.store.revisions()
        for each in revision.changes
        if (key := str(each.get("key", ""))).startswith(f"{rule_id}.") or key in shared
    ]  # fmt: skip


def _days_table(numbers: RuleNumbers, parts: Parts) -> Any:
    until = parts.now().astimezone(UTC)
    rows = [
        {"day": f"{until - timedelta(days=SPARK_DAYS - 1 - place):%Y-%m-%d}", "fired": fired}
        for place, fired in enumerate(numbers.days)
    ]
    return table("firings", (("day", "Day"), ("fired", "Fired", "number")), rows, "Firings by day (UTC)")
