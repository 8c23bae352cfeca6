"""The README is short, its links lead somewhere, and what it says to type is there."""

import re
from pathlib import Path

import pytest

from cds_service.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MOST_LINES = 135


def anchors_of(text: str) -> set[str]:
    """Headings as a git host names them."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_it_is_read_in_five_minutes() -> None:
    assert README.count("\n") <= MOST_LINES


def test_it_goes_in_a_users_order() -> None:
    heads = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert heads == ["Try", "Use", "Connect", "Set", "Run", "Develop", "Licence"]


@pytest.mark.parametrize("page", ["README.md", "docs/law.md", "docs/safety-case.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", (ROOT / page).read_text("utf-8"))
    assert links
    for file, anchor in links:
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), file
        assert not anchor or anchor in anchors_of(target.read_text("utf-8")), f"{file}#{anchor}"


def test_every_command_that_it_names_is_there() -> None:
    named = set(re.findall(r"magnesium-cds ([a-z-]+)", README)) - {"alone"}
    assert {"demo", "evaluate", "sandbox", "why"} <= named <= set(COMMANDS)


def test_it_calls_itself_neither_a_device_nor_none_and_says_that_sign_off_is_pending() -> None:
    text = " ".join(README.replace("*", "").split())
    assert "not assessed by any regulator" in text
    assert "Clinical sign-off of its content is pending" in text
    assert "not a medical device" not in text
