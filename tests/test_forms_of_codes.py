"""A code that has not the form of its system is the hospital's own: it is not read as the standard's."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.expected import outcome_of
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.terminology.index import Vocabulary
from tests.conftest import NOW, shipped
from tests.test_not_identified import EXPECT, GOOD_KIDNEYS, POOR_KIDNEYS, answer, drafted, order, problem, result, told
from tests.test_scenarios import TEMPLATES

RXNORM, SNOMED, LOINC = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct", "http://loinc.org"
ICD10CM, ATC = "http://hl7.org/fhir/sid/icd-10-cm", "http://www.whocc.no/atc"


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("http://snomed.info/sct", "MG-LOCAL"),
        ("http://hl7.org/fhir/sid/icd-10", "4711"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "MYAS"),
        ("http://snomed.info/sct", "9163700499999999999"),
        ("http://snomed.info/sct", "91637004X"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "Z"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "MYASTHENIE"),
        ("http://loinc.org", "75326-9"),  # it says that there is a problem, not which
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "6809"),
    ],
)
def test_a_problem_whose_code_is_none_of_its_system_is_not_known_but_its_words_may_be(
    system: str, code: str, client: FlaskClient, content: Content
) -> None:
    drafts = [{"drug": "magnesium_sulfate", "route": "intravenous", "amount": 2, "unit": "g"}]
    for text, words in (
        ("strange muscles", "read here: 'strange muscles'"),
        ("Myasthenia gravis", "myasthenia gravis on"),
    ):
        coded = problem(coding=[{"system": system, "code": code}], text=text)
        found = answer(client, content, hook="order-sign", drafts=drafts, raw=[coded], labs=GOOD_KIDNEYS)
        assert words in told(found)


@pytest.mark.parametrize("code", ["MG", "Magnesium", "2601", "19123", "19123_9", "19123-8", "2601-9", "-3", "19123-9A"])
def test_a_local_code_under_the_address_of_loinc_is_no_other_test(
    code: str, client: FlaskClient, content: Content
) -> None:
    case = {"name": "a local code", "kind": "near_miss", "expect": EXPECT, "raw": [result("19123-9")]}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case), TEMPLATES)
    body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["code"]["coding"][0]["code"] = code
    found = client.post("/cds-services/magnesium-patient-view", json=body).get_json()
    assert f"no code that is read here: '{code.replace('_', ' ')}'" in told(found)


@pytest.mark.parametrize("code", ["2777-1", "24323-8", "2951-2"])
def test_a_result_of_another_test_under_the_key_is_known_as_that(
    code: str, client: FlaskClient, content: Content
) -> None:
    case = {"name": "another test", "kind": "near_miss", "expect": EXPECT, "raw": [result("19123-9")]}
    body = Builder(content.library, NOW).request(Scenario.model_validate(case), TEMPLATES)
    body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["code"]["coding"][0]["code"] = code
    assert client.post("/cds-services/magnesium-patient-view", json=body).get_json()["cards"] == []


@pytest.mark.parametrize("code", ["N185LOCAL", "N18LOCAL5", "N18.5.1.2.3", "N18_5"])
def test_a_code_that_only_begins_like_one_of_the_standard_is_none_of_it(
    code: str, client: FlaskClient, content: Content
) -> None:
    coded = problem(coding=[{"system": ICD10CM, "code": code}], text="something of the house")
    found = answer(client, content, hook="order-sign", drafts=["magnesium_oxide"], raw=[coded], labs=GOOD_KIDNEYS)
    assert outcome_of("magnesium_with_dialysis", found)["outcome"] == "not_evaluated"
    assert "'something of the house'" in told(found)


@pytest.mark.parametrize("code", ["N18.5", "N185", "n18.5", "N18.5+", "N18.5*"])
def test_a_code_as_the_standard_has_it_is_read(code: str, client: FlaskClient, content: Content) -> None:
    coded = problem(coding=[{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}])
    found = answer(client, content, hook="order-sign", drafts=["magnesium_oxide"], raw=[coded], labs=GOOD_KIDNEYS)
    assert outcome_of("magnesium_with_dialysis", found)["outcome"] == "fired"


@pytest.mark.parametrize("system", [RXNORM, SNOMED, ATC])
@pytest.mark.parametrize("code", ["Magnesium oxide 400 mg", "Magnesiumsulfat"])
def test_a_name_in_the_place_of_a_code_is_read_as_a_name(
    system: str, code: str, client: FlaskClient, content: Content
) -> None:
    named = order(medicationCodeableConcept={"coding": [{"system": system, "code": code}]})
    assert "kidney failure range" in told(drafted(client, content, named, labs=POOR_KIDNEYS))


@pytest.mark.parametrize("code", ["MGSO4", "6853x", "RX-4711", "A1", "A12.LOCAL.7", "0"])
@pytest.mark.parametrize("system", [RXNORM, ATC])
def test_a_draft_of_nothing_but_a_local_code_is_called_by_it(
    system: str, code: str, client: FlaskClient, content: Content
) -> None:
    coded = order(medicationCodeableConcept={"coding": [{"system": system, "code": code}]})
    words = told(drafted(client, content, coded, labs=GOOD_KIDNEYS))
    assert f"an ordered medicine that is not known here: '{code}'" in words


def test_every_code_of_the_content_has_the_form_of_its_system() -> None:
    vocabulary: Vocabulary = shipped().vocabulary
    told: list[tuple[Any, str]] = []
    for entry in vocabulary.concepts.values():
        told += [(row.system, row.code) for row in entry.codes]
        told += [("rxnorm", code) for code in entry.rxnorm_ingredients]
        told += [("atc", code) for code in (*entry.atc, *entry.atc_prefixes)]
        told += [("snomed", code) for code in entry.snomed]
        told += [("icd10cm", code) for code in (*entry.icd10cm, *entry.icd10cm_prefixes)]
        told += [("icd10", code) for code in entry.icd10] + [("icd9cm", code) for code in entry.icd9cm]
    assert len(told) > 1500
    assert [pair for pair in told if not vocabulary._systems[pair[0]].holds(pair[1])] == []
