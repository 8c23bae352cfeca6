"""YAML files read strictly, with the line of every key, so that a fault can be named by file, key and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import yaml

from cds_service.spelling import nearest

MAX_BYTES = 1024 * 1024
_DEEPEST = 20
_SHORT = 8 * 1024
KeyPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_DECIMAL = re.compile(r"[-+]?[0-9]+\.[0-9]+\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in one content or site file. `line` counts from 1; 0 where the whole file is meant."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key + ': ' if self.key else ''}{self.message}"


class ContentError(Exception):
    """Content or a site file cannot be used. `faults` holds every fault, not only the first."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain data (decimals exact, dates as `date`) and the line of every key path."""

    file: str
    data: Any
    lines: dict[KeyPath, int]

    def fault(self, path: KeyPath, message: str) -> Fault:
        """A fault at `path`, or at the nearest enclosing key that stands in the file."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return Fault(self.file, self.lines.get(known, 0), ".".join(str(part) for part in path), message)

    def unknown(self, path: KeyPath, name: str, known: Iterable[str], what: str) -> Iterator[Fault]:
        """A fault where `name`, which stands at `path`, is none of the known ones."""
        if name not in known:
            yield self.fault(path, f"no {what} {name}{nearest(name, known)}")

    def unknown_in(self, path: KeyPath, names: Iterable[str], known: Iterable[str], what: str) -> Iterator[Fault]:
        """The same of every name of a list at `path`."""
        for index, name in enumerate(names):
            yield from self.unknown((*path, index), name, known, what)


def parse(text: str, file: str) -> Document:
    """Read one YAML document. Raises ContentError on syntax faults, duplicate keys, tags, anchors or size."""
    if len(text.encode()) > MAX_BYTES:
        raise ContentError([Fault(file, 0, "", f"larger than {MAX_BYTES} bytes")])
    try:
        if len(text) > _SHORT and (line := _too_deep(text)):
            raise ContentError([Fault(file, line, "", "nested too deeply")])
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ContentError([Fault(file, line, "", f"not YAML: {error.problem}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ContentError([Fault(file, 0, "", "not YAML: holds a character that YAML does not allow")]) from error
    lines: dict[KeyPath, int] = {}
    faults: list[Fault] = []
    data = None if node is None else _build(node, (), lines, faults, file, 0)
    if faults:
        raise ContentError(faults)
    return Document(file, data, lines)


def _too_deep(text: str) -> int:
    """The line in which a text nests deeper than any of ours, 0 if none does. Composing such a text may end the
    process, which is no matter in a short one.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                return event.start_mark.line + 1 if event.start_mark else 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return 0


def _build(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], faults: list[Fault], file: str, depth: int
) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if depth > _DEEPEST:
        faults.append(Fault(file, line, ".".join(map(str, path)), "nested too deeply"))
        return None
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                faults.append(Fault(file, key_node.start_mark.line + 1, "", "a key must be plain text"))
                continue
            here = (*path, str(key))
            lines[here] = key_node.start_mark.line + 1
            if key in result:
                faults.append(Fault(file, lines[here], ".".join(map(str, here)), "stands twice"))
            result[key] = _build(value_node, here, lines, faults, file, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), lines, faults, file, depth + 1) for i, item in enumerate(node.value)]
    if not node.tag.startswith("tag:yaml.org,2002:"):
        faults.append(Fault(file, line, ".".join(map(str, path)), "tags are not allowed"))
        return None
    return _scalar(node) if isinstance(node, yaml.ScalarNode) else None


def _scalar(node: yaml.ScalarNode) -> Any:
    """YAML 1.2 core scalars only: `no` and `on` stay text; decimals are exact."""
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in ("null", "~", ""):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.match(text):
        return int(text)
    if _DECIMAL.match(text):
        return Decimal(text)
    if _DATE.match(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return text
    return text
