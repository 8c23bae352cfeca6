"""Brands: each names the drugs in it, none is shared by accident, and what only sounds like one is not taken."""

from collections import defaultdict
from datetime import date
from decimal import Decimal

import pytest

from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE
from cds_service.patient import Dosage, Medication, Quantity, Source
from cds_service.rules.amounts import Reading, reading_per_dose
from cds_service.spelling import tokens
from cds_service.terminology.index import Vocabulary
from tests.conftest import shipped

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"

# Their brands are those of the salts in them.
USES = {"magnesium_bowel_preparation", "magnesium_phosphate_binder"}
# Brands on more than one concept, and all the drugs that they hold together.
COMBINED = {
    frozenset({"alendronic_acid", "colecalciferol"}): "Adrovance, Fosavance, Vantavo",
    frozenset({"amiloride", "bumetanide"}): "Burinex-A",
    frozenset({"amiloride", "furosemide"}): "Aridil, Froop Co, Fru-Co, Frumil, Frusemek, Komil, Lasoride, Logirene",
    frozenset({"amiloride", "hydrochlorothiazide"}): """
        Amil-Co, Amilmaxco, Amiloferm, Amiloferm mite, Amizide, Delvas, Moduret, Moduretic, Normetic,
        Synuretic, Vasetic, Zida-Co""",
    frozenset({"amlodipine", "hydrochlorothiazide"}): """
        Amturnide, Copalia HCT, Dafiro HCT, Exforge HCT, Imprida HCT, Rasitrio, Sevikar HCT, Tribenzor""",
    frozenset({"amlodipine", "indapamide"}): "Triplixam",
    frozenset({"aspirin", "magnesium_carbonate"}): "Somalgin Cardio",
    frozenset({"aspirin", "rosuvastatin"}): "Rosucetil",
    frozenset({"bendroflumethiazide", "potassium_chloride"}): "Centyl K",
    frozenset({"calcium_carbonate", "colecalciferol"}): "Cacit Vitamine D3, Fixical Vitamine D3, Natecal Vitamine D3",
    frozenset({"calcium_carbonate", "magnesium_carbonate"}): "Rennie",
    frozenset({"calcium_carbonate", "magnesium_hydroxide"}): "Gastrol, Gelmax",
    frozenset({"calcium_carbonate", "magnesium_oxide"}): "Novalucol, Refluxid",
    frozenset({"calcium_lactate", "magnesium_sulfate"}): "Omezelis",
    frozenset({"captopril", "hydrochlorothiazide"}): "Acezide, Capozide, Co-zidocapt",
    frozenset({"carbidopa", "levodopa"}): """
        Apodespan, Caramet, Duodopa, Lecado, Lecigon, Numient, Parcopa, Parkidopa, Sastravi, Sinemet,
        Sinemet Lp, Stalevo, Stanek, Tilolec""",
    frozenset({"dexamethasone", "levofloxacin"}): "Ducressa",
    frozenset({"dexamethasone", "neomycin"}): "Chibro Cadron, Maxidrol, Maxinom, Polydexa",
    frozenset({"dexamethasone", "tobramycin"}): "Tobradex",
    frozenset({"ferrous_sulfate", "magnesium_sulfate"}): "Gerovital",
    frozenset({"furosemide", "spironolactone"}): "Lasilactona, Lasilactone",
    frozenset({"hydrochlorothiazide", "triamterene"}): "Triam-Co, Triamaxco",
    frozenset({"ketoconazole", "neomycin"}): "Cetocort-N, Emscort",
    frozenset({"levothyroxine", "liothyronine"}): "Euthyral",
    frozenset({"magnesium_carbonate", "magnesium_oxide"}): "Diovol Plus",
    frozenset({"magnesium_hydroxide", "magnesium_oxide"}): "Gelox",
    frozenset({"magnesium_hydroxide", "magnesium_trisilicate"}): "Kolantyl",
    frozenset({"quinidine", "quinine"}): "Quinimax",
}


@pytest.fixture(scope="module")
def rulebook() -> Rulebook:
    return make_rulebook(shipped().library, NO_SITE, date(2026, 11, 21))


def leaves(vocabulary: Vocabulary, text: str) -> set[str]:
    """The single drugs that a text names, without what stands above them or tells only what a product is for."""
    found = vocabulary.drug([], text).drugs - USES
    return {d for d in found if not any(d in vocabulary.broader.get(other, ()) for other in found)}


def test_a_brand_names_the_drug_of_its_concept_whatever_stands_behind_it(vocabulary):
    checked = 0
    for name, entry in vocabulary.concepts.items():
        for brand in entry.brands:
            for text in (brand, brand.upper(), f"{brand} tablets"):
                found = vocabulary.drug([], text)
                assert name in found.drugs and found.identified_by == "name", f"{text} is no {name}"
            if entry.kind == "drug":  # what a class holds is not one substance
                assert all(part.strength is None for part in vocabulary.drug([], f"{brand} 250 mg").components), brand
            checked += 1
    assert checked > 650


def test_a_brand_on_several_concepts_is_a_known_combination(vocabulary):
    entries = defaultdict(set)
    for name, entry in vocabulary.concepts.items():
        for brand in entry.brands if name not in USES else ():
            entries[tokens(brand)].add(name)
    declared = {tokens(b): set(drugs) for drugs, brands in COMBINED.items() for b in brands.split(",")}
    assert {words: ids for words, ids in entries.items() if len(ids) > 1} == declared
    for drugs, brands in COMBINED.items():
        for brand in brands.split(","):
            assert leaves(vocabulary, brand.strip()) == drugs, brand


@pytest.mark.parametrize(
    ("texts", "drug"),
    [
        ("Epanutin 100mg capsules, EPANUTIN Infatabs 50mg chewable", "phenytoin"),
        ("Madopar 125 capsules, Madopar CR, Madopar 62.5 dispersible tablets", "levodopa"),
        ("Didronel 200 mg", "etidronic_acid"),
        ("Distamine 250mg tablets", "penicillamine"),
        ("Advagraf 5 mg prolonged-release hard capsules, Adoport 1mg, Modigraf granules", "tacrolimus"),
        ("Revolade 50 mg film-coated tablets", "eltrombopag"),
        ("Reyataz 300 mg, Evotaz 300 mg/150 mg film-coated tablets", "atazanavir"),
        ("Telfast 180", "fexofenadine"),
        ("Esmya 5mg, ellaOne 30mg", "ulipristal"),
        ("Avloclor 250mg tablets, Aralen 500 mg", "chloroquine"),
        ("Ferrograd C, Feospan Spansules", "ferrous_sulfate"),
        ("Zinnat 250mg, Ceftin 500 MG", "cefuroxime"),
        ("Orelox 100mg, Vantin 200 mg", "cefpodoxime"),
        ("Omnicef 300 mg capsule", "cefdinir"),
        ("Capoten 25 mg", "captopril"),
        ("Monopril 10 mg, Staril 20mg", "fosinopril"),
        ("Sotacor 80 mg, Beta-Cardone 200mg", "sotalol"),
        ("Eviplera film-coated tablets", "rilpivirine"),
        ("Medrone 4mg tablets", "methylprednisolone"),
        ("Deltacortril 5mg gastro-resistant tablets", "prednisolone"),
        ("Utinor 400 mg, Noroxin 400", "norfloxacin"),
        ("Tarivid 200mg", "ofloxacin"),
        ("Cravit 500mg, Evoxil 250mg", "levofloxacin"),
        ("Quofenix 450 mg", "delafloxacin"),
        ("Ceptava 360mg", "mycophenolic_acid"),
        ("Dolmatil 200mg", "sulpiride"),
        ("Declomycin 300, Ledermycin 150mg", "demeclocycline"),
        ("Efracea 40mg", "doxycycline"),
        ("Aknemin 50", "minocycline"),
        ("Terramycin 250 mg tablets", "oxytetracycline"),
        ("Achromycin 250mg capsules", "tetracycline"),
        ("Armour Thyroid 60 mg, NP Thyroid 90, thyroid desiccated 30 mg, thyroid (USP) 65 MG", "thyroid_desiccated"),
        ("Picolax, CitraFleet sachets, Clenpiq, Prepopik, Picoprep, MgO 400 mg", "magnesium_oxide"),
        ("Andrews Antacid, Gaviscon Extra Strength", "magnesium_carbonate"),
        ("Magnesiocard sachets, ZMA capsules", "magnesium_aspartate"),
        ("Mag-Tab SR, Magne B6", "magnesium_lactate"),
        ("Natural Calm powder, Citramag sachets", "magnesium_citrate"),
        ("Maalox, Mylanta Maximum Strength, Phillips' Milk of Magnesia, Mucogel", "magnesium_hydroxide"),
        ("Suprep Bowel Prep Kit, Suflave, Izinova", "magnesium_sulfate"),
        ("Epsom salt 495 g oral granules, Epsom salt bath", "magnesium_sulfate"),
        ("Asilone suspension, Multivitamin with minerals 1 tablet, multivitamins w/minerals", "magnesium"),
    ],
)
def test_a_product_known_by_its_brand_alone_is_recognised(vocabulary, texts, drug):
    for text in texts.split(", "):
        assert leaves(vocabulary, text) == {drug}, text


@pytest.mark.parametrize(
    ("text", "drugs"),
    [
        ("Slow-Mag 64 mg", {"magnesium_chloride", "calcium_carbonate"}),
        ("Sutab", {"magnesium_sulfate", "potassium_chloride"}),
    ],
)
def test_a_brand_of_several_ingredients_names_them_all(vocabulary, text, drugs):
    assert leaves(vocabulary, text) == drugs


@pytest.mark.parametrize(
    ("text", "not_drug"),
    [
        # Sounds or looks alike, and is another drug.
        ("Distaclor 250mg", "penicillamine"),
        ("Zinacef 750mg injection", "cefpodoxime"),
        ("Esmeron 10mg/ml", "ulipristal"),
        ("Tavanic 500mg", "ofloxacin"),
        ("Sectral 100mg", "sotalol"),
        ("Losec 20mg", "furosemide"),
        ("Lasix 40mg", "omeprazole"),
        ("Adalat 10", "amlodipine"),
        ("Epilim 200", "phenytoin"),
        ("Telfast", "furosemide"),
        ("Thyroid function tests due", "thyroid_desiccated"),
        ("Natpar (parathyroid hormone) 50 micrograms", "thyroid_desiccated"),
        # The same maker or brand, without magnesium.
        ("Phillips Colon Health", "magnesium"),
        ("Phillips' Stool Softener", "magnesium"),
        ("Gaviscon 500mg chewable tablets peppermint", "magnesium"),
        ("Gaviscon Original Aniseed Relief", "magnesium"),
        ("Gaviscon Double Action chewable tablets mint", "magnesium"),
        ("Mylanta Gas Minis", "magnesium"),
        ("Asilone Heartburn liquid", "magnesium"),
        ("Rennie Soft Chews 800mg chewable tablets", "magnesium"),
        ("Rennie Liquid Heartburn Relief oral suspension", "magnesium"),
        ("Doans Backache pills", "magnesium"),
        ("Multivitamin tablets", "magnesium"),
        ("Multivitamin without minerals", "magnesium"),
        # Known limits: they carry magnesium and are not counted.
        ("Xywav 0.5 g/mL oral solution", "magnesium"),
        ("Trilisate 500 mg", "magnesium"),
        ("Centrum Silver", "magnesium"),
        # Injections whose brand would pass for a tablet.
        ("Cabenuva 600 mg/900 mg kit", "cabotegravir"),
        ("Solu-Medrone 500mg", "methylprednisolone"),
        ("Depo-Medrone 40mg/ml", "methylprednisolone"),
        ("Litak 2 mg/ml solution for injection", "cladribine"),
        # The same word in another country is another drug, so it is none here.
        ("Cardilate 10mg", "nifedipine"),
        ("Resolve effervescent", "paracetamol"),
    ],
)
def test_what_only_sounds_like_a_brand_is_not_taken(vocabulary, text, not_drug):
    found = vocabulary.drug([], text)
    assert not_drug not in found.drugs and not found.conflict


def test_a_code_of_desiccated_thyroid_brings_both_hormones_and_no_strength_of_either(vocabulary):
    found = vocabulary.drug([(RXNORM, "313391", "thyroid (USP) 60 MG Oral Tablet")], "Armour Thyroid 60 mg")
    assert {"thyroid_desiccated", "levothyroxine", "liothyronine"} < found.drugs and not found.conflict
    assert {part.drug for part in found.components} == {"thyroid_desiccated"}


def test_an_epsom_salt_bath_is_topical_and_a_drink_is_not(vocabulary):
    assert vocabulary.drug([], "Epsom salt bath").route == "topical"
    assert vocabulary.drug([], "Epsom salts 1 tsp in water").route == "unknown"


@pytest.mark.parametrize(
    ("code", "drug", "strength"),
    [
        ("2603520", "magnesium_chloride", "71"),
        ("849497", "magnesium_glycinate", "100"),
    ],
)
def test_a_strength_that_may_be_salt_or_element_gives_two_readings_and_no_usual_one(
    vocabulary, rulebook, code, drug, strength
):
    product = medication(vocabulary, code)
    parts = {part.drug: part.strength for part in product.components}
    assert parts[drug] == Quantity(Decimal(strength), "mg")
    salt = rulebook.library.salts[drug]
    assert salt.labelled_as == "either"
    found = one_tablet(product, rulebook)
    assert found is not None and found.usual is None and not found.doubtful
    assert (found.least, found.most) == (Decimal(strength) * salt.elemental_fraction, Decimal(strength))


def test_a_salt_weight_gives_an_amount_where_products_agree_on_what_it_means(vocabulary, rulebook):
    oxide = medication(vocabulary, "198741")
    found = one_tablet(oxide, rulebook)
    assert found is not None and found.least == found.most == found.usual
    assert found.least.quantize(Decimal(1)) == 241


def test_a_multivitamin_with_minerals_is_magnesium_of_unknown_amount(vocabulary, rulebook):
    found = vocabulary.drug([], "Multivitamin with minerals 18 mg iron tablet")
    product = Medication(Source("MedicationStatement", "1"), "active", "x", found.drugs, components=found.components)
    assert found.drugs == {"magnesium"}
    assert one_tablet(product, rulebook) is None


def one_tablet(product: Medication, rulebook: Rulebook) -> Reading | None:
    return reading_per_dose(product, Quantity(Decimal(1), "{tbl}"), Dosage(), rulebook)


def medication(vocabulary: Vocabulary, code: str) -> Medication:
    found = vocabulary.drug([(RXNORM, code, None)], None)
    return Medication(
        Source("MedicationRequest", "1"), "active", "x", found.drugs,
        components=found.components, product_coded=found.product_coded,
    )  # fmt: skip
