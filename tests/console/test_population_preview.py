"""The preview page over a screened population: offered where a folder is named, and it says what it cannot answer."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.console.browser import DESKTOP, PHONE, chromium, served, sign_in, tab, without_barriers
from tests.console.support import Visitor, person, visitor
from tests.population.screened import fact_rows, write_asked, write_folder

HIGHER = (
    "site: Test hospital\nrules:\n  shared:\n    thresholds:\n"
    "      lower_limit: {value: 0.80, reason: Our own interval}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("screened") / "out", fact_rows(every=25))


@pytest.fixture
def anna(make_app: Callable[..., Flask], folder: Path) -> Iterator[Visitor]:
    yield visitor(make_app(console=True, managed_by="console", screening=folder), "anna", ["viewer"])


def asked(anna: Visitor, text: str = HIGHER, **fields: Any) -> Any:
    usual = {"what": "file", "file": (io.BytesIO(text.encode()), "draft.yaml"), "against": "nothing",
             "cohort": "population", "show": "1"}  # fmt: skip
    return anna.post("/preview", **(usual | fields))


def test_a_higher_limit_says_who_gets_a_card(anna: Visitor) -> None:
    assert "The screened population" in anna.get("/preview").text
    found = asked(anna)
    assert found.status_code == 200, found.text
    assert "quiet -&gt; fired" in found.text
    assert "the others cannot change" in found.text


def test_codes_of_the_site_are_not_answered_from_kept_facts(anna: Visitor) -> None:
    other = (
        "site: Test hospital\ninputs:\n  medication_statements: {available: false, reason: They are not kept here}\n"
    )
    found = asked(anna, other)
    assert found.status_code == 400
    assert "charts are read differently" in found.text, found.text


def test_what_was_not_exported_stands_on_the_page_and_in_its_json(
    make_app: Callable[..., Flask], folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_asked(copy, export={"missing": ["2 files of Observation failed."], "remarks": []})
    anna = visitor(make_app(console=True, managed_by="console", screening=copy), "anna", ["viewer"])
    found = asked(anna)
    assert "Not all was exported from the server" in found.text
    assert "2 files of Observation failed." in found.text
    told = asked(anna, show="", json="1").get_json()
    assert told["not_exported"] == ["2 files of Observation failed."]


def test_a_folder_that_is_gone_is_said(make_app: Callable[..., Flask], folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    anna = visitor(make_app(console=True, managed_by="console", screening=copy), "anna", ["viewer"])
    shutil.rmtree(copy)
    found = asked(anna)
    assert found.status_code == 400
    assert "The screened population cannot answer this" in found.text


def test_it_is_not_offered_where_no_folder_is_named(make_app: Callable[..., Flask]) -> None:
    anna = visitor(make_app(console=True, managed_by="console"), "anna", ["viewer"])
    assert "The screened population" not in anna.get("/preview").text


def test_who_changes_is_shown_to_everybody_on_a_desk_and_on_a_phone(
    make_app: Callable[..., Flask], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "draft.yaml").write_text(HIGHER)
    app = make_app(console=True, managed_by="console", screening=folder, data_dir=tmp_path / "data")
    person(app.extensions["advisor"].store, "anna@hospital.example")
    said: list[str] = []
    with chromium() as browser, served(app) as base:
        for name, size in (("desk", DESKTOP), ("phone", PHONE)):
            page = tab(browser, base, said, viewport=size)
            sign_in(page, "anna@hospital.example")
            page.goto("/console/preview")
            page.get_by_label("Site file").set_input_files(tmp_path / "draft.yaml")
            page.get_by_label("Compared with").select_option("nothing")
            page.get_by_label("The screened population").check()
            page.get_by_role("button", name="Show what would change").click()
            page.get_by_text("quiet -> fired").first.wait_for()
            assert without_barriers(page, name) == []
    assert said == []
