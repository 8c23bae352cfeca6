"""What clinicians wrote when they dismissed cards: for editors, and only where a setting leaves it open."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Blueprint, Response, url_for

from cds_service.console.access import needs
from cds_service.console.asked import asked_choice
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.watch.statistics import ranked

SHOWN_FOR: Final = timedelta(days=180)
COLUMNS: Final = (
    Column("rule", "Rule", "link"), Column("text", "Written"), Column("reason", "Reason chosen"),
    Column("client", "Client"), Column("at", "When", "time"),
)  # fmt: skip


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET /comments."""

    @blueprint.get("/comments")
    @blueprint.get("/comments.<any(csv, json):kind>")
    @needs("editor")
    def comments(kind: str = "") -> Response:
        library, now = parts.current.library, parts.now()
        rule = asked_choice("rule", library.rules)
        settled = {code.code for code in library.override_reasons.values() if code.snoozes}
        open_here = parts.settings.comments_in_console
        found = parts.store.comments(now - SHOWN_FOR, now, None, rule or None) if open_here else []
        rows = [
            {"rule": library.rules[one.rule].rule.title if one.rule in library.rules else one.rule,
             "rule_url": url_for("console.rule", rule_id=one.rule) if one.rule in library.rules else "",
             "text": one.text + (" …" if one.cut else ""), "reason": one.reason, "client": one.client,
             "at": one.received_at}
            for _, one in ranked(found, settled, now)
        ]  # fmt: skip
        listed = table("comments", COLUMNS, rows, "What weighs most first")
        if kind:
            return listed.file(kind)
        return page(
            "comments.html", comments=listed, open_here=open_here, kept=parts.settings.keep_comments,
            rule=library.rules[rule].rule.title if rule else "",
        )  # fmt: skip
