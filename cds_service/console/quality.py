"""What data the clients send: what is not sent, not read, and how old results are."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

from flask import Blueprint, Response, abort, request

from cds_service.console.access import needs
from cds_service.console.asked import asked_choice
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.watched import span
from cds_service.hooks.tally import AGES, OLDER
from cds_service.watch.statistics import TOO_FEW, Share, in_parts

DAYS: Final = (1, 7, 28, 90)
_AGES: Final = (*(word for _, word in AGES), OLDER)
_STATES: Final = ("given", "empty", "fetched", "incomplete", "failed", "absent", "not_available")
TABLES: Final[dict[str, tuple[str, tuple[Column, ...]]]] = {
    "inputs": ("What was sent, by client", (
        Column("client", "Client"), Column("key", "Input"), Column("filled", "Filled"),
        *(Column(state, state.replace("_", " ").capitalize(), "number") for state in _STATES),
        Column("unreadable", "Resources not readable", "number"),
    )),
    "codes": ("Codes met", (
        Column("client", "Client"), Column("type", "Kind"), Column("read", "Read", "number"),
        Column("not_read", "Not read", "number"), Column("share", "Share not read"),
        Column("systems", "Not read, by system"),
    )),
    "labs": ("Results met", (
        Column("client", "Client"), Column("lab", "Test"), Column("results", "Results", "number"),
        Column("unit_not_read", "Unit not read", "number"), Column("not_used", "Not used otherwise", "number"),
        Column("units", "Units"),
    )),
    "ages": ("Age of the newest usable result", (
        Column("client", "Client"), Column("lab", "Test"), *(Column(word, word, "number") for word in _AGES),
    )),
    "gaps": ("Why rules were not evaluated", (
        Column("client", "Client"), Column("reason", "Reason"), Column("number", "Times", "number"),
        Column("rules", "Rules", "number"),
    )),
    "repairs": ("What was mended in what came", (
        Column("client", "Client"), Column("repair", "Repair"), Column("number", "Times", "number"),
    )),
    "refused": ("Calls refused", (
        Column("client", "Client"), Column("status", "HTTP status"), Column("number", "Calls", "number"),
    )),
}  # fmt: skip


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET /data-quality, and each of its tables as a file."""

    @blueprint.get("/data-quality")
    @blueprint.get("/data-quality/<name>.<any(csv, json):kind>")
    @needs("viewer")
    def data_quality(name: str = "", kind: str = "") -> Response:
        days: int = asked_choice("days", DAYS, 7)
        client = request.args.get("client", "")[:300].strip() or None
        made = quality_tables(parts, days, client)
        if kind:
            if name not in TABLES:
                abort(404)
            caption, columns = TABLES[name]
            return table(name, columns, made[name], caption).file(kind)
        shown = [table(each, columns, made[each], caption) for each, (caption, columns) in TABLES.items()]
        return page("quality.html", tables=shown, days=days, client=client or "", choices=DAYS)


def quality_tables(parts: Parts, days: int, client: str | None) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, the newest days added up. StoreUnavailable."""
    sums: dict[str, dict[tuple[str, str], Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in in_parts(parts.store.call_sums, *span(days, parts.now()), client):
        sums[row["kind"]][row["client"], row["name"]][row["detail"]] += int(row["number"])
    return {name: rows(sums, parts) for name, rows in _ROWS.items()}


def _title(parts: Parts, name: str) -> str:
    known = parts.current.library.terminology.get(name)
    return known.title if known else name.replace("_", " ")


def _share(part: int, whole: int) -> str:
    return Share(part, whole).words() if whole else TOO_FEW


def _inputs(sums: Any, parts: Parts) -> list[dict[str, Any]]:
    rows = []
    for (client, key), states in sorted(sums["input"].items()):
        asked = sum(states.values()) - states["not_available"]
        filled = states["given"] + states["empty"] + states["fetched"]
        unreadable = sums["unreadable"][client, key][""]
        told = {"client": client, "key": _title(parts, key), "filled": _share(filled, asked), "unreadable": unreadable}
        rows.append(told | {state: states[state] for state in _STATES})
    return rows


def _codes(sums: Any, _: Parts) -> list[dict[str, Any]]:
    rows = []
    for client, kind in sorted({*sums["read"], *sums["not read"]}):
        read, systems = sums["read"][client, kind].total(), sums["not read"][client, kind]
        rows.append({
            "client": client, "type": kind, "read": read, "not_read": systems.total(),
            "share": _share(systems.total(), read + systems.total()),
            "systems": [f"{system}: {number}" for system, number in systems.most_common()],
        })  # fmt: skip
    return rows


def _labs(sums: Any, parts: Parts) -> list[dict[str, Any]]:
    return [
        {"client": client, "lab": _title(parts, lab), "results": used.total(), "unit_not_read": used["unit not read"],
         "not_used": used["not used"], "units": [f"{unit}: {n}" for unit, n in sums["unit"][client, lab].most_common()]}
        for (client, lab), used in sorted(sums["lab"].items())
    ]  # fmt: skip


def _ages(sums: Any, parts: Parts) -> list[dict[str, Any]]:
    return [
        {"client": client, "lab": _title(parts, lab)} | {word: ages[word] for word in _AGES}
        for (client, lab), ages in sorted(sums["age"].items())
    ]


def _gaps(sums: Any, _: Parts) -> list[dict[str, Any]]:
    numbers: Counter[tuple[str, str]] = Counter()
    rules: Counter[tuple[str, str]] = Counter()
    for (client, _rule), codes in sums["reason"].items():
        for code, number in codes.items():
            numbers[client, code] += number
            rules[client, code] += 1
    return [
        {"client": client, "reason": code.replace("_", " "), "number": number, "rules": rules[client, code]}
        for (client, code), number in numbers.most_common()
    ]


def _repairs(sums: Any, _: Parts) -> list[dict[str, Any]]:
    return [
        {"client": client, "repair": name.replace("_", " "), "number": numbers.total()}
        for (client, name), numbers in sorted(sums["repair"].items())
    ]


def _refused(sums: Any, _: Parts) -> list[dict[str, Any]]:
    return [
        {"client": client, "status": status, "number": numbers.total()}
        for (client, status), numbers in sorted(sums["refused"].items())
    ]


_ROWS: Final[dict[str, Any]] = {
    "inputs": _inputs, "codes": _codes, "labs": _labs, "ages": _ages, "gaps": _gaps, "repairs": _repairs,
    "refused": _refused,
}  # fmt: skip
