"""Written directions of other hands (shared reference material, where it is there): read rightly or not at all."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
import yaml

from cds_service.patient import Dosage
from cds_service.rules.amounts import most_doses_a_day
from tests.conftest import SHARED, shipped

SIGS = SHARED / "terminology" / "directions" / "sigs.yaml"
UNITS = {
    "tab": {"{tbl}", "1"}, "cap": {"{capsule}", "1"}, "sachet": {"{sachet}", "1"}, "ampoule": {"{ampule}"},
    "mEq": {"meq"}, "unit": {"1", "{tbl}", "{capsule}"},
}  # fmt: skip
# Right only beside the strength of the product, which a text alone does not give: held by test_patients.py.
BY_THE_PRODUCT = "Take 2 tablets (400 mg total) by mouth daily."

pytestmark = pytest.mark.skipif(not SIGS.exists(), reason="the shared reference material is not here")


def a_day(dose: dict[str, Any]) -> float | None:
    fields = {key: value for key, value in dose.items() if key not in ("lasts", "count")}
    doses = most_doses_a_day(Dosage(**fields))
    return None if doses is None else float(doses)


def fits(row: dict[str, Any], doses: tuple[dict[str, Any], ...]) -> bool:
    """Whether what was read is what the row means: amount, doses a day, moments, times, days, need and length."""
    means = row.get("means") or {}
    wanted = means.get("doses", [])
    if len(wanted) != len(doses) or row["reading"] == "unreadable":
        return False
    return all(_same(want, dose, means, row) for want, dose in zip(wanted, doses, strict=True))


def _same(want: dict[str, Any], dose: dict[str, Any], means: dict[str, Any], row: dict[str, Any]) -> bool:
    amount = want.get("amount") or want.get("rate")
    if amount and row["field"] == "text":
        mine = dose.get("amount")
        low, high = amount.get("value", amount.get("low")), amount.get("value", amount.get("high"))
        if mine is None or mine.unit not in UNITS.get(amount["unit"], {amount["unit"]}):
            return False
        if (mine.value, dose.get("amount_high", mine).value) != (Decimal(str(low)), Decimal(str(high))):
            return False
    if "step" in want or bool(dose.get("as_needed")) != bool(means.get("as_needed")):
        return False
    if want.get("once"):
        return dose.get("count") == 1
    doses = 24 if "rate" in want else want.get("doses_per_day", means.get("max", {}).get("value"))
    if isinstance(doses, dict):
        doses = doses["high"]
    mine_a_day = a_day(dose)
    if mine_a_day is None or abs(mine_a_day - doses) > 0.002 or list(dose.get("days", ())) != want.get("days", []):
        return False
    when = {code for code, _ in dose.get("when", ())}
    if when not in (set(want.get("when", [])), set(want.get("when_or", want.get("when", [])))):
        return False
    if [f"{at:%H:%M}" for at in dose.get("times", ())] != want.get("times_of_day", []):
        return False
    lasts, count = want.get("duration"), want.get("count")
    return dose.get("lasts") == ((lasts["value"], lasts["unit"]) if lasts else None) and dose.get("count") == count


def test_nothing_is_read_wrongly_and_most_is_read() -> None:
    table: dict[str, list[bool]] = defaultdict(list)
    wrongly = []
    for row in yaml.safe_load(SIGS.read_text("utf-8"))["rows"]:
        doses = shipped().vocabulary.sigs.read_all(row["text"])
        if doses and not fits(row, doses) and row["text"] != BY_THE_PRODUCT:
            wrongly.append((row["id"], row["text"], doses))
        if row["reading"] == "read":
            table[row["language"]].append(bool(doses))
    assert wrongly == []
    shares = {language: sum(read) / len(read) for language, read in table.items()}
    assert {language: share for language, share in shares.items() if share < (0.9 if language == "en" else 0.75)} == {}
