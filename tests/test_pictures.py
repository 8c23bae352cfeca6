"""The pictures of the README show what the service says now; `python -m tests.pictures` makes them anew."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.pictures import FOLDER, MOST_BYTES, SHOWN, WORDS, hash_of, words_of

MAKE = "run `python -m tests.pictures --sandbox FOLDER` and look at docs/pictures"


@pytest.fixture(scope="module")
def service(make_app: Callable[..., Flask]) -> FlaskClient:
    """A service that nobody has asked anything yet."""
    return make_app().test_client()


@pytest.mark.parametrize("name", WORDS)
def test_a_picture_shows_the_words_that_the_service_says_now(service: FlaskClient, name: str) -> None:
    words = WORDS[name](service)
    assert len(words.split()) > 10
    assert json.loads(SHOWN.read_text("utf-8"))[name]["words"] == hash_of(words), f"{MAKE}: {name}.png is old"


def test_each_picture_is_the_one_that_was_made_with_its_words_and_none_is_large() -> None:
    shown = json.loads(SHOWN.read_text("utf-8"))
    assert shown.keys() == WORDS.keys() == {path.stem for path in FOLDER.glob("*.png")}
    for name, hashes in shown.items():
        picture = (FOLDER / f"{name}.png").read_bytes()
        assert hashes["picture"] == hash_of(picture), f"{MAKE}: {name}.png"
        assert len(picture) <= MOST_BYTES


def test_every_picture_of_a_page_is_there_and_says_what_it_shows() -> None:
    pages = [FOLDER.parent.parent / "README.md", *sorted(FOLDER.parent.glob("*.md"))]
    used = set()
    for page in pages:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text("utf-8")):
            assert len(text.split()) > 4, f"{page.name}: {target} needs words for who cannot see it"
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
            used.add((page.parent / target).resolve().stem)
    assert {"card", "plan", "try"} <= used


def test_only_the_words_of_the_main_part_count_and_no_address_of_a_machine() -> None:
    html = "<h1>Not this</h1><main><p>Open http://127.0.0.1:8123/x</p><style>p {}</style> <b>now</b></main><p>nor</p>"
    assert words_of(html) == "Open /x now"
    assert words_of("<main>card 4d8165b6-b602-4824-90de-3b143845e7b1</main>") == "card "
