"""The plan as a picture: one lane for magnesium and one for each medicine, over 24 hours, as accessible SVG.

Days with the same picture share one panel. `wide` is for a desk and for paper, `narrow` for a phone of 360
px; both are drawn at the size at which their text is read. Colours are classes (static/timeline.css); nothing
is said by colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
)
from cds_service.planner.times_in_words import axis, day_minutes, day_words, describe, same_days
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


WIDE = Layout("wide", 900, 264, 882, above=False, words=36, tick_hours=3)
NARROW = Layout("narrow", 360, 14, 346, above=True, words=46, tick_hours=6)
LINE, HEAD, LABEL_WIDTH, AXIS, LETTER = 17, 30, 40, 26, 7.4
BAR, LOW_BAR = 54, 44


@dataclass(frozen=True, slots=True)
class Mark:
    """A dose: where, its label and where the label stands ("" where there is no room for one)."""

    x: float
    y: float
    label: str
    label_x: float
    label_y: float
    assumed: bool


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
    y: float = 0
    bar: float = 0
    height: float = 0
    words: str = ""

    @property
    def looks(self) -> tuple[str, list[tuple[float, float]], list[tuple[float, bool]]]:
        """What of it the eye compares: its name, windows and marks."""
        spans = [(span.x, span.width) for span in self.spans]
        return self.name, spans, [(mark.x, mark.assumed) for mark in self.marks]


@dataclass(slots=True)
class Panel:
    """One day, or several that look the same. `night` and `grid` are paths through all its lanes."""

    title: str
    weekdays: list[int]
    lanes: list[Lane]
    asleep: list[Span]
    night: str = ""
    grid: str = ""
    y: float = 0
    bottom: float = 0
    plan: list[float] = field(default_factory=list)


def svg(request: PlanRequest, plan: Plan, layout: Layout = WIDE, *, inline: bool = False) -> Markup:
    """The picture as SVG text. `inline`: for a page that links timeline.css, else the style comes with it."""
    panels = list(_panels(request, plan, layout))
    bar = BAR if len(panels) == 1 else LOW_BAR
    ticks = [
        (_x(offset, layout), clock(axis(request) + offset)) for offset in range(0, DAY + 1, layout.tick_hours * 60)
    ]
    y: float = 8
    for panel in panels:
        panel.y = y
        y += HEAD
        for lane in panel.lanes:
            beside = LINE * (1 + len(lane.notes)) + (8 if layout.above else 2)
            lane.y = y
            lane.bar = y + beside if layout.above else y + (max(beside, bar) - bar) / 2
            lane.height = beside + bar if layout.above else max(beside, bar)
            y += lane.height + 8
            lane.marks = _placed(lane, layout, bar)
        bars = [lane.bar for lane in panel.lanes]
        panel.night = "".join(f"M{s.x} {at}h{s.width}v{bar}h-{s.width}z" for at in bars for s in panel.asleep)
        panel.grid = "".join(f"M{x} {at}v{bar}" for x, _ in ticks for at in bars)
        panel.bottom = y
        y += AXIS
    legend = _legend(panels, layout, y + 10)
    return Markup(  # noqa: S704 - the template escapes what it is given
        environment()
        .get_template("timeline.svg")
        .render(
            layout=layout,
            panels=panels,
            legend=legend,
            ticks=ticks,
            height=legend[-1][1] + 16,
            bar=bar,
            description=describe(request, plan),
            style=None if inline else stylesheet("timeline.css"),
        )
    )


def png(request: PlanRequest, plan: Plan) -> bytes:
    """The wide picture as PNG, twice its size, on white. It takes seconds: never for a caller of the service.

    Raises ImportError where the extra `png` is not installed.
    """
    import font_lato  # type: ignore[import-untyped]
    import resvg_py

    picture = str(svg(request, plan))
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=picture,
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


def _x(offset: float, layout: Layout) -> float:
    return round(layout.left + offset * (layout.right - layout.left) / DAY, 1)


def _panels(request: PlanRequest, plan: Plan, layout: Layout) -> Iterator[Panel]:
    groups = same_days(request, plan)
    first: list[Lane] = []
    said: set[str] = set()  # Why a drug is kept apart stands in the first panel that has it.
    for weekdays in groups:
        start = weekdays[0] * DAY + axis(request)
        lanes = [_magnesium(request, plan, start, layout)]
        lanes += [lane for drug in request.drugs if (lane := _lane(drug, start, layout, len(groups) == 1))]
        if other := _others(request, start, layout):
            lanes.append(other)
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
        plan_x = [_x(offset, layout) for offset in day_minutes(plan.week, start)]
        yield Panel(title, weekdays, lanes, _asleep(request, layout), plan=plan_x)


def _magnesium(request: PlanRequest, plan: Plan, start: int, layout: Layout) -> Lane:
    """Magnesium's own lane: all that is forbidden, and the plan."""
    shaded = _between(free(week_windows(request.drugs), start, DAY, WEEK))
    if any(drug.interval and drug.interval.avoid for drug in request.drugs):
        shaded = [(0, DAY)]
    notes = [f"keep {hours(request.schedule.spacing)} between its doses"] if request.doses_per_day > 1 else []
    words = "" if plan.possible else "no time fits"
    marks = [_mark(offset, clock(start + offset), False, layout) for offset in day_minutes(plan.week, start)]
    spans = [_span(opens, closes, start, "no magnesium", layout) for opens, closes in shaded]
    return Lane("magnesium", "Magnesium", notes, spans, marks, words=words)


def _between(segments: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What lies between free segments of a day."""
    edges = [0, *(edge for segment in segments for edge in segment), DAY]
    return [(opens, closes) for opens, closes in zip(edges[::2], edges[1::2], strict=True) if closes > opens]


def _lane(drug: DrugTimes, start: int, layout: Layout, always: bool) -> Lane | None:
    """The lane of a drug that magnesium keeps away from; None where it has nothing on this day."""
    interval = drug.interval
    if interval is None:
        return None
    if interval.avoid:
        notes = _wrapped(CLAUSE.split(interval.reason)[0], layout)
        return Lane("avoid", drug.label, notes, [_span(0, DAY, start, "not with magnesium", layout)], [],
                    words="not with magnesium at any time")  # fmt: skip
    before, after = hours(interval.magnesium_then_drug), hours(interval.drug_then_magnesium)
    notes = [f"no magnesium {before} before, {after} after"]
    reason = _wrapped(CLAUSE.split(interval.reason)[0], layout)
    doses = [[dose.minute for dose in day] for day in drug.week]
    offsets = day_minutes(doses, start)
    assumed = {dose.minute for day in drug.week for dose in day if dose.assumed}
    spans = []
    title = f"{drug.label}: no magnesium {before} before to {after} after. {interval.reason}".strip()
    for opens, closes in _between(free(week_windows([drug]), start, DAY, WEEK)):
        spans.append(_span(opens, closes, start, title, layout))
    if drug.unreadable or (drug.as_needed and not any(drug.week)):
        words = "times not known: not planned around" if drug.unreadable else "as needed: not planned around"
        return Lane("unknown", drug.label, notes, [], [], reason, words=words)
    if not (spans or offsets or always):
        return None
    if any(drug.any_day for _ in offsets):
        notes.append("day not known: every day kept free")
    if drug.as_needed:
        notes.append("and as needed: not planned around")
    marks = [_mark(offset, clock(start + offset), (start + offset) % DAY in assumed, layout) for offset in offsets]
    return Lane("drug", drug.label, notes, spans, marks, reason)


def _others(request: PlanRequest, start: int, layout: Layout) -> Lane | None:
    """One lane for all medicines that magnesium does not disturb."""
    others = [drug for drug in request.drugs if drug.interval is None and any(drug.week)]
    offsets = sorted(
        {offset for drug in others for offset in day_minutes([[d.minute for d in day] for day in drug.week], start)}
    )
    if not offsets:
        return None
    reason = _wrapped(", ".join(dict.fromkeys(drug.label for drug in others)), layout)
    marks = [_mark(offset, clock(start + offset), False, layout) for offset in offsets]
    return Lane("other", "Other medicines", [], [], marks, reason)


def _wrapped(text: str, layout: Layout) -> list[str]:
    """At most three lines beside a lane; the whole text stands in the tables."""
    lines = wrap(text, layout.words)
    return lines if len(lines) <= 3 else [*lines[:2], shorten(" ".join(lines[2:]), layout.words, placeholder=" …")]


def _asleep(request: PlanRequest, layout: Layout) -> list[Span]:
    schedule = request.schedule
    wakes = (schedule.waking_starts - axis(request)) % DAY
    sleeps = wakes + schedule.waking_length
    spans = [(max(sleeps - DAY, 0), wakes), (min(sleeps, DAY), DAY)]
    return [
        Span(_x(opens, layout), round(_x(closes, layout) - _x(opens, layout), 1), "asleep")
        for opens, closes in spans
        if closes > opens
    ]


def _span(opens: int, closes: int, start: int, title: str, layout: Layout) -> Span:
    when = f"{clock(start + opens)} to {'24:00' if closes == DAY and start % DAY == 0 else clock(start + closes)}"
    return Span(_x(opens, layout), round(_x(closes, layout) - _x(opens, layout), 1), f"{when}: {title}")


def _mark(offset: int, label: str, assumed: bool, layout: Layout) -> Mark:
    return Mark(_x(offset, layout), 0, label, 0, 0, assumed)


def _placed(lane: Lane, layout: Layout, bar: int) -> list[Mark]:
    """The marks with their labels above, or below where the one above would run into its neighbour."""
    middle = lane.bar + bar / 2
    reached = [float("-inf"), float("-inf")]
    placed = []
    for mark in lane.marks:
        x = min(max(mark.x, layout.left + LABEL_WIDTH / 2), layout.right - LABEL_WIDTH / 2)
        row = next((row for row in (0, 1) if x - reached[row] >= LABEL_WIDTH), None)
        if row is not None:
            reached[row] = x
        y = middle + (-9 if row == 0 else 23)
        placed.append(Mark(mark.x, middle + 2, mark.label if row is not None else "", x, y, mark.assumed))
    return placed


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
