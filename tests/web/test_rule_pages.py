"""A rule's own page: its card, its patients, and what this hospital set; the same as JSON."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.publish.examples import ExampleBook
from cds_service.sandbox.scenario import WRITTEN_FOR, scenario_files
from tests.conftest import NOW
from tests.support.some import some

HEADINGS = ("The card", "Evidence, and what is not known", "Logic", "Fires for", "Does not fire for",
            "Says that it could not check", "Thresholds", "Sources", "Source attributes")  # fmt: skip


def test_the_page_answers_what_how_sure_from_where_and_what_was_not_checked_before_the_logic(
    client: FlaskClient,
) -> None:
    page = client.get("/evidence/low_serum_magnesium").text
    first, _, rest = page.partition('<h2 id="logic">')
    for text in (
        "Low magnesium 0.58 mmol/L (2 d ago), limit 0.70 mmol/L",
        "Repeating serum magnesium with potassium, calcium and creatinine.",
        "Moderate certainty, strong recommendation",
        "RCPA",
        "Not checked:",
        "Known limits:",
    ):
        assert text in first, text
    assert "Fires for" in rest


def test_what_is_counted_has_no_unit(client: FlaskClient, content: Content) -> None:
    assert "At least 2 of" in client.get("/evidence/no_recent_magnesium_with_two_risks").text
    for rule in content.library.rules:
        assert not re.search(r"\b\d+ 1 (of|different|<)", client.get(f"/evidence/{rule}").text), rule


def test_headings_are_the_same_and_in_the_same_order_on_every_page(client: FlaskClient) -> None:
    for rule in ("low_serum_magnesium", "levothyroxine_timing", "magnesium_with_dialysis"):
        page = client.get(f"/evidence/{rule}").text
        places = [page.index(f">{heading}</h2>") for heading in HEADINGS]
        assert places == sorted(places), rule


def test_patients_stand_under_what_the_rule_does_for_them_in_plain_words(client: FlaskClient) -> None:
    page = client.get("/evidence/levothyroxine_timing").text
    _, _, page = page.partition('<h2 id="fires">')
    fires, _, rest = page.partition('<h2 id="quiet">')
    quiet, _, unchecked = rest.partition('<h2 id="not-checked">')
    assert "Takes or was given: levothyroxine. Being ordered: magnesium aspartate." in fires
    assert "Magnesium oxide at 12:00, exactly 4 hours after levothyroxine at 08:00, is apart" in quiet
    assert "Not sent by the EHR: medication statements." in unchecked
    assert "medication statements not sent" in unchecked


def test_every_outcome_of_an_example_is_what_its_scenario_expects(content: Content, app: Flask) -> None:
    """With no site values. (That the service does what scenarios expect is held through HTTP elsewhere.)"""
    rulebook, book = app.extensions["advisor"].current.on(NOW.date()), ExampleBook(content)
    for name, file in some(scenario_files().items()):
        examples = book.examples(content.library.rules[name], rulebook)
        expected = [(case.expect.outcome, case.expect.outcome) for case in file.scenarios if not case.site]
        assert [(each.outcome, each.usual) for each in examples.listed] == expected, name
        assert all(each.tried for each in examples.listed)
        assert len(examples.listed) + examples.with_site_values == len(file.scenarios)
        assert all(len(each.patient) > 1 and "None" not in " ".join(each.patient) for each in examples.listed), name
        assert examples.card, name


def test_the_patients_are_looked_at_when_their_files_mean() -> None:
    assert WRITTEN_FOR == NOW


def test_examples_are_made_once_for_the_values_in_force(
    content: Content, app: Flask, hospital: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, loaded = ExampleBook(content), content.library.rules["low_serum_magnesium"]
    plain, own = (each.extensions["advisor"].current.on(NOW.date()) for each in (app, hospital))
    first = book.examples(loaded, plain)
    assert book.examples(loaded, plain) is first
    assert book.examples(loaded, own) is not first


def test_the_json_of_a_rule_holds_what_its_page_shows(reader: FlaskClient) -> None:
    body = reader.get("/evidence/low_serum_magnesium.json").json
    assert body["indicator"] == "warning" and body["shownHere"] == "shown"
    assert body["examples"]["card"]["summary"].startswith("Low magnesium 0.58 mmol/L")
    assert {item["where"] for item in body["setHere"]} == {"", "emergency encounters"}
    page = reader.get("/evidence/low_serum_magnesium").text
    for group in ("fires_for", "does_not_fire_for", "could_not_be_checked_for"):
        assert body["examples"][group]
        for each in body["examples"][group]:
            assert each["name"].replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;") in page


def test_a_threshold_that_the_site_set_is_told_with_its_reason_and_its_patients_with_what_they_now_get(
    reader: FlaskClient,
) -> None:
    page = reader.get("/evidence/low_serum_magnesium").text
    assert "0.60 mmol/L; the rule&#39;s own value is 0.70." in page
    assert "Our laboratory&#39;s own interval" in page
    assert "Only for emergency encounters." in page and "Measured on arrival" in page
    changed = [
        each for each in reader.get("/evidence/low_serum_magnesium.json").json["examples"]["does_not_fire_for"]
        if each.get("outcomeWithoutSiteValues") == "fired"
    ]  # fmt: skip
    assert "Just below the limit at 0.69 mmol/L" in [each["name"] for each in changed]
    assert "Different here: with the rule's own values it fires." in page
    assert "0.60 mmol/L; the rule" not in reader.get("/evidence/levothyroxine_timing").text


def test_a_rule_that_the_site_silenced_or_switched_off_says_so_on_its_page_and_in_the_list(reader: FlaskClient) -> None:
    silent = reader.get("/evidence/ciprofloxacin_timing").text
    assert "Its cards are not shown" in silent and "Pharmacy tells of it" in silent and "silent here" in silent
    hidden = reader.get("/evidence/magnesium_for_muscle_cramps").text
    assert "It is switched off" in hidden and "Not wanted by the board" in hidden
    assert "Not tried here" in hidden
    states = {row["id"]: row["shownHere"] for row in reader.get("/evidence.json").json["rules"]}
    assert states["ciprofloxacin_timing"] == "silent" and states["magnesium_for_muscle_cramps"] == "hidden"
    assert states["low_serum_magnesium"] == "shown"
    assert "silent here" in reader.get("/evidence?q=ciprofloxacin").text


@pytest.mark.parametrize(
    "path", ["/evidence", "/claims", "/evidence/changes", "/evidence/low_serum_magnesium", "/claims/SC-003"]
)
def test_every_page_names_its_other_forms_for_machines_and_for_people(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    named = [line.split('href="')[1].split('"')[0] for line in page.splitlines() if 'rel="alternate"' in line]
    assert f"{path}.json" in named
    for address in named:
        assert client.get(address).status_code == 200
        assert f'<a href="{address}">' in page
