"""How long an order is taken, which of its doses are taken together, and which orders are one: over HTTP."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import RXNORM, Json, bundle, condition, order
from tests.test_charts import answer, summaries

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
    "dispensed late": july(NINETY, **dispensed(YESTERDAY)),
    "its last refill was late": july(NINETY, **dispensed("2026-09-15", numberOfRepeatsAllowed=0)),
    "how long the last supply lasts is not said": july(DAILY, **dispensed(YESTERDAY)),
    "a supply in no unit of time": july(DAILY, **dispensed(YESTERDAY, expectedSupplyDuration={"value": 90})),
}
OVER = {
    "no refills": july(NINETY),
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


def test_a_finished_course_of_an_antibiotic_says_nothing(client: FlaskClient) -> None:
    week = CIPROFLOXACIN | {"status": "active", "authoredOn": "2026-07-01"}
    week["dosageInstruction"] = [{"text": "1 tablet twice daily for 7 days"}]
    draft = oxide(tablets(1), status="draft", id="draft")
    answered = answer(client, "order-sign", bundle(draft, type="collection"), medications=bundle(week))
    assert "ciprofloxacin" not in summaries(answered)
    week["dispenseRequest"] = {"numberOfRepeatsAllowed": 30}
    answered = answer(client, "order-sign", bundle(draft, type="collection"), medications=bundle(week))
    assert "Magnesium with ciprofloxacin" in summaries(answered)
