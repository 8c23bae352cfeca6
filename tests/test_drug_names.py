"""Which drug it is: by code, by name, and not at all where code and text disagree."""

import csv
import gzip
import json
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from cds_service.content.library import default_root
from cds_service.patient import Component, Quantity
from cds_service.spelling import LONGEST, fold
from cds_service.terminology.build import build
from cds_service.terminology.drugs import _REMEMBERED, _digest
from cds_service.terminology.index import Vocabulary
from cds_service.terminology.names import pack, unpack
from tests.support.requires import missing
from tests.support.some import some

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "terminology"
TERMINOLOGY = default_root() / "terminology"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"


def leaves(vocabulary: Vocabulary, text: str) -> set[str]:
    """The single drugs that a text names, without what stands above them."""
    found = vocabulary.drug([], text).drugs
    return {d for d in found if not any(d in vocabulary.broader.get(other, ()) for other in found)}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))


SAMPLE = [(row["name"], row["drugs"]) for row in table(Path(__file__).with_name("drug_names_sample.csv"))]


@pytest.mark.parametrize(("name", "drugs"), SAMPLE)
def test_a_product_name_gives_the_drugs_in_it(vocabulary, name, drugs):
    assert leaves(vocabulary, name) == set(drugs.split())


@pytest.mark.parametrize(
    ("text", "drug"),
    [
        ("Thyroxine 0.088 MG Oral Tablet", "levothyroxine"),
        ("L-THYROXINE SODIUM 100MCG TAB", "levothyroxine"),
        ("Synthroid 50 mcg", "levothyroxine"),
        ("frusemide 40mg tablets", "furosemide"),
        ("Torsemide 20 mg", "torasemide"),
        ("cyclosporin 100 mg capsules", "ciclosporin"),
        ("Neoral 25 mg", "ciclosporin"),
        ("Ibandronate sodium 150 mg", "ibandronic_acid"),
        ("Fosamax 70 mg once weekly tablets", "alendronic_acid"),
        ("bendrofluazide 2.5mg", "bendroflumethiazide"),
        ("acetaminophen 500 mg", "paracetamol"),
        ("dalfampridine ER 10 mg", "fampridine"),
        ("HCTZ 25 mg daily", "hydrochlorothiazide"),
        ("Milk of Magnesia", "magnesium_hydroxide"),
        ("PHILLIPS\u2019 MILK OF MAGNESIA", "magnesium_hydroxide"),
        ("Epsom salts", "magnesium_sulfate"),
        ("Magnesium sulphate 50% injection", "magnesium_sulfate"),
        ("Mag-Ox 400", "magnesium_oxide"),
        ("magnesium bisglycinate 200 mg", "magnesium_glycinate"),
        ("Magnesium L-threonate 2000 mg", "magnesium_threonate"),
        ("Magn\u00e9sium 300 mg", "magnesium"),
        ("Esomeprazole magnesium 20 mg", "esomeprazole"),
        ("Esomeprazole (as magnesium trihydrate) 20 mg gastro-resistant tablets", "esomeprazole"),
        ("Omeprazole (as magnesium) 10 mg", "omeprazole"),
    ],
)
def test_old_british_and_brand_names_are_known(vocabulary, text, drug):
    assert leaves(vocabulary, text) == {drug}
    assert vocabulary.drug([], text).identified_by == "name"


@pytest.mark.parametrize(
    ("text", "not_drug"),
    [
        ("Tablet coated with magnesium stearate", "magnesium"),
        ("esomeprazole magnesium 40 MG Delayed Release Oral Capsule [Nexium]", "magnesium"),
        ("pitavastatin magnesium 4 MG Oral Tablet [Zypitamag]", "magnesium"),
        ("choline magnesium trisalicylate 500 mg", "magnesium"),
        ("caffeine 50 MG / magnesium salicylate 162.5 MG Oral Tablet", "magnesium"),
        ("calcium oxybate / magnesium oxybate / sodium oxybate", "magnesium"),
        ("magnesium aluminium silicate gel", "magnesium"),
        ("sugar-free, magnesium-free antacid", "magnesium"),
        ("Recheck serum magnesium next week", "magnesium"),
        ("Gaviscon Advance oral suspension", "magnesium"),
        ("Maalox Max Quick Dissolve chewable", "magnesium"),
        ("ovine digoxin immune fab 40 MG Injection [Digifab]", "digoxin"),
        ("digoxin-specific antibody fragments", "digoxin"),
        ("anti-digoxin Fab", "digoxin"),
        ("digitoxin 0.1 mg", "digoxin"),
        ("liothyronine 5 micrograms", "levothyroxine"),
        ("dextrothyroxine 2 mg", "levothyroxine"),
        ("D-thyroxine", "levothyroxine"),
        ("thyroxine binding globulin", "levothyroxine"),
        ("apomorphine 10 mg/ml", "morphine"),
        ("fosphenytoin 50 mg/ml", "phenytoin"),
        ("isopropyl alcohol 70 % pad", "alcohol"),
        ("omeprazolemagnesiumfree", "omeprazole"),
        ("levomagnesiumate", "magnesium"),
        ("nitrofurazone ointment", "nitrofurantoin"),
        ("ciprofibrate 100 mg", "ciprofloxacin"),
        ("besifloxacin 0.6 % eye drops", "fluoroquinolones"),
        ("fluconazole 150 mg", "proton_pump_inhibitors"),
        ("glycerophosphate sodium 216 mg/ml", "magnesium"),
        ("potassium citrate 1080 mg", "magnesium_citrate"),
        ("zinc gluconate 50 mg", "magnesium_gluconate"),
        ("potassium chloride 10 mEq", "magnesium_chloride"),
    ],
)
def test_a_near_miss_is_not_that_drug(vocabulary, text, not_drug):
    found = vocabulary.drug([], text)
    assert not_drug not in found.drugs and not found.conflict


def test_a_combination_gives_all_its_ingredients(vocabulary):
    assert leaves(vocabulary, "levothyroxine / liothyronine") == {"levothyroxine", "liothyronine"}
    assert leaves(vocabulary, "co-amilofruse 5/40 tablets") == {"amiloride", "furosemide"}
    assert vocabulary.drug([(ATC, "N04BA02", None)], None).drugs == {"levodopa", "carbidopa"}


def amounts(vocabulary: Vocabulary, text: str) -> list[tuple[str, str, str, str]]:
    found = vocabulary.drug([], text).components
    return [
        (c.drug, f"{c.strength.value} {c.strength.unit}" if c.strength else "", c.per, str(c.per_value)) for c in found
    ]


@pytest.mark.parametrize(
    ("text", "drug", "strength", "per", "per_value"),
    [
        ("Magnesium Oxide 400 MG Oral Tablet", "magnesium_oxide", "400 mg", "unit", "1"),
        ("magnesium hydroxide 80 MG/ML Oral Suspension", "magnesium_hydroxide", "80 mg", "mL", "1"),
        ("Magnesium hydroxide 200 MG/5 ML", "magnesium_hydroxide", "200 mg", "mL", "5"),
        ("Magnesium citrate 1.745 g per 30 mL", "magnesium_citrate", "1.745 g", "mL", "30"),
        ("magnesium oxide 400 (241.3 Mg) MG tablet", "magnesium_oxide", "400 mg", "unit", "1"),
        ("Magnesium (as magnesium oxide) 250 mg", "magnesium", "250 mg", "unit", "1"),
        ("Magnesium 250 mg (as oxide)", "magnesium", "250 mg", "unit", "1"),
        ("Magnesium oxide 400 mg (240 mg elemental magnesium)", "magnesium", "240 mg", "unit", "1"),
        ("Magnesium oxide 400 mg tablet, 240 mg elemental", "magnesium", "240 mg", "unit", "1"),
        ("Magnesium carbonate 500 mg (elemental magnesium 140 mg)", "magnesium", "140 mg", "unit", "1"),
        ("Magnesium glycinate 1000 mg (equivalent to 200 mg magnesium)", "magnesium", "200 mg", "unit", "1"),
        ("Magnesium oxide 400 mg (equivalent to 241 mg of magnesium) tablet", "magnesium", "241 mg", "unit", "1"),
        ("Magnesium 64 mg (as magnesium chloride 535 mg)", "magnesium", "64 mg", "unit", "1"),
        ("Magnesium glycinate 100 mg of elemental magnesium", "magnesium", "100 mg", "unit", "1"),
        ("Magnesium hydroxide 400 mg/5 mL (167 mg elemental magnesium per 5 mL)", "magnesium", "167 mg", "mL", "5"),
        ("Magnesium oxide (240 mg elemental magnesium) 400 mg tablet", "magnesium", "", "unit", "1"),
        ("Magnesium aspartate 10 mmol sachet", "magnesium_aspartate", "10 mmol", "unit", "1"),
        ("400 mg magnesium oxide capsules", "magnesium_oxide", "400 mg", "unit", "1"),
        ("Magnesium oxide 1,000 mg", "magnesium_oxide", "1000 mg", "unit", "1"),
        ("Magnesium oxide 0,5 g", "magnesium_oxide", "0.5 g", "unit", "1"),
        ("Levothyroxine 88mcg", "levothyroxine", "88 ug", "unit", "1"),
        ("Levothyroxine 100 \u00b5g", "levothyroxine", "100 ug", "unit", "1"),
        # Whose number is whose is not said.
        ("lisinopril-hydrochlorothiazide 20-12.5 mg", "hydrochlorothiazide", "", "unit", "1"),
        ("magnesium oxide tablets", "magnesium_oxide", "", "unit", "1"),
        ("magnesium oxide 1.2.3 mg", "magnesium_oxide", "", "unit", "1"),
    ],
)
def test_the_strength_is_read_with_its_unit_or_not_at_all(vocabulary, text, drug, strength, per, per_value):
    assert amounts(vocabulary, text) == [(drug, strength, per, per_value)]


def test_each_ingredient_of_a_combination_has_its_own_strength(vocabulary):
    found = amounts(vocabulary, "calcium carbonate 700 MG / magnesium hydroxide 300 MG Chewable Tablet [Rolaids]")
    assert found == [("calcium_carbonate", "700 mg", "unit", "1"), ("magnesium_hydroxide", "300 mg", "unit", "1")]


def test_the_number_of_a_brand_is_no_strength(vocabulary):
    """It may count the salt or the element: nothing is guessed."""
    found = amounts(vocabulary, "Slow-Mag 71.5 mg")
    assert found == [("calcium_carbonate", "", "unit", "1"), ("magnesium_chloride", "", "unit", "1")]


def test_a_product_that_holds_something_unknown_too_says_so(vocabulary):
    assert not vocabulary.drug([], "potassium chloride 20 MEQ Extended Release Oral Tablet").others
    assert vocabulary.drug([(RXNORM, "8591", None)], "Potassium chloride").others is False
    assert vocabulary.drug([], "polyethylene glycol 3350 / potassium chloride / sodium bicarbonate").others
    assert vocabulary.drug([], "MoviPrep sachets").others
    assert vocabulary.drug([], "losartan potassium 50 MG Oral Tablet").drugs == frozenset()


@pytest.mark.parametrize(
    ("text", "route", "form"),
    [
        ("ciprofloxacin 500 MG Oral Tablet", "oral", "tablet"),
        ("ciprofloxacin 3 MG/ML Ophthalmic Solution [Ciloxan]", "ophthalmic", "eye drops"),
        ("Ciprofloxacin 0.3% eye drops", "ophthalmic", "eye drops"),
        ("ciprofloxacin 2 MG/ML Otic Solution", "otic", "ear drops"),
        ("20 ML ciprofloxacin 10 MG/ML Injection", "injection", "injection"),
        ("Ciprofloxacin 400 mg IV", "intravenous", None),
        ("tobramycin 60 MG/ML Inhalation Solution", "inhaled", "nebuliser solution"),
        ("minocycline 40 MG/ML Topical Foam", "topical", "foam"),
        ("tacrolimus 0.001 MG/MG Topical Ointment", "topical", "ointment"),
        ("Epsom salt bath", "topical", "bath salts"),
        ("doxycycline 100 mg capsules", "oral", "capsule"),
        ("neomycin vaginal tablet", "vaginal", "tablet"),
        ("levothyroxine", "unknown", None),
    ],
)
def test_form_and_route_are_read_from_the_name(vocabulary, text, route, form):
    found = vocabulary.drug([], text)
    assert found.route == route
    assert route == "vaginal" or found.form == form


def test_rxnorm_codes_are_known_at_every_level(vocabulary):
    levels = {"10582": "ingredient", "40144": "precise ingredient", "966222": "clinical drug", "224920": "brand"}
    for code in levels:
        found = vocabulary.drug([(RXNORM, code, None)], None)
        assert found.drugs == {"levothyroxine", "thyroid_hormones"}, levels[code]
        assert found.identified_by == "code"
    for tty in ("MIN", "SCDC", "BPCK", "GPCK"):
        row = next(p for p in rows() if p["tty"] == tty)
        assert set(row["drugs"].split()) <= vocabulary.drug([(RXNORM, row["rxcui"], None)], None).drugs


def test_a_code_brings_strength_route_salt_and_classes(vocabulary):
    found = vocabulary.drug([("urn:oid:2.16.840.1.113883.6.88", "198051", None)], None)
    assert found.drugs == {"omeprazole", "proton_pump_inhibitors"}
    assert (found.route, found.components) == (
        "oral",
        (Component("omeprazole", Quantity(Decimal(20), "mg")),),
    )
    oxide = vocabulary.drug([(RXNORM, "6582", "magnesium oxide")], None)
    assert oxide.drugs == {"magnesium_oxide", "magnesium"} and oxide.salt == "magnesium_oxide"


def test_an_atc_code_gives_the_drug_or_at_least_its_class(vocabulary):
    assert vocabulary.drug([(ATC, "A02BC01", None)], None).drugs == {"omeprazole", "proton_pump_inhibitors"}
    unlisted = vocabulary.drug([(ATC, "C03CA99", None)], "x")
    assert unlisted.drugs == {"loop_diuretics"} and unlisted.components == ()


@pytest.mark.parametrize(
    ("codings", "text"),
    [
        ([(RXNORM, "966222", None)], "Digoxin 250 mcg tablets"),
        ([(RXNORM, "966222", None)], "Warfarin 5 mg tablets"),
        ([(RXNORM, "966222", "magnesium oxide 400 MG Oral Tablet")], None),
        ([(RXNORM, "7646", None)], "Esomeprazole magnesium 20 mg"),
        ([(RXNORM, "10582", None), (ATC, "A02BC01", None)], None),
        ([(None, "LOCAL1", "Levothyroxine 50 mcg")], "Furosemide 40 mg"),
        ([(None, "LOCAL1", "Levothyroxine 50 mcg")], "Warfarin 5 mg"),
    ],
)
def test_code_and_text_that_disagree_are_both_distrusted(vocabulary, codings, text):
    found = vocabulary.drug(codings, text)
    assert found.conflict and not found.drugs and found.identified_by == "none" and not found.components


@pytest.mark.parametrize(
    "text", ["Synthroid", "thyroid medicine", "take one daily", "LEVOTHYROXIN", "", None, "\u7532\u72b6\u817a\u7d20"]
)
def test_a_known_code_stands_where_the_text_adds_nothing(vocabulary, text):
    found = vocabulary.drug([(RXNORM, "966222", text)], text)
    assert found.drugs == {"levothyroxine", "thyroid_hormones"} and found.identified_by == "code"


def test_an_unknown_code_with_a_clear_name_is_identified_by_name(vocabulary):
    found = vocabulary.drug([(RXNORM, "999999999", "Levothyroxine sodium 50 mcg")], None)
    assert "levothyroxine" in found.drugs and found.identified_by == "name"
    assert vocabulary.drug([("urn:local", "966222", None)], "my tablets").identified_by == "none"


def test_a_product_with_other_ingredients_agrees_with_a_text_that_names_only_those(vocabulary):
    code = next(p["rxcui"] for p in rows() if p["tty"] == "SCD" and p["drugs"] == "hydrochlorothiazide" and p["other"])
    assert not vocabulary.drug([(RXNORM, code, None)], "Quinapril combination").conflict


def test_text_is_capped_and_a_hostile_one_costs_little(vocabulary):
    assert len(fold("\ufdfa" * 5000)) <= LONGEST
    assert not vocabulary.drug([], "x " * 300 + "levothyroxine").drugs
    usual = cost(vocabulary, ("levothyroxine 75 mcg tablets, " * LONGEST)[:LONGEST])
    for word in ("magnesium ", "1", "4 mg ", "((((", "co-"):
        assert cost(vocabulary, word * 100_000) < 20 * usual, word


def cost(vocabulary: Vocabulary, text: str) -> float:
    """Seconds of our own work to identify a text: the best of five, each with another beginning, so none is known."""
    spent = []
    for n in range(5):
        begin = time.process_time()
        vocabulary.drug([], f"{n} {text}")
        spent.append(time.process_time() - begin)
    return min(spent)


def test_a_remembered_answer_is_the_same_and_keeps_nothing_of_the_request(vocabulary):
    coding = [(RXNORM, "966222", "Levothyroxine 75 mcg for Mrs Example")]
    assert vocabulary.drug(coding, "Levothyroxine") is vocabulary.drug(list(coding), "Levothyroxine")
    index = vocabulary._drugs
    for n in range(3 * _REMEMBERED):
        vocabulary.drug([], f"tablet {n}")
    assert len(index._recent) <= _REMEMBERED and len(index._older) <= _REMEMBERED
    assert all(isinstance(key, bytes) and len(key) == 16 for key in (*index._recent, *index._older))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (([], "Levothyroxine"), ([], "Levothyroxine 50 mcg")),
        (([(RXNORM, "10582", None)], None), ([(ATC, "10582", None)], None)),
        (([(RXNORM, "10582", "")], "x"), ([(RXNORM, "10582", "x")], "")),
        (([(None, "10582", "7646")], None), ([(None, "105827646", "")], None)),
    ],
)
def test_two_requests_that_differ_are_remembered_apart(left, right):
    assert _digest(*left) != _digest(*right)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Magnesium Oxide 400 MG (400 mg elemental) Oral Tablet", "400"),
        ("magnesium oxide 400 mg tablet, elemental magnesium 241.3 mg", "241.3"),
        ("Magnesium Oxide 400 MG Oral Tablet", None),
        ("calcium carbonate 500 mg elemental / magnesium oxide 400 mg", None),
        ("magnesium oxide 240 mg elemental, 400 mg elemental", None),
    ],
)
def test_what_a_name_calls_elemental_is_kept_beside_the_strength_of_its_code(vocabulary, text, said):
    found = vocabulary.drug([(RXNORM, "198741", None)], text)
    assert found.elemental == (Quantity(Decimal(said), "mg") if said else None)
    assert found.product_coded and Component("magnesium_oxide", Quantity(Decimal(400), "mg")) in found.components


@pytest.mark.parametrize(
    ("text", "said"),
    [("Magnesium 400 mg (as oxide) tablet", "400"), ("Magnesium 400 mg, as needed", None), ("Magnesium 400 mg", None)],
)
def test_a_salt_that_is_only_the_source_makes_the_amount_that_of_the_element(vocabulary, text, said):
    found = vocabulary.drug([], text)
    assert found.drugs == {"magnesium"}
    assert found.elemental == (Quantity(Decimal(said), "mg") if said else None)


def test_components_survive_the_table():
    parts = (
        Component("magnesium_hydroxide", Quantity(Decimal("400"), "mg"), "mL", Decimal(5)),
        Component("magnesium_oxide", Quantity(Decimal("0.5"), "g")),
        Component("magnesium", None),
    )
    assert unpack(pack(parts), "magnesium_hydroxide magnesium_oxide magnesium") == parts


def rows() -> list[dict[str, str]]:
    return table(TERMINOLOGY / "rxnorm_products.csv")


def shared() -> Path:
    if not SOURCE.is_dir():
        missing(f"the RxNorm extract is not beside the project ({SOURCE.parent.name}/{SOURCE.name})")
    return SOURCE


def test_the_product_table_is_what_the_source_gives():
    for name, text in some(build(shared(), default_root()).items()):
        assert (TERMINOLOGY / name).read_text(encoding="utf-8") == text, f"{name}: run cds_service.terminology.build"


def test_names_of_all_rxnorm_products_are_read_with_high_precision_and_recall(vocabulary):
    extract = json.loads(gzip.decompress(next(shared().glob("rxnorm_prescribable_*.json.gz")).read_bytes()))
    names = extract["ing"]
    ours = {
        c: name
        for name, entry in vocabulary.concepts.items()
        for c in entry.rxnorm_ingredients
        if names.get(c, "  ")[1] == "IN"
    }
    right, wrong, lost = Counter(), Counter(), Counter()
    products = [p for p in extract["prod"].values() if p["tty"] in ("SCD", "SBD", "GPCK", "BPCK")]
    for product in products:
        truth = {ours[i] for i in product["ings"] if i in ours}
        found = leaves(vocabulary, product["name"]) & set(ours.values())
        right.update(truth & found)
        wrong.update(found - truth)
        lost.update(truth - found)
    for drug in sorted(right):
        print(f"{drug:32} right {right[drug]:4}  wrong {wrong[drug]:3}  lost {lost[drug]:3}")
    precision = right.total() / (right.total() + wrong.total())
    recall = right.total() / (right.total() + lost.total())
    print(f"{len(products)} names, {len(right)} drugs: precision {precision:.4f}, recall {recall:.4f}")
    assert len(products) > 19_000
    assert precision >= 0.998
    assert recall >= 0.997
    assert not {d for d in right if wrong[d] > 1}
