"""The fenced blocks of the README and the docs, and what the comment before each says that it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Written by `magnesium-cds catalogue`, of which a test of its own holds that they are current.
GENERATED = ("docs/reference/", "docs/ehrs/", "docs/what-is-read.md")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL
)
COMMENT = re.compile(r"<!-- (?P<says>[^\n]*) -->\s*\Z")
WORDS = ("not run", "run by", "serves", "exit", "file", "holds")


@dataclass(frozen=True)
class Block:
    """One block: `marks` are the words of the comment before it, such as {"holds": "site"}."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page that people write, from the root of the project."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [file.relative_to(ROOT).as_posix() for file in found]
    return [name for name in names if not name.startswith(GENERATED)]


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The blocks of a page in order, without the indent of a list."""
    return list(_blocks(page, (ROOT / page).read_text("utf-8") if text is None else text))


def _blocks(page: str, text: str) -> Iterator[Block]:
    end = 0
    for found in FENCE.finditer(text):
        comment = COMMENT.search(text[end : found.start()])
        inside = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], inside, marks(comment["says"] if comment else ""))
        end = found.end()


def marks(says: str) -> dict[str, str]:
    """'file: a.toml, holds: settings' -> {"file": "a.toml", "holds": "settings"}; a reason goes to its end."""
    name, _, rest = says.partition(":")
    if name in ("not run", "run by"):
        return {name: rest.strip()}
    parts = (part.partition(":") for part in says.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in parts}


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Of a `console` block each command and what is shown of it; of an `sh` block all of it, and nothing."""
    if block.language == "sh":
        yield block.text, ""
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        typed = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        yield "".join(lines[:typed]), "".join(lines[typed:])


def shows(shown: str, came: str) -> bool:
    """Whether what came is what is shown, where `...` stands for anything; blanks at the ends of lines do not count."""
    wanted, found = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (shown, came))
    pattern = ".*?".join(re.escape(part) for part in wanted.split("..."))
    return re.fullmatch(pattern, found, re.DOTALL) is not None
