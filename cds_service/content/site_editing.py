"""A site document in pieces that are changed one by one, and three documents brought together piece by piece.

A piece is what is only whole: a threshold with its unit and reason, what is shown of a rule and why, one exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import yaml

from cds_service.content.site_document import SiteDocument
from cds_service.content.yamlfile import parse

Piece = tuple[str, ...]
Pieces = dict[Piece, Any]
Side = Literal["theirs", "yours"]
RULES, EXCEPTIONS, SHOW = "rules", "exceptions", "show"
_WHOLE = ("site", "region", "repetition")
_BY_KEY = ("units", "inputs", "codes", "schedule", "protocols")


def pieces_of(text: str) -> Pieces:
    """The pieces of a document that was found sound. Raises ContentError where it is no YAML."""
    return dict(_pieces(parse(text, "document").data or {}))


def _pieces(data: Mapping[str, Any]) -> Iterator[tuple[Piece, Any]]:
    for key in _WHOLE:
        if data.get(key) is not None:
            yield (key,), data[key]
    for rule, mine in (data.get(RULES) or data.get("pages") or {}).items():
        shown = {key: mine[key] for key in (SHOW, "reason") if mine.get(key) is not None}
        if shown:
            yield (RULES, rule, SHOW), shown
        for name, value in (mine.get("thresholds") or {}).items():
            yield (RULES, rule, "thresholds", name), value
    for one in data.get(EXCEPTIONS) or ():
        yield (EXCEPTIONS, one["name"]), one
    for section in _BY_KEY:
        for key, value in (data.get(section) or {}).items():
            yield (section, key), value
    for suggestion, clients in (data.get("orderables") or {}).items():
        for client, value in clients.items():
            yield ("orderables", suggestion, client), value


def written(pieces: Mapping[Piece, Any]) -> str:
    """The document of these pieces, as YAML in a fixed order. Comments of an earlier text are not in it."""
    data: dict[str, Any] = {}
    for piece, value in pieces.items():
        if piece[0] == EXCEPTIONS:
            data.setdefault(EXCEPTIONS, []).append(value)
        elif piece[0] == RULES and piece[-1] == SHOW:
            data.setdefault(RULES, {}).setdefault(piece[1], {}).update(value)
        else:
            inside = data
            for key in piece[:-1]:
                inside = inside.setdefault(key, {})
            inside[piece[-1]] = value
    ordered = {key: data[key] for key in SiteDocument.model_fields if key in data}
    return dumped(ordered)


def dumped(value: Any) -> str:
    """Plain data as YAML, decimals as they are."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes decimals as they are."""


_Dumper.add_representer(Decimal, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:f}"))


@dataclass(frozen=True, slots=True)
class Ways:
    """A piece in three documents: what both started from, theirs and yours, None where it is in none; `clash`: both
    changed it, each to something else."""

    piece: Piece
    started: Any
    theirs: Any
    yours: Any

    @property
    def key(self) -> str:
        """The piece in a word, as forms send it."""
        return ".".join(self.piece)

    @property
    def clash(self) -> bool:
        return bool(self.theirs != self.started and self.yours != self.started and self.theirs != self.yours)


def three_ways(started: str, theirs: str, yours: str) -> list[Ways]:
    """The pieces that one side or the other changed."""
    first, second, third = pieces_of(started), pieces_of(theirs), pieces_of(yours)
    every = dict.fromkeys([*first, *second, *third])
    ways = [Ways(piece, first.get(piece), second.get(piece), third.get(piece)) for piece in every]
    return [one for one in ways if not one.started == one.theirs == one.yours]


def brought_together(started: str, theirs: str, yours: str, choices: Mapping[str, Side]) -> str | None:
    """Both sides' changes in one document; where both changed a piece, as `choices` has it by `Ways.key`. None while a
    choice is missing."""
    pieces = pieces_of(theirs)
    for one in three_ways(started, theirs, yours):
        if one.clash and one.key not in choices:
            return None
        take_yours = choices[one.key] == "yours" if one.clash else one.yours != one.started
        if not take_yours:
            continue
        if one.yours is None:
            pieces.pop(one.piece, None)
        else:
            pieces[one.piece] = one.yours
    return written(pieces)
