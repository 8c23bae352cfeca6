"""CSV tables read strictly: comment lines, a header with exactly the columns, then rows of one typed form."""

from __future__ import annotations

import csv
import re
from io import StringIO
from typing import Any, get_type_hints

from pydantic import ValidationError

from cds_service.content.base import checker
from cds_service.content.yamlfile import MAX_BYTES, ContentError, Document, Fault, KeyPath

_COUNT = re.compile(r"# ([0-9]+) rows\.$", re.MULTILINE)


def parse_rows(text: str, file: str, model: Any) -> Document:
    """The rows as `model`, a NamedTuple whose fields are the columns; `lines` has the line of every row by its index.

    The first column names a row, so no value may stand in it twice. A comment "# 12 rows." is held to. Raises
    ContentError with every fault, by file, line and column.
    """
    if len(text.encode()) > MAX_BYTES:
        raise ContentError([Fault(file, 0, "", f"larger than {MAX_BYTES} bytes")])
    columns = list(get_type_hints(model))
    comments = re.match(r"(#.*\n)*", text)
    head = comments.group() if comments else ""
    above = head.count("\n")
    reader = csv.reader(StringIO(text[len(head) :], newline=""), strict=True)
    faults: list[Fault] = []
    rows: list[list[str]] = []
    lines: dict[KeyPath, int] = {}
    names: set[str] = set()
    try:
        if next(reader, []) != columns:
            raise ContentError([Fault(file, above + 1, "", f"the columns are {', '.join(columns)}")])
        for row in reader:
            line = above + reader.line_num
            if len(row) != len(columns):
                faults.append(Fault(file, line, "", f"has {len(row)} columns, not {len(columns)}"))
                continue
            if row[0] in names:
                faults.append(Fault(file, line, columns[0], f"{row[0]} stands twice"))
            names.add(row[0])
            lines[(len(rows),)] = line
            rows.append(row)
    except csv.Error as error:
        faults.append(Fault(file, above + reader.line_num, "", f"not CSV: {error}"))
    told = _COUNT.search(head)
    if told and int(told.group(1)) != len(rows):
        faults.append(Fault(file, 0, "", f"holds {len(rows)} rows, not {told.group(1)}: it is not whole"))
    try:
        data = checker(list[model]).validate_python(rows)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            index, column = item["loc"][:2]
            faults.append(Fault(file, lines[int(index),], columns[int(column)], item["msg"]))
        data = []
    if faults:
        raise ContentError(faults)
    return Document(file, data, lines)
