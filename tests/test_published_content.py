"""What the service publishes of its content: web pages, JSON, FHIR; all of it, and valid."""

from __future__ import annotations

import pytest
from fhir.resources.R4B.plandefinition import PlanDefinition
from fhir.resources.R4B.valueset import ValueSet
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from tests.support.some import some
from tests.test_scenarios import FILES, post


def test_every_rule_has_a_web_page_with_its_sources_and_all_thirteen_attributes(
    client: FlaskClient, content: Content
) -> None:
    for name, loaded in some(content.library.rules.items()):
        response = client.get(f"/evidence/{name}")
        assert response.status_code == 200
        assert "script" not in response.headers["Content-Security-Policy"]
        assert response.text.count("<dt>") == 13, name
        for key in loaded.rule.evidence.references:
            assert content.library.references[key].citable


def test_every_rule_is_a_valid_plan_definition_with_graded_evidence(client: FlaskClient, content: Content) -> None:
    for name in some(content.library.rules):
        body = client.get(f"/fhir/PlanDefinition/{name}").json
        PlanDefinition.model_validate(body)
        urls = {item["url"] for item in body["action"][0]["documentation"][0]["extension"]}
        assert urls == {
            "http://hl7.org/fhir/StructureDefinition/cqf-qualityOfEvidence",
            "http://hl7.org/fhir/StructureDefinition/cqf-strengthOfRecommendation",
        }


def test_every_concept_is_a_valid_value_set(client: FlaskClient, content: Content) -> None:
    for name in some(content.library.terminology):
        assert ValueSet.model_validate(client.get(f"/fhir/ValueSet/{name}").json)


def test_every_rule_is_json_with_its_thresholds(client: FlaskClient, content: Content) -> None:
    for name, loaded in some(content.library.rules.items()):
        body = client.get(f"/evidence/{name}.json").json
        assert len(body["sourceAttributes"]) == 13
        assert {row["name"] for row in body["thresholds"]} >= set(loaded.rule.thresholds)


def test_all_claims_are_listed_and_found_by_words(client: FlaskClient, content: Content) -> None:
    assert len(client.get("/claims.json").json["claims"]) == len(content.library.claims)
    found = client.get("/claims.json?q=multiple sclerosis").json["claims"]
    assert 0 < len(found) < len(content.library.claims)
    assert client.get("/claims?q=%3Cscript%3E").text.count("<script") == 0


def test_a_browser_may_send_the_search_form_to_us_and_nowhere_else(client: FlaskClient) -> None:
    page = client.get("/claims")
    assert '<form method="get" action="/claims"' in page.text
    assert "form-action 'self';" in page.headers["Content-Security-Policy"]


def test_a_source_that_could_not_be_checked_is_never_shown_as_one(client: FlaskClient, content: Content) -> None:
    seen = 0
    for name, claim in content.library.claims.items():
        text = client.get(f"/claims/{name}").text
        for key in claim.references:
            reference = content.library.references[key]
            if not reference.citable and reference.url:
                seen += 1
                assert reference.url not in text, name
    assert seen, "no claim names an unchecked source, so this test says nothing"


@pytest.mark.parametrize(
    "address", ["/evidence/nothing", "/claims/nothing", "/fhir/PlanDefinition/x", "/fhir/ValueSet/x"]
)
def test_what_is_not_there_is_an_operation_outcome(client: FlaskClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 404
    assert response.json["resourceType"] == "OperationOutcome"


def test_a_card_that_touches_a_contradicted_claim_links_to_one(client: FlaskClient, content: Content) -> None:
    library = content.library
    contradicted = {name for name, claim in library.claims.items() if claim.verdict == "contradicted"}
    touched = [name for name, loaded in library.rules.items() if contradicted & set(loaded.rule.claims)]
    assert len(touched) > 5
    for rule in touched:
        case = next(s for s in FILES[rule].scenarios if s.kind == "fires" and not s.site)
        links = [link["url"] for card in post(client, content, case)["cards"] for link in card["links"]]
        linked = {url.rpartition("/")[2] for url in links if "/claims/" in url}
        assert linked & contradicted & set(library.rules[rule].rule.claims), rule
