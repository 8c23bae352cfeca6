"""The concepts: each is well formed, each code stands where it was read, and lookups mean what they say."""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from cds_service.content.concept import Concept, DrugList
from cds_service.content.library import default_root
from cds_service.terminology.index import Vocabulary
from tests.support.some import some

FOLDER = default_root() / "terminology"
TABLES = {"code_systems", "units", "routes"}
"""YAML files of this folder that are tables, not concepts."""

SNOMED, ICD, LOINC = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm", "http://loinc.org"
ORDER = [field.alias or name for name, field in Concept.model_fields.items()]

# A code under more than one concept on purpose, and why.
SHARED_CODES = {
    ("atc", "N04BA02"): "levodopa with a decarboxylase inhibitor names the pair",
    ("atc", "L04AA06"): "mycophenolic acid and its ester share one code",
    ("atc", "A06AB58"): "sodium picosulfate with magnesium, a bowel preparation",
    ("atc", "B05BB01"): "electrolyte solutions: with magnesium, or balanced ones that hold little",
    ("icd10", "F10.3"): "alcohol withdrawal is an alcohol use disorder too",
    ("icd10", "F10.4"): "alcohol withdrawal is an alcohol use disorder too",
    ("snomed", "236435004"): "kidney failure and dialysis in one code",
    ("snomed", "286371000119107"): "kidney failure and dialysis in one code",
    ("snomed", "90771000119100"): "kidney failure and dialysis in one code",
    ("snomed", "90791000119104"): "kidney failure and dialysis in one code",
    ("snomed", "153891000119101"): "kidney failure and dialysis in one code",
    ("snomed", "704667004"): "kidney failure and dialysis in one code",
    ("snomed", "128001000119105"): "kidney failure and dialysis in one code",
    ("snomed", "127991000119101"): "kidney failure and dialysis in one code",
    ("snomed", "713706002"): "a neuropathy and a type of diabetes in one code",
    ("snomed", "713705003"): "a neuropathy and a type of diabetes in one code",
    ("snomed", "1511000119107"): "a neuropathy and a type of diabetes in one code",
    ("snomed", "368581000119106"): "a neuropathy and a type of diabetes in one code",
}
# ATC codes of combinations, each on every drug of ours that it names.
COMBINATIONS = [
    "A02BD02", "A02BD04", "A02BD05", "A02BD06", "A02BD07", "A02BD09", "A02BD10", "A02BD11", "A02BD12", "C07FX02",
    "C09BX01", "C09BX03", "C09BX06", "C09DX01", "C09DX03", "C09DX06", "C09DX07", "C09DX08", "C09DX09", "C09XA54",
    "C10BX05", "C10BX07", "C10BX09", "C10BX13", "C10BX14", "C10BX23", "C10BX24", "H03AA03", "J01RA07", "J04AM01",
    "J04AM12", "J05AR21", "M05BB03", "M05BB04", "M05BB05", "M05BB07", "M05BB08", "M05BB09", "M05BX53", "N02AJ01",
    "N02AJ02", "N02AJ06", "N02AJ07", "N02AJ13", "N02AJ17", "N02AJ18", "N02AJ22", "N02BA67", "P01BB52", "V03AE01",
    "V03AE04",
]  # fmt: skip
# Codes that look right and mean something else; none may ever be listed.
WRONG_SNOMED = {"78275009", "31996006", "83152002", "417357006", "703938007", "367391008", "413556004"}


def entries() -> dict[str, dict]:
    found = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        if file.stem not in TABLES:
            found[file.stem] = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    listed = DrugList.model_validate(found.pop("drugs")).concepts()
    return found | {name: entry.model_dump(mode="json", exclude_defaults=True) for name, entry in listed.items()}


ENTRIES = entries()


@pytest.mark.parametrize("name", ENTRIES)
def test_a_concept_has_known_keys_in_their_order_and_says_where_it_was_checked(name):
    entry = ENTRIES[name]
    assert list(entry) == sorted(entry, key=ORDER.index)
    Concept.model_validate(entry)
    assert entry["checked"]["source"].strip()
    assert entry["title"][0].isupper() or entry["title"][0] == "e"


def test_no_code_is_listed_under_two_concepts_unless_declared():
    owners = defaultdict(list)
    for name, entry in ENTRIES.items():
        icd = ("icd10cm", "icd10cm_prefixes", "icd10", "icd9cm")
        for key in ("snomed", *icd, "atc", "atc_prefixes", "rxnorm_ingredients"):
            for code in entry.get(key, []):
                owners[key.removesuffix("_prefixes"), code].append(name)
        for row in entry.get("codes", []):
            owners[row["system"], row["code"]].append(name)
    double = {key: names for key, names in owners.items() if len(names) > 1}
    assert set(double) == {*SHARED_CODES, *(("atc", code) for code in COMBINATIONS)}, double


def test_no_concept_lists_a_code_that_is_known_to_mean_something_else():
    for name, entry in ENTRIES.items():
        assert not WRONG_SNOMED & set(entry.get("snomed", [])), name


def codes_of(name, system):
    entry = ENTRIES[name]
    return [*entry.get(system, []), *(row["code"] for row in entry.get("codes", []) if row["system"] == system)]


@pytest.mark.parametrize("name", [n for n in ENTRIES if codes_of(n, "snomed")])
def test_snomed_codes_have_a_valid_check_digit(name):
    for code in some(codes_of(name, "snomed")):
        assert _verhoeff(code) == 0, f"{code} is mistyped"


@pytest.mark.parametrize("name", [n for n in ENTRIES if codes_of(n, "loinc")])
def test_loinc_codes_have_a_valid_check_digit(name):
    for code in some(codes_of(name, "loinc")):
        number, check = code.split("-")
        assert _luhn(number) == int(check), f"{code} is mistyped"


def _luhn(number: str) -> int:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10


def _verhoeff(number: str) -> int:
    """0 where the last digit is right. The dihedral group of order ten, and its permutation."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[value]
        if check < 5:
            check = (check + value) % 5 + (5 if value >= 5 else 0)
        else:
            check = (check - value) % 5 + (0 if value >= 5 else 5)
    return check


def test_members_exist_and_nothing_is_a_member_of_itself(vocabulary):
    for name, entry in ENTRIES.items():
        assert set(entry.get("members", [])) | set(entry.get("member_of", [])) <= set(ENTRIES), name


def test_every_magnesium_salt_is_magnesium_and_magnesium_salicylate_is_a_salicylate(vocabulary):
    salts = {n for n, p in ENTRIES.items() if n.startswith("magnesium_") and p["kind"] == "drug"}
    assert {"magnesium_oxide", "magnesium_citrate", "magnesium_glycinate", "magnesium_glycerophosphate"} < salts
    for name in salts - {"magnesium_salicylate"}:
        assert "magnesium" in vocabulary.broader[name], name
    assert "magnesium" not in vocabulary.broader.get("magnesium_salicylate", ())


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (ICD, "E11.9", {"type_2_diabetes", "diabetes"}),
        (ICD, "E1165", {"type_2_diabetes", "diabetes"}),
        (ICD, "e10.10", {"type_1_diabetes", "diabetes", "diabetic_ketoacidosis"}),
        (ICD, "E11.42", {"type_2_diabetes", "diabetes", "diabetic_polyneuropathy", "neuropathy"}),
        (ICD, "G35", {"multiple_sclerosis"}),
        (ICD, "G35.A", {"multiple_sclerosis"}),
        (ICD, "G36.0", set()),
        (ICD, "N18.4", {"ckd_stage_4", "severe_kidney_disease", "chronic_kidney_disease"}),
        (ICD, "N18.2", {"chronic_kidney_disease"}),
        (ICD, "N18.32", {"ckd_stage_3", "chronic_kidney_disease"}),
        (ICD, "Z99.2", {"dialysis", "severe_kidney_disease"}),
        (ICD, "Z91.158", {"dialysis", "severe_kidney_disease"}),
        (ICD, "Z49.01", set()),
        (SNOMED, "236435004", {"dialysis", "ckd_stage_5", "severe_kidney_disease", "chronic_kidney_disease"}),
        (SNOMED, "180273006", set()),
        (ICD, "E83.42", {"hypomagnesaemia", "disorder_of_magnesium_metabolism"}),
        (ICD, "E61.2", {"dietary_magnesium_deficiency"}),
        (ICD, "F10.21", set()),
        (ICD, "F10.20", {"alcohol_use_disorder"}),
        (ICD, "K90.0", {"coeliac_disease", "malabsorption"}),
        (ICD, "K90.41", set()),
        (ICD, "R19.7", {"diarrhoea"}),
        (ICD, "O24.410", {"pregnancy_problem"}),
        (SNOMED, "24700007", {"multiple_sclerosis"}),
        (SNOMED, "44054006", {"type_2_diabetes", "diabetes"}),
        (SNOMED, "73211009", {"diabetes"}),
        (SNOMED, "15777000", {"prediabetes"}),
        (SNOMED, "28189009", {"av_block_second_or_third_degree", "heart_block"}),
        (SNOMED, "270492004", {"av_block_first_degree"}),
        (SNOMED, "78275009", set()),
        ("http://hl7.org/fhir/sid/icd-10", "G35", {"multiple_sclerosis"}),
        ("urn:oid:2.16.840.1.113883.6.96", "24700007", {"multiple_sclerosis"}),
        ("https://snomed.info/sct/", "24700007", {"multiple_sclerosis"}),
        ("http://example.org/local", "24700007", set()),
        (None, "24700007", set()),
        (SNOMED, None, set()),
    ],
)
def test_a_condition_code_gives_its_concepts_and_their_groups(vocabulary, system, code, expected):
    assert vocabulary.condition_concepts(system, code) == expected


def loinc_codes(vocabulary: Vocabulary, asked_for: str) -> list[str]:
    """The LOINC codes of all concepts that one prefetch key asks for."""
    asked = [row for entry in vocabulary.concepts.values() if entry.input == asked_for for row in entry.codes]
    return sorted(row.code for row in asked if row.system == "loinc")


def test_serum_magnesium_is_read_with_what_a_conversion_needs(vocabulary):
    mass, substance = (vocabulary.lab_concept(LOINC, code) for code in ("19123-9", "2601-3"))
    assert (mass.id, mass.property, substance.property) == ("serum_magnesium", "mass", "substance")
    assert (mass.entry.unit, mass.entry.molar_mass, mass.entry.valence, mass.entry.input) == (
        "mmol/L",
        Decimal("24.305"),
        2,
        "serum_magnesium",
    )
    assert mass.entry.plausible[0] < Decimal("0.7") < mass.entry.plausible[1]


@pytest.mark.parametrize("code", ["2597-3", "26746-8", "19124-7", "2593-2", "21377-7", "2600-5", "73572-0", "65362-6"])
def test_magnesium_elsewhere_is_never_serum_magnesium(vocabulary, code):
    near_miss = vocabulary.lab_concept(LOINC, code)
    assert near_miss.id != "serum_magnesium" and near_miss.entry.input is None
    assert near_miss.entry.never_used_as == "serum_magnesium"
    assert code not in loinc_codes(vocabulary, "serum_magnesium")


def test_the_prefetch_codes_of_an_input_are_those_of_its_concepts(vocabulary):
    assert loinc_codes(vocabulary, "serum_magnesium") == ["11554-3", "19123-9", "2601-3", "35249-2"]
    assert {"98979-8", "2160-0", "14682-9"} < set(loinc_codes(vocabulary, "kidney"))
    assert {"2823-3", "17861-6", "1994-3", "1751-7"} < set(loinc_codes(vocabulary, "electrolytes"))
    assert vocabulary.lab_concept(LOINC, "8634-8").id == "qt_interval"


def test_an_egfr_with_a_race_coefficient_is_flagged(vocabulary):
    assert {c for c in loinc_codes(vocabulary, "kidney") if vocabulary.lab_concept(LOINC, c).flag} == {
        "48642-3",
        "48643-1",
        "88293-6",
        "88294-4",
    }


def test_observations_are_not_laboratory_tests_and_their_answers_are_coded(vocabulary):
    assert vocabulary.lab_concept(LOINC, "82810-3") is None
    assert vocabulary.measured(LOINC, "82810-3").id == "pregnancy_status"
    assert vocabulary.measured(LOINC, "63895-7").id == "lactation_status"
    assert vocabulary.measured(LOINC, "81005-1").id == "dietary_magnesium_intake"
    assert vocabulary.answer("pregnancy_status", LOINC, "LA15173-0") == "yes"
    assert vocabulary.answer("pregnancy_status", SNOMED, "60001007") == "no"
    assert vocabulary.answer("pregnancy_status", LOINC, "LA4489-6") == "unknown"
    assert vocabulary.answer("pregnancy_status", LOINC, "LA29252-6") is None
    assert vocabulary.answer("lactation_status", LOINC, "LA29252-6") == "yes"


def test_what_specimen_trouble_does_is_said_of_kinds_that_are_read(content):
    kinds = set(content.library.specimen_comments.marks)
    assert set(content.library.terminology["serum_magnesium"].trouble_effect) == kinds
    for name, entry in ENTRIES.items():
        assert set(entry.get("trouble_effect", {})) <= kinds, name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://loinc.org", "loinc"),
        ("URN:OID:2.16.840.1.113883.6.1", "loinc"),
        ("http://loinc.org/", "loinc"),
        ("http://loinc.org|2.77", "loinc"),
        ("http://loinc.org.example.org", None),
        ("http://loinc.org/vs", None),
        ("http://snomed.info/sct|http://snomed.info/sct/900000000000207008", "snomed"),
        ("http://snomed.info/sct/900000000000207008", "snomed"),
        ("http://snomed.info/sct/83821000000107/version/20240101", "snomed"),
        ("https://snomed.info/sct/731000124108", "snomed"),
        ("http://snomed.info/sctx", None),
        ("http://snomed.info/id/24700007", None),
        ("http://npu-terminology.org", "npu"),
        ("urn:oid:1.2.208.176.2.1", "npu"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm|2026", "icd10gm"),
        ("", None),
    ],
)
def test_a_code_system_is_known_by_its_addresses(vocabulary, address, name):
    assert vocabulary.system_name(address) == name


def test_the_generated_tables_are_compact():
    assert (Path(FOLDER) / "rxnorm_products.csv").stat().st_size < 2_500_000
    assert (Path(FOLDER) / "other_ingredients.csv").stat().st_size < 100_000
