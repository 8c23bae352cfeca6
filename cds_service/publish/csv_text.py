"""Tables as CSV that a spreadsheet opens without running anything in them. What people get as CSV is written here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARK: Final = "\ufeff"


def safe_cell(value: Any) -> Any:
    """What is a number stays one; text that begins as a formula does not run."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]], mark: bool = True) -> str:
    """The table, every cell quoted. `mark`: at the start, tells spreadsheets that it is UTF-8; other programs take it
    for a part of the first name."""
    return (_MARK if mark else "") + csv_lines([head]) + csv_lines(rows)


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of a table alone, each cell as `csv_text` has it. A list is one cell, its items apart by a semicolon."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([safe_cell(_plain(each)) for each in row] for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else value
