"""What JSON allows and we do not, wherever the bytes come from: deep nesting, NUL, and two members of one name.

Bodies may be large, so they are looked at by operations on the whole buffer; nothing here is an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final
from unicodedata import normalize

import orjson
from msgspec import DecodeError, Raw
from msgspec.json import Decoder, encode

DEEPEST: Final = 64
MOST_PARTS: Final = 200_000  # objects and arrays in one body: each costs time and memory
MOST_TEXTS: Final = 600_000  # names and texts in one body; a chart of 8 MB has about 500,000
MOST_ODD_NAMES: Final = 10_000
LONGEST_ODD_NAME: Final = 256  # bytes
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'"{}[]'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_TEXT: Final = re.compile(rb'"[^"]*"')
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")  # as signed numbers: one level down, one level up
_USUAL: Final = 12
# Letters of a name that may only look like others: what is not ASCII, or is written as an escape.
_ODD: Final = bytes.maketrans(bytes([*range(128, 256), ord("\\")]), b"x" * 129)
_NOT_ODD: Final = bytes(set(range(128)) - set(b'":\\'))
_NO_ODD_NAME: Final = re.compile(rb'(?:[^x]*+x[^"]*+"(?!:))*+[^x]*+')
# The next name with such letters, after all that is none.
_ODD_NAME: Final = re.compile(
    rb'(?:[^"]*+"(?:[^"\\\x80-\xff]*+"|(?:[^"\\]++|\\.)*+"(?!\s*+:)))*+[^"]*+("(?:[^"\\]++|\\.)*+")', re.DOTALL
)
_PIECE: Final = 131_072  # bytes that are parsed in one go: small pieces take half the time of a large whole
_SPARSE: Final = 16  # bytes between two commas, on average: where there are less, taking apart costs more than it saves
_members = Decoder(dict[str, Raw]).decode
_items = Decoder(list[Raw]).decode


class NotStrict(Exception):
    """Why a body is refused, in words of ours. `code` is a FHIR issue type, `error` our own code of the refusal."""

    def __init__(self, text: str, code: str, error: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.error = error


def check(body: bytes) -> None:
    """Raises NotStrict where a body is not JSON, nests deeper than DEEPEST levels, has more objects and arrays than
    MOST_PARTS or more names and texts than MOST_TEXTS, holds a NUL in a text, or has an object with two members of one
    name: another reader of the same bytes may have taken the other one. Names that differ in case or Unicode form only
    count as one.
    """
    escapes = b"\\" in body
    if escapes and b"\\u0000" in body and re.search(rb"(?<!\\)(?:\\\\)*\\u0000", body):
        raise NotStrict("A text holds the character NUL.", "value", "nul-character")
    plain = _without_escapes(body) if escapes else body
    structure = plain.translate(_ONE_KIND, _NOT_STRUCTURE)
    quotes = structure.count(b'"')
    if quotes > 2 * MOST_TEXTS:
        raise NotStrict(f"There are more than {MOST_TEXTS} names and texts.", "too-costly", "too-many-parts")
    _not_too_deep(structure)
    # In small letters, names that differ in case are one name too, of which a parser keeps one member.
    small = body.lower().strip()
    try:
        if _has_odd_name(plain):
            small = b"".join(_with_plain_names(small))
        whole = len(small) <= _PIECE or small.count(b",") * _SPARSE >= len(small)
        kept = _kept_of_piece(small) if whole else _kept(small)
    except (ValueError, DecodeError):  # msgspec's and orjson's own, and those of Unicode
        raise NotStrict(_where_it_ends(body), "structure", "not-json") from None
    if kept != quotes:
        raise NotStrict("An object has the same member twice.", "structure", "member-twice")


def _where_it_ends(body: bytes) -> str:
    """Where a body stops to be JSON; nothing of it is repeated."""
    if not body.strip():
        return "The body is empty; a JSON object is expected."
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return f"This is not JSON: line {error.lineno}, column {error.colno}."
    return "This is not JSON."


def _without_escapes(body: bytes) -> bytes:
    """Without escaped quotes, every quote begins or ends a text."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")


def _not_too_deep(structure: bytes) -> None:
    # An empty text, or the end of one and the beginning of the next: nothing of the structure is between the two.
    brackets = structure.replace(b'""', b"")
    if b'"' in brackets:
        brackets = _TEXT.sub(b"", brackets)
    if len(brackets) > 2 * MOST_PARTS:
        raise NotStrict(f"There are more than {MOST_PARTS} objects and arrays.", "too-costly", "too-many-parts")
    for _ in range(_USUAL):  # each takes away the innermost level, and of most bodies there is nothing left
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0) > DEEPEST - _USUAL:
        raise NotStrict(f"Objects and arrays nest deeper than {DEEPEST} levels.", "too-costly", "too-deep")


def _has_odd_name(plain: bytes) -> bool:
    if plain.isascii() and (b"\\" not in plain or b"\\u" not in plain):
        return False
    return _NO_ODD_NAME.fullmatch(plain.translate(_ODD, _NOT_ODD)) is None


def _with_plain_names(body: bytes) -> Iterator[bytes]:
    """The pieces of the body, each odd name in its one form. Raises NotStrict, ValueError."""
    end = number = 0
    while found := _ODD_NAME.match(body, end):
        begin, following = found.span(1)
        number += 1
        if number > MOST_ODD_NAMES or following - begin > LONGEST_ODD_NAME:
            raise NotStrict(
                "There are too many names in unusual letters, or too long ones.", "too-costly", "too-many-parts"
            )
        yield body[end:begin]
        yield orjson.dumps(normalize("NFKC", orjson.loads(body[begin:following])).casefold())
        end = following
    yield body[end:]


def _kept(raw: bytes | Raw) -> int:
    """How many quotes are left of a JSON value when a parser has kept one member of each name. Raises ValueError,
    DecodeError.
    """
    view = memoryview(raw)
    if len(view) <= _PIECE or view[0] not in b"{[":
        return _kept_of_piece(view)
    if view[0] in b"[":
        return _kept_of_all(_items(raw))
    members = _members(raw)
    return 2 * len(members) + _kept_of_all(members.values())


def _kept_of_all(values: Iterable[Raw]) -> int:
    """The sum of `_kept`; small values are parsed together."""
    kept = size = 0
    together: list[Raw] = []
    for raw in values:
        length = len(memoryview(raw))
        if length > _PIECE:
            kept += _kept(raw)
            continue
        together.append(raw)
        size += length
        if size > _PIECE:
            kept += _kept_of_piece(b"[" + b",".join(together) + b"]")
            together, size = [], 0
    return kept + _kept_of_piece(b"[" + b",".join(together) + b"]")


def _kept_of_piece(piece: bytes | memoryview) -> int:
    value = orjson.loads(piece)
    # orjson is the faster one, but would reserve 256 bytes for each item of a list.
    kept = orjson.dumps(value) if len(piece) <= 3 * _PIECE else encode(value)
    return (_without_escapes(kept) if b"\\" in kept else kept).count(b'"')
