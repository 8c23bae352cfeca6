"""What came of many patients as the rows of a part: see `tables`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from cds_service.patient import PatientFacts
from cds_service.population.kept_facts import OLDEST, CannotKeep, Keeper
from cds_service.population.screening import tables
from cds_service.population.screening.in_short import in_short
from cds_service.population.screening.index import gaps_of
from cds_service.population.screening.person import Call
from cds_service.population.screening.picking import values_of

UNITS: Final = frozenset({
    "unit missing", "unit not known", "unit does not fit the code of the test", "unit code and unit text disagree",
})  # fmt: skip
"""Problems of a result that are about its unit."""
_LONGEST: Final = 40  # characters of a unit or a code
TABLES: Final = ("facts", "outcomes", "quality")


class Rows:
    """The rows of one part. Patients are added in the order of their keys."""

    def __init__(self, rules: Sequence[str], keeper: Keeper, *, identified: bool = False) -> None:
        self.rules, self._keeper, self._identified = tuple(rules), keeper, identified
        self.schemas = {"facts": tables.FACTS, "outcomes": tables.outcomes(self.rules), "quality": tables.QUALITY}
        self._columns: dict[str, dict[str, Any]] = {
            table: {each.name: [] for each in schema} for table, schema in self.schemas.items()
        }
        self._places = {rule: place for place, rule in enumerate(self.rules)}
        self._told: list[list[str | None]] = []  # of each call, what came of each rule
        self.counts: Counter[str] = Counter()
        self.not_read: Counter[str] = Counter()

    def add(self, key: str, patient_id: str, calls: Iterable[Call]) -> None:
        """One patient. What is met and not read is counted once, of the first call."""
        self.counts["patients"] += 1
        for number, call in enumerate(calls):
            self.counts["calls"] += 1
            self._facts(key, patient_id, call)
            self._tried(key, call)
            if call.facts is None:
                self.not_read[call.not_read] += 1
            elif not number:
                self._quality(key, call.facts)

    def _facts(self, key: str, patient_id: str, call: Call) -> None:
        columns, facts = self._columns["facts"], call.facts
        columns["key"].append(key)
        columns["patient_id"].append(patient_id if self._identified else None)
        columns["hook"].append(call.hook)
        columns["not_read"].append(call.not_read or None)
        if facts is None:
            for name in ("age_years", "conditions", "drugs", "labs", "results", "gaps", "facts"):
                columns[name].append(None)
            columns["sex"].append(None)
            return
        years = facts.person.age_years
        columns["age_years"].append(None if years is None else min(years, OLDEST))
        columns["sex"].append(facts.person.sex)
        columns["conditions"].append(sorted(frozenset[str]().union(*(each.concepts for each in facts.conditions))))
        medicines = (*facts.medications, *facts.ended, *facts.given)
        columns["drugs"].append(sorted(frozenset[str]().union(*(each.drugs for each in medicines))))
        columns["labs"].append(sorted(name for name, found in facts.labs.items() if found))
        columns["results"].append(values_of(facts.labs))
        columns["gaps"].append(gaps_of(call.evaluation.context) if call.evaluation else None)
        columns["facts"].append(self._kept(facts, call.hook))

    def _kept(self, facts: PatientFacts, hook: str) -> bytes | None:
        """None where we know no way to keep them: the outcomes stand, and a comparison says that it cannot look."""
        try:
            return self._keeper.kept(facts, hook, False)
        except CannotKeep:
            return None

    def _tried(self, key: str, call: Call) -> None:
        columns = self._columns["outcomes"]
        columns["key"].append(key)
        columns["hook"].append(call.hook)
        told: list[str | None] = [None] * len(self.rules)
        for found in call.evaluation.outcomes if call.evaluation else ():
            if (place := self._places.get(found.rule_id)) is not None:
                told[place] = in_short(found)
        self._told.append(told)

    def _quality(self, key: str, facts: PatientFacts) -> None:
        met: Counter[tuple[str, str | None, str | None]] = Counter()
        for name, unread in facts.unread.items():
            for each in unread:
                for system, code in each.codes:
                    met["code_not_read", name, f"{system}|{code}"] += 1
                if not each.codes:
                    met["no_code", name, None] += 1
        for lab, results in facts.labs.items():
            for result in results:
                if result.problem in UNITS:
                    unit = result.reported.unit if result.reported else result.unread_unit
                    met["unit_not_read", lab, unit[:_LONGEST]] += 1
                elif result.problem:
                    met["result_not_read", lab, result.problem] += 1
        for order in facts.medications:
            if not order.identified:
                met["medicine_not_identified", None, None] += 1
        for name, state in facts.inputs.items():
            if state.unreadable:
                met["resource_not_read", name, None] += state.unreadable
        columns = self._columns["quality"]
        for (what, where, met_code), count in sorted(met.items(), key=str):
            columns["key"].append(key)
            columns["what"].append(what)
            columns["input"].append(where)
            columns["code"].append(met_code)
            columns["count"].append(count)

    def tables(self) -> dict[str, Any]:
        """Arrow tables by name."""
        by_rule = list(zip(*self._told, strict=True)) or [()] * len(self.rules)
        columns = self._columns | {"outcomes": self._columns["outcomes"] | dict(zip(self.rules, by_rule, strict=True))}
        return {
            name: pa.table([pa.array(columns[name][each.name], each.type) for each in schema], schema=schema)
            for name, schema in self.schemas.items()
        }

    def write(self, folder: Path, part: int) -> None:
        """As part number `part` of each table. A part that is there is replaced."""
        from cds_service.population.screening.folder import replaced

        for name, table in self.tables().items():
            with replaced(folder / name / f"part-{part:05d}.parquet") as waiting:
                pq.write_table(table, waiting, compression="zstd")
