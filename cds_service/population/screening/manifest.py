"""The manifest of a finished export: which files there are, and which of them are known already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from cds_service.population.screening.calls_out import ExportFailed
from cds_service.population.screening.exported import Exported, File
from cds_service.population.screening.files import name_of

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,40}")


class _Item(msgspec.Struct):
    url: str
    type: str = ""
    count: int | None = None


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class Manifest(msgspec.Struct, rename="camel"):
    """One page, as far as it is read."""

    transaction_time: str
    output: list[_Item]
    requires_access_token: bool = True
    error: list[_Item] | None = None
    deleted: list[_Item] | None = None
    link: list[_Link] | None = None


_decode = msgspec.json.Decoder(Manifest, strict=False).decode


def read_manifest(body: bytes) -> Manifest:
    """One page of it. Raises ExportFailed."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportFailed("The manifest cannot be read: it is no manifest of Bulk Data Access 2.") from error


def take_files(asked: Exported, pages: Sequence[Manifest]) -> tuple[dict[str, str], list[File]]:
    """Takes what a manifest lists into `asked`, where a file that is known stays what it is.

    The addresses by the id of a file, and files that the manifest no longer names. Raises ExportFailed.
    """
    asked.transaction_time, asked.token_needed = pages[0].transaction_time, pages[0].requires_access_token
    items = [("output", item.type, item) for page in pages for item in page.output]
    for kind, holds in (("error", "OperationOutcome"), ("deleted", "Bundle")):
        items += [(kind, holds, item) for page in pages for item in getattr(page, kind) or ()]
    if any(not _TYPE.fullmatch(holds) for _, holds, _ in items):
        raise ExportFailed("The manifest cannot be read: it names no type of a file.")
    asked.left_out = sorted({holds for kind, holds, _ in items if kind == "output"} - set(asked.types))
    asked.not_given = [kind for kind in asked.types if kind not in {holds for _, holds, _ in items}]
    items = [item for item in items if item[0] != "output" or item[1] in asked.types]
    bare = Counter(_without_query(item.url) for _, _, item in items)
    known = {file.id: file for file in asked.files}
    urls, files = dict[str, str](), list[File]()
    number = max((int(file.name.split(".")[1]) for file in asked.files), default=0)
    for kind, holds, item in items:
        # A signed address is another one each time; where the path alone does not tell files apart, all of it does.
        path = _without_query(item.url)
        named = sha256(f"{kind} {path if bare[path] == 1 else item.url}".encode()).hexdigest()[:32]
        if named in urls:
            raise ExportFailed("The manifest names a file twice.")
        urls[named] = item.url
        if named not in known:
            number += 1
            known[named] = File(id=named, kind=kind, type=holds, name=name_of(kind, holds, number))
        known[named].count = item.count
        files.append(known[named])
    gone = [file for file in asked.files if file.id not in urls]
    asked.files = files
    return urls, gone


def _without_query(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ExportFailed("The manifest cannot be read: an address in it is none.") from error
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
