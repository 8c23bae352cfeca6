"""Somebody looks for a rule or a claim: by a brand, a class, a condition; with filters; as a page, as JSON, as CSV."""

from __future__ import annotations

import csv
import io
import re

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.publish.csv_text import csv_text
from tests.doc_blocks import ROOT
from tests.web.pages import BROWSER


def rules(client: FlaskClient, query: str) -> list[str]:
    return [item["id"] for item in client.get(f"/evidence.json?{query}").json["rules"]]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("q=levothyroxine", "levothyroxine_timing"),
        ("q=Synthroid", "levothyroxine_timing"),
        ("q=FOSAMAX", "alendronic_acid_timing"),
        ("q=bisphosphonate", "alendronic_acid_timing"),
        ("q=keep+cipro", "ciprofloxacin_timing"),
        ("q=dialysis+oral", "magnesium_with_dialysis"),
        ("q=thyroxine", "levothyroxine_timing"),
        ("drug=levothyroxine", "levothyroxine_timing"),
        ("drug=Synthroid", "levothyroxine_timing"),
        ("drug=Bisphosphonate", "alendronic_acid_timing"),
    ],
)
def test_a_rule_is_found_by_its_words_its_drugs_and_their_brands(
    client: FlaskClient, content: Content, query: str, first: str
) -> None:
    found = rules(client, query)
    assert first in found
    assert len(found) < len(content.library.rules) / 3


def test_iron_is_not_found_in_spironolactone_nor_two_words_where_only_one_stands(client: FlaskClient) -> None:
    assert all("iron" in name or "ferrous" in name for name in rules(client, "q=iron"))
    assert rules(client, "q=levothyroxine+dialysis") == []


def test_brands_of_magnesium_find_the_rules_on_doses_that_are_kept_apart(client: FlaskClient) -> None:
    assert "levothyroxine_timing" in rules(client, "q=Mag-Ox")


def test_the_list_is_whole_and_begins_with_what_is_most_urgent(client: FlaskClient, content: Content) -> None:
    rows = client.get("/evidence.json").json["rules"]
    assert {row["id"] for row in rows} == set(content.library.rules)
    order = [("critical", "warning", "info").index(row["indicator"]) for row in rows]
    assert order == sorted(order) and {*order} == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "safety"), ("indicator", "critical"), ("certainty", "very_low"), ("strength", "conditional")],
)
def test_a_filter_leaves_what_has_its_value_and_all_of_that(client: FlaskClient, name: str, value: str) -> None:
    every = client.get("/evidence.json").json["rules"]
    kept = client.get(f"/evidence.json?{name}={value}").json["rules"]
    assert kept == [row for row in every if row[name] == value]
    assert 0 < len(kept) < len(every)


def test_page_and_csv_hold_the_same_rules_as_the_json(client: FlaskClient) -> None:
    query = "q=kidney&indicator=warning"
    wanted = rules(client, query)
    page = client.get(f"/evidence?{query}").text
    assert re.findall(r'href="/evidence/(\w+)">[^<]*</a>\n<p class="tags">', page) == wanted
    table = client.get(f"/evidence.csv?{query}")
    assert table.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.data.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == wanted
    assert all(row["url"].endswith(f"/evidence/{row['id']}") for row in rows)
    assert f'href="/evidence.csv?{query.replace("&", "&amp;")}"' in page


def test_what_is_not_found_is_never_an_all_clear_and_says_what_to_change(client: FlaskClient) -> None:
    page = client.get("/evidence?q=no+such+words&kind=safety").text
    assert "No rule was found. That is not an all-clear." in page
    assert "Try fewer filters" in page
    unknown = client.get("/evidence?drug=xyzzy").text
    assert "No drug is known here by the name that was asked for" in unknown


def test_an_interaction_that_has_no_rule_on_purpose_is_told_with_the_reason(
    client: FlaskClient, content: Content
) -> None:
    why = content.library.coverage["warfarin_note"].not_a_rule
    assert why and why.strip() in client.get("/evidence?q=warfarin").text
    assert client.get("/evidence.json?q=warfarin").json["noRuleOnPurpose"][0]["why"] == why.strip()
    assert "Known by name, without a rule: Paracetamol" in client.get("/evidence?q=acetaminophen").text


@pytest.mark.parametrize("path", ["/evidence.json", "/evidence.csv"])
def test_a_drug_that_nobody_knows_is_refused_to_a_machine_and_not_answered_by_an_empty_list(
    client: FlaskClient, path: str
) -> None:
    answer = client.get(f"{path}?drug=xyzzy")
    assert answer.status_code == 400
    assert "no drug is known here by this name" in answer.json["issue"][0]["details"]["text"]
    assert "xyzzy" not in answer.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/evidence.json?kind=nonsense", "kind is one of deficiency, intake, timing, safety, conditions"),
        ("/evidence?strength=weak", "strength is one of strong, conditional"),
        ("/claims.csv?verdict=maybe", "verdict is one of supported"),
    ],
)
def test_a_value_that_no_filter_has_is_answered_by_those_that_it_has(client: FlaskClient, path: str, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400 and says in answer.json["issue"][0]["details"]["text"]
    page = client.get(path, headers=BROWSER)
    assert page.status_code == 400 and says in page.text and page.content_type.startswith("text/html")


def test_what_is_asked_stands_in_the_form_as_text(client: FlaskClient) -> None:
    page = client.get('/evidence?q="><script>alert(1)</script>&drug="><b>x').text
    assert "<script" not in page and "<b>x" not in page and "&lt;script&gt;" in page
    assert client.get("/evidence?_external=1&_scheme=javascript&endpoint=x").status_code == 200


def test_claims_are_found_by_words_verdict_topic_and_certainty_those_that_are_wrong_first(
    client: FlaskClient, content: Content
) -> None:
    every = client.get("/claims.json").json["claims"]
    assert len(every) == len(content.library.claims)
    assert every[0]["verdict"] == "contradicted" and every[-1]["verdict"] == "supported"
    kept = client.get("/claims.json?topic=ms&verdict=contradicted&certainty=very_low").json["claims"]
    assert kept and {(one["topic"], one["verdict"], one["certainty"]) for one in kept} == {
        ("ms", "contradicted", "very_low")
    }
    rows = list(csv.DictReader(io.StringIO(client.get("/claims.csv?topic=ms").data.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == [one["id"] for one in client.get("/claims.json?topic=ms").json["claims"]]
    assert "it was not looked at here" in client.get("/claims?q=no+such+words").text


def test_no_cell_of_a_table_runs_in_a_spreadsheet() -> None:
    text = csv_text(["a", "b"], [["=1+1", -1], ["@x", None]])
    assert text == '\ufeff"a","b"\r\n"\'=1+1","-1"\r\n"\'@x",""\r\n'
    assert csv_text(["a"], [[["=1", "b"]]], mark=False) == '"a"\r\n"\'=1; b"\r\n'


def test_what_people_get_as_csv_is_written_in_one_place() -> None:
    """The others write tables of the content, for this service alone, or read them."""
    writers = {path.name for path in ROOT.joinpath("cds_service").rglob("*.py") if "csv.writer(" in path.read_text()}
    assert writers == {"csv_text.py", "build.py"}
