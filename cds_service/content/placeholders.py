"""The placeholders that a page's wording may hold: fixed names, no expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cds_service.content.pages import (
    DailyMagnesiumTest,
    IntakeTest,
    KidneyTest,
    LabTest,
    MagnesiumProductsTest,
    MedicationTest,
    Page,
    ReasonTest,
)

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
LAB_PARTS = ("value", "age", "date", "limit")


def placeholders_in(text: str) -> Iterator[str]:
    """Names between braces, in order."""
    yield from PLACEHOLDER.findall(text)


def offered(page: Page, threshold_names: frozenset[str]) -> frozenset[str]:
    """The placeholders that are always filled when the page fires."""
    names = set(threshold_names)
    if page.separate or page.avoid:
        names |= {"drug", "magnesium"}
    if page.separate:
        names |= {"hours_before", "hours_after", "hours_apart"}
    for test in page.when.all if page.when else []:
        match test:
            case LabTest():
                names |= {f"{test.lab}.{part}" for part in LAB_PARTS}
                names |= {f"{test.lab}.persists"} if test.persists else set()
            case KidneyTest() if "unknown" not in test.kidney:
                names |= {f"kidney.{part}" for part in ("value", "age", "date")}
            case MedicationTest() if any(drug.startswith("magnesium") for drug in test.medication):
                names |= {"magnesium"}
            case MedicationTest() if test.status == "ended":
                names |= {"matched", "ended"}
            case DailyMagnesiumTest() if "read_two_ways" in test.daily_magnesium:
                names |= {
                    "doubtful",
                    "salt",
                    *(f"daily_magnesium.{part}" for part in ("as_salt", "as_element", "limit")),
                }
            case MedicationTest() if test.status == "ended":
                names |= {"matched", "ended"}
            case DailyMagnesiumTest():
                names |= {"daily_magnesium.value", "daily_magnesium.limit"}
            case MagnesiumProductsTest():
                names |= {"products"}
            case IntakeTest():
                names |= {"intake.value", "intake.age", "allowance", "allowance.name", "gap", "foods"}
            case ReasonTest():
                names |= {"reason", "magnesium"}
            case _:
                names |= {"matched"}
    if page.when and page.when.any:
        names |= {"matched"}
    return frozenset(names)
