"""Cards as a clinician would read them, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

STYLES = {"info": "blue", "warning": "yellow", "critical": "red"}


def print_cards(console: Console, title: str, answer: Mapping[str, Any]) -> None:
    """The cards of one answer, with what they suggest and where their basis is."""
    console.rule(escape(title), align="left")
    cards = answer.get("cards", [])
    if not cards:
        console.print("No card: every check that applies was made, and none has anything to say.\n")
    for card in cards:
        parts: list[Any] = [Text(card["summary"], style="bold"), Text()]
        if card.get("detail"):
            parts += [Markdown(card["detail"]), Text()]
        for suggestion in card.get("suggestions", []):
            parts.append(Text(f"[ {suggestion['label']} ]", style="reverse"))
        parts.append(Text(f"Source: {card['source']['label']}", style="dim"))
        for link in card.get("links", []):
            parts.append(Text(f"{link['label']}: {link['url']}", style="dim"))
        style = STYLES[card["indicator"]]
        console.print(Panel(Group(*parts), title=card["indicator"], border_style=style, title_align="left"))
    console.print()
