"""The table of hazards is whole, and every test that it names exists and is named in it."""

from __future__ import annotations

import re

import pytest

from tests.trust.safety_case import HARMS, HERE, MARK, PAGE, ROOT, functions_of, page, sentence
from tests.trust.safety_case import HAZARDS as TABLE

IDS = [*(f"A{n}" for n in range(1, 61)), *(f"F{n}" for n in range(1, 45)), *(f"S{n}" for n in range(1, 42))]


OWN = {name for path in HERE.glob("test_*.py") for name in functions_of(path)}


def ids_in(name: str) -> set[str]:
    """test_a15_a17_two_things -> {A15, A17}."""
    found = re.match(r"test_((?:[afs]\d+_)+)", name)
    return {part.upper() for part in found[1].strip("_").split("_")} if found else set()


def test_every_hazard_is_in_the_table_in_order() -> None:
    assert list(TABLE) == IDS


@pytest.mark.parametrize("hazard", IDS)
def test_a_hazard_has_tests_that_exist_or_a_reason(hazard: str) -> None:
    entry = TABLE[hazard]
    assert entry.keys() <= {"what", "tests", "reason"}
    assert entry["what"]
    assert entry.get("tests") or len(entry.get("reason", "").split()) > 2
    for named in entry.get("tests", ()):
        place, _, name = named.rpartition("::")
        assert name in (functions_of(ROOT / place) if place else OWN), named


def test_every_test_that_carries_an_id_is_in_the_table() -> None:
    listed = {(hazard, name) for hazard, entry in TABLE.items() for name in entry.get("tests", ())}
    carried = {(hazard, name) for name in OWN for hazard in ids_in(name)}
    assert sorted(carried - listed) == []


def test_every_hazard_leads_to_one_harm_which_the_page_speaks_of() -> None:
    placed = [hazard for harm in HARMS.values() for hazard in harm["hazards"]]
    assert sorted(placed) == sorted(IDS)
    by_hand, _, _ = PAGE.read_text("utf-8").partition(MARK)
    for harm in HARMS.values():
        assert f"| **{harm['title']}** |" in by_hand, harm["title"]


def test_the_safety_case_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.trust.safety_case`"


def test_the_safety_case_speaks_of_hazards_that_there_are() -> None:
    by_hand, _, _ = PAGE.read_text("utf-8").partition(MARK)
    named = set(re.findall(r"\b[AFS]\d+\b", by_hand))
    assert named
    assert named <= set(IDS)


def test_the_name_of_a_test_is_the_sentence_that_it_holds() -> None:
    assert sentence("test_a15_a17_times_in_milliseconds_are_refused") == "times in milliseconds are refused"
    assert sentence("test_urine_is_not_serum") == "urine is not serum"
