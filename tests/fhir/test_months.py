"""Results of which only the month or the year is known, and urine of the same moment as serum."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import LOINC, Json, answer, bundle, coded, magnesium, order, patient, read
from tests.fhir.test_never_silent import LOW, SEVERE, egfr, injected, outcomes, severe
from tests.fhir.test_within_and_between import good


@pytest.mark.parametrize("month", ["2026-11", "2026"])
def test_a_result_of_this_month_or_year_may_be_newer_than_one_of_a_day(client: FlaskClient, month: str) -> None:
    vague = severe | {"id": "vague", "effectiveDateTime": month}
    for sent in ((good(), vague), (vague, good())):
        assert outcomes(answer(client, serum_magnesium=bundle(*sent)))[LOW] == "not_evaluated"


@pytest.mark.parametrize("month", ["2026-10", "2025"])
def test_a_result_of_a_month_that_is_over_hides_no_newer_one(client: FlaskClient, month: str) -> None:
    vague = severe | {"id": "vague", "effectiveDateTime": month}
    for sent in ((good(), vague), (vague, good())):
        assert outcomes(answer(client, serum_magnesium=bundle(*sent)))[LOW] == "quiet"


def test_a_kidney_result_of_this_month_may_be_newer_than_the_one_that_is_used(client: FlaskClient) -> None:
    rule = "intravenous_magnesium_with_kidney_failure"
    creatinine = egfr(300) | {
        "id": "creatinine", "code": coded("14682-9", LOINC), "effectiveDateTime": "2026-11",
        "valueQuantity": {"value": 600, "unit": "umol/L", "system": "http://unitsofmeasure.org", "code": "umol/L"},
    }  # fmt: skip
    for month, said in (("2026-11", "not_evaluated"), ("2026-10", "quiet")):
        results = bundle(egfr(90), creatinine | {"effectiveDateTime": month})
        assert outcomes(answer(client, "order-sign", drafts=[injected()], kidney=results))[rule] == said


def test_results_that_are_cut_off_are_not_in_order_where_one_is_of_a_month() -> None:
    """The month may be older than what was cut off, or newer than what stands before it."""
    more = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]
    for first, second, in_order in (
        ("2026-11-10", "2026-10", True),
        ("2026-11-10", "2026-11", False),
        ("2026-11", "2026-11-10", False),
        ("2026-11", "2026-10-10", True),
    ):
        sent = bundle(magnesium(effectiveDateTime=first), magnesium(id="b", effectiveDateTime=second), link=more)
        assert read(serum_magnesium=sent).facts.inputs["serum_magnesium"].newest_first is in_order


def pregnancy(answered: str, when: str) -> Json:
    return magnesium(id=f"{answered}-{len(when)}", code="82810-3", effectiveDateTime=when,
                     valueCodeableConcept=coded({"yes": "77386006", "no": "60001007"}[answered])) | {
        "valueQuantity": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([("yes", "2026-11")], True),
        ([("yes", "2026-11"), ("no", "2026-11-10")], None),
        ([("yes", "2026-11"), ("yes", "2026-11-10")], True),
        ([("yes", "2026-10"), ("no", "2026-11-10")], False),
        ([("yes", "2025")], None),
        ([("yes", "2026")], None),
        ([("no", "2026-11-10"), ("yes", "2026-11-10T08:00:00Z")], None),
    ],
)
def test_whether_she_is_pregnant_is_asked_of_the_whole_month(answers: list[tuple[str, str]], said: bool | None) -> None:
    for each in (answers, answers[::-1]):
        facts = read(patient=patient(), pregnancy=bundle(*(pregnancy(*one) for one in each))).facts
        assert facts.person.pregnant is said


def test_what_was_given_in_this_month_was_given_nobody_knows_when() -> None:
    given = order(resourceType="MedicationAdministration", id="given", status="completed")
    for month, count, unreadable in (("2026-11", 0, 1), ("2026-10", 1, 0), ("2026-11-10", 1, 0)):
        sent = bundle(given | {"effectiveDateTime": month})
        facts = read(medication_administrations=sent).facts
        assert len(facts.given) == count
        assert facts.inputs["medication_administrations"].unreadable == unreadable


@pytest.mark.parametrize("issued", [{}, {"issued": "2026-11-20T10:00:00Z"}])
def test_urine_of_the_same_moment_is_no_rival_of_serum(client: FlaskClient, issued: Json) -> None:
    (coding,) = severe["code"]["coding"]
    urine = severe | {"id": "urine", "code": {"coding": [coding], "text": "Magnesium, urine"}} | issued
    for sent in ((good(), urine), (urine, good())):
        assert outcomes(answer(client, serum_magnesium=bundle(*sent)))[SEVERE] == "quiet"
    later = urine | {"effectiveDateTime": "2026-11-20T09:00:00Z"}
    assert outcomes(answer(client, serum_magnesium=bundle(good(), later)))[SEVERE] == "not_evaluated"
