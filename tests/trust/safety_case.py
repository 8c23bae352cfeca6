"""The tables of docs/safety-case.md, made from hazards.yaml and harms.yaml: `python -m tests.trust.safety_case`.

What stands above the mark in that page is written by hand and kept; what stands below is made anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "safety-case.md"
MARK = "<!-- The tables below are made by `python -m tests.trust.safety_case`: do not edit them. -->"
HAZARDS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "hazards.yaml").read_text("utf-8"))
HARMS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "harms.yaml").read_text("utf-8"))


def functions_of(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def files_here() -> dict[str, str]:
    """Test function -> its file, of those in tests/trust, which hazards.yaml names without their place."""
    files = sorted(HERE.glob("test_*.py"))
    return {name: path.relative_to(ROOT).as_posix() for path in files for name in functions_of(path)}


def sentence(name: str) -> str:
    """test_a15_a17_times_in_milliseconds_are_refused -> times in milliseconds are refused."""
    return re.sub(r"^test_(?:[a-z]\d+_)*", "", name).replace("_", " ")


def controls(hazard: str, places: dict[str, str]) -> str:
    """The sentences of its tests, by file: `tests/trust/test_tokens.py`: the same token is taken once; ..."""
    by_file: dict[str, list[str]] = {}
    for named in HAZARDS[hazard].get("tests", ()):
        place, _, name = named.rpartition("::")
        by_file.setdefault(place or places[name], []).append(sentence(name))
    return "<br>".join(f"`{file}`: {'; '.join(held)}" for file, held in by_file.items()) or "**no test**"


def tables() -> Iterator[str]:
    """The lines below the mark."""
    tested = sum(bool(entry.get("tests")) for entry in HAZARDS.values())
    tests = {named for entry in HAZARDS.values() for named in entry.get("tests", ())}
    bare = [name for name, entry in HAZARDS.items() if not entry.get("tests")]
    yield f"{len(HAZARDS)} hazards; {tested} of them are held by {len(tests)} tests, some of these for several."
    yield f"No test holds {', '.join(bare)}: the last column says why.\n"
    places = files_here()
    for harm in HARMS.values():
        yield f"### {harm['title']}: hazards\n"
        yield "| id | cause | control, and the file of its test | what remains |"
        yield "|---|---|---|---|"
        for hazard in harm["hazards"]:
            entry = HAZARDS[hazard]
            cells = (hazard, entry["what"], controls(hazard, places), entry.get("reason", ""))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def page() -> str:
    """The whole page as it should be."""
    by_hand, _, _ = PAGE.read_text("utf-8").partition(MARK)
    return f"{by_hand}{MARK}\n\n" + "\n".join(tables()).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
