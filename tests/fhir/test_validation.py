"""Only what a rule uses is validated in full, and what is wrong is told without a value."""

from typing import Any

import pytest

from cds_service.fhir import warm
from cds_service.patient import Source
from tests.fhir.charts import LEVOTHYROXINE, bundle, condition, magnesium, order, patient, read, without

SECRET = "Mona Geheim"


def places(resource: dict[str, Any]) -> str:
    key = {"Observation": "serum_magnesium", "Condition": "conditions"}[resource["resourceType"]]
    source = Source(resource["resourceType"], resource["id"])
    return read(**{key: bundle(resource)}).invalid([source]).get(source, "")


def test_valid_resources_are_not_named() -> None:
    chart = read(
        patient=patient(),
        conditions=bundle(condition()),
        medications=bundle(order()),
        serum_magnesium=bundle(magnesium()),
    )
    assert len(chart.sources) == 4
    assert chart.invalid(chart.sources) == {}


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        (magnesium(issued=SECRET), "issued"),
        (magnesium(method=SECRET), "method"),
        (magnesium(performer=[{"reference": 7}]), "performer[0].reference"),
        (magnesium(**{SECRET: 1}), "?"),
        (magnesium(MonaGeheim=1), "?"),
        (condition(onsetDateTime=SECRET), "onsetDateTime"),
        (condition(onsetDateTime="2020", onsetString=SECRET), "resource"),
    ],
)
def test_the_place_of_a_fault_is_told_and_never_its_value(resource: dict[str, Any], place: str) -> None:
    found = places(resource)
    assert found == place
    assert "Mona" not in found


def test_the_second_look_at_the_same_bytes_says_the_same() -> None:
    assert places(magnesium(issued=SECRET)) == places(magnesium(issued=SECRET)) == "issued"


def test_an_unknown_source_is_passed_over() -> None:
    assert read().invalid([Source("Observation", "nobody")]) == {}


def test_an_r5_order_is_validated_as_r5() -> None:
    newer = without(order(medication={"concept": {"coding": [LEVOTHYROXINE]}}), "medicationCodeableConcept")
    chart = read(medications=bundle(newer))
    assert chart.invalid(chart.sources) == {}
    assert read(medications=bundle(newer | {"medication": {"concept": 1}})).facts.inputs["medications"].unreadable == 1


def test_an_announced_r5_is_validated_as_r5() -> None:
    only_r5 = magnesium(triggeredBy=[{"observation": {"reference": "Observation/1"}, "type": "reflex"}])
    assert read(serum_magnesium=bundle(only_r5), fhir_version="5.0.0").invalid([Source("Observation", "mg")]) == {}
    assert places(only_r5) == "?"


def test_a_whole_resource_is_handed_out() -> None:
    chart = read(serum_magnesium=bundle(magnesium(extra="kept")))
    assert chart.resource(Source("Observation", "mg"))["extra"] == "kept"


@pytest.mark.parametrize("everything", [False, True])
def test_validating_everything_changes_no_fact(everything: bool) -> None:
    prefetch = {"serum_magnesium": bundle(magnesium(), magnesium(id="bad", issued=SECRET)), "patient": patient()}
    assert read(**prefetch, validate_all=everything).facts == read(**prefetch).facts


def test_warming_up_leaves_nothing_behind() -> None:
    warm()
    assert places(magnesium()) == ""
