"""A dosage written in words only, read where nothing in it is open to doubt.

Every word must be known from the schedule table (`sig`); one unknown word ("except", "or", "as directed") and
the text is not read. No regular expression sees the text: it is split into words once and walked through
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any

from cds_service.patient import Dosage
from cds_service.planner.schedule import Schedule

LONGEST_TEXT = 300
Phrases = Mapping[tuple[str, ...], tuple[str, str]]


@dataclass(slots=True)
class _Read:
    codes: set[str] = field(default_factory=set)
    moments: list[tuple[str, int]] = field(default_factory=list)
    days: list[str] = field(default_factory=list)
    times: list[time] = field(default_factory=list)
    every_hours: set[Decimal] = field(default_factory=set)
    as_needed: bool = False


def read_sig(text: str, schedule: Schedule) -> Dosage | str:
    """The Dosage that the text means, or in a few words why it is not read. The text itself is never
    repeated."""
    if len(text) > LONGEST_TEXT:
        return "the text of the instruction is too long to be read"
    words = _words(text)
    read = _Read()
    place = 0
    while place < len(words):
        step = _phrase(words, place, schedule.phrases, read) or _other(words, place, schedule, read)
        if not step:
            return "the text of the instruction holds words that could be read in more than one way"
        place += step
    return _dosage(text, read)


def _dosage(text: str, read: _Read) -> Dosage | str:
    if len(read.codes) + len(read.every_hours) > 1:
        return "the text of the instruction says more than one frequency"
    if read.times and read.moments:
        return "the text of the instruction gives clock times and moments of the day together"
    found = read.codes or read.moments or read.times or read.days or read.every_hours or read.as_needed
    if not found:
        return "the text of the instruction says no time"
    every = next(iter(read.every_hours), None)
    return Dosage(
        text=text,
        code=next(iter(read.codes), None),
        when=tuple(dict.fromkeys(read.moments)),
        days=tuple(dict.fromkeys(read.days)),
        times=tuple(sorted(set(read.times))),
        frequency=1 if every else None,
        period=every,
        period_unit="h" if every else None,
        as_needed=read.as_needed,
    )


def _words(text: str) -> list[str]:
    """Lower-case words; a bracket, comma or full stop between words ends a word, one between digits does not."""
    cleaned = text.lower()
    for mark in "()[],;":
        cleaned = cleaned.replace(mark, " ")
    words = (word.strip(".") for word in cleaned.split())
    return [word for word in words if word]


def _phrase(words: list[str], place: int, phrases: Phrases, read: _Read, offset: int = 0) -> int:
    """Take the longest known phrase that starts here; the number of its words, 0 if there is none."""
    for length in range(min(6, len(words) - place), 0, -1):
        meaning = phrases.get(tuple(words[place : place + length]))
        if meaning is None:
            continue
        kind, what = meaning
        if offset and not (kind == "moments" and {"before", "after"} & set(words[place : place + length])):
            return 0
        if kind == "codes":
            read.codes.add(what)
        elif kind == "moments":
            read.moments.append((what, offset))
        elif kind == "days":
            read.days.append(what)
        else:
            read.as_needed = True
        return length
    return 0


def _other(words: list[str], place: int, schedule: Schedule, read: _Read) -> int:
    """Take what is no fixed phrase: a clock time, "every 8 hours", "3 times a day", an amount, a length, a
    filler."""
    sig, phrases = schedule.sig, schedule.phrases
    word, rest = words[place], words[place + 1 :]
    number = _number(word, sig)
    following = rest[0] if rest else ""
    if word == "every" and len(rest) > 1 and rest[1] in sig["hours"] and (every := _number(rest[0], sig)):
        read.every_hours.add(every)
        return 3
    if word in sig["course"] and len(rest) > 1 and _number(rest[0], sig) and rest[1] in sig["course_units"]:
        return 3
    if (at := _clock(word, following)) is not None:
        read.times.append(at[0])
        return at[1]
    if number is None:
        return 1 if word in sig["filler"] or word in sig["amounts"] else 0
    if following in sig["minutes"] or following in sig["hours"]:
        minutes = number * (60 if following in sig["hours"] else 1)
        taken = _phrase(words, place + 2, phrases, read, int(minutes)) if minutes == int(minutes) else 0
        return taken + 2 if taken else 0
    if following in sig["amounts"]:
        return 2
    # "3 times a day" is known as "three times a day".
    spelled = next((name for name, value in sig["numbers"].items() if Decimal(str(value)) == number), None)
    if following in ("times", "x") and spelled:
        return _phrase([spelled, "times", *rest[1:]], 0, phrases, read)
    return 0


def _number(word: str, sig: Mapping[str, Any]) -> Decimal | None:
    """A plain positive number, in digits or in a known word."""
    if word in sig["numbers"]:
        return Decimal(str(sig["numbers"][word]))
    if not word.isascii() or not word.replace(".", "", 1).replace("/", "", 1).isdigit():
        return None
    top, _, bottom = word.partition("/")
    try:
        value = Decimal(top) / Decimal(bottom or "1")
    except (InvalidOperation, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _clock(word: str, following: str) -> tuple[time, int] | None:
    """A clock time and how many words it takes: "07:00", "7am", "7 am", "8:30 pm". None for anything else."""
    half, taken = "", 1
    for ending in ("am", "pm"):
        if word.endswith(ending) and word != ending:
            word, half = word.removesuffix(ending), ending
        elif following == ending:
            half, taken = ending, 2
    hour, colon, minute = word.partition(":")
    digits = all(part.isascii() and part.isdigit() for part in (hour, minute or "0"))
    if not digits or not (colon or half) or (colon and len(minute) != 2) or len(hour) > 2:
        return None
    hours, minutes = int(hour), int(minute or "0")
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half == "pm" else 0)
    if hours > 23 or minutes > 59:
        return None
    return time(hours, minutes), taken
