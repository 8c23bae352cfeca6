"""One call's facts as codes and numbers: what is kept of a real call where a hospital has switched that on.

What goes in is named field by field; a text that is in no closed list is left out, so that a new field is never kept by
mistake. What stands for what was left out is said in docs/kept-facts.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import orjson

from cds_service import patient
from cds_service.advice.loaded_content import Content
from cds_service.content.library import Library
from cds_service.patient import PatientFacts, Person, Source

OLDEST: Final = 90  # years; whoever is older is kept as this old
IN_WEEKS: Final = 2  # years below which the age is kept in weeks; above them in whole years alone
DAYS_OF_WEEK: Final = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
FORMAT: Final = 1
UNKNOWN: Final = "unknown"
NOT_READABLE: Final = "not readable"
# Our own words for why something could not be used. Others are kept as NOT_READABLE.
PROBLEMS: Final = frozenset({
    "codes of two different tests", "comparator not known", "its status is not known", "no timing given", "no value",
    patient.IMPLAUSIBLE, "not readable", "only a limit is given", "time missing",
    "two different results at the same time",
    "unit code and unit text disagree", "unit does not fit the code of the test", "unit missing", "unit not known",
    "value is not a quantity", "value not readable",
})  # fmt: skip
REASONS: Final = frozenset({
    "a further page was unreadable", "a part of it was refused", "as many entries as asked for and no total",
    "entries of another type than asked for", "fewer entries than announced", "not found", "not permitted",
    "not reachable", "only a part of an entry was sent", "patient not found", "refused",
    "the EHR reported an error", "the EHR said that something was left out", "there are more pages", "timed out",
    "too many entries", "unreadable",
})  # fmt: skip
STATUSES: Final = frozenset({
    "active", "amended", "appended", "cancelled", "corrected", "draft", "ended", "final", "given", "preliminary",
    "registered",
})  # fmt: skip
CLASSES: Final = {kind.__name__: kind for kind in (
    patient.Availability, patient.Component, patient.Condition, patient.Dosage, patient.Injected, patient.Injection,
    patient.Intake, patient.Lab, patient.Medication, patient.Person, patient.Quantity, patient.Source, patient.Unread,
)}  # fmt: skip

_DEFAULTS: Final = {kind: tuple((item.name, item.default) for item in fields(kind)) for kind in CLASSES.values()}


class CannotKeep(ValueError):
    """Something is in the facts that this file knows no way to keep."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The facts of one call, of which service, whether it named an encounter, and how it was shown."""

    facts: PatientFacts
    hook: str
    encounter_named: bool


class Keeper:
    """Turns facts into codes and numbers."""

    def __init__(self, library: Library, units: Callable[[str], bool]) -> None:
        """`units`: whether a text is a unit that the content knows."""
        self.concepts = frozenset(library.terminology)
        self.units = units
        self.lab_codes = frozenset(code.code for entry in library.terminology.values() for code in entry.codes)
        self.timing_codes = frozenset(library.schedule.codes)
        self.encounter_classes = frozenset[str]().union(*library.threshold_table.encounter_classes.values())
        self.forms = frozenset(row.form for row in library.dose_forms) | {row.form for row in library.products}
        self.troubles = frozenset(library.specimen_comments.marks) | frozenset(library.specimen_comments.codes)

    def kept(self, facts: PatientFacts, hook: str, encounter_named: bool) -> bytes:
        """The call as JSON. Raises CannotKeep."""
        return orjson.dumps(_Call(self, facts).told() | {"hook": hook, "encounter_named": encounter_named})


def keeper_of(content: Content) -> Keeper:
    """What turns facts into codes and numbers under this content."""
    units = content.vocabulary.units
    return Keeper(content.library, lambda text: units.find(text) is not None)


class _Call:
    """One call: what its ids and names are called."""

    def __init__(self, keeper: Keeper, facts: PatientFacts) -> None:
        self._keeper, self._facts = keeper, facts
        self._now = facts.now.replace(second=0, microsecond=0)
        self._ids: dict[Source, str] = {}
        self._names: dict[str, str] = {}

    def told(self) -> dict[str, Any]:
        made: dict[str, Any] = {"format": FORMAT, "minute": self._now.hour * 60 + self._now.minute}
        for item in fields(PatientFacts):
            if item.name != "now":
                made[item.name] = self._value(getattr(self._facts, item.name), "PatientFacts", item.name)
        return made

    def _value(self, value: Any, of: str, name: str) -> Any:
        """One value of a field `name` of a class `of`, tagged where JSON has no such type."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, str):
            return self._text(value, of, name)
        if isinstance(value, Decimal):
            return {"n": str(value)}
        if isinstance(value, datetime):
            return self._moment(value)
        if isinstance(value, date):
            return {"d": (value - self._now.date()).days}
        if isinstance(value, time):
            return {"t": value.hour * 60 + value.minute}
        if isinstance(value, Source):
            return {"s": [value.type if value.type.isalpha() else UNKNOWN, self._id(value)]}
        if isinstance(value, Person):
            value = _aged(value)
        if (defaults := _DEFAULTS.get(type(value))) is not None:
            kind = type(value).__name__
            held: dict[str, Any] = {}
            for field, default in defaults:
                one = getattr(value, field)
                if one != default:
                    held[field] = self._value(one, kind, field)
            return {"c": kind, "v": held}
        if isinstance(value, tuple):
            return {"l": [self._value(each, of, name) for each in value]}
        if isinstance(value, frozenset):
            return {"f": sorted(each for each in value if self._allowed(each, of, name))}
        if isinstance(value, Mapping):
            return {"m": [[str(key), self._value(each, of, name)] for key, each in value.items() if _key(key)]}
        raise CannotKeep(f"{of}.{name}")

    def _id(self, source: Source) -> str:
        return self._ids.setdefault(source, f"r{len(self._ids) + 1}")

    def _moment(self, value: datetime) -> dict[str, Any]:
        """Whole minutes before now, and the zone that tells its day."""
        plain = value.replace(second=0, microsecond=0)
        zone = int((value.utcoffset() or timedelta(0)).total_seconds() // 60)
        return {"m0": int((self._now - plain).total_seconds() // 60), "z": zone}

    def _text(self, text: str, of: str, name: str) -> str:
        """A text of a closed list as it is, else what stands for it. Two names that were one stay one."""
        if name == "name":  # the EHR's own words
            return self._names.setdefault(text, f"not named {len(self._names) + 1}") if text else ""
        if name in ("problem", "reason"):
            known = PROBLEMS if name == "problem" else REASONS
            return text if not text or text in known else NOT_READABLE
        return text if self._allowed(text, of, name) else _stands_for(of, name)

    def _allowed(self, text: Any, of: str, name: str) -> bool:
        """Whether a text may be kept as it is."""
        keeper = self._keeper
        if not isinstance(text, str):
            return False
        match of, name:
            case (_, "drugs" | "concepts" | "reasons" | "concept" | "drug" | "kept_apart_from"):
                return text in keeper.concepts
            case ("Quantity", "unit") | ("Lab", "unit") | ("Component", "per") | ("Dosage", "period_unit"):
                return keeper.units(text) or text in ("unit", "h", "d", "wk", "mo", "a", "min", "s")
            case ("Lab", "code"):
                return text in keeper.lab_codes
            case ("Dosage", "code"):
                return text.upper() in keeper.timing_codes
            case ("Dosage", "days"):
                return text in DAYS_OF_WEEK
            case ("Dosage", "when"):
                return text in MOMENTS
            case ("Person", "encounter_class"):
                return text in keeper.encounter_classes
            case ("Medication", "form"):
                return text in keeper.forms
            case (_, "status"):
                return text in STATUSES
            case ("Lab", "trouble"):
                return text in keeper.troubles
            case ("Lab", "comparator"):
                return text in ("<", "<=", ">=", ">")
        return (of, name) in CLOSED


CLOSED: Final = frozenset({
    ("Availability", "state"), ("Lab", "interpretation"), ("Medication", "identified_by"), ("Medication", "route"),
    ("Person", "sex"),
})  # fmt: skip
"""Fields whose type is a closed list."""


MOMENTS: Final = frozenset({
    "MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE", "EVE.early", "EVE.late", "NIGHT",
    "PHS", "IMD", "HS", "WAKE", "C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV",
})  # fmt: skip
"""FHIR's codes of moments of a day, as in Timing.repeat.when."""


def _key(key: object) -> bool:
    """Keys of inputs, labs and repairs are ours, or those of a package behind its namespace."""
    return isinstance(key, str) and key.replace("_", "").replace("-", "").isalnum()


def _stands_for(of: str, name: str) -> str:
    """What a text that is not kept is read as: of an order's timing code one that nobody knows, else nothing."""
    if (of, name) == ("Lab", "status"):
        return "final"
    return UNKNOWN if (of, name) in (("Dosage", "code"), ("Quantity", "unit"), ("Person", "encounter_class")) else ""


def _aged(person: Person) -> Person:
    """The age in whole years, of the very young in weeks; of the very old what is common to them."""
    years, days = person.age_years, person.age_days
    if years is not None:
        years = min(years, OLDEST)
        days = days // 7 * 7 if days is not None and years < IN_WEEKS else None
    range_ = person.age_range
    capped = (min(range_[0], OLDEST), min(range_[1], OLDEST)) if range_ else None
    return dataclasses.replace(person, age_years=years, age_days=days, age_range=capped)


def read_kept(raw: bytes, today: date) -> Kept:
    """The call again, as if it were made today. Raises ValueError where the bytes are of another format."""
    held = orjson.loads(raw)
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise ValueError("another format")
    now = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(minutes=held["minute"])
    names = [item.name for item in fields(PatientFacts) if item.name != "now"]
    made = {name: _read(held[name], now) for name in names if name in held}
    return Kept(PatientFacts(now=now, **made), held["hook"], held["encounter_named"])


def _read(value: Any, now: datetime) -> Any:
    """A value of any type. What is tagged is told by its first key."""
    if not isinstance(value, dict):
        return value
    for tag in value:
        reader = _READERS.get(tag)
        if reader is not None:
            return reader(value, now)
        break
    raise ValueError("another format")


def _class(value: dict[str, Any], now: datetime) -> Any:
    held = {name: _read(each, now) if type(each) is dict else each for name, each in value["v"].items()}
    return CLASSES[value["c"]](**held)


def _moment(value: dict[str, Any], now: datetime) -> datetime:
    zone = value["z"]
    return (now - timedelta(minutes=value["m0"])).astimezone(timezone(timedelta(minutes=zone)) if zone else UTC)


_READERS: Final[dict[str, Callable[[dict[str, Any], datetime], Any]]] = {
    "n": lambda value, _: Decimal(value["n"]),
    "d": lambda value, now: now.date() + timedelta(days=value["d"]),
    "t": lambda value, _: time(value["t"] // 60, value["t"] % 60),
    "m0": _moment,
    "s": lambda value, _: Source(*value["s"]),
    "c": _class,
    "l": lambda value, now: tuple([_read(each, now) for each in value["l"]]),
    "f": lambda value, _: frozenset(value["f"]),
    "m": lambda value, now: {key: _read(each, now) for key, each in value["m"]},
}
