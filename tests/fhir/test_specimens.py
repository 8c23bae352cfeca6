"""What a laboratory says of the specimen: trouble, its denial in many languages, results of something else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import shipped
from tests.fhir.charts import MG_SUBSTANCE, SNOMED, Json, about, answer, bundle, coded, magnesium, mg, order, read
from tests.fhir.test_lab_codes import gathered

CONDITION = "http://terminology.hl7.org/CodeSystem/v2-0493"
MODIFIER = (
    "https://www.medizininformatik-initiative.de/fhir/core/modul-labor/StructureDefinition/"
    "InterpretationsbeeinflussendeEigenschaft"
)


def noted(text: str) -> Json:
    return magnesium(note=[{"text": text}])


def contained(**specimen: Any) -> Json:
    return {
        "contained": [{"resourceType": "Specimen", "id": "s", "subject": about(), **specimen}],
        "specimen": {"reference": "#s"},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"note": [{"text": "Specimen grossly HEMOLYZED"}]},
        {"interpretation": [{"text": "haemolysed"}]},
        {"interpretation": [coded("118128002")]},
        {"dataAbsentReason": {"text": "haemolysis"}},
        {"dataAbsentReason": coded("118128002")},
        contained(condition=[coded("HEM", CONDITION)]),
        contained(condition=[{"text": "hemolytisk"}]),
        contained(note=[{"text": "Probe hämolytisch"}]),
        {"modifierExtension": [{"url": MODIFIER, "valueCoding": {"system": SNOMED, "code": "118128002"}}]},
    ],
)
def test_specimen_trouble_is_read_from_where_it_is_written(change: dict[str, object]) -> None:
    assert mg(magnesium(**change)).trouble == {"haemolysed"}


def test_the_specimen_of_a_result_may_be_sent_beside_it() -> None:
    specimen = {"resourceType": "Specimen", "id": "s1", "subject": about(), "condition": [coded("HEM", CONDITION)]}
    for name in ("Specimen/s1", "https://ehr.example/fhir/Specimen/s1"):
        labs = read(serum_magnesium=bundle(magnesium(specimen={"reference": name}), specimen)).facts.labs
        assert labs["serum_magnesium"][0].trouble == {"haemolysed"}


@pytest.mark.parametrize(
    "text",
    [
        "Haemolysis: no repeat sample received",
        "Not fasting, haemolysed",
        "No icterus. Hemolysis 2+",
        "No haemolysis in the first tube; second tube haemolysed",
        "Haemolysed, not suitable for potassium",
        "Haemolysed ok to report",
        "pas de résultat: hémolyse",
        "Geen uitslag wegens hemolyse",
        "kein Ergebnis wegen Hämolyse",
        "Inget resultat pga hemolys",
        "Ei tulosta, hemolyysi",
        "Hemolysis - severe",
        "No doubt haemolysed",
        "Haemolysis cannot be excluded",
        "Haemolysis index: 0.9",
        "Hemolytic anemia known. Specimen hemolyzed",
        "Probe stark hämolytisch",
        "HÄMOLYSE",
        "H\u00c3\u00a4molyse",
        "Hämolyse nicht auszuschließen",
        "Ha\u0308molytische Probe",
        "prélèvement hémolysé",
        "HEMOLYSE +++",
        "Muestra hemolizada, repetir",
        "Amostra hemolisada",
        "hemólise moderada",
        "campione emolizzato",
        "Emolisi visibile",
        "dat het monster hemolytisch is",
        "hemolyserat prov",
        "Hemolysert prøve",
        "Kraftig hæmolyse",
        "näyte hemolysoitunut",
        "溶血",
    ],
)
def test_haemolysis_is_read_in_the_language_of_the_laboratory(text: str) -> None:
    assert mg(noted(text)).trouble == {"haemolysed"}


@pytest.mark.parametrize(
    "text",
    [
        "No haemolysis",
        "no visible hemolysis.",
        "Haemolysis: not visible",
        "keine Zeichen einer Hämolyse",
        "Hämolyse nicht nachgewiesen",
        "geen tekenen van hemolyse",
        "inga tecken på hemolys",
        "ingen tegn til hemolyse",
        "hemolyse ikke påvist",
        "l'échantillon n'est pas hémolysé",
        "aucun signe d'hémolyse",
        "no hay hemólisis",
        "não há hemólise",
        "nessun segno di emolisi",
        "emolisi non rilevata",
        "Hémolyse : absence",
        "Hemolyysi-indeksi 0",
        "uhemolysert prøve",
        "unhaemolysed",
        "Hämolyse -, Ikterus -, Lipämie -",
        "Haemolytic anaemia",
        "Sample not haemolysed; fasting",
        "Non-haemolysed specimen",
        "Haemolysis: none",
        "Haemolysis index: negative",
        "hemolysis not detected",
        "No evidence of haemolysis, no EDTA contamination",
        "EDTA contamination excluded",
        "Haemolysis OK",
        "Specimen hemolyzed check passed.",
        "Index 0 (Clear No Hemolysis)",
        "Haemolyse: 0",
        "Hämolyseindex 0",
        "Hämolyse (-)",
        "nicht hämolytisch",
        "ohne Hämolyse",
        "keine sichtbare Hämolyse",
        "Keine EDTA-Kontamination",
        "Hämolyse: nein",
        "geen hemolyse",
        "Geen zichtbare hemolyse.",
        "niet hemolytisch",
        "ej hemolys",
        "ingen synlig hemolys",
        "ingen hemolyse",
        "ikke hemolysert",
        "fritt for synlig hemolyse",
        "ingen hæmolyse",
        "ei hemolyysiä",
        "ei näkyvää hemolyysiä",
        "Hemolyysi: ei",
        "Sérum non hémolysé",
        "pas d'hémolyse",
        "absence d\u2019hémolyse visible",
        "sin hemólisis",
        "Libre de hemólisis",
        "La muestra no debe presentar hemólisis",
        "amostra não hemolisada",
        "sem hemólise",
        "campione non emolizzato",
        "assenza di emolisi",
        "溶血なし",
        "Autoimmunhämolytische Anämie",
        "haemolytic streptococci",
        "Probenmaterial: Serum. Nicht EDTA-Plasma einsenden.",
        "EDTA plasma",
        "Blood collected in serum and EDTA tubes",
        "fasting",
    ],
)
def test_trouble_that_a_comment_denies_is_none(text: str) -> None:
    assert mg(noted(text)).trouble == frozenset()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("K-EDTA contamination suspected", "contaminated"),
        ("Verdacht auf EDTA-Kontamination", "contaminated"),
        ("Possible EDTA", "contaminated"),
        ("EDTA-Verschleppung", "contaminated"),
        ("échantillon contaminé", "contaminated"),
        ("Muestra contaminada con suero", "contaminated"),
        ("Inadvertently collected in lavender top; recollect", "wrong_tube"),
        ("mauvais tube", "wrong_tube"),
        ("Falsches Röhrchen", "wrong_tube"),
    ],
)
def test_a_contaminated_specimen_and_a_wrong_tube_are_read(text: str, kind: str) -> None:
    assert mg(noted(text)).trouble == {kind}


@given(
    st.sampled_from(["Probe hämolytisch", "geen hemolyse", "haemolysis: none", "EDTA contamination", "fasting"]),
    st.lists(st.sampled_from(["fasting", "Lipaemia: none", "pas de coagulation", "icterus 2+"]), max_size=4),
    st.sampled_from([". ", "; ", "\n"]),
)
def test_other_sentences_change_nothing(text: str, others: list[str], stop: str) -> None:
    alone = mg(noted(text)).trouble
    assert mg(noted(stop.join([*others, text]))).trouble == alone
    assert mg(noted(stop.join([text, *others]))).trouble == alone
    assert mg(magnesium(note=[{"text": each} for each in (*others, text)])).trouble == alone


@given(st.text(max_size=60))
def test_any_comment_can_be_read(text: str) -> None:
    assert mg(noted(text)).trouble <= {"haemolysed", "contaminated", "wrong_tube"}


@pytest.mark.parametrize(
    "comment", ["haemoly" * 20_000, "a" * 100_000 + "haemolysed x", "no " * 30_000 + "haemolysed x haemolysed"]
)
def test_a37_a_hostile_comment_is_read_in_one_pass(comment: str) -> None:
    # With a pattern that tries again from every letter, the first of these takes hours.
    assert shipped().vocabulary.specimens.troubles_in([comment]) == {"haemolysed"}


def test_every_comment_that_was_gathered_is_read_rightly() -> None:
    board = Counter[str]()
    for row in gathered("specimen.csv"):
        if row["kind"] == "word":
            told = shipped().vocabulary.specimens.troubles_in([row["text_or_code"]])
            wanted = row["expected"] if row["expected"] in ("haemolysed", "contaminated", "wrong_tube") else None
            assert (wanted in told) if wanted else not told, row
            board[row["language"]] += 1
    assert board.total() > 60


# Not of this patient's serum


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"modifierExtension": [{"url": "http://ehr.example/not", "valueBoolean": True}]}, "modifier"),
        (
            {"modifierExtension": [{"url": MODIFIER, "valueCoding": {"system": SNOMED, "code": "118129005"}}]},
            "modifier",
        ),
        ({"modifierExtension": [{"url": MODIFIER}]}, "modifier"),
        ({"modifierExtension": [{"url": "http://ehr.example/x", "valueCoding": {"code": "118128002"}}]}, "modifier"),
        (contained(type=coded("122575003")), "specimen"),
        (contained(type={"text": "Cord blood"}), "specimen"),
        (contained(type={"text": "Dialysate"}), "specimen"),
        (contained(type={"text": "Urin (24 h)"}), "specimen"),
        (contained(type={"text": "24h-Sammelurin"}), "specimen"),
        (contained(type={"text": "Erythrozytenkonzentrat"}), "specimen"),
        ({"specimen": {"display": "Orina"}}, "specimen"),
        ({"bodySite": {"text": "Umbilical cord"}}, "specimen"),
        ({"focus": [{"reference": "Patient/fetus9"}]}, "somebody"),
        ({"focus": [{"display": "Donor"}]}, "somebody"),
        ({"focus": [about(), {"reference": "RelatedPerson/mother"}]}, "somebody"),
    ],
)
def test_a_result_of_something_else_is_not_used_and_says_why(change: Json, problem: str) -> None:
    lab = mg(magnesium(**change))
    assert lab.value is None
    assert problem in lab.problem


@pytest.mark.parametrize(
    "change",
    [
        {"focus": [about()]},
        {"focus": [{"reference": "https://ehr.example/fhir/Patient/mona"}]},
        {"specimen": {"reference": "Specimen/unknown"}},
        {"specimen": {"display": "Serum"}},
        {"bodySite": coded("368208006", display="Left upper arm structure")},
        contained(type=coded("119364003", display="Serum specimen")),
        contained(type={"text": "Venous blood"}, condition=[coded("ROOM", CONDITION)]),
        contained(type={"text": "Blood, pre-dialysis"}),
        contained(type={"text": "Blood drawn during dialysis"}),
        {"bodySite": {"text": "Umbilical venous catheter"}},
        {"contained": [{"resourceType": "Specimen", "id": "t"}], "specimen": {"reference": "#s"}},
    ],
)
def test_an_ordinary_specimen_leaves_a_result_as_it_is(change: Json) -> None:
    lab = mg(magnesium(**change))
    assert (lab.problem, lab.trouble, lab.value is not None) == ("", frozenset(), True)


@pytest.mark.parametrize("unit", ["mg/dL", "furlong"])
def test_a_result_about_the_child_hides_none_of_the_mothers_own(unit: str) -> None:
    later = {"effectiveDateTime": "2026-11-12T08:00:00Z", "valueQuantity": {"value": 2.2, "unit": unit}}
    childs = magnesium(id="child", focus=[{"reference": "Patient/child"}], **later)
    own = read(serum_magnesium=bundle(childs, magnesium(1.0))).facts.labs["serum_magnesium"][0]
    assert (own.source.id, own.problem) == ("mg", "")


@pytest.mark.parametrize("text", ["HEMOLYZED", "Hémolysé", "QNS", "!!Storno", ">90\nUnits: mL/min/1.73sqm", "COA"])
def test_a_result_in_words_is_no_number(text: str) -> None:
    said = magnesium() | {"valueString": text}
    del said["valueQuantity"]
    assert mg(said).problem == "value is not a quantity"


# At an order


MAGNESIUM = order(id="d1", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"})


def at_an_order(client: FlaskClient, result: Json) -> Json:
    return answer(client, "order-sign", drafts=[MAGNESIUM], serum_magnesium=bundle(result))


HIGH = {"valueQuantity": {"value": 2.4, "unit": "mmol/L"}, "effectiveDateTime": "2026-11-20T08:00:00Z"}
UNRELIABLE = "specimen is reported as unreliable"


@pytest.mark.parametrize("text", ["geen hemolyse", "ej hemolys", "Haemolysis OK", "fasting"])
def test_a_denial_never_hides_a_dangerous_level_at_an_order(client: FlaskClient, text: str) -> None:
    told = at_an_order(client, magnesium(code=MG_SUBSTANCE, note=[{"text": text}], **HIGH))
    assert told["cards"][0]["indicator"] == "critical"
    assert UNRELIABLE not in str(told["cards"])


@pytest.mark.parametrize("text", ["Probe hämolytisch", "Muestra hemolizada", "haemolysed"])
def test_a_result_that_cannot_be_used_is_said_at_an_order(client: FlaskClient, text: str) -> None:
    told = at_an_order(client, magnesium(code=MG_SUBSTANCE, note=[{"text": text}], **HIGH))
    assert all(card["indicator"] != "critical" for card in told["cards"])
    assert UNRELIABLE in str(told["cards"])
