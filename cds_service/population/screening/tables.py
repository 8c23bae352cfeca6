"""The tables of a screening folder, as Arrow schemas. All of them are Parquet.

facts/part-*.parquet        one row for each patient and hook: what the next question needs, no FHIR
outcomes/part-*.parquet     one row for each patient and hook, one column for each rule
faults/part-*.parquet       lines and resources that could not be read, by file and line
quality/part-*.parquet      codes and units met and not read, by patient

A part holds whole patients, in the order of their keys; parts are in that order too, so that two runs over the same
input give the same bytes, whichever engine made them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

TEXT = pa.dictionary(pa.int32(), pa.string())

FACTS = pa.schema([
    pa.field("key", pa.string(), nullable=False),  # pseudonym of the patient
    pa.field("patient_id", pa.string()),  # only under --identified
    pa.field("hook", TEXT, nullable=False),
    pa.field("age_years", pa.int16()),  # at most 90
    pa.field("sex", TEXT),
    # What there is of this patient, by concept: which rules can have something to say is known from this alone.
    pa.field("conditions", pa.list_(pa.string())),
    pa.field("drugs", pa.list_(pa.string())),
    pa.field("labs", pa.list_(pa.string())),
    # Every value that a rule could compare with a limit, by lab, in its unit: screening/picking.py.
    pa.field("results", pa.list_(pa.struct([("lab", pa.string()), ("value", pa.float64())]))),
    pa.field("gaps", pa.list_(pa.string())),  # of which of these lists something may be missing: screening/index.py
    pa.field("not_read", TEXT),  # why the chart could not be read; `facts` is then null
    pa.field("facts", pa.binary()),  # as population/kept_facts writes it
])  # fmt: skip

FAULTS = pa.schema([
    pa.field("file", TEXT, nullable=False),
    pa.field("line", pa.int64(), nullable=False),
    pa.field("reason", TEXT, nullable=False),  # our own words, never the file's
])  # fmt: skip

QUALITY = pa.schema([
    pa.field("key", pa.string(), nullable=False),
    pa.field("what", TEXT, nullable=False),  # "code_not_read", "unit_not_read", "no_code", ...
    pa.field("input", TEXT),  # the input that it stood in
    pa.field("code", TEXT),  # system|code or unit, as met; null: there is none; "rare": see `rare`
    pa.field("count", pa.int32(), nullable=False),
])  # fmt: skip


def outcomes(rules: Iterable[str]) -> pa.Schema:
    """The schema of outcomes: `key`, `hook`, and one column for each rule, named by its id.

    A value is `fired`, `quiet`, `not_applicable` or `not_evaluated`, the last two and `fired` with their reasons
    behind ": ", as `code` or `code(what)`, in order, with "; " between them; null where the hook has no such rule or
    the chart could not be read. Example: "not_evaluated: no_result(serum_magnesium)". "quiet: test(2)": the rule was
    tried, and its second test does not hold (see `Outcome.fell`); "quiet" alone: it had no need to be tried.
    """
    keys = [pa.field("key", pa.string(), nullable=False), pa.field("hook", TEXT, nullable=False)]
    return pa.schema(keys + [pa.field(rule, TEXT) for rule in rules])
