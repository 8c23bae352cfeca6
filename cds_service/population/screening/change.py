"""What a change of site values does to a screened population: who changes, which way, from kept facts alone.

Only rules that can change are tried, and only on patients whom they can change for: `affected`. Both sides are tried on
these, so the answer does not depend on the values that the folder was screened under; what charts are read with does,
and a change of that needs a new screening.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_service.advice.advise import Advice
from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import Rulebook
from cds_service.population.cases import Side
from cds_service.population.compare import CardSeen, cards_seen
from cds_service.population.kept import KeptCase
from cds_service.population.kept_facts import read_kept
from cds_service.population.screening.affected import Reach, reached
from cds_service.population.screening.in_short import UNKNOWN, band_of, in_short
from cds_service.population.screening.screened import READS_OTHERWISE, CannotCompare, asked_of, not_exported, parts_of
from cds_service.population.trying import advice_of
from cds_service.rules.evaluate import Outcome, evaluate

MOST_EXAMPLES, EXAMPLES_OF_A_CHANGE = 30, 3
ROWS = 2000  # read at once
NOT_READABLE = "kept facts of another format, or damaged"
SILENT = "fired, not shown"
NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Changed:
    """One outcome that changes. `key`: the patient's pseudonym."""

    key: str
    hook: str
    rule: str
    before: str
    after: str

    @property
    def way(self) -> str:
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Example:
    """A patient whose outcome changes, with the cards of the rule as they read before and after (None: no card)."""

    changed: Changed
    before: CardSeen | None
    after: CardSeen | None


@dataclass
class Part:
    """What one process found."""

    tried: int = 0
    patients: set[str] = field(default_factory=set)
    damaged: Counter[str] = field(default_factory=Counter)
    changed: list[Changed] = field(default_factory=list)
    groups: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)  # rule, way, band, sex
    not_evaluated: dict[str, Counter[str]] = field(default_factory=lambda: {"before": Counter(), "after": Counter()})
    still_fired: Counter[str] = field(default_factory=Counter)
    cut: bool = False  # time was up before all were tried


@dataclass
class Change:
    """The answer. `rows` are patients and hooks, `tried` those whose facts were read; the others cannot change.
    `rules` is None where all rules were tried. `not_evaluated` and `still_fired` are of rows that were tried.
    `not_exported` says what the screening was never given, a sentence each."""

    rows: int
    patients: int
    not_read: dict[str, int]
    rules: list[str] | None
    found: Part
    seconds: float = 0.0
    examples: list[Example] = field(default_factory=list)
    not_exported: list[str] = field(default_factory=list)

    def ways(self) -> dict[str, Counter[str]]:
        """By rule, how many outcomes change which way."""
        made: dict[str, Counter[str]] = {}
        for one in self.found.changed:
            made.setdefault(one.rule, Counter())[one.way] += 1
        return dict(sorted(made.items()))

    def told(self) -> dict[str, Any]:
        """As JSON: numbers, and the examples under pseudonyms."""
        per = 1000 / self.patients if self.patients else 0
        return {
            "patients": self.patients,
            "rows": self.rows,
            "rows_tried": self.found.tried,
            "patients_changed": len({one.key for one in self.found.changed}),
            "not_read": self.not_read | dict(self.found.damaged),
            "not_exported": self.not_exported,
            "rules_tried": self.rules,
            "cut": self.found.cut,
            "seconds": round(self.seconds, 2),
            "rules": {
                rule: {
                    "ways": dict(sorted(ways.items())),
                    "per_1000": {way: round(number * per, 2) for way, number in sorted(ways.items())},
                    "groups": [
                        {"way": way, "age": band, "sex": sex, "count": number}
                        for (of, way, band, sex), number in sorted(self.found.groups.items())
                        if of == rule
                    ],
                }
                for rule, ways in self.ways().items()
            },
            "not_evaluated_of_tried": {side: dict(sorted(n.items())) for side, n in self.found.not_evaluated.items()},
            "fired_before_and_after": dict(sorted(self.found.still_fired.items())),
            "examples": [
                {
                    "key": one.changed.key, "hook": one.changed.hook, "rule": one.changed.rule,
                    "outcome": {"before": one.changed.before, "after": one.changed.after},
                    "before": _card(one.before), "after": _card(one.after),
                }
                for one in self.examples
            ],
        }  # fmt: skip


def _card(card: CardSeen | None) -> dict[str, Any] | None:
    if card is None:
        return None
    return {"indicator": card.indicator, "summary": card.summary, "detail": card.detail,
            "suggestions": list(card.suggestions)}  # fmt: skip


def compare_screened(
    folder: Path,
    before: Rulebook,
    after: Rulebook,
    content: Content,
    now: datetime,
    *,
    processes: int = 1,
    examples: int = MOST_EXAMPLES,
    every: bool = False,
    most_seconds: float | None = None,
    between: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Change:
    """Compare two rulebooks over a screening folder. `now`: the time that it was screened for. `every`: try every rule
    on every patient, for a check. `most_seconds`: then it ends, and says that it is cut. `between` is called after each
    patient, so that a service can let its hooks go first. Raises CannotCompare."""
    started = time.monotonic()
    files, asked = parts_of(folder), asked_of(folder)
    sides = Side(content, before, now), Side(content, after, now)
    for hook in sides[0].services:
        if not sides[0].reads_as(sides[1], hook):
            raise CannotCompare(READS_OTHERWISE)
    plan = {hook: None if every else reached(before, after, hook, name) for hook, name in sides[0].services.items()}
    rows, patients, not_read, by_value = _counted(files)
    if rows != asked.get("calls", rows):
        raise CannotCompare(f"facts/ holds {rows} rows and not {asked['calls']}: some are gone, screen anew")
    workers = max(1, min(processes, 8))
    task = _Task(sides, plan, [str(file) for file in files], workers, between, by_value)
    task.give_up = started + most_seconds if most_seconds is not None else None
    found = Part()
    for number, part in enumerate(_all_parts(task, workers), 1):
        _join(found, part)
        progress(number, workers)
    found.changed.sort(key=lambda one: (one.key, one.hook, one.rule))
    everything = any(one is None for one in plan.values())
    rules = None if everything else sorted({one.rule for listed in plan.values() for one in listed or ()})
    seconds = time.monotonic() - started
    shown = _examples(task, found.changed, examples)
    return Change(rows, patients, not_read, rules, found, seconds, shown, not_exported(asked))


@dataclass
class _Task:
    sides: tuple[Side, Side]
    plan: dict[str, tuple[Reach, ...] | None]
    files: list[str]
    workers: int
    between: Callable[[], None]
    by_value: bool  # whether the facts tell values
    give_up: float | None = None

    def rows(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The rows that may change and are this worker's."""
        where = " or ".join(
            f"(hook = '{hook}' and ({'true' if reach is None else _any(reach, self.by_value)}))"
            for hook, reach in self.plan.items()
        )
        own = self.files[number :: self.workers] if len(self.files) >= self.workers else self.files
        share = "" if len(self.files) >= self.workers else f" and hash(key) % {self.workers} = {number}"
        with _duckdb() as base:
            found = base.execute(
                f"select key, hook, age_years, sex, facts from read_parquet(?, union_by_name=true)"  # noqa: S608
                f" where facts is not null and ({where or 'false'}){share}",
                [own],
            )
            while listed := found.fetchmany(ROWS):
                yield from listed


def _any(reach: Sequence[Reach], by_value: bool) -> str:
    return " or ".join(dict.fromkeys(f"({one.where(by_value=by_value)})" for one in reach)) or "false"


def _duckdb() -> Any:
    import duckdb

    base = duckdb.connect()
    base.execute("set threads = 1")
    base.execute("set memory_limit = '512MB'")
    base.execute("set temp_directory = ''")  # facts are never written elsewhere
    return base


def _counted(files: Sequence[Path]) -> tuple[int, int, dict[str, int], bool]:
    """Rows, patients, charts not read by why, and whether values are told. A folder of a version before `gaps` is
    refused."""
    import duckdb

    listed = [str(file) for file in files]
    with _duckdb() as base:
        try:
            columns = {
                row[0]
                for row in base.execute(
                    "describe select * from read_parquet(?, union_by_name=true)", [listed]
                ).fetchall()
            }
            if "gaps" not in columns:
                raise CannotCompare("its facts are of another version of this product: screen anew")
            rows, patients = base.execute(
                "select count(*), count(distinct key) from read_parquet(?)", [listed]
            ).fetchall()[0]
            not_read = base.execute(
                "select coalesce(not_read, 'no facts were kept'), count(*) from read_parquet(?)"
                " where facts is null group by 1 order by 1", [listed],
            ).fetchall()  # fmt: skip
        except duckdb.Error:
            raise CannotCompare("a part of its facts cannot be read as Parquet: screen anew") from None
    return rows, patients, dict(not_read), "results" in columns


def _all_parts(task: _Task, workers: int) -> Iterator[Part]:
    """What each worker finds. Processes are forked: they have the content already."""
    if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        for number in range(workers):
            yield _try(task, number)
        return
    _Forked.task = task
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            yield from pool.map(_forked, range(workers))
    except BrokenProcessPool:
        raise CannotCompare(
            "a process ended before its time; perhaps there is too little memory: fewer processes"
        ) from None
    finally:
        _Forked.task = None


class _Forked:
    """What forked processes find."""

    task: _Task | None = None


def _forked(number: int) -> Part:
    assert _Forked.task is not None
    return _try(_Forked.task, number)


def _try(task: _Task, number: int) -> Part:
    found = Part()
    only = {hook: None if reach is None else frozenset(one.rule for one in reach) for hook, reach in task.plan.items()}
    today = task.sides[0].now.date()
    for key, hook, years, sex, raw in task.rows(number):
        if task.give_up is not None and time.monotonic() > task.give_up:
            found.cut = True
            break
        task.between()
        try:
            kept = read_kept(raw, today)
        except (ValueError, KeyError, TypeError):
            found.damaged[NOT_READABLE] += 1
            continue
        found.tried += 1
        old, new = (
            {
                one.rule_id: one
                for one in evaluate(
                    kept.facts,
                    side.rulebook.at("", kept.facts.person.encounter_class),
                    side.services[hook],
                    kept.encounter_named,
                    only[hook],
                ).outcomes
            }
            for side in task.sides
        )
        for rule in {**old, **new}:
            was, is_ = _state(old.get(rule)), _state(new.get(rule))
            if was == is_:
                if was == "quiet":
                    continue
                found.still_fired[rule] += was == "fired"
            else:
                found.changed.append(Changed(key, hook, rule, was, is_))
                found.groups[rule, f"{was} -> {is_}", band_of(years), sex or UNKNOWN] += 1
            found.not_evaluated["before"][rule] += was.startswith("not_evaluated")
            found.not_evaluated["after"][rule] += is_.startswith("not_evaluated")
    for counted in (*found.not_evaluated.values(), found.still_fired):
        for rule in [rule for rule, count in counted.items() if not count]:
            del counted[rule]
    return found


def _state(outcome: Outcome | None) -> str:
    """The kind of an outcome, with why where it was not evaluated: another gap is another answer."""
    if outcome is None:
        return NOT_TRIED
    if outcome.kind == "fired":
        return SILENT if outcome.rule.visibility == "silent" else "fired"
    if outcome.kind == "not_evaluated":
        return in_short(outcome)
    return outcome.kind


def _join(into: Part, part: Part) -> None:
    into.tried += part.tried
    into.cut |= part.cut
    into.damaged += part.damaged
    into.changed += part.changed
    into.groups += part.groups
    into.still_fired += part.still_fired
    for side, counted in part.not_evaluated.items():
        into.not_evaluated[side] += counted


def _examples(task: _Task, changed: Sequence[Changed], most: int) -> list[Example]:
    """The first patients of each change, each with the cards that it gets."""
    chosen: list[Changed] = []
    of_kind: Counter[tuple[str, str]] = Counter()
    for one in changed:
        if len(chosen) < most and of_kind[one.rule, one.way] < EXAMPLES_OF_A_CHANGE:
            of_kind[one.rule, one.way] += 1
            chosen.append(one)
    if not chosen:
        return []
    with _duckdb() as base:
        facts = {(key, hook): raw for key, hook, raw in base.execute(
            "select key, hook, facts from read_parquet(?) where list_contains(?, key)",
            [task.files, sorted({one.key for one in chosen})],
        ).fetchall()}  # fmt: skip
    made = []
    for one in chosen:
        case = KeptCase(one.key, read_kept(facts[one.key, one.hook], task.sides[0].now.date()))
        before, after = (_telling(one.rule, advice_of(side, case, case.chart(side))) for side in task.sides)
        made.append(Example(one, before, after))
    return made


def _telling(rule: str, advice: Advice) -> CardSeen | None:
    """The card that tells of a rule, its own or that of another one that it stands on."""
    cards = zip(advice.shown, cards_seen(advice).values(), strict=True)
    return next((card for item, card in cards if rule in item.rules), None)


def write_changed(found: Change, path: Path) -> None:
    """Who changes, a row for each outcome, as CSV or Parquet by the end of the name. Raises OSError."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from cds_service.population.screening.folder import replaced

    names = ("key", "hook", "rule", "before", "after")
    table = pa.table(
        {name: pa.array([getattr(one, name) for one in found.found.changed], pa.string()) for name in names}
    )
    with replaced(path) as waiting:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(table, waiting)
        else:
            pyarrow.parquet.write_table(table, waiting, compression="zstd")
