"""What every content model rests on: strict, frozen, and with field types that say what a field names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from threading import Lock
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cds_service.content.yamlfile import KeyPath

Text = Annotated[str, Field(min_length=3)]
Name = Annotated[str, Field(pattern=r"^([a-z][a-z0-9]*-)?[a-z][a-z0-9_]*$")]
"""A name of ours, or one of a package behind its namespace."""

Region = Literal["us", "eu"]
"""Whose product texts and dietary reference values: the United States', or those of the European Union."""

EncounterKind = Literal["inpatient", "outpatient", "emergency"]
"""What a site may set other values for: of the encounter that is going on."""

# The unit of a limit that a laboratory value is held against: that of the first lab which its test names.
UNIT_OF_THE_LAB = "the lab"


V = TypeVar("V")
_BUILDING = Lock()


def in_force(values: Mapping[date, V], day: date) -> V:
    """Of dated values the one in force on `day`; the earliest where all lie in the future."""
    return values[max((since for since in values if since <= day), default=min(values))]


class Strict(BaseModel):
    """Frozen, and an unknown key is a fault."""

    # What checks it is built at the first check: content that comes compiled is never checked.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def checker(kind: Any) -> TypeAdapter[Any]:
    """What checks a value against `kind`, a model or a list or mapping of such. Built once: that takes longer than many
    checks; and by one thread, since a model that two build is for a moment of neither."""
    with _BUILDING:
        return _checker(kind)


@cache
def _checker(kind: Any) -> TypeAdapter[Any]:
    made = TypeAdapter(kind)
    made.rebuild()
    return made


@dataclass(frozen=True, slots=True)
class Names:
    """Stands in a field's type, `Annotated[Name, Names(...)]`, and says what the field names.

    A concept: `kinds` of concepts fit, and because of it the input keys `reads` are read (of a lab: its own).
    A threshold: its UCUM `unit`; results are read as far back as one that `looks_back`; a name of `besides` is none.
    """

    what: Literal["threshold", "lab", "drug", "condition", "reason", "form"]
    kinds: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    unit: str = ""
    looks_back: bool = False
    besides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A name that stands in a rule: the keys that lead to it, what its field's type says of it, and the name itself."""

    at: KeyPath
    mark: Names
    name: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a chart must hold for a part to be true: any of these drugs with this status and by this route, or any of
    these conditions, which have no status."""

    names: frozenset[str]
    status: Literal["active", "draft", "any", "ended"] | None
    route: Literal["any", "oral", "intravenous", "systemic"] = "any"


class Part(Strict):
    """A test or another block of a rule that decides when it fires.

    What it reads and needs is told by the types of its fields; what these cannot tell, a part declares.
    """

    # What every part of this kind names, without a field for it, and the input keys that it reads besides.
    also_names: ClassVar[tuple[tuple[Names, str], ...]] = ()
    also_reads: ClassVar[frozenset[str]] = frozenset()
    # Placeholders of the wording that every part of this kind fills when it is true.
    fills: ClassVar[frozenset[str]] = frozenset()

    @property
    def reads(self) -> frozenset[str]:
        """Input keys that it reads, besides those of the labs that it names."""
        return self.also_reads.union(*(item.mark.reads for item in named(self)))

    @property
    def pregnancy_matters(self) -> bool:
        """Whether a card says so where a pregnancy, which would have changed it, could not be read."""
        return False

    @property
    def offers(self) -> frozenset[str]:
        """Placeholders of the wording that are filled whenever it is true."""
        return self.fills

    @property
    def asks_for(self) -> Asked | None:
        """What is looked for on the chart before anything else; None where that does not decide."""
        return None


def named(value: Strict, at: KeyPath = ()) -> Iterator[Named]:
    """Every name in a model and in the models below it, as the types of their fields tell. `at` leads to the model."""
    if isinstance(value, Part):
        yield from (Named(at, mark, name) for mark, name in value.also_names)
    for field, hint in _hints(type(value)).items():
        yield from _named(getattr(value, field), hint, (*at, field))


def _named(value: Any, hint: Any, at: KeyPath) -> Iterator[Named]:
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(value, Strict):
        yield from named(value, at)
    elif origin is Annotated:
        mark = next((item for item in inner if isinstance(item, Names)), None)
        if mark is None:
            yield from _named(value, inner[0], at)
        elif value not in mark.besides:
            yield Named(at, mark, value)
    elif origin in (Union, UnionType):
        for option in inner if value is not None else ():
            if option is not NoneType:
                yield from _named(value, option, at)
    elif origin is list:
        for index, item in enumerate(value):
            yield from _named(item, inner[0], (*at, index))
    elif origin is dict:
        for key, item in value.items():
            yield from _named(item, inner[1], (*at, key))


@cache
def _hints(model: type[Strict]) -> Mapping[str, Any]:
    """The types of the fields that may hold a name: texts, numbers and dates hold none."""
    hints = get_type_hints(model, include_extras=True)
    return {field: hints[field] for field in model.model_fields if _may_name(hints[field])}


def _may_name(hint: Any) -> bool:
    if get_origin(hint) is None:
        return isinstance(hint, type) and issubclass(hint, Strict)
    return any(isinstance(inner, Names) or _may_name(inner) for inner in get_args(hint))
