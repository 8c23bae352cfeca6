"""Medicines as charts of many countries code and write them, from the call to the card."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.fhir.charts import LOINC, RXNORM, Json, answer, bundle, coded, fired, magnesium, order, outcomes, statement

ATC, PZN = "http://www.whocc.no/atc", "http://fhir.de/CodeSystem/ifa/pzn"
NEW = {"effectiveDateTime": "2026-11-20T08:00:00Z"}
KIDNEY_FAILURE = "magnesium_with_kidney_failure"
POOR_KIDNEYS = bundle(
    magnesium() | {"code": coded("2160-0", LOINC), "valueQuantity": {"value": 6, "unit": "mg/dL"}} | NEW
)
GOOD_KIDNEYS = bundle(
    magnesium() | {"code": coded("2160-0", LOINC), "valueQuantity": {"value": 0.8, "unit": "mg/dL"}} | NEW
)
OXIDE = order(id="d1", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"})


def draft(**medicine: object) -> Json:
    plain = order(id="d1", status="draft")
    del plain["medicationCodeableConcept"]
    return plain | medicine


def medication(name: str, **more: object) -> Json:
    return {"resourceType": "Medication", "id": name, **more}


def dosed(text: str, dose: Json, times: int = 2) -> Json:
    """A tablet by mouth, so many times a day."""
    repeat = {"frequency": times, "period": 1, "periodUnit": "d"}
    given = {"timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": dose}]}
    return draft(medicationCodeableConcept={"text": text}, dosageInstruction=[given])


def told_of_amount(client: FlaskClient, ordered: Json) -> str:
    """Everything that the cards say about a day's magnesium, for a woman of 58 with good kidneys."""
    return " ".join(
        card["summary"] for card in answer(client, "order-sign", drafts=[ordered], kidney=GOOD_KIDNEYS)["cards"]
    )


MG = {"value": 500, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
TABLET = {"value": 1, "unit": "tablet"}


@pytest.mark.parametrize(
    ("text", "dose", "times", "amount"),
    [
        ("magnesium gluconate 500 mg (27 mg magnesium) tablet", MG, 2, None),
        ("magnesium aspartate 500 mg (37 mg magnesium) tablet", MG, 3, None),
        ("magnesium oxide 400 mg (241.3 mg magnesium) tablet", MG | {"value": 400}, 2, "483 mg"),
        ("magnesium oxide (MAG-OX) 400 mg (241.3 mg magnesium) oral tablet", TABLET, 2, "483 mg"),
        ("magnesium oxide 420 mg (252 mg magnesium) capsule", MG | {"value": 840}, 1, "504 mg"),
        ("magnesium chloride 535 mg (64 mg magnesium) tablet", MG | {"value": 535}, 6, "384 mg"),
        ("magnesium 400 mg (as oxide) tablet", TABLET, 1, "400 mg"),
        ("Magnesium citrate 100 mg tablet", TABLET, 4, "400 mg"),
        ("Magnesium 5 mmol (als Magnesiumaspartat) Granulat", TABLET | {"unit": "sachet"}, 3, "365 mg"),
    ],
)
def test_a_day_is_counted_in_magnesium_where_the_name_says_how_much_there_is(
    client: FlaskClient, text: str, dose: Json, times: int, amount: str | None
) -> None:
    said = told_of_amount(client, dosed(text, dose, times))
    assert "not known" not in said
    assert f"{amount} a day" in said if amount else "mg a day" not in said


@pytest.mark.parametrize("text", ["magaldrate 800 mg tablet", "Magnesiumpidolat 1500 mg", "Slow-Mag 64 mg tablet"])
def test_an_amount_that_the_name_does_not_tell_is_not_guessed(client: FlaskClient, text: str) -> None:
    told = answer(client, "order-sign", drafts=[dosed(text, TABLET)], kidney=GOOD_KIDNEYS)
    assert "whose amount a day is not known" in str(told["cards"])


@pytest.mark.parametrize(
    "concept",
    [
        {"text": "Magnesiumsulfat 50 % Ampulle"},
        {"text": "MgSO4 2 g i.v."},
        {"text": "Mg sulf 2 g"},
        {"text": "siarczan magnezu 2 g"},
        {"text": "Magnesium sulfuricum BBP 100 mg/ml"},
        {"text": "магния сульфат 25% 10 мл"},
        {"text": "Mg oxide 400 mg"},
        {"text": "leche de magnesia 15 ml"},
        coded("B05XA05", ATC),
        coded("A12CC05", ATC),
        coded("A12CC30", "http://fhir.de/CodeSystem/bfarm/atc"),
        {"coding": [{"system": PZN, "code": "04810345"}, {"display": "Magnesiumcitrat 300 mg"}]},
        {"coding": [{"system": "http://x.example", "code": "1"}, {"system": PZN, "code": "2"},
                    {"system": ATC, "code": "A06AD04"}]},
    ],
)  # fmt: skip
def test_magnesium_is_seen_with_failing_kidneys_whatever_it_is_called(client: FlaskClient, concept: Json) -> None:
    told = answer(client, "order-sign", drafts=[draft(medicationCodeableConcept=concept)], kidney=POOR_KIDNEYS)
    assert fired(told) & {KIDNEY_FAILURE, "intravenous_magnesium_with_kidney_failure"}


@pytest.mark.parametrize(
    "text",
    ["Esomeprazol-Magnesium 40 mg", "Esomeprazol als Magnesium-Dihydrat 40 mg", "Omeprazol 20 mg (als Magnesiumsalz)",
     "Magnesium phosphoricum D6", "Magnesiumvalproat 300 mg", "Gaviscon Advance", "20 mg oxide"],
)  # fmt: skip
def test_what_only_sounds_like_magnesium_is_not_warned_of(client: FlaskClient, text: str) -> None:
    told = answer(client, "order-sign", drafts=[draft(medicationCodeableConcept={"text": text})], kidney=POOR_KIDNEYS)
    assert KIDNEY_FAILURE not in fired(told)


@pytest.mark.parametrize("text", ["Gaviscon", "Gaviscon 10 ml"])
def test_a_brand_that_holds_magnesium_in_some_countries_is_said_to_be_in_doubt(client: FlaskClient, text: str) -> None:
    told = answer(client, "order-sign", drafts=[draft(medicationCodeableConcept={"text": text})], kidney=POOR_KIDNEYS)
    assert KIDNEY_FAILURE not in fired(told) and text in str(told["cards"])


SULFATE_BY_NAME = {"coding": [{"system": "http://hospital.example/names", "code": "Magnesium Sulfate"}]}


@pytest.mark.parametrize(
    "contained",
    [
        [medication("m1", ingredient=[{"itemCodeableConcept": {"text": "Magnesium sulfate"}}])],
        [medication("m1", code=coded("04810345", PZN), ingredient=[{"itemCodeableConcept": coded("37400007")}])],
        [medication("m1", ingredient=[{"itemReference": {"reference": "#m2"}}]),
         medication("m2", code=SULFATE_BY_NAME)],
        [medication("m1", ingredient=[{"itemReference": {"reference": "#m2"}}]),
         medication("m2", ingredient=[{"itemCodeableConcept": coded("B05XA05", ATC)}])],
        [medication("m1", code=coded("MAGS-NS", "http://mix.example"),
                    ingredient=[{"itemReference": {"reference": "#m2"}}, {"itemReference": {"reference": "#m3"}}]),
         medication("m2", code=SULFATE_BY_NAME), medication("m3", code={"text": "Sodium chloride 0.9 %"})],
    ],
)  # fmt: skip
def test_magnesium_among_the_ingredients_of_a_medication_is_seen(client: FlaskClient, contained: list[Json]) -> None:
    ordered = draft(contained=contained, medicationReference={"reference": "#m1"})
    assert KIDNEY_FAILURE in fired(answer(client, "order-sign", drafts=[ordered], kidney=POOR_KIDNEYS))


ASK = "http://fhir.de/CodeSystem/ask"  # substances in Germany, which nothing here reads


@pytest.mark.parametrize(
    ("code", "ingredients", "outcome"),
    [
        (coded("M01AE01", ATC), ["23391"], "quiet"),
        ({"text": "Ibuprofen 400 mg"}, ["23391"], "quiet"),
        (coded("G03AA07", ATC), ["02200", "03335"], "not_evaluated"),
        (coded("B05CB01", ATC), ["23391"], "not_evaluated"),
        (coded("V07AB00", ATC), ["23391"], "not_evaluated"),
        ({"text": "Sodium chloride 0.9 %"}, ["23391"], "not_evaluated"),
        (coded("4711", PZN), ["23391"], "not_evaluated"),
    ],
    ids=[
        "by code",
        "by name",
        "two of them",
        "a carrier",
        "a solvent",
        "a carrier by name",
        "a code of nobody's",
    ],
)
def test_the_only_ingredient_of_a_known_medicine_is_that_medicine(
    client: FlaskClient, code: Json, ingredients: list[str], outcome: str
) -> None:
    """Who takes ibuprofen takes no dolutegravir, though nobody here reads the code of its ingredient."""
    parts = [{"itemCodeableConcept": coded(each, ASK)} for each in ingredients]
    taken = draft(medicationReference={"reference": "Medication/m1"}) | {"id": "t1", "status": "active"}
    sent = bundle(taken, medication("m1", code=code, ingredient=parts), total=1)
    told = answer(client, "order-sign", drafts=[OXIDE], medications=sent)
    assert outcomes(told)["dolutegravir_timing"] == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Centrum Silver", "not_evaluated"),
        ("Supermulti Selenium", "not_evaluated"),
        ("Nobody's secret", "not_evaluated"),
        ("Ibuprofen Qwertz", "quiet"),
        ("Selenium 100 mcg", "quiet"),
        ("atorvast 20 mg", "quiet"),
    ],
)
def test_a_brand_is_not_known_by_a_nutrient_or_by_how_a_word_begins(
    client: FlaskClient, text: str, outcome: str
) -> None:
    """Centrum Silver holds magnesium, although silver is none."""
    taken = order(id="t1", medicationCodeableConcept={"text": text})
    new = order(id="d1", status="draft", medicationCodeableConcept=coded("J05AJ03", ATC))
    told = answer(client, "order-sign", drafts=[new], medications=bundle(taken))
    assert outcomes(told)["dolutegravir_timing"] == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("M01AE01", "quiet"), ("J05AJ03", "not_evaluated")],
    ids=["ibuprofen", "dolutegravir"],
)
@pytest.mark.parametrize("status", ["unknown", None, "suspended"])
def test_whether_another_medicine_is_taken_hides_nothing(
    client: FlaskClient, code: str, outcome: str, status: str | None
) -> None:
    taken = statement(medicationCodeableConcept=coded(code, ATC)) | {"status": status}
    told = answer(client, "order-sign", drafts=[OXIDE], medication_statements=bundle(taken))
    assert outcomes(told)["dolutegravir_timing"] == outcome


@pytest.mark.parametrize(
    ("second", "outcome"),
    [({"text": "levothyroxine 100 mcg"}, "fired"), ({"text": "paracetamol 500 mg"}, "not_evaluated")],
    ids=["sent twice", "another drug"],
)
def test_of_two_medications_of_one_id_neither_is_taken(client: FlaskClient, second: Json, outcome: str) -> None:
    taken = draft(medicationReference={"reference": "Medication/m1"}) | {"id": "t1", "status": "active"}
    first = {"text": "levothyroxine 100 mcg"}
    sent = bundle(taken, medication("m1", code=first), medication("m1", code=second), total=1)
    told = answer(client, "order-sign", drafts=[OXIDE], medications=sent)
    assert outcomes(told)["levothyroxine_timing"] == outcome


@pytest.mark.parametrize(
    "contained",
    [
        [medication("m1", ingredient=[{"item": {"concept": {"text": "Magnesiumsulfat"}}}])],
        [medication("m1", ingredient=[{"item": {"reference": {"reference": "#m2"}}}]),
         {"resourceType": "Substance", "id": "m2", "instance": False,
          "code": {"concept": {"text": "magnesium sulphate"}}}],
    ],
)  # fmt: skip
def test_magnesium_among_the_ingredients_of_a_medication_of_r5_is_seen(
    client: FlaskClient, contained: list[Json]
) -> None:
    ordered = draft(contained=contained, medication={"reference": {"reference": "#m1"}})
    assert KIDNEY_FAILURE in fired(answer(client, "order-sign", drafts=[ordered], kidney=POOR_KIDNEYS))


@pytest.mark.parametrize(
    "concept",
    [
        {"text": "levotiroxina 100 mcg"},
        {"text": "Levothyrox 75"},
        {"text": "L-THYROXIN 125 Henning Tabletten"},
        {"text": "LEVOTHYROXI"},
        {"text": "левотироксин натрия 50 мкг"},
        coded("H03AA01", "http://fhir.de/CodeSystem/dimdi/atc"),
    ],
)
def test_levothyroxine_is_kept_apart_from_magnesium_in_any_language(client: FlaskClient, concept: Json) -> None:
    taken = bundle(statement(medicationCodeableConcept=concept))
    assert "levothyroxine_timing" in fired(answer(client, "order-sign", drafts=[OXIDE], medication_statements=taken))


def by_vein(text: str) -> Json:
    given = {"route": {"text": "IV"}, "doseAndRate": [{"doseQuantity": {"value": 2, "unit": "g"}}]}
    return draft(medicationCodeableConcept={"text": text}, dosageInstruction=[given])


@pytest.mark.parametrize(
    ("taken", "rule"),
    [
        ({"text": "Digitoxin 0,07 mg"}, "intravenous_magnesium_with_digitalis"),
        (coded("C01AA04", ATC), "intravenous_magnesium_with_digitalis"),
        ({"text": "beta-acetyldigoxin 0,2 mg"}, "intravenous_magnesium_with_digitalis"),
        ({"text": "Metildigoxin"}, "intravenous_magnesium_with_digitalis"),
        ({"text": "cisatracurium 2 mg/mL"}, "intravenous_magnesium_with_neuromuscular_blocker"),
        (coded("319864", RXNORM), "intravenous_magnesium_with_neuromuscular_blocker"),
        ({"text": "Atracurium-hameln 10 mg/ml"}, "intravenous_magnesium_with_neuromuscular_blocker"),
        ({"text": "pankuroniumbromid"}, "intravenous_magnesium_with_neuromuscular_blocker"),
        ({"text": "Netilmicina"}, "intravenous_magnesium_with_neuromuscular_blocker"),
        (coded("2049549", RXNORM), "intravenous_magnesium_with_neuromuscular_blocker"),
    ],
)
def test_a_member_of_a_class_is_known_by_name_and_code_as_by_its_atc_code(
    client: FlaskClient, taken: Json, rule: str
) -> None:
    active = bundle(order(medicationCodeableConcept=taken))
    told = answer(client, "order-sign", drafts=[by_vein("Magnesium sulfate 2 g/50 mL")], medications=active)
    assert rule in fired(told)
