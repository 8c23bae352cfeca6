"""What an integrator can mend: prefetch keys that nobody asked for, entries and codes that could not be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from cds_service.fhir import Chart
from cds_service.spelling import inert, nearest

MOST = 20
_KEY = re.compile(r"[A-Za-z0-9_-]{1,48}")


def diagnosed(prefetch: Mapping[str, bytes], asked: Collection[str], chart: Chart, dev: bool) -> dict[str, Any]:
    """`{"diagnostics": ...}` for an answer, {} where there is nothing to mend.

    In the development profile with the names that the chart gives; else counts, and systems with codes alone. At most
    `MOST` of a kind.
    """
    found: dict[str, Any] = {}
    unknown = sorted(prefetch.keys() - set(asked))
    if unknown:
        shown = (key if _KEY.fullmatch(key) else inert(key) for key in unknown[:MOST])
        found["unknownPrefetchKeys"] = [f"{key}{nearest(key, asked)}" for key in shown] if dev else len(unknown)
    unread = {key: entries for key, entries in sorted(chart.facts.unread.items()) if entries}
    if unread:
        codes = Counter((key, *code) for key, entries in unread.items() for entry in entries for code in entry.codes)
        found["notIdentified"] = {
            "counts": {key: len(entries) for key, entries in unread.items()},
            "codes": [
                {"input": key, "system": system, "code": code, "count": count}
                for (key, system, code), count in codes.most_common(MOST)
            ],
        }
        if dev:
            named = [(key, entry) for key, entries in unread.items() for entry in entries]
            found["notIdentified"]["entries"] = [
                {"input": key, "resource": str(entry.source), "name": inert(entry.name)} for key, entry in named[:MOST]
            ]
    unreadable = {key: each.unreadable for key, each in sorted(chart.facts.inputs.items()) if each.unreadable}
    if unreadable:
        found["unreadable"] = unreadable
    if dev and chart.not_read:
        found["notRead"] = [{"at": at, "fault": inert(fault, 160)} for at, fault in chart.not_read.items()]
    return {"diagnostics": found} if found else {}
