"""The detail of a card as clients show it: its Markdown as HTML, with nothing in it that is not of these few marks."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup

# No HTML of its own, no pictures: a detail quotes what charts call things.
_tables = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "html_block", "html_inline"])
_plain = MarkdownIt("commonmark", {"html": False}).disable(["image", "html_block", "html_inline"])


def shown(detail: str, markdown: str) -> Markup:
    """`markdown`: what the client reads of it, "gfm" (with tables), "basic" (without), or "none" (as it stands)."""
    if markdown == "none":
        return Markup('<p class="plain">{}</p>').format(detail)
    made = (_tables if markdown == "gfm" else _plain).render(detail)
    table = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
    return Markup(made.replace("<table>", table).replace("</table>", "</table></div>"))  # noqa: S704 - it escapes all text
