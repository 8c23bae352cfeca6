"""A test that cannot fail is no test: each must assert something that is surely reached.

Surely reached is what stands in the body of the test, in a `with`, in a loop that surely turns, or in both branches of
an `if`; and not what stands behind an early `return` or `continue`. A loop surely turns when it goes over a literal or
a constant that holds something, over `some(...)`, or over what an assert before it says to hold something. A helper of
the tests that surely asserts counts where it is called, and `pytest.raises` where it is entered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
FILES = sorted(path for path in TESTS.rglob("*.py") if "node_modules" not in path.parts)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CHECKING = {"raises", "warns", "within"}  # context managers that fail by themselves
SAME_LENGTH = {
    "enumerate",
    "sorted",
    "reversed",
    "list",
    "tuple",
    "set",
    "frozenset",
    "dict",
    "items",
    "values",
    "keys",
}


class Reader:
    """Reads the functions of one file. `modules`: by name, the readers of the files that it may call."""

    def __init__(self, tree: ast.Module, constants: dict[str, Any], modules: dict[str, Reader]) -> None:
        self.constants, self.modules = constants, modules
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
        self.imported = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.asked: set[str] = set()

    def tests(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for name, node in self.functions.items() if name.startswith("test_"))

    def asserts(self, name: str) -> bool:
        """Whether a function, of this file or imported from another of the tests, surely asserts."""
        if name in self.imported:
            module, original = self.imported[name]
            return module in self.modules and self.modules[module].asserts(original)
        if name not in self.functions or name in self.asked:
            return False
        self.asked.add(name)
        try:
            return self.sure(self.functions[name].body, {}, [])
        finally:
            self.asked.discard(name)

    def sure(self, body: Iterable[ast.stmt], local: dict[str, ast.expr], said: list[ast.expr]) -> bool:
        """Whether these statements surely assert. `local`: what names were bound to; `said`: what was asserted."""
        found = False
        for node in body:
            match node:
                case ast.Assert():
                    found = found or not _always_true(node.test)
                    said.append(node.test)
                case ast.With() | ast.AsyncWith():
                    entered = [item.context_expr for item in node.items]
                    checking = any(isinstance(one, ast.Call) and _name(one.func) in CHECKING for one in entered)
                    found |= checking or any(map(self.calls, entered)) or self.sure(node.body, local, said)
                case ast.If():
                    branches = [self.sure(part, dict(local), list(said)) for part in (node.body, node.orelse)]
                    found |= all(branches)
                    if not found and any(isinstance(one, ast.Return | ast.Continue | ast.Break) for one in _own(node)):
                        return False
                case ast.For():
                    inside = self.sure(node.body, local, list(said))
                    found |= inside and self.holds(node.iter, local, said)
                case ast.Try():
                    handled = all(self.sure(one.body, local, said) for one in node.handlers)
                    found |= handled and self.sure(node.body, local, said)
                    found |= self.sure([*node.finalbody], local, said)
                case (
                    ast.Assign(targets=[ast.Name(name)], value=value)
                    | ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value)
                ):
                    local[name] = value
                    found |= self.calls(value)
                case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.Return():
                    found |= node.value is not None and self.calls(node.value)
        return found

    def calls(self, expression: ast.expr) -> bool:
        """Whether a helper that surely asserts is surely called."""
        return any(
            isinstance(node, ast.Call)
            and (
                _name(node.func).startswith("assert_")
                or (isinstance(node.func, ast.Name) and self.asserts(node.func.id))
            )
            for node in _evaluated(expression)
        )

    def holds(self, node: ast.expr, local: dict[str, ast.expr], said: list[ast.expr]) -> bool:
        """Whether what is looped over surely holds something."""
        if any(_says_some(one, ast.unparse(node)) for one in said):
            return True
        match node:
            case ast.List(elts) | ast.Tuple(elts) | ast.Set(elts):
                return any(not isinstance(one, ast.Starred) or self.holds(one.value, local, said) for one in elts)
            case ast.Dict(keys):
                return bool(keys)
            case ast.Constant(value):
                return bool(value)
            case ast.Call(ast.Name("range"), [*_, ast.Constant(int(most))]):
                return most > 0
            case ast.IfExp(_, body, orelse):
                return self.holds(body, local, said) and self.holds(orelse, local, said)
            case ast.Call(ast.Name("some"), _):
                return True
            case ast.Call(ast.Attribute(_, "split"), [_, *_]):
                return True
            case ast.Call(ast.Name("product"), args):
                return all(self.holds(one, local, said) for one in args)
            case ast.ListComp(_, generators):
                return all(not one.ifs and self.holds(one.iter, local, said) for one in generators)
            case ast.Call(ast.Name("range" | "len"), [most]):
                return self.holds(most, local, said)
            case ast.Call(ast.Name("zip"), args, keywords) if keywords:  # strict: one stands for all
                return any(self.holds(one, local, said) for one in args)
            case ast.Call(ast.Name(name), [first, *_]) if name in SAME_LENGTH:
                return self.holds(first, local, said)
            case ast.Call(ast.Attribute(value, name), []) if name in SAME_LENGTH:
                return self.holds(value, local, said)
            case ast.BinOp(left, ast.Add() | ast.BitOr(), right):
                return self.holds(left, local, said) or self.holds(right, local, said)
            case ast.Name(name) if name in local:
                value = local[name]
                return self.holds(value, {key: one for key, one in local.items() if key != name}, said)
        if all(isinstance(part, ast.Name | ast.Attribute | ast.expr_context) for part in ast.walk(node)):
            value: Any = None
            first, *rest = ast.unparse(node).split(".")
            value = self.constants.get(first)
            for part in rest:
                value = getattr(value, part, None)
            return isinstance(value, int | list | tuple | dict | set | frozenset | str) and bool(value)
        return False


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a statement, without what belongs to a function or a loop in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*FUNCTIONS, ast.Lambda, ast.For, ast.While)):
            yield child
            yield from _own(child)


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of an expression that are surely evaluated."""
    yield node
    match node:
        case ast.Lambda() | ast.GeneratorExp():
            return
        case ast.ListComp(_, [first, *_]) | ast.SetComp(_, [first, *_]) | ast.DictComp(_, _, [first, *_]):
            children: Iterable[ast.AST] = [first.iter]
        case ast.IfExp(test):
            children = [test]
        case ast.BoolOp(_, [head, *_]):
            children = [head]
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from _evaluated(child)


def _always_true(test: ast.expr) -> bool:
    """`assert x if y else True` and its like."""
    match test:
        case ast.IfExp(_, body, orelse):
            return _always_true(body) or _always_true(orelse)
        case ast.BoolOp(ast.Or(), values):
            return any(map(_always_true, values))
        case ast.Constant(value):
            return bool(value)
    return False


def _says_some(test: ast.expr, text: str) -> bool:
    """Whether an assert says of the thing with this text that it holds something."""
    match test:
        case ast.BoolOp(ast.And(), values):
            return any(_says_some(one, text) for one in values)
        case ast.Compare(left, [ast.Eq() | ast.Gt() | ast.GtE()], [right]):
            empty = isinstance(right, ast.Constant) and not right.value and not isinstance(test.ops[0], ast.Gt)
            hollow = isinstance(right, ast.List | ast.Tuple) and not right.elts
            return ast.unparse(left) in (text, f"len({text})", f"set({text})") and not empty and not hollow
        case ast.Compare(_, [ast.In()], [right]):
            return ast.unparse(right) == text
    return ast.unparse(test) == text


def faults(reader: Reader, tree: ast.AST) -> list[str]:
    """The tests of a file that may pass without having asserted, and its asserts that cannot fail."""
    found = [
        f"line {node.lineno}: {node.name} may assert nothing"
        for node in reader.tests()
        if not reader.asserts(node.name)
    ]
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    return found + [f"line {node.lineno}: this assert cannot fail" for node in asserts if _always_true(node.test)]


@pytest.fixture(scope="module")
def readers() -> dict[str, tuple[Reader, ast.Module]]:
    """Every file of the tests, by the name of its module."""
    modules: dict[str, Reader] = {}
    found = {}
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        name = ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
        constants = vars(import_module(name)) if path.name.startswith("test_") else {}
        modules[name] = Reader(tree, constants, modules)
        found[name] = (modules[name], tree)
    return found


def test_every_test_surely_asserts_something(readers: dict[str, tuple[Reader, ast.Module]]) -> None:
    assert sum(1 for reader, _ in readers.values() for _ in reader.tests()) > 1000
    found = {name: faults(reader, tree) for name, (reader, tree) in readers.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("body", "sure"),
    [
        ("assert x", True),
        ("pass", False),
        ("if x: assert x", False),
        ("if x: assert x\nelse: assert not x", True),
        ("for one in x: assert one", False),
        ("for one in [1, 2]: assert one", True),
        ("for one in []: assert one", False),
        ("for one in SOME: assert one", True),
        ("for one in NONE: assert one", False),
        ("assert x\nfor one in x: assert one", True),
        ("assert len(x) == 2\nfor one in x: assert one", True),
        ("for one in [1]:\n  if one: continue\n  assert one", False),
        ("while x: assert x", False),
        ("try: f()\nexcept ValueError: assert x", False),
        ("with pytest.raises(ValueError): f()", True),
        ("with f(): assert x", True),
        ("if x: return\nassert x", False),
        ("assert x if y else True", False),
        ("assert x or True", False),
        ("helper(x)", True),
        ("y = [helper(one) for one in x]", False),
        ("y = lambda: helper(x)", False),
    ],
)
def test_the_check_itself_tells_them_apart(body: str, sure: bool) -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    tree = ast.parse(f"def helper(x):\n    assert x\ndef test_it(x, y):\n{lines}\n")
    reader = Reader(tree, {"SOME": (1,), "NONE": ()}, {})
    assert (faults(reader, tree) == []) is sure
