"""The plan as a picture: one lane for magnesium and one for each medicine, over 24 hours, as accessible SVG.

Days with the same picture share one panel. `wide` is for a desk and for paper, `narrow` for a phone of 360
px; both are drawn at the size at which their text is read. Colours are classes (static/timeline.css); nothing
is said by colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from textwrap import shorten, wrap

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cds_service.planner.model import (
    DAY,
    WEEK,
    DrugTimes,
    Plan,
    PlanRequest,
    clock,
    hours,
    week_minutes,
)
from cds_service.planner.times_in_words import axis, day_words, describe, same_days
from cds_service.planner.windows import free, week_windows

PNG_SCALE = 2
CLAUSE = re.compile("[,;:]")  # beside a lane stands what comes before the first; the tables say it all


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in px. `above`: the words of a lane stand above its bar and not beside it."""

    name: str
    width: int
    left: int
    right: int
    above: bool
    words: int
    tick_hours: int

    def x(self, offset: float) -> float:
        """Where a minute of the 24 hours stands on a bar."""
        return round(self.left + offset * (self.right - self.left) / DAY, 1)


WIDE = Layout("wide", 900, 264, 882, above=False, words=36, tick_hours=3)
NARROW = Layout("narrow", 360, 14, 346, above=True, words=46, tick_hours=6)
LINE, HEAD, LABEL_WIDTH, AXIS, LETTER = 17, 30, 40, 26, 7.4
BAR, LOW_BAR = 54, 44


@dataclass(slots=True)
class Mark:
    """A dose: where, its label and where the label stands ("" where there is no room for one)."""

    x: float
    label: str
    assumed: bool = False
    y: float = 0
    label_x: float = 0
    label_y: float = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A shaded stretch of a lane and what it means."""

    x: float
    width: float
    title: str


@dataclass(slots=True)
class Lane:
    """One medicine of one panel. `kind`: magnesium, drug, other, avoid, unknown."""

    kind: str
    name: str
    notes: list[str]
    spans: list[Span]
    marks: list[Mark]
    reason: list[str] = field(default_factory=list)
    words: str = ""
    y: float = 0
    bar: float = 0

    @property
    def looks(self) -> tuple[str, list[tuple[float, float]], list[tuple[float, bool]]]:
        """What of it the eye compares: its name, windows and marks."""
        spans = [(span.x, span.width) for span in self.spans]
        return self.name, spans, [(mark.x, mark.assumed) for mark in self.marks]


@dataclass(slots=True)
class Panel:
    """One day, or several that look the same. `night` and `grid` are paths through all its lanes."""

    title: str
    lanes: list[Lane]
    asleep: list[Span]
    plan: list[float]
    night: str = ""
    grid: str = ""
    y: float = 0
    bottom: float = 0


@dataclass(frozen=True, slots=True)
class Day:
    """The 24 hours from `start`, a minute of the week, on the bars of a layout. Minutes are counted from there."""

    start: int
    layout: Layout

    def span(self, opens: int, closes: int, title: str) -> Span:
        """A stretch, with its clock times in the title."""
        ends = "24:00" if closes == DAY and self.start % DAY == 0 else clock(self.start + closes)
        return self.bare_span(opens, closes, f"{clock(self.start + opens)} to {ends}: {title}")

    def bare_span(self, opens: int, closes: int, title: str) -> Span:
        """A stretch whose title says all."""
        x = self.layout.x(opens)
        return Span(x, round(self.layout.x(closes) - x, 1), title)

    def forbidden(self, drugs: Sequence[DrugTimes], title: str) -> list[Span]:
        """What the doses of these drugs forbid: what lies between the free segments."""
        segments = free(week_windows(drugs), self.start, DAY, WEEK)
        edges = [0, *(edge for segment in segments for edge in segment), DAY]
        between = zip(edges[::2], edges[1::2], strict=True)
        return [self.span(opens, closes, title) for opens, closes in between if closes > opens]

    def marks(self, minutes: Iterable[int], assumed: Container[int] = ()) -> list[Mark]:
        """A mark at each of these minutes of the week; at those of `assumed`, minutes of a day, as assumed."""
        offsets = sorted(offset for minute in minutes if (offset := (minute - self.start) % WEEK) < DAY)
        times = [(offset, self.start + offset) for offset in offsets]
        return [Mark(self.layout.x(offset), clock(time), time % DAY in assumed) for offset, time in times]


def svg(request: PlanRequest, plan: Plan, layout: Layout = WIDE, *, inline: bool = False) -> Markup:
    """The picture as SVG text. `inline`: for a page that links timeline.css, else the style comes with it."""
    panels = list(_panels(request, plan, layout))
    bar = BAR if len(panels) == 1 else LOW_BAR
    hour = layout.tick_hours * 60
    ticks = [(layout.x(offset), clock(axis(request) + offset)) for offset in range(0, DAY + 1, hour)]
    y: float = 8
    for panel in panels:
        panel.y = y
        y += HEAD
        for lane in panel.lanes:
            beside = LINE * (1 + len(lane.notes)) + (8 if layout.above else 2)
            lane.y = y
            lane.bar = y + beside if layout.above else y + (max(beside, bar) - bar) / 2
            y += (beside + bar if layout.above else max(beside, bar)) + 8
            _place(lane, layout, bar)
        bars = [lane.bar for lane in panel.lanes]
        panel.night = "".join(f"M{s.x} {at}h{s.width}v{bar}h-{s.width}z" for at in bars for s in panel.asleep)
        panel.grid = "".join(f"M{x} {at}v{bar}" for x, _ in ticks for at in bars)
        panel.bottom = y
        y += AXIS
    legend = _legend(panels, layout, y + 10)
    values = {"layout": layout, "panels": panels, "legend": legend, "ticks": ticks, "bar": bar}
    values |= {"height": legend[-1][1] + 16, "description": describe(request, plan)}
    values["style"] = None if inline else stylesheet("timeline.css")
    # The template escapes what it is given.
    return Markup(environment().get_template("timeline.svg").render(values))  # noqa: S704


def png(request: PlanRequest, plan: Plan) -> bytes:
    """The wide picture as PNG, twice its size, on white. It takes seconds: never for a caller of the service.

    Raises ImportError where the extra `png` is not installed.
    """
    import font_lato  # type: ignore[import-untyped]
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=str(svg(request, plan)),
            zoom=PNG_SCALE,
            background="white",
            skip_system_fonts=True,
            font_files=[font_lato.Lato, font_lato.LatoBold],
            font_family="Lato",
            sans_serif_family="Lato",
        )
    )


@cache
def stylesheet(name: str) -> str:
    """The text of a file in static/."""
    return files("cds_service.planner").joinpath("static", name).read_text("utf-8")


@cache
def environment() -> Environment:
    """Templates of this room; everything is escaped."""
    made = Environment(
        loader=PackageLoader("cds_service.planner"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["label"] = lambda drug, labels: labels.get(drug, drug)
    return made


def _panels(request: PlanRequest, plan: Plan, layout: Layout) -> Iterator[Panel]:
    groups = same_days(request, plan)
    first: list[Lane] = []
    said: set[str] = set()  # Why a drug is kept apart stands in the first panel that has it.
    for weekdays in groups:
        day = Day(weekdays[0] * DAY + axis(request), layout)
        lanes = [_magnesium(request, plan, day)]
        lanes += [lane for drug in request.drugs if (lane := _lane(drug, day, len(groups) == 1))]
        lanes += _others(request, day)
        for lane in lanes:
            if lane.name not in said:
                lane.notes += lane.reason
            said.add(lane.name)
        title = day_words(weekdays)
        first = first or lanes
        if lanes is not first and {lane.name for lane in first} <= {lane.name for lane in lanes}:
            # What looks the same as in the first panel is not drawn again.
            drawn = [lane.looks for lane in first]
            changed = [lane for lane in lanes if lane.kind == "magnesium" or lane.looks not in drawn]
            if len(changed) < len(lanes):
                lanes, title = changed, f"{title}, the rest as above"
        schedule = request.schedule
        wakes = (schedule.waking_starts - axis(request)) % DAY
        sleeps = wakes + schedule.waking_length
        nights = [(max(sleeps - DAY, 0), wakes), (min(sleeps, DAY), DAY)]
        asleep = [day.bare_span(opens, closes, "asleep") for opens, closes in nights if closes > opens]
        yield Panel(title, lanes, asleep, [mark.x for mark in lanes[0].marks])


def _magnesium(request: PlanRequest, plan: Plan, day: Day) -> Lane:
    """Magnesium's own lane: all that is forbidden, and the plan."""
    spans = day.forbidden(request.drugs, "no magnesium")
    if any(drug.avoid for drug in request.drugs):
        spans = [day.span(0, DAY, "no magnesium")]
    notes = [f"keep {hours(request.schedule.spacing)} between its doses"] if request.doses_per_day > 1 else []
    words = "" if plan.possible else "no time fits"
    return Lane("magnesium", "Magnesium", notes, spans, day.marks(plan.minutes), words=words)


def _lane(drug: DrugTimes, day: Day, always: bool) -> Lane | None:
    """The lane of a drug that magnesium keeps away from; None where it has nothing on this day."""
    interval = drug.interval
    if interval is None:
        return None
    reason = _wrapped(CLAUSE.split(interval.reason)[0], day.layout)
    if interval.avoid:
        spans = [day.span(0, DAY, "not with magnesium")]
        return Lane("avoid", drug.label, reason, spans, [], words="not with magnesium at any time")
    before, after = hours(interval.magnesium_then_drug), hours(interval.drug_then_magnesium)
    notes = [f"no magnesium {before} before, {after} after"]
    if drug.unreadable or (drug.as_needed and not any(drug.week)):
        words = "times not known: not planned around" if drug.unreadable else "as needed: not planned around"
        return Lane("unknown", drug.label, notes, [], [], reason, words=words)
    title = f"{drug.label}: no magnesium {before} before to {after} after. {interval.reason}".strip()
    spans = day.forbidden([drug], title)
    marks = day.marks(week_minutes([drug]), {dose.minute for doses in drug.week for dose in doses if dose.assumed})
    if not (spans or marks or always):
        return None
    notes += ["day not known: every day kept free"] if marks and drug.any_day else []
    notes += ["and as needed: not planned around"] if drug.as_needed else []
    return Lane("drug", drug.label, notes, spans, marks, reason)


def _others(request: PlanRequest, day: Day) -> list[Lane]:
    """One lane for all medicines that magnesium does not disturb, where there are any."""
    others = [drug for drug in request.drugs if drug.interval is None and any(drug.week)]
    marks = day.marks(week_minutes(others))
    reason = _wrapped(", ".join(dict.fromkeys(drug.label for drug in others)), day.layout)
    return [Lane("other", "Other medicines", [], [], marks, reason)] if marks else []


def _wrapped(text: str, layout: Layout) -> list[str]:
    """At most three lines beside a lane; the whole text stands in the tables."""
    lines = wrap(text, layout.words)
    return lines if len(lines) <= 3 else [*lines[:2], shorten(" ".join(lines[2:]), layout.words, placeholder=" …")]


def _place(lane: Lane, layout: Layout, bar: int) -> None:
    """Puts the marks in their lane, with their labels above, or below where the one above would run into its
    neighbour."""
    middle = lane.bar + bar / 2
    reached = [float("-inf"), float("-inf")]
    for mark in lane.marks:
        mark.y = middle + 2
        mark.label_x = min(max(mark.x, layout.left + LABEL_WIDTH / 2), layout.right - LABEL_WIDTH / 2)
        row = next((row for row in (0, 1) if mark.label_x - reached[row] >= LABEL_WIDTH), None)
        mark.label_y = middle + (-9 if row == 0 else 23)
        if row is None:
            mark.label = ""
        else:
            reached[row] = mark.label_x


def _legend(panels: Sequence[Panel], layout: Layout, y: float) -> list[tuple[str, float, float, str]]:
    """(kind, y, x, words) of what the picture uses, in rows."""
    kinds = {lane.kind for panel in panels for lane in panel.lanes}
    marks = [mark for panel in panels for lane in panel.lanes for mark in lane.marks]
    entries = [("plan", "magnesium")] if any(panel.plan for panel in panels) else []
    entries += [("dose", "a dose")] if kinds & {"drug", "other"} else []
    entries += [("assumed", "a dose, time assumed")] if any(mark.assumed for mark in marks) else []
    entries += [("window", "no magnesium")] if kinds & {"drug", "avoid"} else []
    entries += [("asleep", "asleep")]
    placed = []
    x: float = 14
    for kind, words in entries:
        width = 25 + LETTER * len(words) + 18
        if x + width > layout.width:
            x, y = 14, y + LINE * 1.3
        placed.append((kind, y, x, words))
        x += width
    return placed
