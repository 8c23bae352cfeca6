"""How an outcome and an age are told in short, in every table."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cds_service.rules.evaluate import Outcome
from cds_service.rules.verdict import Reason

UNKNOWN: Final = "unknown"
# Only for counting: they part children from adults, and adults as hospitals report them. No rule reads them.
BANDS: Final = ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"), (80, "65 to 79"), (None, "80 and over"))
"""Years below which each band of ages ends, and its name."""


def in_short(outcome: Outcome) -> str:
    """An outcome as it stands in the table of outcomes: see `tables.outcomes`."""
    if outcome.reasons:
        return _with_reasons(outcome.kind, outcome.reasons)
    return f"{outcome.kind}: test({outcome.fell})" if outcome.fell else outcome.kind


@lru_cache(maxsize=65536)
def _with_reasons(kind: str, reasons: tuple[Reason, ...]) -> str:
    told = (f"{each.code}({each.what})" if each.what else each.code for each in reasons)
    return f"{kind}: {'; '.join(dict.fromkeys(told))}"


def test_of(reason: str) -> int | None:
    """The number of the test, where this is what stands behind the kind of a rule that is quiet."""
    return int(reason[5:-1]) if reason.startswith("test(") else None


def band_of(years: int | None) -> str:
    """The band of an age in completed years."""
    return UNKNOWN if years is None else next(name for below, name in BANDS if below is None or years < below)
