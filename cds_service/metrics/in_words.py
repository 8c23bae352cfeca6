"""The tables of docs/operate/observe.md, made from the code: metrics, and what is in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cds_service.logs import LOG_EVENTS, LOG_FIELDS, OURS
from cds_service.metrics.table import METRICS


def metrics_table() -> str:
    """Every metric with its labels, in Markdown."""
    rows = []
    for metric in METRICS.values():
        labels = "<br>".join(f"`{name}`: {words}" for name, words in metric.labels.items())
        rows.append((f"`{metric.full_name}`", metric.kind, metric.help, labels))
    return _table(("metric", "kind", "what", "labels"), rows)


def log_tables() -> str:
    """Every field and every event of the log, in Markdown."""
    fields = [(f"`{name}`", field.type, field.meaning) for name, field in LOG_FIELDS.items()]
    events = [
        (f"`{name}`", event.level, f"{OURS}.{event.logger}", ", ".join(f"`{each}`" for each in event.fields),
         event.meaning)
        for name, event in LOG_EVENTS.items()
    ]  # fmt: skip
    first = _table(("field", "type", "what"), fields)
    second = _table(
        ("event", "level", "logger", "beside the fields of every line", "what it means, what to do"), events
    )
    return f"{first}\n{second}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
