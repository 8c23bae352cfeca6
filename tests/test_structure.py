"""The rooms of the house: who may import whom, what lies at the top, and what no file may hold."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.run import KINDS, SERVERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cds_service"
LONGEST = 400
# Packages whose files lie outside of the package's folder.
FROM_ELSEWHERE = {
    "cds_service.cards": ROOT / "cards",
    "cds_service.docs": ROOT / "docs",
    "cds_service.scenarios": ROOT / "tests/scenarios",
}
CONTENT = ("cds_service.cards", "cds_service.scenarios")

# The rooms from the top of the house down: a file imports from its own floor and from those below it.
FLOORS = (
    {"__main__", "cli"},
    {"commands"},
    {"__init__", "serving", "receiving"},
    {"console"},
    {"web", "hooks"},
    {"publish", "population", "watch"},
    {"advice"},
    {"trust", "fhir"},
    {"rules", "planner"},
    {"terminology"},
    {"content", "sandbox"},
    {"store", "patient", "settings", "logs", "metrics", "spelling", "loading"},
)
FLOOR = {room: height for height, rooms in enumerate(reversed(FLOORS)) for room in rooms}
# Packages from outside that only some rooms may import.
ONLY_IN = {"fhir.resources": {"fhir"}, "flask": {"__init__", "serving", "console", "web", "hooks", "sandbox"}}

TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "cards",
    "cds_service",
    "docker",
    "docs",
    "tests",
}
DOTFILES = {".ci", ".github", ".gitattributes", ".gitignore", ".dockerignore", ".pre-commit-config.yaml", ".git"}
# Left behind by tools, never committed (.gitignore).
LEFT_BEHIND = {
    "*.egg-info",
    "build",
    "dist",
    "node_modules",
    "__pycache__",
    ".venv*",
    ".*_cache",
    ".hypothesis",
}


def python_files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """cds_service.hooks.services -> hooks; cds_service itself -> __init__."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in it, with the line; relative imports made absolute."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            # `from cds_service import store` names a room by the imported word.
            yield from ((f"{base}.{name.name}", node.lineno) for name in node.names)


def broken_imports(files: Iterator[Path]) -> list[str]:
    faults = []
    for path in files:
        here = room_of(module_of(path))
        for module, line in imported(path):
            place = f"{path.relative_to(ROOT)}:{line} imports {module}"
            if f"{module}.".startswith("cds_service."):
                there = room_of(module)
                if FLOOR[there] > FLOOR[here]:
                    faults.append(place)
            faults += [
                place for name, rooms in ONLY_IN.items() if f"{module}.".startswith(f"{name}.") and here not in rooms
            ]
    return faults


def test_imports_go_one_way() -> None:
    assert broken_imports(python_files()) == []


def test_only_the_library_reads_the_content_that_ships() -> None:
    """With `--content` nothing else may still read the package's own cards."""
    naming = {
        path.relative_to(PACKAGE).as_posix() for path in python_files() if "cds_service.cards" in path.read_text()
    }
    # These two compare it byte for byte with that of another machine, or send it there.
    to_executors = {f"population/screening/spark_{part}.py" for part in ("code", "executor")}
    assert naming == {"content/library.py"} | to_executors


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("rules", "from cds_service.fhir import read_request"),
        ("rules", "from ..fhir import read_request"),
        ("rules", "from .. import fhir"),
        ("content", "import cds_service.rules.engine"),
        ("fhir", "def f():\n    from cds_service.hooks import card"),
        ("advice", "from flask import g"),
        ("terminology", "from cds_service.fhir import read_chart"),
        ("hooks", "from fhir.resources.R4B.patient import Patient"),
        ("rules", "from fhir import resources"),
        ("content", "import cds_service"),
    ],
)
def test_an_import_the_wrong_way_is_found(
    room: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_structure.ROOT", tmp_path)
    path = tmp_path / "cds_service" / room / "sample.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert broken_imports(iter([path]))


def test_every_room_has_its_floor() -> None:
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= set(FLOOR)


def test_no_file_imports_itself_by_way_of_others() -> None:
    modules = {module_of(path) for path in python_files()}
    needs: dict[str, set[str]] = {}
    for path in python_files():
        named = {name for module, _ in imported(path) for name in (module, module.rpartition(".")[0])}
        inside = {name for name in named if name in modules and not name.startswith("cds_service.sandbox")}
        needs[module_of(path)] = {name for name in inside if name.count(".") > 1}
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    assert needs == {}


def test_every_file_of_the_package_ships_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {module_of(path) for path in python_files() if path.name == "__init__.py"}
    assert packages <= set(setuptools["packages"])
    assert {package for package in setuptools["packages"] if package not in FROM_ELSEWHERE} <= packages
    unshipped = []
    for package, top in {"cds_service": PACKAGE, **FROM_ELSEWHERE}.items():
        patterns = [pattern.rpartition("/")[2] for pattern in setuptools["package-data"][package]]
        for path in sorted(top.rglob("*")):
            compiled = path.parent.name == "__pycache__"
            shipped = compiled or path.suffix == ".py" or any(fnmatch(path.name, pattern) for pattern in patterns)
            if path.is_file() and not shipped:
                unshipped.append(path.relative_to(ROOT).as_posix())
    assert unshipped == []


def test_top_level_holds_only_what_the_design_names() -> None:
    found = {path.name for path in ROOT.iterdir()}
    strange = {name for name in found if not any(fnmatch(name, pattern) for pattern in LEFT_BEHIND)}
    assert strange - TOP_LEVEL - DOTFILES == set()
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "cards",
        "cds_service",
        "tests",
    } <= found


def test_content_holds_no_python_but_a_docstring() -> None:
    for name in CONTENT:
        top = FROM_ELSEWHERE[name]
        files = sorted(top.rglob("*.py"))
        assert files == [top / "__init__.py"]
        body = ast.parse(files[0].read_text()).body
        assert len(body) == 1
        assert isinstance(body[0], ast.Expr)


def test_no_python_file_is_longer_than_is_read_in_one_sitting() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in python_files()
        if (lines := path.read_text().count("\n")) > LONGEST
    }
    assert long == {}


def committed_text() -> Iterator[tuple[Path, str]]:
    """Every text file of the project, wherever it lies, without what tools leave behind."""
    for top in sorted(TOP_LEVEL | DOTFILES - {".git"}):
        start = ROOT / top
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and not any(fnmatch(part, pattern) for part in parts for pattern in LEFT_BEHIND):
                try:
                    yield path, path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    continue  # pictures


def test_each_test_file_is_of_one_kind() -> None:
    tests = ROOT / "tests"
    named = [tests / name for names in KINDS.values() for name in names.split()]
    files = [file for path in named for file in (path.rglob("test_*.py") if path.is_dir() else [path])]
    assert sorted(files) == sorted(file for file in tests.rglob("test_*.py") if "node_modules" not in file.parts)


@pytest.mark.parametrize("server", SERVERS)
def test_what_npm_installs_for_the_tests_is_pinned_and_names_no_registry(server: str) -> None:
    folder = ROOT / server
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert asked == locked[""]["dependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in asked} == asked, "exact versions"
    for name, package in locked.items():
        assert not name or package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    machine_path = re.compile(r"(?<![\w.\-/}])/(?:work|root|home|farm|Users)/\w")
    faults = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path, text in committed_text()
        for match in machine_path.finditer(text)
    ]
    assert faults == []


@pytest.mark.parametrize("path", list(python_files()), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_file_says_in_a_sentence_what_is_inside(path: Path) -> None:
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert told.split("\n\n")[0].endswith((".", "?")), f"the first words of {path.name}: {told[:80]!r}"
