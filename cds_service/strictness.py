"""What JSON allows and we do not, wherever the bytes come from: deep nesting, NUL, and two members of one name.

Bodies may be large, so they are looked at by operations on the whole buffer; nothing here is an estimate.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, Final
from unicodedata import normalize

import orjson

DEEPEST: Final = 64
MOST_PARTS: Final = 200_000  # objects and arrays in one body: each costs time and memory
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'"{}[]'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_TEXT: Final = re.compile(rb'"[^"]*"')
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")  # as signed numbers: one level down, one level up
_USUAL: Final = 12
# Letters of a name that only look like others: what is not ASCII, or is written as an escape.
_ODD: Final = bytes.maketrans(bytes([*range(128, 256), ord("\\")]), b"x" * 129)
_NOT_ODD: Final = bytes(set(range(128)) - set(b'":\\'))
_NO_ODD_NAME: Final = re.compile(rb'(?:[^x]*+x[^"]*+"(?!:))*+[^x]*+')


class NotStrict(Exception):
    """Why a body is refused, in words of ours. `code` is a FHIR issue type."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def check(body: bytes) -> None:
    """Raises NotStrict where a body is not JSON, nests deeper than DEEPEST levels, has more objects and arrays than
    MOST_PARTS, holds a NUL in a text, or has an object with two members of one name: another reader of the same bytes
    may have taken the other one. Names that differ in case or Unicode form only count as one.
    """
    if b"\\u0000" in body and re.search(rb"(?<!\\)(?:\\\\)*\\u0000", body):
        raise NotStrict("A text holds the character NUL.", "value")
    # Without escaped quotes, every quote begins or ends a text.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    _not_too_deep(plain)
    # In small letters, names that differ in case are one name too, of which a parser keeps one member.
    try:
        kept = orjson.dumps(orjson.loads(body.lower()))
    except ValueError:
        raise NotStrict("This is not JSON.", "structure") from None
    if b"\\" in kept:
        kept = kept.replace(b"\\\\", b"").replace(b'\\"', b"")
    if kept.count(b'"') != plain.count(b'"') or (_has_odd_name(plain) and _has_twins(body)):
        raise NotStrict("An object has the same member twice.", "structure")


def _not_too_deep(plain: bytes) -> None:
    # An empty text, or the end of one and the beginning of the next: nothing of the structure is between the two.
    brackets = plain.translate(_ONE_KIND, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _TEXT.sub(b"", brackets)
    if len(brackets) > 2 * MOST_PARTS:
        raise NotStrict(f"There are more than {MOST_PARTS} objects and arrays.", "too-costly")
    for _ in range(_USUAL):  # each takes away the innermost level, and of most bodies there is nothing left
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0) > DEEPEST - _USUAL:
        raise NotStrict(f"Objects and arrays nest deeper than {DEEPEST} levels.", "too-costly")


def _has_odd_name(plain: bytes) -> bool:
    if plain.isascii() and b"\\u" not in plain:
        return False
    return _NO_ODD_NAME.fullmatch(plain.translate(_ODD, _NOT_ODD)) is None


def _has_twins(body: bytes) -> bool:
    found = False

    def members(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({normalize("NFKC", name).casefold() for name, _ in pairs}) != len(pairs)

    json.loads(body, object_pairs_hook=members)
    return found
