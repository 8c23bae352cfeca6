"""Every requirement C1-C65 has a test with its id in its name, or a line in README.md that says why not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ALL = {f"C{number}" for number in range(1, 66)}
LINE = re.compile(r"^\| (C\d+) \| (.{20,}) \|$")


def ids_with_a_test() -> set[str]:
    """Ids in the names of the test functions of this folder."""
    found: set[str] = set()
    for file in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and (name := re.match(r"test_c(\d\d)_[a-z]", node.name)):
                found.add(f"C{int(name[1])}")
    return found


def explained() -> dict[str, str]:
    """Ids in the table of README.md, with the reason why there is no test."""
    lines = (HERE / "README.md").read_text("utf-8").splitlines()
    found = [match for line in lines if (match := LINE.match(line))]
    assert len({match[1] for match in found}) == len(found), "an id stands twice"
    return {match[1]: match[2] for match in found}


def test_every_requirement_is_tested_or_explained() -> None:
    assert ids_with_a_test() | explained().keys() == ALL


def test_none_is_both_tested_and_excused() -> None:
    assert not ids_with_a_test() & explained().keys()


def test_of_the_first_53_only_duties_of_the_client_are_excused() -> None:
    excused = {name: why for name, why in explained().items() if int(name[1:]) <= 53}
    assert excused
    assert all("client" in why for why in excused.values()), excused


def test_the_trust_requirements_name_where_they_are_ids_with_a_test() -> None:
    for number in range(54, 64):
        assert "trust tests" in explained()[f"C{number}"]
