"""What JSON allows and we do not: deep nesting, NUL, and two members of one name where it matters who the patient is.

FHIR inside the request may be large, so it is looked at by whole-buffer operations only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from heapq import nlargest
from typing import Any, Final, NoReturn
from unicodedata import normalize

from cds_service.hooks.errors import Problem

DEEPEST: Final = 64
_NUL: Final = b"\\u0000"
_OTHERS: Final = bytes(set(range(256)) - set(b"{}[]"))
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_RUN: Final = re.compile(rb"[\[{]{%d}" % (DEEPEST + 1))  # plainly too deep: found before the levels are counted
_SEARCHED: Final = 2
_LARGE: Final = 64
_MOST: Final = 32


def not_too_deep(body: bytes) -> None:
    """Raises Problem 400 where brackets nest deeper than DEEPEST or a text holds NUL. Other faults are found later.

    Pairs of brackets in texts are taken for structure, which is wrong but quick, and is looked at again only where it
    gives a refusal. Texts could so be made that they hide depth: then the parsers' own limit (about 1,000) holds.
    """
    if _NUL in body and re.search(rb"(?<!\\)(?:\\\\)*\\u0000", body):
        _refuse("A text holds the character NUL.", "request", "value")
    if _left_over(body) and (b'"' not in body or _left_over(_STRINGS.sub(b"", body))):
        _refuse(f"Objects and arrays nest deeper than {DEEPEST} levels.", "request", "too-costly")


def _left_over(body: bytes) -> bool:
    """Whether opening brackets are left after innermost pairs were taken away DEEPEST times."""
    brackets = body.translate(None, _OTHERS)
    for level in range(DEEPEST):
        if not brackets:
            return False
        if level < _SEARCHED and _RUN.search(brackets):
            return True
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return b"{" in brackets or b"[" in brackets


def distinct_members(body: bytes, values: Sequence[bytes], where: str) -> None:
    """Raises Problem 400 where an object has two members of one name (or of names that differ in case or Unicode form
    only): another reader of the same bytes may have taken the other one.

    `values` are large parts of `body` that are not looked into.
    """
    for value in nlargest(_MOST, values, key=len):  # each costs a copy: of many small ones, all are looked into
        if len(value) > _LARGE:
            body = _without(body, value)
    try:
        json.loads(body, object_pairs_hook=_members)
    except _Twice:
        _refuse("An object has the same member twice.", where, "structure")
    except (ValueError, RecursionError):
        _refuse("This is not JSON.", where, "structure")


def _without(body: bytes, value: bytes) -> bytes:
    """`body` with a number in place of `value`: found by its start, since a search for all of it is slow."""
    start = value[:_LARGE]
    at = body.find(start)
    while at >= 0:
        if body.startswith(value, at):
            return body[:at] + b"0" + body[at + len(value) :]
        at = body.find(start, at + 1)
    return body


class _Twice(Exception):
    pass


def _members(pairs: list[tuple[str, Any]]) -> None:
    names = {name.lower() if name.isascii() else normalize("NFKC", name).casefold() for name, _ in pairs}
    if len(names) != len(pairs):
        raise _Twice


def _refuse(text: str, where: str, code: str) -> NoReturn:
    raise Problem.of(400, text, where, code=code) from None
