"""What docs/law.md says of the rules is what the content holds."""

import re
from pathlib import Path

from cds_service.advice.loaded_content import Content
from cds_service.content.library import RULE_FOLDERS

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "law.md").read_text("utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """First cell -> the other cells, of each table whose head begins with `| heading |`."""
    found: dict[str, list[str]] = {}
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                first, *rest = (cell.strip() for cell in row.strip("|").split(" | "))
                found.setdefault(first, []).extend(rest)
    return found


def test_the_four_criteria_and_rule_11_are_answered_for_every_kind_of_rule() -> None:
    told = rows("kind")
    assert set(told) == set(RULE_FOLDERS)
    for folder, cells in told.items():
        assert all(cells), folder
        what, criteria, question, *rest = cells
        assert [f"**{number}**" in criteria for number in range(1, 6)] == [True] * 4 + [False], folder
        assert what and question and rest, folder


def test_every_rule_that_makes_a_critical_card_is_named_and_no_other(content: Content) -> None:
    section = PAGE.split("### Cards that could be taken for alarms")[1].split("\n### ")[0]
    critical = {
        (item.folder, name) for name, item in content.library.rules.items() if item.rule.card.indicator == "critical"
    }
    told = {
        (found[1], name)
        for found in re.finditer(r"^\| (\w+) \| (`.*) \|$", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", found[2])
    }
    assert told == critical


def test_the_page_calls_the_software_neither_a_device_nor_none() -> None:
    for flat in (r"\bis not a medical device\b", r"\bis no medical device\b", r"\bis not a device\b"):
        assert not re.search(flat, PAGE), flat
    assert "No regulator has assessed this software" in PAGE
