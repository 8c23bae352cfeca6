"""Which codes mean a laboratory test, which only look like it, and how hospitals write the units."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds_service.fhir import Need
from cds_service.patient import Lab
from tests.conftest import shipped
from tests.fhir.charts import LOINC, SNOMED, UCUM, Json, bundle, coded, magnesium, observation, read

NPU, JLAC10 = "urn:oid:1.2.208.176.2.1", "urn:oid:1.2.392.200119.4.504"
KEY = Need("electrolytes", "Observation", "Observation?patient={{context.patientId}}&code=x")
GATHERED = Path(__file__).parents[3] / "shared" / "terminology" / "labs"


def result(code: str, system: str = LOINC, value: float = 1, /, **quantity: Any) -> Json:
    return observation(code) | {"code": coded(code, system), "valueQuantity": {"value": value, **quantity}}


def labs(*results: Json) -> dict[str, tuple[Lab, ...]]:
    return dict(read(needs=(KEY,), electrolytes=bundle(*results)).facts.labs)


def newest(*results: Json) -> Lab:
    (found,) = labs(*results).values()
    return found[0]


@pytest.mark.parametrize(
    ("concept", "code", "system", "value", "unit", "meaning"),
    [
        ("creatinine", "59826-8", LOINC, 400, "umol/L", 400),
        ("creatinine", "77140-2", LOINC, 400, "umol/L", 400),
        ("creatinine", "21232-4", LOINC, 1, "mg/dL", 88),
        ("creatinine", "NPU18016", NPU, 95, "umol/L", 95),
        ("creatinine", "1000731000000107", SNOMED, 95, "umol/L", 95),
        ("creatinine", "3C015000002327101", JLAC10, 1, "mg/dL", 88),
        ("egfr", "70969-1", LOINC, 12, "mL/min/{1.73_m2}", 12),
        ("egfr", "50384-7", LOINC, 12, "mL/min/{1.73_m2}", 12),
        ("egfr", "DNK35131", NPU, 12, "mL/min/{1.73_m2}", 12),
        ("egfr", "1011481000000105", SNOMED, 12, "mL/min/{1.73_m2}", 12),
        ("serum_magnesium", "NPU02647", NPU, 0.42, "mmol/L", 0.42),
        ("serum_magnesium", "NPU02647", "http://npu-terminology.org", 0.42, "mmol/L", 0.42),
        ("serum_magnesium", "312475002", SNOMED, 0.42, "mmol/L", 0.42),
        ("serum_magnesium", "312475002", "http://snomed.info/sct/83821000000107", 0.42, "mmol/L", 0.42),
        ("serum_magnesium", "11554-3", LOINC, 0.42, "mmol/L", 0.42),
        ("serum_magnesium", "35249-2", LOINC, 1, "mg/dL", 0.41),
        ("potassium", "77142-8", LOINC, 2.8, "mmol/L", 2.8),
        ("potassium", "32713-0", LOINC, 2.8, "mmol/L", 2.8),
        ("potassium", "NPU03230", NPU, 2.8, "mmol/L", 2.8),
        ("potassium", "1000651000000109", SNOMED, 2.8, "mmol/L", 2.8),
        ("calcium", "49765-1", LOINC, 8, "mg/dL", 2),
        ("adjusted_calcium", "46099-8", LOINC, 8, "mg/dL", 2),
        ("ionised_calcium", "38230-9", LOINC, 4, "mg/dL", 1),
        ("phosphate", "14879-1", LOINC, 0.5, "mmol/L", 0.5),
        ("albumin", "61151-7", LOINC, 3, "g/dL", 30),
    ],
)
def test_a_test_is_known_by_its_codes_in_several_systems(concept, code, system, value, unit, meaning) -> None:
    found = labs(result(code, system, value, unit=unit, system=UCUM, code=unit))
    assert list(found) == [concept]
    assert (found[concept][0].problem, float(found[concept][0].value or 0)) == ("", pytest.approx(meaning, rel=0.01))


@pytest.mark.parametrize(
    ("code", "system"),
    [
        ("2593-2", LOINC),  # whole blood
        ("21377-7", LOINC),
        ("26746-8", LOINC),  # red cells
        ("2600-5", LOINC),  # ionised
        ("32698-3", LOINC),
        ("65362-6", LOINC),  # corrected for albumin
        ("24447-5", LOINC),  # urine
        ("29365-4", LOINC),  # a body fluid
        ("55937-7", LOINC),  # after dialysis
        ("2161-8", LOINC),  # creatinine of urine
        ("44784-7", LOINC),  # the highest creatinine of a study
        ("34907-6", LOINC),  # calcium corrected for protein
        ("50675-8", LOINC),  # calcium times phosphate
        ("18532-2", LOINC),  # QT of one lead
        ("2532-0", LOINC),  # lactate dehydrogenase, called magnesium in a public list
        ("444275009", SNOMED),  # creatinine and GFR in one code
        ("1107411000000100", SNOMED),  # the last digits lost in a spreadsheet
        ("100073100000010", SNOMED),
        ("NPU02647", LOINC),
        ("2601-3", NPU),
        ("MG", "urn:oid:1.2.3"),
    ],
)
def test_a_code_that_only_looks_like_it_is_no_result(code: str, system: str) -> None:
    named = result(code, system, 1, unit="mmol/L")
    named["code"] |= {"text": "Magnesium"}
    named["code"]["coding"][0]["display"] = "Magnesium [Moles/volume] in Serum or Plasma"
    assert labs(named) == {}


def test_codes_of_serum_and_of_red_cells_on_one_result_are_trusted_neither() -> None:
    torn = result("2601-3", LOINC, 2.1, unit="mmol/L")
    torn["code"]["coding"].append({"system": LOINC, "code": "2593-2"})
    assert newest(torn).problem == "codes of two different tests"
    torn["code"]["coding"].reverse()
    assert newest(torn).problem == "codes of two different tests"


# Units as hospitals write them


@pytest.mark.parametrize(
    ("code", "value", "unit", "meaning"),
    [
        ("14682-9", 400, "UMOL/L", 400),
        ("14682-9", 400, "Umol/L", 400),
        ("14682-9", 400, "\u00c2\u00b5mol/L", 400),
        ("14682-9", 400, "\u00b5mol/l", 400),
        ("14682-9", 400, "\u03bcmol/L", 400),
        ("14682-9", 400, "\u03bcMOL/L", 400),
        ("14682-9", 400, "\u03bcmol/\uff2c", 400),
        ("14682-9", 400, "MCMOL/L", 400),
        ("14682-9", 400, "mikromol/L", 400),
        ("14682-9", 400, "umol / L", 400),
        ("62238-1", 12, "mL/min/1.73m*2", 12),
        ("62238-1", 12, "ml/min/1,73 m\u00b2", 12),
        ("62238-1", 12, "ml/min/1,73m\u00b2", 12),
        ("62238-1", 12, "mL/min/1.73m\ufffd", 12),
        ("62238-1", 12, "mL/min/1.73m\u00c2\u00b2", 12),
        ("62238-1", 12, "ml/min/1.73m^2", 12),
        ("62238-1", 12, "ML/MIN/1.73M2", 12),
        ("62238-1", 12, "ml/min/1.73qm", 12),
        ("62238-1", 12, "mL/min/1.73sqm", 12),
        ("62238-1", 12, "ml/min/1,73m2KOF", 12),
        ("62238-1", 12, "\uff4d\uff4c/\u5206\u30fb1,73\u33a1", 12),
        ("19123-9", 1, "MG/DL", 0.41),
        ("19123-9", 1, "Mg/dL", 0.41),
        ("19123-9", 1, "\uff4d\uff47\uff0f\uff44\uff4c", 0.41),
        ("2601-3", 0.42, "MMOL/L", 0.42),
        ("2601-3", 0.9, "mval/l", 0.45),
        ("2601-3", 0.9, "MEQ/L", 0.45),
        ("2823-3", 2.8, "MMOL/L", 2.8),
        ("2823-3", 2.8, "mEq\uff0fL", 2.8),
        ("8636-3", 520, "MS", 520),
        ("8636-3", 520, "msec", 520),
        ("8636-3", 0.52, "s", 520),
        ("8636-3", 0.52, "SEC", 520),
    ],
)
def test_a_unit_is_read_as_hospitals_write_it(code: str, value: float, unit: str, meaning: float) -> None:
    lab = newest(result(code, LOINC, value, unit=unit))
    assert (lab.problem, lab.value and float(lab.value)) == ("", pytest.approx(meaning, rel=0.01))
    assert newest(result(code, LOINC, value, code=unit)).value == lab.value


@pytest.mark.parametrize(
    ("code", "value", "quantity"),
    [
        ("62238-1", 12, {"unit": "mL/min"}),
        ("62238-1", 12, {"unit": "ML/MIN"}),
        ("62238-1", 12, {"unit": "mL/min/1.7"}),
        ("62238-1", 12, {"unit": "mL/min/1,73"}),
        ("62238-1", 12, {"unit": "ml/min/m*2"}),
        ("62238-1", 12, {"unit": "mL/s/1.73m2"}),
        ("62238-1", 12, {"unit": "form"}),
        ("62238-1", 12, {"unit": "*"}),
        ("62238-1", 12, {}),
        ("2601-3", 0.42, {"unit": "(null)"}),
        ("2601-3", 0.42, {"unit": "mM"}),
        ("2601-3", 0.42, {"unit": "mmol"}),
        ("2601-3", 0.42, {"unit": "mmol/d"}),
        ("2601-3", 0.42, {"unit": "mmol/kg"}),
        ("19123-9", 1.8, {"unit": "MG/L"}),
        ("19123-9", 1.8, {"unit": "mg/dl Erythrozyten"}),
        ("19123-9", 1.8, {"unit": "Mg/dL", "system": UCUM, "code": "Mg/dL"}),
        ("2601-3", 0.42, {"system": UCUM, "code": "MMOL/L"}),
        ("2601-3", 0.42, {"system": UCUM, "unit": "MMOL/L"}),
        ("2601-3", 0.42, {"system": UCUM, "code": "mmol/L", "unit": "MG/DL"}),
        ("2601-3", 0.42, {"code": "MMOL/L", "unit": "MG/DL"}),
        ("2601-3", 0.42, {"system": "http://example.org/units", "code": "MMOL/L"}),
        ("8636-3", 520, {"unit": "min"}),
        ("2160-0", 1.8, {"unit": "MMOL/L"}),
    ],
)
def test_a_unit_that_could_be_two_is_never_guessed(code: str, value: float, quantity: Json) -> None:
    lab = newest(result(code, LOINC, value, **quantity))
    assert lab.value is None
    assert "unit" in lab.problem or lab.problem == "not plausible"


def test_milligrams_in_a_litre_are_a_tenth_of_those_in_a_decilitre() -> None:
    assert newest(result("19123-9", LOINC, 18, unit="mg/L")).value == newest(magnesium(1.8)).value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["mmol/L", "mg/dL", "meq/L"]).flatmap(
        lambda unit: st.tuples(
            st.just(unit),
            st.lists(
                st.sampled_from([str.upper, str.lower, str.swapcase, str.title]), min_size=len(unit), max_size=len(unit)
            ),
            st.lists(st.sampled_from(["", " ", "\u3000", "\u00c2"]), min_size=len(unit), max_size=len(unit)),
            st.booleans(),
        )
    )
)
def test_however_a_unit_is_spelled_it_is_that_unit(spelled) -> None:
    unit, cases, gaps, wide = spelled
    text = "".join(gap + case(sign) for sign, case, gap in zip(unit, cases, gaps, strict=True))
    text = "".join(chr(ord(sign) + 0xFEE0) if wide and "!" <= sign <= "~" else sign for sign in text)
    assert (
        newest(result("35249-2", LOINC, 1.9, unit=text)).value == newest(result("35249-2", LOINC, 1.9, unit=unit)).value
    )


@given(st.text(max_size=12))
def test_no_other_text_becomes_a_unit(text: str) -> None:
    lab = newest(result("35249-2", LOINC, 1.9, unit=text))
    assert (lab.value is None) is bool(lab.problem)
    assert lab.value is None or set(text.casefold()) & set("l")


# Code against unit: for creatinine the number tells


@pytest.mark.parametrize(
    ("code", "value", "unit", "meaning"),
    [
        ("2160-0", 400, "umol/L", 400),
        ("2160-0", 88, "umol/L", 88),
        ("2160-0", 530, "UMOL/L", 530),
        ("38483-4", 1200, "umol/L", 1200),
        ("14682-9", 0.9, "mg/dL", 79.6),
        ("14682-9", 4.5, "mg/dL", 397.8),
        ("NPU18016", 1.1, "mg/dL", 97.2),
    ],
)
def test_a_creatinine_is_taken_as_stated_where_its_code_would_make_it_impossible(code, value, unit, meaning) -> None:
    system = NPU if code.startswith("NPU") else LOINC
    assert newest(result(code, system, value, unit=unit)).value == pytest.approx(Decimal(meaning), rel=Decimal("0.01"))


@pytest.mark.parametrize(
    ("code", "value", "unit"),
    [
        ("2160-0", 12, "umol/L"),  # 12 mg/dL is possible
        ("2160-0", 30, "umol/L"),
        ("14682-9", 12, "mg/dL"),
        ("14682-9", 20, "mg/dL"),
        ("19123-9", 0.4, "mmol/L"),  # magnesium: never
        ("19123-9", 40, "mmol/L"),
        ("2601-3", 1.8, "mg/dL"),
        ("2823-3", 140, "mg/dL"),
    ],
)
def test_elsewhere_a_unit_that_contradicts_the_code_is_not_used(code: str, value: float, unit: str) -> None:
    lab = newest(result(code, LOINC, value, unit=unit))
    assert (lab.value, lab.problem) == (None, "unit does not fit the code of the test")


# What was gathered from public sources


def gathered(name: str) -> list[dict[str, str]]:
    file = GATHERED / name
    if not file.is_file():
        pytest.skip(f"{name} of the gathered terminology is not here")
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


OURS = {"magnesium": "serum_magnesium"}
# Gathered as no QTc; it is shown beside one, as what it is.
SHOWN = {"8634-8": "qt_interval"}


def test_no_loinc_code_that_must_not_count_is_read_and_most_that_count_are() -> None:
    vocabulary, board = shipped().vocabulary, Counter[str]()
    for row in gathered("loinc.csv"):
        test = vocabulary.lab_concept(LOINC, row["code"])
        read_as = test.id if test is not None and test.entry.input else None
        if row["use"] in ("must_not_count", "specimen_flag"):
            assert read_as == SHOWN.get(row["code"]), row
            board["kept out"] += 1
        elif row["use"].startswith("counts"):
            assert read_as in (None, OURS.get(row["analyte"], row["analyte"])), row
            board["read" if read_as else "not read"] += 1
    assert board["kept out"] > 500
    assert board["read"] / (board["read"] + board["not read"]) > 0.85, board


def test_every_spelling_of_a_unit_that_is_read_means_what_was_gathered() -> None:
    vocabulary, board = shipped().vocabulary, Counter[str]()
    rows = [row for row in gathered("units.csv") if row["ambiguity"] == "none"]
    for code in ("35203-9", "62238-1", "35249-2", "8636-3"):
        test = vocabulary.lab_concept(LOINC, code)
        for row in rows:
            wanted = vocabulary.units.find(row["meaning"])
            if wanted not in test.sent.values():
                continue
            lab = newest(result(code, LOINC, 1, unit=row["spelling"]))
            assert lab.reported is None or lab.reported.unit == wanted.code, row
            board["read" if lab.reported else "not read"] += 1
    assert board["read"] / board.total() > 0.9, board


# Ours, another test of a system that we read, what has not the form of its codes, the site's own, no code, no system.
MET = [(LOINC, "19123-9"), (LOINC, " 2601-3 "), (LOINC, "82810-3"), (LOINC, "718-7"), (LOINC, " 718-7"),
       (LOINC, "HB"), ("urn:oid:1.2.3", "718-7"), ("urn:oid:1.2.3", "HB"), (NPU, "NPU02319"), (SNOMED, "271026005"),
       (LOINC, None), (None, "718-7"), (None, "2601-3"), (None, None)]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(met=st.lists(st.tuples(st.sampled_from(MET), st.sampled_from([None, "Haemoglobin"])), max_size=12))
def test_a_result_is_passed_over_by_its_one_code_just_when_it_is_when_all_are_looked_at(
    met: list[tuple[tuple[str | None, str | None], str | None]],
) -> None:
    facts = []
    for times in (1, 2):  # a code that is there twice is no single one: it is looked at closely
        results = [
            observation("", id=f"o{place}", valueQuantity={"value": 1, "unit": "mmol/L"})
            | {"code": {"coding": [{"system": system, "code": code}] * times} | ({"text": text} if text else {})}
            for place, ((system, code), text) in enumerate(met)
        ]
        facts.append(read(needs=(KEY,), electrolytes=bundle(*results)).facts)
    once, twice = facts
    assert once.labs == twice.labs
    assert once.inputs == twice.inputs
    assert [(each.source, each.name) for each in once.unread.get("electrolytes", ())] == [
        (each.source, each.name) for each in twice.unread.get("electrolytes", ())
    ]
