"""Drugs by the names, codes and spellings of many countries, and what only looks like magnesium."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology.drugs import DrugIdentity
from tests.conftest import SHARED, shipped

WHO_NAME = re.compile(r'WHO name "([^"]+)"')
NAMES = SHARED / "terminology" / "names" / "names.csv"
ATC, SNOMED = "http://www.whocc.no/atc", "http://snomed.info/sct"


def named(text: str) -> DrugIdentity:
    return shipped().vocabulary.drug([], text)


@pytest.mark.parametrize(
    ("texts", "drug"),
    [
        ("Magnesiumsulfat 50 %, MgSO4 2 g, Mag sulf 2 g, sulfate de magnésium, sulfato de magnesio, "
         "solfato di magnesio, magnesio solfato, siarczan magnezu, Magnesii sulfas", "magnesium_sulfate"),
        ("Mg sulphate 4 g IV, Mag. sulph. 50%, mag sulfate in D5W, Magnesium sulfate 2 g in D5W", "magnesium_sulfate"),
        ("Mg-Citrat 300 mg, mag citrat", "magnesium_citrate"),
        ("Magnesiumoxid 400 mg, oxyde de magnésium, óxido de magnesio, magnesiumoksidi, MgOx 400", "magnesium_oxide"),
        ("Magnesiumcitrat, citrate de magnésium, citrato de magnesio, magnesiumcitraat", "magnesium_citrate"),
        ("levotiroxina 100 mcg, Levothyroxin-Natrium, lévothyroxine sodique, levothyroxinum natricum, Levothyrox 75, "
         "L-Thyroxin, lewotyroksyna, LEVOTYROXIN", "levothyroxine"),
        ("ciprofloxacino 500 mg, ciprofloxacine, Ciprofloxacinum, cyprofloksacyna, ciprofloxacina", "ciprofloxacin"),
        ("hydrochlorothiazid, idroclorotiazide, hidroclorotiazida, HCTZ 25", "hydrochlorothiazide"),
        ("doxycyclin, doxiciclina, doksycyklina, Doxycyclinum", "doxycycline"),
        ("furosemid, furosemida, furosémide, furosemidi", "furosemide"),
        ("omeprazol, oméprazole, omeprazolo, omepratsoli", "omeprazole"),
        ("digitoxin, Digitoxine, digitoxina", "digitoxin"),
        ("lait de magnésie, leche de magnesia, latte di magnesia, Magnesiamilch, Magnesium hydrox, Mag hydroxide, "
         "Mg hydroxide 400 mg, wodorotlenek magnezu, leite de magnésia", "magnesium_hydroxide"),
        ("Mg oxide 400 mg, Magnesium ox, Mg ox 400, magnesium oxi 400 mg, Magnesii oxidum leve", "magnesium_oxide"),
        ("Mg citrate, Mg-citraat, cytrynian magnezu, Magnesium cit, magnesii citras", "magnesium_citrate"),
        ("Magnesium-L-Threonat, Mag L-threonate, L-treonato de magnesio", "magnesium_threonate"),
        ("магния сульфат 25%, сульфат магния, Magnesium sulfuricum BBP, Bittersalz, Mg SO4", "magnesium_sulfate"),
        ("левотироксин натрия, levothyrox, levothyroxi, levothyr 100, L-Thyrox", "levothyroxine"),
        ("гидрохлоротиазид, hydrochlorothiaz, hydrochlorothi 25 mg tab, HCT", "hydrochlorothiazide"),
        ("Amlodipinbesilat, amlodipin, amlodypina, амлодипин, amlodip 5 mg", "amlodipine"),
        ("Alendronsäure, alendronsyre, alendroninezuur, kwas alendronowy, алендроновая кислота", "alendronic_acid"),
        ("siprofloksasiini, ципрофлоксацин, ciproflox 500", "ciprofloxacin"),
        ("almasilate 500 mg chewable tablet, Almasilat, Simagel Kautabletten, Megalac Almasilat, almagate, almagato, "
         "Almax 1 g comprimidos", "magnesium"),
        ("Mag\u200bnesium oxide, magne\u00adsium oxide, \u041cagnesium oxide, "
         "\uff2d\uff21\uff27\uff2e\uff25\uff33\uff29\uff35\uff2d oxide", "magnesium_oxide"),
    ],
)  # fmt: skip
def test_a_drug_is_known_by_its_names_in_the_languages_of_charts(texts: str, drug: str) -> None:
    for text in texts.split(", "):
        found = named(text)
        assert drug in found.drugs and not found.conflict, text


@pytest.mark.parametrize(
    "text",
    ["Esomeprazol-Magnesium", "Omeprazol-Magnesium-Dihydrat 20 mg", "Pantoprazol-Magnesium", "valproate de magnésium",
     "stéarate de magnésium", "magnesium valproate", "acetylcysteine magnesium", "Magnesium phosphoricum D6",
     "Magnesium carbonicum C30", "Magnesium muriaticum 9 CH", "Vitamin D3 tablets with magnesium stearate",
     "Mangan", "Manganese gluconate", "Esomeprazol als Magnesium-Dihydrat 40 mg", "Omeprazol 20 mg (als Magnesiumsalz)",
     "esomeprazolo 20 mg (come magnesio diidrato)", "Magnesiumvalproat", "stearynian magnezu", "Mag phos 6x",
     "Cholin-Magnesium-Salicylat", "Magnesium phosphoricum LM VI", "Gaviscon Dual Action", "Gaviscon Advance",
     "Ferrous sulfate mg 325", "20 mg oxide", "benzoyl peroxide 0.06 MG/MG / sulfur 0.03 MG/MG", "magnesium oil spray"],
)  # fmt: skip
def test_a_counter_ion_a_filler_and_a_dilution_are_no_magnesium(text: str) -> None:
    assert "magnesium" not in named(text).drugs


@pytest.mark.parametrize("text", ["Magaldrat", "Hydrotalcit", "Magnesium D3", "Omeprazole, magnesium oxide 400 mg"])
def test_magnesium_stays_magnesium_beside_such_words(text: str) -> None:
    assert "magnesium" in named(text).drugs


@pytest.mark.parametrize("text", ["magaldrate 800 mg", "Magnesiumpidolat 1500 mg", "magnesium ascorbate 500 mg"])
def test_the_weight_of_a_salt_of_unknown_make_is_no_amount_of_magnesium(text: str) -> None:
    found = named(text)
    assert found.drugs == {"magnesium"} and [part.strength for part in found.components] == [None]


@pytest.mark.parametrize("text", ["Gaviscon", "Gaviscon liquid 10 mL", "Urex 40 mg", "Doryx 100"])
def test_a_brand_that_is_another_drug_elsewhere_is_not_guessed(text: str) -> None:
    assert named(text) == DrugIdentity(form=named(text).form)


def test_such_a_brand_is_what_its_code_or_the_text_beside_it_says() -> None:
    assert "magnesium_carbonate" in named("aluminum hydroxide / magnesium carbonate [Gaviscon]").drugs
    assert "magnesium" not in named("alginic acid 500 mg [Gaviscon]").drugs
    by_code = shipped().vocabulary.drug([(ATC, "C03CA01", "Urex")], "Urex 40 mg")
    assert "furosemide" in by_code.drugs and not by_code.conflict


@pytest.mark.parametrize("text", ["omepr", "mag", "magnesium as needed", "prednis", "MS 10 mg", "MOM"])
def test_what_could_be_several_drugs_is_none_of_them(text: str) -> None:
    assert named(text).drugs <= {"magnesium"}


@pytest.mark.parametrize(
    "code", ["A12CC01", "A12CC06", "A12CC30", "A06AD04", "B05XA05", "B05XA11", "G04BX01", "A02AA04"]
)
def test_every_atc_code_of_magnesium_is_magnesium(code: str) -> None:
    assert "magnesium" in shipped().vocabulary.drug([(ATC, code, None)], None).drugs


def test_a_whole_atc_code_of_another_drug_is_another_drug() -> None:
    found = shipped().vocabulary.drug([(ATC, "C07AB07", None)], None)
    assert found.others and not found.drugs


CODINGS = [("http://hospital.example/drugs", "4711", None), (ATC, "A12CC02", None), (SNOMED, "999", None)]


@given(st.permutations(CODINGS))
def test_the_order_of_codings_does_not_matter(codings: list[tuple[str, str, None]]) -> None:
    assert "magnesium_sulfate" in shipped().vocabulary.drug(codings, None).drugs


@given(st.sampled_from(["magnesium oxide", "levothyroxine", "ciprofloxacin"]), st.data())
def test_format_characters_hide_no_drug(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    mark = data.draw(st.sampled_from(["\u200b", "\u00ad", "\u200d", "\ufeff", "\u202a"]))
    assert named(text[:at] + mark + text[at:]).drugs == named(text).drugs


ALIKE = {
    "a": "\u0430",
    "e": "\u0435",
    "o": "\u043e",
    "i": "\u0456",
    "c": "\u0441",
    "x": "\u0445",
    "n": "\u03b7",
    "N": "\u039d",
    "E": "\u0415",
}


@given(st.sampled_from(["magnesium oxide", "levothyroxine", "MAGNESIUM OXIDE", "LEVOTHYROXINE"]), st.data())
def test_letters_that_look_alike_hide_no_drug(text: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([i for i, letter in enumerate(text) if letter in ALIKE]))
    assert named(text[:at] + ALIKE[text[at]] + text[at + 1 :]).drugs == named(text).drugs


@pytest.mark.parametrize("text", ["Maléate d'énalapril", "chlorhydrate d\u2019amitriptyline", "Metoprololsuccinat"])
def test_another_medicine_is_known_as_such_in_the_grammar_of_its_language(text: str) -> None:
    assert named(text).others and not named(text).drugs


@given(st.sampled_from(["levothyroxine", "hydrochlorothiazide", "ciprofloxacin", "omeprazole"]), st.integers(7, 12))
def test_a_name_cut_short_is_the_one_drug_that_it_can_be_or_none(text: str, length: int) -> None:
    found = named(text[:length])
    assert found.drugs in (named(text).drugs, frozenset()) and not found.others


@pytest.mark.skipif(not NAMES.exists(), reason="the reference material is not beside the project")
def test_the_names_of_the_reference_list_are_known_and_none_is_taken_for_another_drug() -> None:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    wrong = []
    with NAMES.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["verified"] != "yes" or row["kind"] not in ("inn", "salt", "brand"):
                continue
            found = named(row["text"])
            right = row["concept"] in found.drugs
            counts[row["kind"], row["language"]]["right" if right else "not"] += 1
            # The reference has the oxide in Pepcid Complete, RxNorm the hydroxide.
            if found.drugs and not right and "TRAP" not in row["note"] and row["text"] != "Pepcid Complete":
                wrong.append((row["text"], row["concept"], sorted(found.drugs)))
    # Under the name of the metal alone these brands say no salt; the metal is right.
    assert [each for each in wrong if each[2] != ["magnesium"]] == []
    for (kind, language), count in counts.items():
        if count.total() >= 5:
            assert count["right"] / count.total() >= (0.85 if kind == "brand" else 0.95), (kind, language, count)


@pytest.mark.skipif(not NAMES.exists(), reason="the reference material is not beside the project")
def test_no_code_of_a_drug_of_ours_has_the_name_of_another() -> None:
    """Else the code says one drug, the name another, and both together that they disagree."""
    rows = csv.DictReader(NAMES.read_text(encoding="utf-8").splitlines())
    told = [(row["text"], who) for row in rows if row["kind"] == "atc" for who in WHO_NAME.findall(row["note"])]
    assert len(told) > 300
    found = {(code, name) for code, name in told if shipped().vocabulary.drug([(ATC, code, name)], name).conflict}
    assert found == set()
