"""The first page, and that nobody sees a page of the console who is not signed in."""

from __future__ import annotations

from flask import Flask

from tests.console.support import Visitor, visitor


def test_who_is_not_signed_in_is_asked_to(console: Flask) -> None:
    answer = visitor(console).get("/account")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in?next=/console/account")


def test_the_first_page_says_what_is_in_force(anna: Visitor) -> None:
    page = anna.get()
    assert page.status_code == 200
    assert "In force" in page.text and "this console" in page.text


def test_without_the_setting_there_is_no_console(client) -> None:
    assert client.get("/console").status_code == 404
    assert client.get("/console/sign-in").status_code == 404
