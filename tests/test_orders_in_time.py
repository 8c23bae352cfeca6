"""How long an order is taken, which of its doses are taken together, and which orders are one: over HTTP."""

from time import process_time
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.sandbox.expected import EXTENSION
from tests.fhir.charts import RXNORM, Json, bundle, condition, magnesium, order
from tests.test_charts import answer, outcome, summaries

KIDNEY_FAILURE = condition({"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "N18.5"}]}, id="kidneys")
CIPROFLOXACIN = order(
    id="cipro", status="draft", medicationCodeableConcept={"text": "Ciprofloxacin 500 mg oral tablet"},
    dosageInstruction=[{"text": "1 tablet twice daily"}],
)  # fmt: skip
UCUM = "http://unitsofmeasure.org"


def days(number: float) -> Json:
    return {"value": number, "unit": "d", "system": UCUM, "code": "d"}


def tablets(number: float, **repeat: Any) -> Json:
    """So many tablets once a day."""
    daily = {"frequency": 1, "period": 1, "periodUnit": "d"}
    return {
        "timing": {"repeat": daily | repeat},
        "doseAndRate": [{"doseQuantity": {"value": number, "unit": "tablet"}}],
    }


def oxide(*doses: Json, **more: Any) -> Json:
    """Magnesium oxide 250 mg tablets (151 mg of magnesium)."""
    coding = {"system": RXNORM, "code": "311429", "display": "magnesium oxide 250 MG Oral Tablet"}
    medicine = {"coding": [coding], "text": coding["display"]}
    return order(id="oxide", medicationCodeableConcept=medicine, dosageInstruction=list(doses)) | more


def dispensed(until: str | None = None, **more: Any) -> Json:
    period = {"validityPeriod": {"start": "2025-11-20", "end": until}} if until else {}
    return {"dispenseRequest": period | more}


def july(*doses: Json, **more: Any) -> Json:
    """Ordered on 1 July, 143 days ago."""
    return oxide(*doses, authoredOn="2026-07-01", **more)


NINETY = {"text": "1 tablet daily for 90 days"}
BOUNDED = tablets(1, boundsDuration=days(90))
COUNTED = tablets(1, count=90)
DAILY = {"text": "1 tablet daily"}
SUPPLY = {"expectedSupplyDuration": days(90)}
OCTOBER, YESTERDAY = "2026-10-01", "2026-11-20"
TAKEN = {
    "refills of a written duration": july(NINETY, **dispensed(numberOfRepeatsAllowed=3)),
    "refills of a duration": july(BOUNDED, **dispensed(numberOfRepeatsAllowed=3)),
    "refills of a count": july(COUNTED, **dispensed(numberOfRepeatsAllowed=3)),
    "one refill is enough": july(NINETY, **dispensed(numberOfRepeatsAllowed=1)),
    "longer supplies than the duration": july(
        tablets(1, boundsDuration=days(30)), **dispensed(numberOfRepeatsAllowed=1, **SUPPLY)
    ),
    "refills that cannot be counted": july(NINETY, **dispensed(numberOfRepeatsAllowed=2147483647)),
    "refills without end": july(NINETY, **dispensed(numberOfRepeatsAllowed=999999999)),
    "its last supply lasts": july(DAILY, **dispensed(YESTERDAY, **SUPPLY)),
    "its last supply lasts to this day": july(DAILY, **dispensed("2026-08-24", **SUPPLY)),
    "how long the last supply lasts is not said": july(DAILY, **dispensed(YESTERDAY)),
    "a supply in no unit of time": july(DAILY, **dispensed(YESTERDAY, expectedSupplyDuration={"value": 90})),
}
OVER = {
    "no refills": july(NINETY),
    "one supply that might have been dispensed late": july(NINETY, **dispensed(YESTERDAY)),
    "none allowed": july(BOUNDED, **dispensed(numberOfRepeatsAllowed=0)),
    "all refills used": july(tablets(1, boundsDuration=days(30)), **dispensed(numberOfRepeatsAllowed=3)),
    "supplies that make up the duration": july(
        NINETY, **dispensed(numberOfRepeatsAllowed=2, expectedSupplyDuration=days(30))
    ),
    "an end that is a day": july(tablets(1, boundsPeriod={"end": OCTOBER}), **dispensed(numberOfRepeatsAllowed=3)),
    "its last supply is used up": july(DAILY, **dispensed("2026-08-23", **SUPPLY)),
    "dispensed late and over": july(tablets(1, boundsDuration=days(7)), **dispensed(OCTOBER)),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_an_active_order_counts_as_long_as_it_may_be_taken(client: FlaskClient, kind: str) -> None:
    answered = answer(client, conditions=bundle(KIDNEY_FAILURE), medications=bundle(TAKEN[kind]))
    assert "Taking magnesium; on record: kidney failure" in summaries(answered)
    beside = answer(client, "order-sign", bundle(CIPROFLOXACIN, type="collection"), medications=bundle(TAKEN[kind]))
    assert "Magnesium with ciprofloxacin" in summaries(beside)


@pytest.mark.parametrize("kind", OVER)
def test_an_active_order_whose_time_is_over_is_not_taken(client: FlaskClient, kind: str) -> None:
    answered = answer(client, conditions=bundle(KIDNEY_FAILURE), medications=bundle(OVER[kind]))
    assert "Taking magnesium" not in summaries(answered)
    beside = answer(client, "order-sign", bundle(CIPROFLOXACIN, type="collection"), medications=bundle(OVER[kind]))
    assert "Magnesium with ciprofloxacin" not in summaries(beside)


@pytest.mark.parametrize(("until", "said"), [("2026-11-21", 1), ("2026-11-20", None), (None, None)])
def test_an_order_left_out_as_over_that_may_still_be_dispensed_is_said(
    client: FlaskClient, until: str | None, said: int | None
) -> None:
    answered = answer(client, medications=bundle(july(NINETY, **dispensed(until))))
    assert answered["extension"][EXTENSION].get("repairs", {}).get("active_order_ended") == said


def test_a_finished_course_of_an_antibiotic_says_nothing(client: FlaskClient) -> None:
    week = CIPROFLOXACIN | {"status": "active", "authoredOn": "2026-07-01"}
    week["dosageInstruction"] = [{"text": "1 tablet twice daily for 7 days"}]
    draft = oxide(tablets(1), status="draft", id="draft")
    answered = answer(client, "order-sign", bundle(draft, type="collection"), medications=bundle(week))
    assert "ciprofloxacin" not in summaries(answered)
    week["dispenseRequest"] = {"numberOfRepeatsAllowed": 30}
    answered = answer(client, "order-sign", bundle(draft, type="collection"), medications=bundle(week))
    assert "Magnesium with ciprofloxacin" in summaries(answered)


def step(number: int | None, many: float, **repeat: Any) -> Json:
    """A numbered dose of so many tablets once a day."""
    return tablets(many, **repeat) | ({"sequence": number} if number else {})


WEEK = {"boundsDuration": days(7)}
MORNING, EVENING = {"when": ["MORN"]}, {"when": ["EVE"]}
FIRST_WEEK = {"boundsPeriod": {"start": "2026-11-21", "end": "2026-11-27"}}
LATER = {"boundsPeriod": {"start": "2026-11-28"}}
PAST = {"boundsPeriod": {"start": "2026-11-01", "end": "2026-11-20"}}
UPPER = "magnesium_above_upper_level"  # 350 mg a day at 70 years; a tablet holds 150.8 mg
IN_TURN = "numbered doses of magnesium that may follow one another or be taken together"


@pytest.mark.parametrize(
    ("doses", "total"),
    [
        ([step(1, 3, **FIRST_WEEK), step(2, 2, **LATER)], 452),
        ([step(None, 3, **FIRST_WEEK), step(None, 2, **LATER)], 452),
        ([step(1, 2, **FIRST_WEEK), step(2, 3, **LATER)], 452),  # what will be taken
        ([step(1, 3, **WEEK), step(2, 2)], 452),  # the second begins when the first is over
        ([step(1, 3, **MORNING), step(2, 2, **MORNING)], 452),  # at the same hour one of them
        ([step(1, 3), step(2, 2)], 452),  # the greatest is certain
        ([step(1, 5, **PAST), step(2, 3)], 452),  # one that ended counts no more
        ([step(1, 2), step(1, 1)], 452),  # the same number: together
        ([step(None, 2), step(None, 1)], 452),
        ([step(None, 2), step(2, 1)], 452),
        ([step(1, 1), step(1, 1), step(2, 3), step(None, 1)], 603),
        ([step(None, 2, **FIRST_WEEK), step(None, 1)], 452),  # for a week both
    ],
)
def test_doses_that_are_not_taken_on_one_day_are_never_added_up(
    client: FlaskClient, doses: list[Json], total: int
) -> None:
    answered = total_of(client, oxide(*doses, status="draft", authoredOn="2026-11-21"))
    assert f"agnesium {total} mg a day" in summaries(answered)


def total_of(client: FlaskClient, *orders: Json, **sent: Any) -> Json:
    """The answer to these orders, drafts and active ones, of a patient whose kidneys are well."""
    kidneys = magnesium(90, "mL/min/{1.73_m2}", code="98979-8", id="egfr", effectiveDateTime="2026-11-20T08:00:00Z")
    drafts = [each for each in orders if each["status"] == "draft"]
    active = bundle(*(each for each in orders if each["status"] != "draft"))
    paracetamol = order(id="other", status="draft", medicationCodeableConcept={"text": "Paracetamol 500 mg tablet"})
    asked = bundle(*(drafts or [paracetamol]), type="collection")
    return answer(client, "order-sign", asked, **{"medications": active, "kidney": bundle(kidneys)} | sent)


@pytest.mark.parametrize(
    "doses",
    [
        [step(1, 1), step(2, 2)],
        [step(1, 1, **MORNING), step(2, 2, **EVENING)],
        [step(1, 1, **WEEK), step(2, 2, **WEEK)],
    ],
)
def test_numbered_doses_that_may_be_one_after_another_or_together_are_said_to_be_open(
    client: FlaskClient, doses: list[Json]
) -> None:
    answered = total_of(client, oxide(*doses, status="draft"))
    assert outcome(answered, UPPER) == "not_evaluated"
    assert IN_TURN in str(answered["cards"])


def test_numbered_doses_that_are_little_even_together_are_no_doubt(client: FlaskClient) -> None:
    answered = total_of(client, oxide(step(1, 1, **MORNING), step(2, 1, **EVENING), status="draft"))
    assert outcome(answered, UPPER) == "quiet"
    assert answered["cards"] == []


def test_a_card_says_that_of_numbered_doses_the_greatest_is_counted(client: FlaskClient) -> None:
    answered = total_of(client, oxide(step(1, 3), step(2, 2), status="draft"))
    (card,) = answered["cards"]
    assert (
        "of numbered doses that may follow one another or be taken together, the greatest is counted"
        in (card["detail"])
    )
    assert "weight of a salt" not in card["detail"]


def test_doses_in_turn_last_one_after_another(client: FlaskClient) -> None:
    turns = [step(1, 3, **WEEK), step(2, 2, **WEEK), step(3, 1, **WEEK)]
    for authored, taken in (("2026-11-01", True), ("2026-10-31", False)):  # three weeks
        answered = answer(
            client, conditions=bundle(KIDNEY_FAILURE), medications=bundle(oxide(*turns, authoredOn=authored))
        )
        assert ("Taking magnesium" in summaries(answered)) is taken


def old(**more: Any) -> Json:
    return oxide(tablets(3), id="old") | more


def new(many: float, **more: Any) -> Json:
    return oxide(tablets(many), id="new", status="draft") | more


def stated(many: float, **more: Any) -> Json:
    """The same product as the patient says it is taken."""
    said = oxide(id="stated", resourceType="MedicationStatement", dosage=[tablets(many)])
    return {name: value for name, value in said.items() if name not in ("intent", "dosageInstruction")} | more


OLD = {"reference": "MedicationRequest/old"}
MANY = range(2000)
BOTH = "an order, and the same product that is already taken, are both counted"


def test_an_order_that_replaces_another_is_counted_in_its_place(client: FlaskClient) -> None:
    lowered = total_of(client, new(1, priorPrescription=OLD), old())
    assert lowered["cards"] == []
    raised = total_of(client, new(3, priorPrescription=OLD), old())
    assert "agnesium 452 mg a day" in summaries(raised)
    assert BOTH not in str(raised["cards"])
    versioned = new(3, priorPrescription={"reference": "MedicationRequest/old/_history/2"})
    assert "agnesium 452 mg a day" in summaries(total_of(client, versioned, old()))
    citrate = {"text": "Magnesium citrate 1000 mg tablet"}  # another product in its place is no second one
    changed = total_of(client, new(1, priorPrescription=OLD), old(medicationCodeableConcept=citrate))
    assert outcome(changed, "duplicate_magnesium_products") == "quiet"


@pytest.mark.parametrize(
    "prior",
    [
        {"reference": "https://elsewhere.example/fhir/MedicationRequest/old"},
        {"reference": "MedicationRequest/another"},
        {"reference": "MedicationStatement/old"},
        {"reference": "#old"},
        {"display": "the old order"},
        {"reference": "MedicationRequest/new"},
    ],
)
def test_an_order_that_replaces_none_of_this_chart_is_counted_beside_the_others(
    client: FlaskClient, prior: Json
) -> None:
    answered = total_of(client, new(1, priorPrescription=prior), old())
    assert "agnesium 603 mg a day" in summaries(answered)
    assert BOTH in str(answered["cards"])


def test_orders_that_each_replace_the_other_are_both_counted(client: FlaskClient) -> None:
    back = old(priorPrescription={"reference": "MedicationRequest/new"})
    assert "agnesium 603 mg a day" in summaries(total_of(client, new(1, priorPrescription=OLD), back))


def test_a_home_medicine_that_an_order_continues_is_counted_once_and_that_is_said(client: FlaskClient) -> None:
    """The patient may take both."""
    answered = total_of(client, new(3), medication_statements=bundle(stated(3)))
    assert "agnesium 452 mg a day" in summaries(answered)
    assert BOTH not in str(answered["cards"])
    assert "ordered here in the same amount, is counted once; both may be taken" in str(answered["cards"])
    open_ = total_of(client, new(2), medication_statements=bundle(stated(2)))
    assert outcome(open_, UPPER) == "not_evaluated"
    assert "magnesium taken at home that the order of the same amount may continue or add to" in str(open_["cards"])
    little = total_of(client, new(1), medication_statements=bundle(stated(1)))
    assert outcome(little, UPPER) == "quiet"
    assert little["cards"] == []


def test_many_orders_that_each_replace_the_one_before_are_read_about_as_fast_as_others(client: FlaskClient) -> None:
    def seconds(chained: bool) -> float:
        prior = [{"priorPrescription": {"reference": f"MedicationRequest/o{i - 1}"}} if chained else {} for i in MANY]
        orders = [new(1, id=f"o{i}", **prior[i]) for i in MANY]
        begun = process_time()
        answered = total_of(client, *orders)
        taken = process_time() - begun
        assert outcome(answered, UPPER) == ("quiet" if chained else "fired")
        return taken

    apart = seconds(chained=False)
    assert seconds(chained=True) < apart * 2 + 1


def test_a_home_medicine_of_another_dose_is_counted_and_that_is_said(client: FlaskClient) -> None:
    answered = total_of(client, new(3), medication_statements=bundle(stated(1)))
    assert "agnesium 603 mg a day" in summaries(answered)
    assert BOTH in str(answered["cards"])


@pytest.mark.parametrize("element", ["basedOn", "derivedFrom"])
def test_a_statement_that_names_an_order_is_that_order(client: FlaskClient, element: str) -> None:
    def summed(reference: str) -> str:
        said = stated(1, **{element: [{"reference": reference}]})
        return summaries(total_of(client, new(3), medication_statements=bundle(said)))

    assert "agnesium 452 mg a day" in summed("MedicationRequest/new")
    assert "agnesium 603 mg a day" in summed("MedicationRequest/another")


MISTYPED = {"boundsPeriod": {"start": "2026-12-28", "end": "2026-01-04"}}  # into the next year


def test_a_dose_that_ends_before_it_starts_is_counted_as_if_it_went_on(client: FlaskClient) -> None:
    for doses, total in (([tablets(3, **MISTYPED)], 452), ([tablets(3), tablets(1, **MISTYPED)], 603)):
        assert f"agnesium {total} mg a day" in summaries(total_of(client, oxide(*doses, status="draft")))
    taken = answer(client, conditions=bundle(KIDNEY_FAILURE), medications=bundle(july(tablets(1, **MISTYPED))))
    assert "Taking magnesium" in summaries(taken)


def test_a_written_duration_counts_from_the_start_that_is_given_beside_it(client: FlaskClient) -> None:
    for start, is_taken in (("2026-11-20", True), ("2026-11-14", False)):
        begun = {"text": "1 tablet daily for 7 days", "timing": {"repeat": {"boundsPeriod": {"start": start}}}}
        taken = answer(client, conditions=bundle(KIDNEY_FAILURE), medications=bundle(july(begun)))
        assert ("Taking magnesium" in summaries(taken)) is is_taken
