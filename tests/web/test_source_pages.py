"""From a source to everything that rests on it, and back."""

from __future__ import annotations

import csv
import io

from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content


def test_a_source_names_the_rules_the_thresholds_and_the_claims_that_rest_on_it(
    client: FlaskClient, content: Content
) -> None:
    page = client.get("/sources/alfred_rcpa_aacb")
    assert page.status_code == 200
    assert 'href="/evidence/low_serum_magnesium"' in page.text
    assert content.library.shared_thresholds["lower_limit"].label in page.text
    body = client.get("/sources/alfred_rcpa_aacb.json").json
    assert "low_serum_magnesium" in body["rules"]
    assert {"of": "shared", "label": content.library.shared_thresholds["lower_limit"].label} in body["thresholds"]
    assert 'href="/sources/alfred_rcpa_aacb"' in client.get("/evidence/low_serum_magnesium").text


def test_the_list_holds_every_source_that_was_checked_and_no_other(client: FlaskClient, content: Content) -> None:
    cited = {key for key, item in content.library.references.items() if item.citable}
    rows = client.get("/sources.json").json["sources"]
    assert {row["id"] for row in rows} == cited
    table = list(csv.DictReader(io.StringIO(client.get("/sources.csv").data.decode("utf-8-sig"))))
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    unread = next(key for key in content.library.references if key not in cited)
    assert client.get(f"/sources/{unread}").status_code == 404


def test_a_source_is_found_by_its_words_and_what_is_not_found_says_what_to_change(client: FlaskClient) -> None:
    found = client.get("/sources.json?q=synthroid").json["sources"]
    assert found and all("synthroid" in f"{one['name']} {one['title']}".lower() for one in found)
    assert "Try one word instead of several" in client.get("/sources?q=no+such+words").text
