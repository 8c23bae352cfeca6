"""The detail of a card as clients show it: its Markdown as HTML, with nothing in it that is not of these few marks."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def shown(detail: str, markdown: str) -> Markup:
    """`markdown`: what the client reads of it, "gfm" (with tables), "basic" (without), or "none" (as it stands)."""
    if markdown == "none":
        return Markup('<p class="plain">{}</p>').format(detail)
    made = _reader(markdown == "gfm").render(detail)
    table = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
    return Markup(made.replace("<table>", table).replace("</table>", "</table></div>"))  # noqa: S704 - it escapes all text


@cache
def _reader(tables: bool) -> MarkdownIt:
    """No HTML of its own, no pictures: a detail quotes what charts call things."""
    from markdown_it import MarkdownIt  # no call of a hook waits for it

    reader = MarkdownIt("commonmark", {"html": False}).disable(["image", "html_block", "html_inline"])
    return reader.enable("table") if tables else reader
