"""What timing pages say of their hours: in whole, in both directions, and from where."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.content.pages import Page, Separate
from cds_service.hooks.app import Content


def timing_pages(content: Content) -> Iterator[tuple[str, Page, Separate]]:
    """Every page that keeps two doses apart, with its block."""
    for name, loaded in content.library.pages.items():
        if loaded.page.separate is not None:
            yield name, loaded.page, loaded.page.separate


def test_a_summary_with_one_number_of_hours_names_the_longer_wait(content: Content) -> None:
    for name, page, _ in timing_pages(content):
        summary = page.card.summary or ""
        assert ("{hours_before}" in summary) == ("{hours_after}" in summary), f"{name}: say hours_apart"
    general = content.library.wording.separate["general_rule"]
    assert "{hours_before}" not in general.summary + general.summary_same
