"""Tables as CSV that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe_cell(value: Any) -> Any:
    """What is a number stays one; text that begins as a formula does not run."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The table, every cell quoted; the mark at the start tells spreadsheets that it is UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([safe_cell(each) for each in head])
    writer.writerows([[safe_cell("" if each is None else each) for each in row] for row in rows])
    return "\ufeff" + text.getvalue()
