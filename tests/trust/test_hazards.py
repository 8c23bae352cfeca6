"""The table of hazards is whole, and every test that it names exists and is named in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLE: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "hazards.yaml").read_text())
IDS = [*(f"A{n}" for n in range(1, 61)), *(f"F{n}" for n in range(1, 45)), "S3", *(f"S{n}" for n in range(18, 30))]


def functions_of(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


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
