"""Drugs by the names, codes and spellings of many countries, and what only looks like magnesium."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology.drugs import DrugIdentity
from tests.conftest import SHARED, shipped

NAMES = SHARED / "terminology" / "names" / "names.csv"
ATC, SNOMED = "http://www.whocc.no/atc", "http://snomed.info/sct"


def named(text: str) -> DrugIdentity:
    return shipped().vocabulary.drug([], text)


@pytest.mark.parametrize(
    ("texts", "drug"),
    [
        ("Magnesiumsulfat 50 %, MgSO4 2 g, Mag sulf 2 g, sulfate de magnésium, sulfato de magnesio, "
         "solfato di magnesio, magnesio solfato, siarczan magnezu, Magnesii sulfas", "magnesium_sulfate"),
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
     "Mangan", "Manganese gluconate"],
)  # fmt: skip
def test_a_counter_ion_a_filler_and_a_dilution_are_no_magnesium(text: str) -> None:
    assert "magnesium" not in named(text).drugs


@pytest.mark.parametrize("text", ["Magaldrat", "Hydrotalcit", "Magnesium D3", "Omeprazole, magnesium oxide 400 mg"])
def test_magnesium_stays_magnesium_beside_such_words(text: str) -> None:
    assert "magnesium" in named(text).drugs


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
