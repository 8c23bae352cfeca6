"""Charts that contradict themselves, or say less than they seem to: what is said is never one half of it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import LOINC, UCUM, Json, about, answer, bundle, coded, order, patient
from tests.fhir.test_never_silent import FAILURE, LOW, MYASTHENIA, SEVERE, injected, low, outcomes, severe

URINE = {"resourceType": "Specimen", "id": "s", "subject": about(), "type": {"text": "Serum"}}
MODIFIER = {"modifierExtension": [{"url": "urn:example:not", "valueBoolean": True}]}


def with_specimen(**said: Any) -> Json:
    return severe | {"contained": [URINE | said], "specimen": {"reference": "#s"}}


@pytest.mark.parametrize("said", [{"status": "unsatisfactory"}, {"status": "entered-in-error"}, MODIFIER])
def test_a_result_of_an_unfit_specimen_is_not_used(client: FlaskClient, said: Json) -> None:
    good = answer(client, serum_magnesium=bundle(with_specimen(status="unavailable")))  # it was used up
    assert outcomes(good)[SEVERE] == "fired"
    assert outcomes(answer(client, serum_magnesium=bundle(with_specimen(**said))))[SEVERE] == "not_evaluated"
    sent = bundle(severe | {"specimen": {"reference": "Specimen/s"}})
    sent["entry"].append({"resource": URINE | said, "search": {"mode": "include"}})
    assert outcomes(answer(client, serum_magnesium=sent))[SEVERE] == "not_evaluated"


def test_a_modifier_deep_in_a_result_is_not_passed_over(client: FlaskClient) -> None:
    ranged = low | {"referenceRange": [{"low": {"value": 0.55, "unit": "mmol/L"}}]}
    assert outcomes(answer(client, serum_magnesium=bundle(ranged)))[LOW] == "quiet"
    ranged["referenceRange"][0] |= MODIFIER
    assert outcomes(answer(client, serum_magnesium=bundle(ranged)))[LOW] == "not_evaluated"


def test_a_result_whose_own_name_says_urine_is_none_of_serum(client: FlaskClient) -> None:
    (coding,) = severe["code"]["coding"]
    in_words = severe | {"code": {"coding": [coding], "text": "Magnesium, 24 h urine"}}
    displayed = severe | {"code": {"coding": [coding | {"display": "Magnesium, 24 h urine"}]}}
    part = {"code": severe["code"], "valueQuantity": severe["valueQuantity"]}
    panel = severe | {"code": {"text": "Urine electrolytes"}, "component": [part]}
    for urine in (in_words, displayed, panel):
        assert outcomes(answer(client, serum_magnesium=bundle(urine)))[SEVERE] == "not_evaluated"


def test_the_record_that_gave_way_to_another_one_proves_nothing(client: FlaskClient) -> None:
    """It is empty because all was moved."""
    gone = patient(active=False, link=[{"type": "replaced-by", "other": {"reference": "Patient/new"}}])
    kept = patient(link=[{"type": "replaces", "other": {"reference": "Patient/old"}}])
    alone = patient(link={"type": "replaced-by", "other": {"reference": "Patient/new"}})
    for record, said in ((kept, "quiet"), (gone, "not_evaluated"), (alone, "not_evaluated")):
        told = answer(client, "order-sign", drafts=[injected()], patient=record)
        assert outcomes(told)[MYASTHENIA] == said


@pytest.mark.parametrize("classes", [("AMB", "IMP"), ("IMP", "AMB")])
def test_of_two_encounters_of_different_kinds_none_is_the_one(client: FlaskClient, classes: tuple[str, str]) -> None:
    """The order in which they come decides nothing."""
    going_on = [
        {"resourceType": "Encounter", "id": f"e{name}", "status": "in-progress", "subject": about(),
         "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": name}}
        for name in classes
    ]  # fmt: skip
    for named in ("eIMP", None):
        told = answer(client, encounter_id=named, encounter=bundle(*going_on), serum_magnesium=bundle(severe))
        assert any("encounter" in card["detail"] for card in told["cards"])


@pytest.mark.parametrize("ended", ["2012-03-01", "2012-03-01T08:00:00Z"])
def test_an_encounter_that_ended_hides_none_that_goes_on(client: FlaskClient, ended: str) -> None:
    """`unknown` is a status that old encounters have."""
    stay = {"resourceType": "Encounter", "id": "stay", "status": "in-progress", "subject": about(),
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}}  # fmt: skip
    old = stay | {"id": "old", "status": "unknown", "period": {"end": ended}}
    told = answer(client, encounter_id="stay", encounter=bundle(old, stay), serum_magnesium=bundle(severe))
    assert not any("encounter" in card["detail"] for card in told["cards"])


TEN_EAST, FIVE_WEST, UTC = "2026-11-10T08:00:00+10:00", "2026-11-10T20:00:00-05:00", "2026-11-10T23:00:00Z"


@pytest.mark.parametrize("time", [TEN_EAST, FIVE_WEST, UTC, "2026-11-11T09:00:00Z"])
def test_a_result_of_the_same_day_may_be_the_newer_one(client: FlaskClient, time: str) -> None:
    """A day has no zone."""
    day = severe | {"id": "day", "effectiveDateTime": "2026-11-10", "valueQuantity": quantity(0.9)}
    timed = severe | {"id": "timed", "effectiveDateTime": time, "valueQuantity": quantity(0.4)}
    for sent in ((day, timed), (timed, day)):
        assert outcomes(answer(client, serum_magnesium=bundle(*sent)))[LOW] == "not_evaluated"


@pytest.mark.parametrize("time", ["2026-11-09T08:00:00+10:00", "2026-11-09T09:00:00Z"])
def test_a_result_of_the_day_before_is_older(client: FlaskClient, time: str) -> None:
    day = severe | {"id": "day", "effectiveDateTime": "2026-11-10", "valueQuantity": quantity(0.9)}
    timed = severe | {"id": "timed", "effectiveDateTime": time, "valueQuantity": quantity(0.4)}
    assert outcomes(answer(client, serum_magnesium=bundle(day, timed)))[LOW] == "quiet"


def quantity(value: float) -> Json:
    return {"value": value, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}


def test_of_two_results_of_one_moment_the_one_that_cannot_be_read_is_not_passed_over(client: FlaskClient) -> None:
    good = severe | {"id": "good", "valueQuantity": quantity(0.9)}
    words = {name: value for name, value in severe.items() if name != "valueQuantity"}
    words |= {"id": "words", "valueString": "<0.3 critical"}
    for sent in ((good, words), (words, good)):
        assert outcomes(answer(client, serum_magnesium=bundle(*sent)))[LOW] == "not_evaluated"


def test_the_day_of_a_report_is_not_that_of_its_specimen(client: FlaskClient) -> None:
    taken = {name: value for name, value in severe.items() if name != "effectiveDateTime"}
    taken |= {"issued": severe["effectiveDateTime"]}
    assert outcomes(answer(client, serum_magnesium=bundle(taken)))[SEVERE] == "fired"
    taken |= {"effectiveTiming": {"event": ["2026-01-05T08:00:00Z"]}}
    assert outcomes(answer(client, serum_magnesium=bundle(taken)))[SEVERE] == "not_evaluated"


def test_one_order_that_came_twice_is_not_two_of_the_two_that_were_found(client: FlaskClient) -> None:
    found = bundle(order(), order(), total=2)
    assert outcomes(answer(client, "order-sign", drafts=[injected()], medications=bundle(order(), total=1)))[FAILURE]
    told = answer(client, "order-sign", drafts=[injected()], medications=found)
    assert told["extension"]["org.magnesium-cds"]["inputs"]["medications"] == "incomplete"
    found = bundle(order(), order(), total=1)
    found["entry"][1]["search"] = {"mode": "include"}
    told = answer(client, "order-sign", drafts=[injected()], medications=found)
    assert told["extension"]["org.magnesium-cds"]["inputs"]["medications"] == "given"


@pytest.mark.parametrize(
    "system", ["urn:oid:2.16.840.1.113883.6.8", "http://unitsofmeasure.org/", "HTTPS://unitsofmeasure.org"]
)
def test_a_unit_that_disagrees_with_its_words_is_none_however_ucum_is_called(client: FlaskClient, system: str) -> None:
    torn = severe | {"valueQuantity": {"value": 1.8, "unit": "mmol/L", "system": system, "code": "mg/dL"}}
    said = outcomes(answer(client, serum_magnesium=bundle(torn)))
    assert "fired" not in {said[name] for name in said if "high_" in name or "low_" in name}
    assert said[LOW] == "not_evaluated"


V3 = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
HIGH, SEVERELY_HIGH = "high_serum_magnesium", "severely_high_serum_magnesium"


def measured(value: float, flag: str = "", **ends: Any) -> Json:
    found = severe | {"valueQuantity": quantity(value), "effectiveDateTime": "2026-11-21T06:00:00Z"}
    if flag:
        found["interpretation"] = [coded(flag, V3)]
    return found | ({"referenceRange": [ends]} if ends else {})


@pytest.mark.parametrize(
    ("result", "rule", "said"),
    [
        (measured(0.55, low={"value": 0.75, "unit": "mg/dL"}), LOW, "not_evaluated"),
        (measured(0.85, low={"value": 1.7}, high={"value": 2.6}), LOW, "not_evaluated"),
        (measured(1.6, high={"value": 26}), HIGH, "not_evaluated"),
        (measured(0.9, low={"value": 0.75, "unit": "mg/dL"}), LOW, "quiet"),  # low under neither limit
        (measured(0.66, low={"value": 0.65, "unit": "mmol/L"}), LOW, "quiet"),
        (measured(0.72, low={"value": 1.8, "unit": "mg/dL"}), LOW, "fired"),
        (measured(0.85, "HH", low=quantity(0.7), high=quantity(1.0)), SEVERELY_HIGH, "not_evaluated"),
        (measured(0.85, "HH"), SEVERELY_HIGH, "not_evaluated"),
        (measured(1.5, "HH"), SEVERELY_HIGH, "fired"),
        (measured(0.55, "H"), HIGH, "not_evaluated"),
        (measured(0.55, "H"), LOW, "not_evaluated"),
        (measured(1.9, "N"), HIGH, "not_evaluated"),
        (measured(1.05, "H"), HIGH, "fired"),
        (measured(0.66, "N"), LOW, "quiet"),
    ],
)
def test_a_range_or_flag_that_cannot_be_of_this_value_decides_nothing(
    result: Json, rule: str, said: str, client: FlaskClient
) -> None:
    assert outcomes(answer(client, serum_magnesium=bundle(result)))[rule] == said


CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ([coded("vital-signs", CATEGORY)], "fired"),
        ([coded("laboratory", CATEGORY)], "not_evaluated"),
        ([coded("vital-signs", CATEGORY), coded("laboratory", CATEGORY)], "not_evaluated"),
        ([coded("vital-signs", CATEGORY), coded("4711", "urn:example:flowsheet")], "not_evaluated"),
        ([{"text": "Vital signs"}], "not_evaluated"),
        ([{"coding": [{"system": CATEGORY, "code": ["vital-signs"]}]}], "not_evaluated"),
        ([5], "not_evaluated"),
        (None, "not_evaluated"),
    ],
)
def test_what_no_laboratory_made_is_no_newer_result(categories: Any, said: str, client: FlaskClient) -> None:
    """A flowsheet under codes of the hospital's own, sent for all keys by an EHR that ignores the codes of a search."""
    later = "2026-11-21T06:00:00Z"
    pulse = severe | {"id": "pulse", "code": {"text": "Pols"}, "category": categories, "effectiveDateTime": later}
    assert outcomes(answer(client, serum_magnesium=bundle(severe, pulse)))[LOW] == said


KIDNEY_FAILURE = "magnesium_with_kidney_failure"


def kidneys(egfr_at: str, creatinine_at: str) -> Json:
    """An eGFR of 12, and a creatinine of 1.4 mg/dL, which is an eGFR of 43."""
    reported = {"value": 12, "unit": "mL/min/{1.73_m2}", "system": UCUM, "code": "mL/min/{1.73_m2}"}
    blood = {"value": 1.4, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"}
    one = severe | {"id": "e", "code": coded("98979-8", LOINC), "effectiveDateTime": egfr_at}
    other = severe | {"id": "c", "code": coded("2160-0", LOINC), "effectiveDateTime": creatinine_at}
    return bundle(one | {"valueQuantity": reported}, other | {"valueQuantity": blood})


@pytest.mark.parametrize(
    ("egfr_at", "creatinine_at", "said"),
    [
        ("2026-11-20", "2026-11-20T18:00:00Z", "not_evaluated"),
        ("2026-11-20T06:00:00Z", "2026-11-20", "not_evaluated"),
        ("2026-11-20", "2026-11-20", "not_evaluated"),
        ("2026-11-20T06:00:00Z", "2026-11-20T06:00:00Z", "not_evaluated"),
    ],
)
def test_results_of_one_day_contradict_each_other_where_none_may_be_the_later(
    egfr_at: str, creatinine_at: str, said: str, client: FlaskClient
) -> None:
    """Dialysis may lie between a day and a time in it."""
    tablet = order(status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg oral tablet"})
    told = answer(client, "order-sign", drafts=[tablet], kidney=kidneys(egfr_at, creatinine_at))
    assert outcomes(told)[KIDNEY_FAILURE] == said
    assert ("contradict each other" in str(told["cards"])) is (said == "not_evaluated")
    assert "not known (no usable result within" not in str(told["cards"])
