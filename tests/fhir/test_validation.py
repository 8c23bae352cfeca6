"""Only what a rule uses is validated in full, and what is wrong is told without a value."""

from collections.abc import Mapping
from typing import Any

import pytest

from cds_service.fhir import warm
from cds_service.patient import Source
from tests.fhir.charts import (
    LEVOTHYROXINE,
    bundle,
    condition,
    magnesium,
    order,
    patient,
    quantity,
    read,
    without,
)

SECRET = "Mona Geheim"


def places(resource: dict[str, Any]) -> str:
    key = {"Observation": "serum_magnesium", "Condition": "conditions"}[resource["resourceType"]]
    source = Source(resource["resourceType"], resource["id"])
    return read(**{key: bundle(resource)}).invalid([source]).get(source, "")


def elsewhere(result: dict[str, Any], **more: Any) -> Mapping[str, int]:
    """What is counted of a magnesium result after it was judged."""
    chart = read(serum_magnesium=bundle(result), **more)
    assert chart.invalid(chart.sources) == {}
    return chart.facts.repairs


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
        (magnesium(issued=SECRET, effectiveDateTime=None), "issued"),
        (magnesium(valueInteger=SECRET), "valueInteger"),
        (magnesium(category=[{"coding": [{"code": [SECRET]}]}]), "category[0].coding[0].code"),
        (magnesium(effectiveDateTime=SECRET), "effectiveDateTime"),
        (condition(abatementDateTime=SECRET), "abatementDateTime"),
        (magnesium(valueInteger=SECRET, **{SECRET: 1}), "valueInteger"),
    ],
)
def test_the_place_of_a_fault_is_told_and_never_its_value(resource: dict[str, Any], place: str) -> None:
    found = places(resource)
    assert place in found
    assert "Mona" not in found


@pytest.mark.parametrize(
    "resource",
    [
        magnesium(meta={"lastUpdated": "2026-11-26T09:00:00"}),
        magnesium(method=SECRET),
        magnesium(performer=[{"reference": 7}]),
        magnesium(resultStatus="F"),
        magnesium(**{SECRET: 1}),
        magnesium(identifier=[{"period": {"start": "yesterday"}}]),
        magnesium(text={"status": ["generated"]}),
        magnesium(valueQuantity=quantity(1.8, "mg/dL", rawValue="1.8")),
        magnesium(extension=[{"value": 1}]),
        condition(onsetDateTime=SECRET),
        condition(recordedDate="2020-01-01T00:00:00"),
        condition(onsetDateTime="2020", onsetString=SECRET),
        condition(recorder="Dr. " + SECRET),
    ],
)
def test_a_fault_in_an_element_that_no_finding_rests_on_costs_nothing_and_is_counted(resource: dict[str, Any]) -> None:
    key = {"Observation": "serum_magnesium", "Condition": "conditions"}[resource["resourceType"]]
    for _ in range(2):
        chart = read(**{key: bundle(resource)})
        assert chart.invalid(chart.sources) == {}
        assert chart.facts.repairs["fault_in_an_element_not_used"] == 1


def test_the_second_look_at_the_same_bytes_says_the_same() -> None:
    assert places(magnesium(valueInteger=SECRET)) == places(magnesium(valueInteger=SECRET)) == "valueInteger"


@pytest.mark.parametrize(
    ("sound", "faulty", "place"),
    [
        ({"issued": "2026-02-03T08:00:00Z"}, {"issued": "2026-02-30T08:00:00Z"}, "issued"),
        ({"issued": "2026-04-30T08:00:00Z"}, {"issued": "2026-04-31T08:00:00Z"}, "issued"),
        ({"issued": "2026-11-03T08:00:00Z"}, {"issued": "2026-11-03T24:00:00Z"}, "issued"),
        ({"issued": "2026-11-03T08:00:00Z"}, {"issued": "2026-11-03T08:00:00+19:00"}, "issued"),
        ({"issued": "2026-11-03T08:00:00Z"}, {"issued": "2026-11-03"}, "issued"),
        ({"valueQuantity": {"value": 0.6}}, {"valueQuantity": {"value": "x"}}, "valueQuantity.value"),
        ({"specimen": {"reference": "Specimen/a"}}, {"specimen": {"reference": "Patient/a b"}}, ""),
        ({"specimen": {"display": "blood"}}, {"specimen": {"display": ""}}, "specimen.display"),
    ],
)
def test_what_looks_like_a_valid_result_is_judged_by_itself(
    sound: dict[str, Any], faulty: dict[str, Any], place: str
) -> None:
    timeless = without(magnesium(), "effectiveDateTime")
    assert places(timeless | sound) == ""
    assert places(timeless | faulty) == place


def test_an_unknown_source_is_passed_over() -> None:
    assert read().invalid([Source("Observation", "nobody")]) == {}


def test_an_r5_order_is_validated_as_r5() -> None:
    newer = without(order(medication={"concept": {"coding": [LEVOTHYROXINE]}}), "medicationCodeableConcept")
    chart = read(medications=bundle(newer))
    assert chart.invalid(chart.sources) == {}
    assert read(medications=bundle(newer | {"medication": {"concept": 1}})).facts.inputs["medications"].unreadable == 1


def test_an_announced_r5_is_validated_as_r5() -> None:
    only_r5 = magnesium(triggeredBy=[{"observation": {"reference": "Observation/1"}, "type": "reflex"}])
    assert "fault_in_an_element_not_used" not in elsewhere(only_r5, fhir_version="5.0.0")
    assert "fault_in_an_element_not_used" in elsewhere(only_r5)


def test_a_whole_resource_is_handed_out() -> None:
    chart = read(serum_magnesium=bundle(magnesium(extra="kept")))
    assert chart.resource(Source("Observation", "mg"))["extra"] == "kept"


@pytest.mark.parametrize("everything", [False, True])
def test_validating_everything_changes_no_fact(everything: bool) -> None:
    prefetch = {"serum_magnesium": bundle(magnesium(), magnesium(id="bad", valueInteger=SECRET)), "patient": patient()}
    assert read(**prefetch, validate_all=everything).facts == read(**prefetch).facts


def test_warming_up_leaves_nothing_behind() -> None:
    warm()
    assert places(magnesium()) == ""
