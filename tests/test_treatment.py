"""What is known about treatment stands on evidence pages, with its sources; a hospital links its own protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs
from cds_service.content.site import read_site
from cds_service.content.yamlfile import ContentError
from cds_service.sandbox.scenario import Scenario
from tests.support.some import some
from tests.test_scenarios import FILES, post, site_app, site_client

__all__ = ["site_app", "site_client"]

LINK = {"label": "Our protocol for a low magnesium", "url": "https://intranet.example.org/magnesium"}
SITE = {"protocols": {"low_magnesium": LINK}}


def first_of(rule: str) -> Scenario:
    return FILES[rule].scenarios[0]


def test_the_page_of_a_low_value_tells_how_it_is_treated_and_measured_again(client: FlaskClient) -> None:
    page = client.get("/evidence/low_serum_magnesium").get_data(as_text=True)
    assert "for reading, not an order" in page
    assert "10 mmol by mouth once or twice a day" in page
    assert "6 hours after the last infusion" in page
    assert "NHS Highland guideline on low magnesium" in page


def test_the_page_of_a_high_value_tells_of_calcium_and_dialysis(client: FlaskClient) -> None:
    page = client.get("/evidence/severely_high_serum_magnesium").get_data(as_text=True)
    assert "injectable calcium salt" in page
    assert "Dialysis is needed" in page
    assert "10 mmol by mouth" not in page


def test_a_rule_on_another_problem_tells_of_no_treatment(client: FlaskClient) -> None:
    assert "as sources describe it" not in client.get("/evidence/levothyroxine_timing").get_data(as_text=True)


def test_the_data_behind_a_page_hold_the_same(client: FlaskClient, content: Content) -> None:
    found = client.get("/evidence/low_serum_magnesium.json").json
    assert found["treatment"] == content.library.treatment["low_magnesium"].model_dump(mode="json")
    assert found["protocol"] is None


def test_no_amount_to_give_stands_on_a_card(client: FlaskClient, content: Content) -> None:
    for rule in ("low_serum_magnesium", "severely_low_serum_magnesium", "severely_high_serum_magnesium"):
        for card in some(post(client, content, first_of(rule))["cards"]):
            options = card["detail"].split("**Consider:**")[1].split("**Evidence:**")[0]
            assert not any(unit in options for unit in (" mmol", " mg", " g "))


def test_a_hospital_links_its_own_protocol_on_card_and_page(
    content: Content, site_client: Callable[[dict[str, Any]], FlaskClient]
) -> None:
    hospital = site_client(SITE)
    [low] = post(hospital, content, first_of("low_serum_magnesium"))["cards"]
    assert LINK | {"type": "absolute"} in low["links"]
    [high] = post(hospital, content, first_of("severely_high_serum_magnesium"))["cards"]
    assert LINK["label"] not in str(high["links"])
    assert LINK["url"] in hospital.get("/evidence/low_serum_magnesium").get_data(as_text=True)


@pytest.mark.parametrize(
    ("protocols", "told"),
    [
        ("{low_magnesum: {label: Ours, url: 'https://a.example'}}", "low_magnesium"),
        ("{low_magnesium: {label: Ours, url: 'http://a.example'}}", "protocols.low_magnesium.url"),
        ("{low_magnesium: {label: Ours, url: 'javascript:alert(1)'}}", "protocols.low_magnesium.url"),
        ("{low_magnesium: {label: Ours}}", "protocols.low_magnesium.url"),
    ],
)
def test_a_protocol_of_no_problem_or_without_a_secure_address_is_refused(
    protocols: str, told: str, content: Content
) -> None:
    with pytest.raises(ContentError) as refused:
        text = f"site: Test hospital\nprotocols: {protocols}\n"
        read_site(text, "site.yaml", content.library, frozenset(all_needs(content.library)))
    assert told in str(refused.value)
