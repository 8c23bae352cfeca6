"""What a screening folder says, counted: rules by age and sex, where patients fall, and what could not be looked at.

All is read from the Parquet of the folder; no chart is read again, and memory stays bounded by DuckDB.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from cds_service.advice.advise import INDICATORS
from cds_service.advice.phrasing import fill, lowered
from cds_service.content.library import Library
from cds_service.content.rulebook import ActiveRule, Rulebook
from cds_service.population.screening.folder import ABOUT, read_about
from cds_service.population.screening.in_short import BANDS, UNKNOWN, test_of
from cds_service.population.screening.rare import find_rare, put_together
from cds_service.publish.rule_in_words import steps_in_words

if TYPE_CHECKING:
    import duckdb

FORMAT: Final = 1
KINDS: Final = ("fired", "quiet", "not_applicable", "not_evaluated")
SEXES: Final = ("female", "male", "other", UNKNOWN)
ROWS: Final = 100_000  # of a batch: joined in some tens of MiB
_REASON: Final = re.compile(r"^([a-z_]+)(?:\((.*)\))?$")
_OF_ONE_PATIENT: Final = re.compile(r"(: |, )?\{(?:problem|names|date|days)\}.*$")


class NoScreening(ValueError):
    """The folder holds no screening; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A reason, in the words of cards as far as they are not one patient's, and how many patients have it."""

    outcome: str
    code: str
    words: str
    patients: int


@dataclass(slots=True)
class RuleCounts:
    """One rule under one hook. `by` is (age band, sex) -> outcome -> patients; `absent` is the position of the first
    drug or problem that the rule asks for and that is not on the chart -> patients in whom the rule is quiet for it;
    `fell` is the number of the test that does not hold in the others, counted from 1 -> patients."""

    rule: str
    hook: str
    title: str
    indicator: str
    asked: tuple[str, ...]
    tests: tuple[str, ...]
    by: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    absent: Counter[int] = field(default_factory=Counter)
    fell: Counter[int] = field(default_factory=Counter)
    reasons: list[Reasoned] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(each[kind] for each in self.by.values())

    @property
    def tried(self) -> int:
        """Patients in whom the rule was tried."""
        return sum(map(self.count, KINDS))

    def of_band(self, band: str, kind: str) -> int:
        return sum(each[kind] for (one, _), each in self.by.items() if one == band)

    def of_sex(self, sex: str, kind: str) -> int:
        return sum(each[kind] for (_, one), each in self.by.items() if one == sex)


@dataclass(slots=True)
class Summary:
    """All counts of a screening. `patients` are all that were met, those whose chart could not be read among them."""

    asked: dict[str, Any]
    patients: int
    not_read: dict[str, int]
    bands: dict[str, int]
    sexes: dict[str, int]
    urgent: dict[str, int]
    partly: int
    rules: list[RuleCounts]
    quality: list[dict[str, Any]]
    inputs: list[tuple[str, int]]
    faults: dict[str, int]

    @property
    def finished(self) -> bool:
        """Whether the screening came to its end: else these are some of the patients, nobody knows which."""
        return self.asked.get("finished") is True

    @property
    def read(self) -> int:
        """Patients whose chart could be read."""
        return self.patients - sum(self.not_read.values())


def bands() -> list[str]:
    return [name for _, name in BANDS] + [UNKNOWN]


def read_asked(folder: Path) -> dict[str, Any]:
    """What `screening.json` says. Raises NoScreening."""
    try:
        found = read_about(folder)
    except ValueError as fault:
        raise NoScreening(f"{folder / ABOUT} {fault}: screen again into a new folder") from None
    if found is None:
        raise NoScreening(f"{folder} holds no {ABOUT}: name the folder that `screen --out` made")
    return found


def summed(folder: Path, rulebook: Rulebook, memory: str = "512MB", smallest: int = 0) -> Summary:
    """The counts of a screening folder. `rulebook` is the one that it was screened with; codes and units of fewer than
    `smallest` patients are counted together. Raises NoScreening."""
    import duckdb

    asked = read_asked(folder)
    with TemporaryDirectory(prefix=".report-", dir=folder) as room, duckdb.connect() as database:
        database.execute(f"SET memory_limit = '{memory}'; SET preserve_insertion_order = false")
        # What does not fit into memory is patients': it stays in the folder of the screening, and goes at the end.
        database.execute("SET temp_directory = ?", [room])
        if asked.get("finished") is True:
            _prove_whole(database, folder, asked)
        return _Counting(database, folder, rulebook).summary(asked, smallest)


def _prove_whole(database: duckdb.DuckDBPyConnection, folder: Path, asked: Mapping[str, Any]) -> None:
    """Raises NoScreening where rows are gone since the screening ended: what is left would read as an all-clear."""
    import duckdb

    files = {name: [str(part) for part in _parts(folder, name)] for name in ("facts", "outcomes", "quality", "faults")}
    for table, paths in files.items():
        try:
            query = "SELECT coalesce(sum(num_rows), 0) FROM parquet_file_metadata(?)"
            rows = database.execute(query, [paths]).fetchall()[0][0] if paths else 0
        except duckdb.Error:
            raise NoScreening(f"A file of {table}/ is broken: screen again into a new folder") from None
        said = {"facts": "calls", "outcomes": "calls", "faults": "lines_not_read"}.get(table, "")
        if rows != asked.get(said, rows):
            raise NoScreening(
                f"{table}/ holds {rows} rows and not {asked[said]}, as {ABOUT} says: screen again into a new folder"
            )
    if "calls" in asked and len(files["quality"]) != len(files["facts"]):
        raise NoScreening("Files of quality/ are gone: screen again into a new folder")


class _Counting:
    """The queries, over one folder."""

    def __init__(self, database: duckdb.DuckDBPyConnection, folder: Path, rulebook: Rulebook) -> None:
        self._database, self._rulebook, self._library = database, rulebook, rulebook.library
        self._parts = {name: _parts(folder, name) for name in ("facts", "outcomes", "faults", "quality")}
        self._there = {name for name, parts in self._parts.items() if parts}
        cases = " ".join(f"WHEN age_years < {below} THEN '{name}'" for below, name in BANDS if below is not None)
        self._band = f"CASE WHEN age_years IS NULL THEN '{UNKNOWN}' {cases} ELSE '{BANDS[-1][1]}' END"
        known = ", ".join(f"'{sex}'" for sex in SEXES)
        self._sex = f"CASE WHEN sex IN ({known}) THEN sex ELSE '{UNKNOWN}' END"
        # A part holds whole patients, and parts of one name the same ones: counted part by part, memory stays small.
        parts = {name: {part.name: part for part in self._parts[name]} for name in ("facts", "outcomes", "quality")}
        self._batches: list[dict[str, list[Path]]] = [self._parts]
        if parts["facts"].keys() == parts["outcomes"].keys() and parts["quality"].keys() <= parts["facts"].keys():
            self._batches = [
                {of: [held[one] for one in names if one in held] for of, held in parts.items()}
                for names in _batches(database, parts["facts"])
            ]

    def summary(self, asked: dict[str, Any], smallest: int) -> Summary:
        rules = self._rules() if {"facts", "outcomes"} <= self._there else []
        has = "facts" in self._there
        one = f"""SELECT key, any_value({self._band}) AS band, any_value({self._sex}) AS sex,
                  min(not_read) AS why FROM facts GROUP BY key"""  # noqa: S608
        return Summary(
            asked,
            self._patients(["true"], "facts")[0],
            self._pairs(f"SELECT why, count(*) FROM ({one}) WHERE why IS NOT NULL GROUP BY 1", "facts") if has else {},  # noqa: S608
            self._pairs(f"SELECT band, count(*) FROM ({one}) GROUP BY 1", "facts") if has else {},  # noqa: S608
            self._pairs(f"SELECT sex, count(*) FROM ({one}) GROUP BY 1", "facts") if has else {},  # noqa: S608
            self._urgent(rules),
            self._patients([_any({each.rule for each in rules}, "not_evaluated")], "outcomes")[0],
            rules,
            self._quality(smallest) if "quality" in self._there else [],
            self._inputs() if has else [],
            self._pairs("SELECT reason, count(*) FROM faults GROUP BY 1", "faults") if "faults" in self._there else {},
        )

    def _all(self, query: str, of: str) -> list[tuple[Any, ...]]:
        """The rows of a query that reads `of`, one batch of patients after the other."""
        found = []
        for batch in [self._parts] if of == "faults" else self._batches:
            if not batch.get(of):
                continue
            for name, parts in batch.items():
                if parts:
                    view = f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({_listed(parts)})"  # noqa: S608
                    self._database.execute(view)
            found += self._database.execute(query).fetchall()
        return found

    def _patients(self, tests: Sequence[str], of: str) -> list[int]:
        """How many patients pass each test, which is a condition on a row of `of`."""
        counts = ", ".join(f"count(DISTINCT key) FILTER (WHERE {test})" for test in tests)
        return [sum(each) for each in zip([0] * len(tests), *self._all(f"SELECT {counts} FROM {of}", of), strict=True)]  # noqa: S608

    def _pairs(self, query: str, of: str) -> dict[str, int]:
        summed: Counter[str] = Counter()
        for name, number in self._all(query, of):
            summed[str(name)] += int(number)
        return dict(sorted(summed.items(), key=lambda item: (-item[1], item[0])))

    def _rules(self) -> list[RuleCounts]:
        """Every rule that has a column, the most urgent first."""
        found_columns = dict.fromkeys(row[0] for row in self._all("DESCRIBE outcomes", "outcomes"))
        columns = [name for name in found_columns if name not in ("key", "hook")]
        known = [name for name in columns if name in self._rulebook.rules]
        if strangers := sorted(set(columns) - set(known)):
            raise NoScreening(
                f"this folder was screened with other rules ({', '.join(strangers[:3])} ...): "
                "name the site values and cards that it was screened with"
            )
        found = self._counted(known) if known else {}
        for each in found.values():
            each.reasons.sort(key=lambda one: (KINDS.index(one.outcome), -one.patients, one.words))
        return sorted(found.values(), key=lambda each: (*self._urgency(each.rule), each.hook))

    def _urgency(self, rule: str) -> tuple[int, bool, int, str]:
        """As advice.advise.urgency, of a rule alone."""
        loaded = self._rulebook.rules[rule].loaded
        card = loaded.rule.card
        return INDICATORS.index(card.indicator), loaded.package is not None, card.priority, rule

    def _counted(self, names: Sequence[str]) -> dict[tuple[str, str], RuleCounts]:
        """These rules by name and hook, from one look at all outcomes."""
        asked = {name: _asked(self._rulebook.rules[name]) for name in names}
        places = {one: place for place, one in enumerate(dict.fromkeys(chain.from_iterable(asked.values())))}
        there = ", ".join(f"{_there(*one)} AS there_{place}" for one, place in places.items())
        values = ", ".join(f"{_value(name, [places[one] for one in asked[name]])} AS {_column(name)}" for name in names)
        query = f"""SELECT hook, band, sex, rule, value, count(*) FROM (
                      UNPIVOT (SELECT hook, band, sex, {values} FROM (
                        SELECT o.*, {self._band} AS band, {self._sex} AS sex, {there}
                        FROM outcomes o JOIN facts f ON o.key = f.key AND o.hook = f.hook))
                      ON COLUMNS(* EXCLUDE (hook, band, sex)) INTO NAME rule VALUE value) GROUP BY ALL"""  # noqa: S608
        found: dict[tuple[str, str], RuleCounts] = {}
        told: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        for hook, band, sex, name, value, number in self._all(query, "outcomes"):
            one = found.setdefault((name, hook), self._started(name, hook, asked[name]))
            kind, _, rest = value.partition(": ")
            if kind.startswith("quiet#"):
                one.absent[int(kind.removeprefix("quiet#"))] += number
                kind = "quiet"
            if (test := test_of(rest)) is not None:
                one.fell[test] += number
                rest = ""
            one.by.setdefault((band, sex), Counter())[kind] += number
            for reason in dict.fromkeys(rest.split("; ")) if rest else ():
                told.setdefault((name, hook), Counter())[kind, reason] += number
        for place, counted in told.items():
            for (kind, reason), number in counted.items():
                found[place].reasons.append(Reasoned(kind, reason, in_words(reason, self._library), number))
        return found

    def _started(self, name: str, hook: str, asked: Sequence[tuple[str, frozenset[str]]]) -> RuleCounts:
        written = self._rulebook.rules[name].loaded.rule
        words = tuple(_titles(self._library, names) for _, names in asked)
        tests = steps_in_words(self._rulebook.rules[name].loaded, self._rulebook)
        return RuleCounts(name, hook, written.title, written.card.indicator, words, tests)

    def _urgent(self, rules: list[RuleCounts]) -> dict[str, int]:
        """Patients in whom a rule of this urgency fired, by urgency; `any`: of any."""
        by = {kind: {each.rule for each in rules if each.indicator == kind} for kind in INDICATORS}
        by["any"] = {each.rule for each in rules}
        return dict(zip(by, self._patients([_any(names, "fired") for names in by.values()], "outcomes"), strict=True))

    def _quality(self, smallest: int) -> list[dict[str, Any]]:
        query = """SELECT what, input, code, count(DISTINCT key), sum(count) AS times FROM quality GROUP BY ALL"""
        self._database.execute("CREATE TEMP TABLE met (what TEXT, input TEXT, code TEXT, patients BIGINT)")
        self._all(f"INSERT INTO met SELECT * EXCLUDE (times) FROM ({query})", "quality")  # noqa: S608
        if find_rare(self._database, "FROM met", smallest):
            query = query.replace("FROM quality", f"FROM ({put_together('quality')})")
        patients: Counter[tuple[str, str | None, str | None]] = Counter()
        times: Counter[tuple[str, str | None, str | None]] = Counter()
        for what, where, code, some, often in self._all(query, "quality"):
            patients[what, where, code] += some
            times[what, where, code] += int(often)
        ordered = sorted(patients, key=lambda one: (-patients[one], *(each or "" for each in one)))
        return [
            {"what": one[0], "input": one[1], "code": one[2], "patients": patients[one], "times": times[one]}
            for one in ordered
        ]

    def _inputs(self) -> list[tuple[str, int]]:
        """What is on the charts, with how many patients have it."""
        plain = (
            ("age", "age_years IS NOT NULL"), ("sex", f"{self._sex} <> '{UNKNOWN}'"),
            ("a problem that is read here", "len(conditions) > 0"), ("a drug that is read here", "len(drugs) > 0"),
            ("a result that is read here", "len(labs) > 0"),
        )  # fmt: skip
        met = self._patients([f"not_read IS NULL AND {test}" for _, test in plain], "facts")
        made = [(name, number) for (name, _), number in zip(plain, met, strict=True)]
        query = """SELECT lab, count(DISTINCT key) FROM (SELECT key, unnest(labs) AS lab FROM facts) GROUP BY 1"""
        labs = [(_titles(self._library, [name]), number) for name, number in self._pairs(query, "facts").items()]
        return made + labs


def _batches(database: duckdb.DuckDBPyConnection, parts: dict[str, Path]) -> list[list[str]]:
    """The names of parts, as many together as hold about ROWS rows."""
    made: list[list[str]] = []
    rows = ROWS
    for name, part in sorted(parts.items()):
        if rows >= ROWS:
            made.append([])
            rows = 0
        made[-1].append(name)
        rows += database.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(part)]).fetchall()[0][0]
    return made


def _parts(folder: Path, name: str) -> list[Path]:
    return sorted((folder / name).glob("part-*.parquet"))


def _asked(rule: ActiveRule) -> list[tuple[str, frozenset[str]]]:
    """What the rule asks for and the facts list: the list, and the concepts one of which has to be there."""
    found = [one for part in rule.loaded.rule.needed if (one := part.asks_for)]
    return [("conditions" if one.status is None else "drugs", one.names) for one in found if one.status != "ended"]


def _there(where: str, names: Iterable[str]) -> str:
    """Whether one of these concepts is on the chart, in SQL."""
    return f"coalesce(list_has_any({where}, {_listed(sorted(names))}), false)"


def _listed(texts: Iterable[object]) -> str:
    """A list of texts in SQL."""
    return "[" + ", ".join("'" + str(each).replace("'", "''") + "'" for each in texts) + "]"


def _value(name: str, places: Sequence[int]) -> str:
    """The outcome in SQL; where it is quiet, behind '#' which of what is asked for is not on the chart first."""
    column = _column(name)
    quiet = f"WHEN starts_with({column}, 'quiet') AND NOT"
    cases = " ".join(f"{quiet} there_{place} THEN 'quiet#{number}'" for number, place in enumerate(places))
    return f"CASE {cases} ELSE {column} END" if cases else column


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _any(rules: Iterable[str], kind: str) -> str:
    """Whether at least one of these rules has this outcome, in SQL."""
    return " OR ".join(f"starts_with({_column(name)}, '{kind}')" for name in sorted(rules)) or "false"


def _titles(library: Library, names: Iterable[str]) -> str:
    return " or ".join(sorted(_title(library, each) for each in names))


def _title(library: Library, name: str) -> str:
    if (entry := library.terminology.get(name)) is not None:
        return entry.title if entry.proper_name else lowered(entry.title)
    return library.wording.inputs.get(name, name.replace("_", " "))


def in_words(reason: str, library: Library) -> str:
    """A reason as `code` or `code(what)` in the words of cards, without what only a single patient's can say."""
    found = _REASON.match(reason)
    if found is None or (template := library.wording.reasons.get(found[1])) is None:
        return reason.replace("_", " ")
    title = _title(library, found[2] or "")
    if found[1] in ("result_too_old", "intake_too_old"):
        return fill(template.partition(" is of")[0], {"what": title}) + " is too old"
    return fill(_OF_ONE_PATIENT.sub("", template), {"what": title})
