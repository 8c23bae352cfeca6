"""Patients for whom magnesium is ordered in words, in several languages, or with the units of their country."""

from typing import Any

import pytest
from flask.testing import FlaskClient

SNOMED, EDQM = "http://snomed.info/sct", "http://standardterms.edqm.eu"
UCUM = "http://unitsofmeasure.org"
FORM = "http://terminology.hl7.org/CodeSystem/v3-orderableDrugForm"
DAILY = {"frequency": 1, "period": 1, "periodUnit": "d"}
TWICE = {"repeat": DAILY | {"frequency": 2}}
UNKNOWN = "amount a day is not known"
EMPTY = {"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": []}


def told(client: FlaskClient, dosage: dict[str, Any], product: str = "Magnesium oxide 500 mg tablet") -> str:
    """The summaries of the cards as this order is signed for a woman of 50."""
    order = {
        "resourceType": "MedicationRequest", "id": "d1", "status": "draft", "intent": "order",
        "subject": {"reference": "Patient/p1"}, "medicationCodeableConcept": {"text": product},
        "dosageInstruction": [dosage],
    }  # fmt: skip
    patient = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1976-03-04"}
    services = {item["hook"]: item for item in client.get("/cds-services").json["services"]}
    service = services["order-sign"]
    request = {
        "hook": "order-sign",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "userId": "Practitioner/1",
            "patientId": "p1",
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": order}]},
        },
        "prefetch": dict.fromkeys(service["prefetch"], EMPTY) | {"patient": patient},
    }
    answer = client.post(f"/cds-services/{service['id']}", json=request)
    assert answer.status_code == 200
    return "\n".join(f"{card['summary']}\n{card.get('detail', '')}" for card in answer.json["cards"])


def dose(value: float, **unit: str) -> list[dict[str, Any]]:
    return [{"doseQuantity": {"value": value, **unit}}]


@pytest.mark.parametrize(
    ("text", "mg_a_day"),
    [
        ("1-0-1-0", 603),
        ("1/2-1/2-1/2-1/2", 603),
        ("Take .5 tablet by mouth 4 (four) times daily", 603),
        ("Take 2 tablets (1,000 mg total) by mouth every morning with breakfast", 603),
        ("2 tabs po qhs", 603),
        ("1 BD", 603),
        ("2 comprimés matin et soir", 1206),
        ("1 comp c/8h", 904),
        ("1 cpr mattina e sera", 603),
        ("Tomar 01 comprimido de 12/12h", 603),
        ("2dd1 tablet", 603),
        ("morgens 2 Tabletten, abends 1 Tablette", 904),
        ("1 tablett 2 gånger dagligen", 603),
        ("2 tablettia illalla", 603),
        ("1 tabl. rano i wieczorem", 603),
        ("2x denně 1 tableta", 603),
    ],
)
def test_what_is_ordered_in_words_is_counted(client: FlaskClient, text: str, mg_a_day: int) -> None:
    assert f"agnesium {mg_a_day} mg a day" in told(client, {"text": text})


@pytest.mark.parametrize(
    "unit",
    [
        {"system": SNOMED, "code": "732936001", "unit": "Tablet (unit of presentation)"},
        {"system": SNOMED, "code": "732936001"},
        {"system": EDQM, "code": "15054000", "unit": "Comprimé"},
        {"system": FORM, "code": "TAB", "unit": "TAB"},
        {"system": UCUM, "code": "1", "unit": "tablet"},
        {"unit": "tab(s)"},
        {"unit": "EA"},
        {"unit": "comprimidos"},
        {"unit": "Tbl."},
    ],
)
def test_a_tablet_is_counted_under_the_code_or_word_of_any_country(client: FlaskClient, unit: dict[str, str]) -> None:
    dosage = {"timing": TWICE, "doseAndRate": dose(1, **unit)}
    assert "agnesium 603 mg a day" in told(client, dosage)


@pytest.mark.parametrize(
    "unit",
    [
        {"system": SNOMED, "code": "732936001", "unit": "mg"},
        {"system": SNOMED, "code": "999999999"},
        {"system": UCUM, "code": "[drp]", "unit": "tablet"},
        {"unit": "dollop"},
    ],
)
def test_a_unit_that_nobody_knows_or_that_contradicts_itself_is_said(client: FlaskClient, unit: dict[str, str]) -> None:
    assert UNKNOWN in told(client, {"timing": TWICE, "doseAndRate": dose(2, **unit)})


def test_a_timing_in_words_is_counted_with_the_structured_dose(client: FlaskClient) -> None:
    dosage = {"timing": {"code": {"text": "Nightly"}}, "doseAndRate": dose(2, unit="tablet")}
    assert "Supplemental magnesium 482 mg a day" in told(client, dosage, "Magnesium oxide 400 mg tablet")


def test_ten_tablets_once_a_week_at_bedtime_are_not_ten_a_day(client: FlaskClient) -> None:
    weekly = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "wk", "when": ["HS"]}}
    dosage = {"timing": weekly, "doseAndRate": dose(10, unit="tablet")}
    assert "Supplemental magnesium 431 mg a day" in told(client, dosage)


def test_twice_a_day_with_meals_is_two_doses(client: FlaskClient) -> None:
    meals = {"repeat": DAILY | {"frequency": 2, "when": ["C"]}}
    assert "agnesium 603 mg a day" in told(client, {"timing": meals, "doseAndRate": dose(1, unit="tablet")})


@pytest.mark.parametrize(
    "dosage",
    [
        {"text": "Take 2 tablets (500 mg total) by mouth twice daily"},  # two tablets of 500 mg are 1,000 mg
        {"text": "1 tablet daily and as needed"},
        {"text": "2 (three) tablets daily"},
        {"text": "Hold 2 tablets daily"},
        {"text": "1x2"},
        {"text": "1-1"},
        {"text": "1 tablet as needed"},
        {"text": "2 tablets twice daily", "timing": {"repeat": DAILY}},
        {"text": "2 tablets daily", "doseAndRate": dose(1, unit="tablet")},
        {"text": "as directed", "timing": {"code": {"text": "as directed"}}},
    ],
)
def test_what_is_not_understood_whole_or_contradicts_itself_is_said_not_to_be_known(
    client: FlaskClient, dosage: dict[str, Any]
) -> None:
    answer = told(client, dosage)
    assert UNKNOWN in answer and "mg a day" not in answer
