"""The first page: what is in force, what waits, and what needs somebody's eyes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from flask import Blueprint, Response, current_app

from cds_service.console.access import needs
from cds_service.console.pages import page
from cds_service.console.parts import Parts
from cds_service.store import StoreUnavailable

log = structlog.get_logger("magnesium_cds.console")


@dataclass(frozen=True)
class FrontCard:
    """One card of the first page. `text`: one or two sentences on how it is now; `link`: where to do something.

    state: good (nothing to do), warn (look soon), bad (look now), plain. `figure`: one number or word, large.
    """

    title: str
    text: str
    state: Literal["good", "warn", "bad", "plain"] = "plain"
    figure: str = ""
    link: str = ""
    link_words: str = ""
    items: tuple[str, ...] = ()


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET the console's own path."""

    @blueprint.get("")
    @needs("viewer")
    def front() -> Response:
        makers: list[Callable[[Parts], FrontCard | None]] = current_app.extensions["console_front"]
        cards = [card for make in makers if (card := _made(make, parts)) is not None]
        order = {"bad": 0, "warn": 1, "plain": 2, "good": 2}
        return page("front.html", cards=sorted(cards, key=lambda card: order[card.state]))


def _made(make: Callable[[Parts], FrontCard | None], parts: Parts) -> FrontCard | None:
    """A card that cannot be made says so, and keeps none of the others away."""
    try:
        return make(parts)
    except StoreUnavailable as error:
        log.error("card of the first page not made", cause=error.kind)
        return FrontCard("Not known now", f"{error.text} Load the page again in a minute.", "bad")


def on_front(parts: Parts) -> FrontCard:
    """What is in force now."""
    rulebook = parts.current.on(parts.now().date())
    faults = parts.current.faults
    if faults:
        told = "What was set last cannot be used. The last good values stay in force."
        return FrontCard("In force", told, "bad", items=tuple(map(str, faults)))
    where = "a file on the server" if parts.settings.managed_by == "file" else "this console"
    return FrontCard(
        "In force", f"rules give cards. This site's own values come from {where}.", "good", str(len(rulebook.rules))
    )
