"""By which route an order is given: codes of several systems, and the words of several languages."""

from __future__ import annotations

import pytest

from tests.fhir.charts import Json, bundle, coded, order, read

EDQM, V2 = "http://standardterms.edqm.eu", "http://terminology.hl7.org/CodeSystem/v2-0162"
V3 = "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration"
LOCAL = "http://ehr.example/routes"


def route(told: Json) -> str:
    given = order(
        medicationCodeableConcept={"text": "Magnesium sulfate 2 g/50 mL"}, dosageInstruction=[{"route": told}]
    )
    return read(medications=bundle(given)).facts.medications[0].route


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (EDQM, "20045000", "intravenous"),
        ("urn:oid:0.4.0.127.0.16.1.1.2.1", "20045000", "intravenous"),
        (EDQM, "20053000", "oral"),
        (EDQM, "20035000", "injection"),
        (EDQM, "20013500", "enteral"),
        (EDQM, "20072000", "vaginal"),
        (V2, "IV", "intravenous"),
        ("http://hl7.org/fhir/v2/0162", "IV", "intravenous"),
        (V2, "PO", "oral"),
        (V2, "IM", "injection"),
        (V2, "NG", "enteral"),
        (V3, "IV", "intravenous"),
        (V3, "IVCC", "intravenous"),
        (V3, "IVPUSH", "intravenous"),
        (V3, "PO", "oral"),
        ("http://snomed.info/sct", "47625008", "intravenous"),
        ("http://snomed.info/sct/11000172109", "47625008", "intravenous"),
        ("http://snomed.info/sct", "418114005", "intravenous"),
        ("http://snomed.info/sct", "372463005", "injection"),
    ],
)
def test_a_route_is_known_by_its_code_without_a_display(system: str, code: str, expected: str) -> None:
    assert route(coded(code, system)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IVPB", "intravenous"),
        ("IV Piggyback", "intravenous"),
        ("IV Push", "intravenous"),
        ("Intravenous (IV)", "intravenous"),
        ("Infusion, intravenous", "intravenous"),
        ("Intravenöse Anwendung", "intravenous"),
        ("intravenös", "intravenous"),
        ("Voie intraveineuse", "intravenous"),
        ("Vía intravenosa", "intravenous"),
        ("Uso endovenoso", "intravenous"),
        ("intraveneus", "intravenous"),
        ("intravenøst", "intravenous"),
        ("laskimoon", "intravenous"),
        ("Zum Einnehmen", "oral"),
        ("Voie orale", "oral"),
        ("VÍA ORAL", "oral"),
        ("oraal", "oral"),
        ("suun kautta", "oral"),
        ("Voie sous-cutanée", "injection"),
        ("zur Anwendung mittels Magensonde", "enteral"),
    ],
)
def test_a_route_is_known_by_its_words(text: str, expected: str) -> None:
    assert route({"text": text}) == expected
    assert route({"coding": [{"system": LOCAL, "code": "7", "display": text}]}) == expected


@pytest.mark.parametrize(
    "told",
    [
        coded("20045000", LOCAL),
        coded("IV", EDQM),
        coded("4562800", "http://snomed.info/sct"),
        coded("47625008", V2),
        {"text": "not IV"},
        {"text": "IV or PO"},
        {"text": "sonde"},
        {"text": ""},
    ],
)
def test_a_code_of_another_system_or_more_than_a_route_says_nothing(told: Json) -> None:
    # The name of the product says no route, so none is known.
    assert route(told) == route({})
