"""A plan in the words of a card: summary, day, options, and what it leaves out. All text is ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from operator import itemgetter
from typing import Literal

from cds_service.advice.in_words import Display
from cds_service.advice.phrasing import fill
from cds_service.advice.plan_of_findings import DayPlan, NoPlan
from cds_service.advice.signed import by_publisher
from cds_service.content.rulebook import ActiveRule
from cds_service.content.texts import PlanText
from cds_service.planner.model import (
    DAY,
    DAYS,
    WEEK,
    Alternative,
    Interval,
    TimesWeek,
    alike,
    clock,
    hours,
    same_every_day,
)
from cds_service.planner.times_in_words import DAY_NAMES, alternative_times, day_words
from cds_service.spelling import joined

MAX_LINES = 5


def plan_summary(day: DayPlan, display: Display, room: int) -> str:
    """One line of at most `room` characters: when magnesium fits and how far it is then from each drug; or that it
    does not."""
    words = display.library.wording.plan
    if not day.plan.possible:
        blocking = [day.request.labels[name] for name in day.plan.blocked_by]
        many = {"doses": str(day.request.doses_per_day), "drugs": "{drugs}"}
        if not blocking:
            return fill(words.none_day, many)
        return _within(room, words.none if many["doses"] == "1" else fill(words.none_many, many), blocking, words)
    times = plan_times(day.plan.week)
    if left_out := _left_out(day):
        planned = [drug.label for drug in day.request.drugs if drug.windowed and not drug.as_needed]
        long = fill(words.fits_some, {"times": times, "drugs": joined(planned), "open": joined(left_out)})
        return long if len(long) <= room else fill(words.fits_few, {"times": times})
    gaps = _nearest(day)
    return _within(room, fill(words.fits, {"times": times, "gaps": "{drugs}"}), gaps, words)


def _within(room: int, template: str, parts: Sequence[str], words: PlanText) -> str:
    """The template's {drugs} with as many parts as there is room for; the others are counted."""
    for shown in range(len(parts), 0, -1):
        rest = len(parts) - shown
        listed = joined(parts) if not rest else fill(
            words.and_more, {"first": ", ".join(parts[:shown]), "count": str(rest)}
        )  # fmt: skip
        text = fill(template, {"drugs": listed})
        if len(text) <= room:
            return text
    return fill(template, {"drugs": words.several})


def _left_out(day: DayPlan) -> list[str]:
    return list(dict.fromkeys([*(label for label, _ in day.plan.unreadable), *day.plan.as_needed]))


def plan_times(week: TimesWeek) -> str:
    """'14:00' or '10:30 and 15:00'; '12:30 (Monday to Saturday) and 22:00 (Sunday)' where days differ."""
    if same_every_day(week):
        return joined(map(clock, week[0]))
    return joined(f"{joined(map(clock, times))} ({day_words(days)})" for times, days in alike(week).items() if times)


def _nearest(day: DayPlan) -> list[str]:
    """For each drug the distance with the least to spare: '4 h 30 min after ciprofloxacin', the tightest first."""
    found: dict[str, list[tuple[int, str]]] = {}
    for drug in day.request.drugs:
        for near in day.plan.gaps if drug.windowed else ():
            if near.drug == drug.drug:
                sides = _spare(drug.interval, near.after_drug, near.before_drug)
                found.setdefault(drug.drug, []).extend((spare, f"{said} {drug.label}") for spare, said in sides)
    tightest = [min(sides, key=itemgetter(0)) for sides in found.values() if sides]
    return [text for _, text in sorted(tightest, key=itemgetter(0))]


def _spare(interval: Interval | None, after: int | None, before: int | None) -> Iterator[tuple[int, str]]:
    """How much longer than needed each distance is, in minutes, and its words: '4 h after'."""
    if interval and after is not None:
        yield after - interval.drug_then_magnesium, f"{hours(after)} after"
    if interval and before is not None:
        yield before - interval.magnesium_then_drug, f"{hours(before)} before"


def plan_lines(findings: Sequence[tuple[str, ActiveRule]], display: Display, short: bool, day: DayPlan) -> str:
    """One line for each drug: its distance, and on what evidence; `short`: without the source. The picture of the day,
    where there is one, shows what is too much."""
    library = display.library
    words, lines = library.wording.plan, []
    shown = findings if len(findings) <= MAX_LINES or not day.token else findings[: MAX_LINES - 1]
    for line, rule in shown:
        evidence = rule.loaded.rule.evidence
        certainty = library.evidence.certainty[evidence.certainty].label
        line = by_publisher(library, rule, line)
        values = {"line": line, "certainty": certainty, "source": library.source(evidence.references[0], year=False)}
        lines.append(fill(words.interval_short if short else words.interval, values))
    if len(shown) < len(findings):
        lines.append(fill(words.more_intervals, {"count": str(len(findings) - len(shown))}))
    return "\n".join(f"- {line}" for line in lines)


def plan_table(day: DayPlan, display: Display) -> str:
    """The day as a small table; a dose that is not taken every day names its days, an assumed time says so."""
    words = display.library.wording.plan
    taken: dict[tuple[int, str, bool], set[int]] = {}
    for drug in day.request.drugs:
        if drug.interval is not None:
            for weekday, doses in enumerate(drug.week):
                for dose in doses:
                    taken.setdefault((dose.minute, drug.label, dose.assumed), set()).add(weekday)
    for weekday, minutes in enumerate(day.plan.week):
        for minute in minutes:
            taken.setdefault((minute, f"**{display.title('magnesium')}**", False), set()).add(weekday)
    rows: dict[int, list[str]] = {}
    for (minute, name, assumed), weekdays in taken.items():
        marks = [] if len(weekdays) == len(DAYS) else [day_words(sorted(weekdays))]
        marks += [words.assumed] if assumed else []
        rows.setdefault(minute, []).append(f"{name} ({', '.join(marks)})" if marks else name)
    lines = [f"| {clock(minute)} | {joined(names)} |" for minute, names in sorted(rows.items())]
    return "\n".join([f"| {words.head_time} | {words.head_drug} |", "|---|---|", *lines])


def plan_options(day: DayPlan, display: Display, shown: Literal["alone", "table", "picture"]) -> list[str]:
    """Options for the card: the plan, or the alternatives in their order. `shown`: where the day is seen."""
    words = display.library.wording.plan
    if day.plan.possible:
        times = plan_times(day.plan.week)
        if left_out := _left_out(day):
            return [fill(words.option_some, {"times": times, "open": joined(left_out)})]
        if shown != "alone":
            return [fill(words.option if shown == "table" else words.option_picture, {"times": times})]
        template = words.option_one if len(day.plan.times) == 1 else words.option_many
        return [fill(template, {"times": times, "dose": _one_dose(day, display)})]
    return [
        _alternative(item, day.request.labels, words)
        for item in day.plan.alternatives
        if not day.avoided or item.starts
    ]


def _one_dose(day: DayPlan, display: Display) -> str:
    """'2 h 30 min after gabapentin at 08:00 (time assumed)': the distance with the least to spare, and its dose."""
    words = display.library.wording.plan
    found: list[tuple[int, str]] = []
    for drug in day.request.drugs:
        daily = same_every_day(drug.week)
        doses = [(weekday, dose) for weekday, doses in enumerate(drug.week) for dose in doses]
        for moment, (weekday, dose) in product(day.plan.minutes, doses if drug.windowed else ()):
            after = (moment - weekday * DAY - dose.minute) % WEEK
            near = [gap if gap <= DAY else None for gap in (after, WEEK - after)]
            said = {"drug": drug.label, "at": clock(dose.minute), "day": "" if daily else f" on {DAY_NAMES[weekday]}"}
            template = words.dose_assumed if dose.assumed else words.dose
            found += [(spare, fill(template, said | {"gap": gap})) for spare, gap in _spare(drug.interval, *near)]
    return min(found, key=itemgetter(0), default=(0, ""))[1]


def _alternative(item: Alternative, labels: dict[str, str], words: PlanText) -> str:
    moves = [f"{clock(move.from_minute)} to {clock(move.to_minute)}" for move in item.moves]
    return fill(words.alternatives[item.kind], {
        "times": alternative_times(item),
        "doses": str(item.doses_per_day),
        "moves": joined(moves),
        "drugs": joined([labels[name] for name in item.drugs]),
        "date": item.starts.isoformat() if item.starts else "",
    })  # fmt: skip


def plan_gaps(day: DayPlan | NoPlan, display: Display) -> list[str]:
    """What the plan could not take into account, or why there is none."""
    words = display.library.wording.plan
    if isinstance(day, str):
        return [words.not_planned[day]]
    unread = [label for label, _ in day.plan.unreadable]
    found = [fill(words.unreadable, {"drugs": joined(unread)})] if unread else []
    return found + ([fill(words.as_needed, {"drugs": joined(day.plan.as_needed)})] if day.plan.as_needed else [])
