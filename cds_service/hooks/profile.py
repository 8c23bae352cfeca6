"""A card cut to what the caller's screen can show. The words stay; only Markdown and links go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from cds_service.content.library import Library
from cds_service.content.site import unit_fault, units_of
from cds_service.trust.clients import Client

Markdown = Literal["gfm", "basic", "none"]
_ROW = re.compile(r"^\| (.*) \|$")
_RULE = re.compile(r"^\|[-|]+\|$")


def fit(card: dict[str, Any], markdown: Markdown, links: bool) -> dict[str, Any]:
    """`basic` knows bold and lists but no tables; `none` is plain text that reads well on its own."""
    fitted = dict(card)
    if markdown != "gfm":
        fitted["detail"] = _plainer(card["detail"], markdown)
    if not links:
        fitted.pop("links", None)
    return fitted


def unit_faults(clients: Iterable[Client], library: Library) -> list[str]:
    """What is wrong with the units that clients ask for, in plain words."""
    labs = units_of(library)
    return [
        f"client {client.name}: profile.units: {fault}"
        for client in clients
        for lab, unit in client.profile.units.items()
        if (fault := unit_fault(lab, unit, labs))
    ]


def _plainer(detail: str, markdown: Markdown) -> str:
    lines: list[str] = []
    for line in detail.split("\n"):
        if _RULE.match(line):
            lines.pop()  # the table's head says what the rows show anyway
            continue
        row = _ROW.match(line)
        lines.append("- " + ": ".join(row[1].split(" | ")) if row else line)
    text = "\n".join(lines)
    return text if markdown == "basic" else text.replace("**", "").replace("*", "")
