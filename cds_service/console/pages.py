"""How pages, tables and charts of the console are answered: one look, the same headers, every table as a file too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
import pygal
from flask import Response, render_template, request, url_for
from pygal.style import Style

from cds_service.publish.csv_text import csv_text

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
# A chart is a picture of its own, and carries its style in itself.
CHART_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that a browser tells no origin when it sends a form, and the origin is checked.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


def page(template: str, *, status: int = 200, **values: Any) -> Response:
    """A page of the console: `template` of templates/console/, which extends console/base.html."""
    return Response(render_template(f"console/{template}", **values), status, content_type="text/html; charset=utf-8")


@dataclass(frozen=True)
class Column:
    """A column: the key in each row, its head, and what stands in it. `unit` is told in the head.

    kind: text; number (aligned right); time (an aware datetime, shown in UTC); link (the row's `<key>_url` is where it
    leads, if it is there); badge (the row's `<key>_kind` is good, warn, bad or plain).
    """

    key: str
    label: str
    kind: str = "text"
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table, on a page (the macro `table` of console/macros.html) and as a file."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    caption: str = ""

    def file(self, kind: str) -> Response:
        """The table as "csv" or "json". Cells that a spreadsheet would run as a formula begin with an apostrophe."""
        if kind == "json":
            plain = [{column.key: _plain(row.get(column.key)) for column in self.columns} for row in self.rows]
            body, content_type = orjson.dumps({self.name: plain}), "application/json"
        else:
            head = [_head(column) for column in self.columns]
            text = csv_text(head, ([_cell(row.get(column.key)) for column in self.columns] for row in self.rows))
            body, content_type = text.encode(), "text/csv; charset=utf-8"
        headers = {"Content-Disposition": f'attachment; filename="{self.name}.{kind}"'}
        return Response(body, content_type=content_type, headers=headers)

    def address(self, kind: str) -> str | None:
        """Where this page's table is as a file: the same route with `kind`, and what was asked; None where none is."""
        if request.endpoint is None or request.url_rule is None:
            return None
        values: dict[str, Any] = {**request.args.to_dict(flat=False), **(request.view_args or {})}
        try:
            found = url_for(request.endpoint, **values | {"kind": kind})
        except Exception:  # noqa: BLE001 - no such route
            return None
        return found if f".{kind}" in found.partition("?")[0] else None


def table(
    name: str,
    columns: Sequence[Column | tuple[str, str] | tuple[str, str, str]],
    rows: Sequence[Mapping[str, Any]],
    caption: str = "",
) -> Table:
    """A table under a short `name` (of its file). `columns`: Column, or (key, label) or (key, label, kind).

    With two routes, one of them ending in `.<any(csv, json):kind>`, a view answers both:

        rows = table("rules", (("title", "Rule"), ("fired", "Fired", "number")), found, "Rules")
        return rows.file(kind) if kind else page("rules.html", rules=rows)
    """
    made = [one if isinstance(one, Column) else Column(*one) for one in columns]
    return Table(name, made, rows, caption)


def _head(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit else column.label


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _cell(value: Any) -> Any:
    value = _plain(value)
    return "; ".join(map(str, value)) if isinstance(value, list) else value


# Colours that stand out on light and on dark paper; shapes and the table beneath tell what colours do not.
CHART_STYLE: Final = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#5b6b7c",
    foreground_strong="#5b6b7c",
    foreground_subtle="#8a99a8",
    font_family="system-ui, sans-serif",
    colors=("#2f81b7", "#c46a00", "#2e8b57", "#a64d9b", "#b0413e"),
    opacity="0.85",
    opacity_hover="1",
    label_font_size=13,
    major_label_font_size=13,
    legend_font_size=14,
    title_font_size=16,
)


def chart(drawing: pygal.Graph, **options: Any) -> Response:
    """A chart of pygal as a picture: nothing from elsewhere, no script. `options` are pygal's.

    On its page it stands through the macro `chart`, with its table beneath.
    """
    settings = {"style": CHART_STYLE, "js": [], "disable_xml_declaration": True, "width": 720, "height": 280}
    text = drawing.render(is_unicode=True, **settings | options)
    # In an <img> a script never runs, and the policy refuses it too. It is taken out all the same.
    start, end = text.find("<script"), text.rfind("</script>")
    if 0 <= start < end:
        text = text[:start] + text[end + len("</script>") :]
    return Response(text, content_type="image/svg+xml; charset=utf-8", headers={"Content-Security-Policy": CHART_CSP})
