"""A fault in any file of the content: said with file, line and key, all at once, and never a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service.advice.loaded_content import load_content
from cds_service.content.library import default_root
from cds_service.content.loading import load_library
from cds_service.content.yamlfile import ContentError
from tests.conformance.calls import invoke
from tests.support.some import some

Change = Callable[[Path, str], str]
CSV = ("dose_forms", "rxnorm_products", "other_ingredients", "other_names")


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    """A copy of the content."""
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.*") if path.suffix in (".yaml", ".csv"))


def faults(folder: Path) -> list[dict[str, Any]]:
    """What `check` says of the folder."""
    done = invoke("check", "--content", folder, "--json")
    assert done.returncode == 78, done.stdout
    assert "Traceback" not in done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["faults"]
    return found


def edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), "utf-8")


def first_key(text: str) -> str:
    return str(next(iter(yaml.safe_load(text)), "a_key"))  # a table may hold nothing


def cut_in_half(path: Path, text: str) -> str:
    half = text[: len(text) // 2]
    return half[:-1] if half.endswith("\n") else half


def unknown_key(path: Path, text: str) -> str:
    return f"{text}no_such_key: 1\n" if path.suffix == ".yaml" else f"{text}{text.splitlines()[-1]},surplus\n"


def doubled_key(path: Path, text: str) -> str:
    return f"{text}{first_key(text)}: again\n" if path.suffix == ".yaml" else f"{text}{text.splitlines()[-1]}\n"


def wrong_type(path: Path, text: str) -> str:
    if path.suffix == ".yaml":
        return str(yaml.safe_dump(yaml.safe_load(text) | {first_key(text): {"wrong": ["type"]}}, sort_keys=False))
    rows = {
        "dose_forms": "a phrase,tablet,by mouth,often\n",
        "rxnorm_products": "12a,SCD,magnesium_oxide,maybe,oral,tablet,magnesium_oxide=much,\n",
        "other_ingredients": '""\n',
        "other_names": "sea water,brine\n",
    }
    return text + rows[path.stem]


@pytest.mark.parametrize("change", [cut_in_half, unknown_key, doubled_key, wrong_type])
def test_every_file_that_is_spoiled_is_named_with_its_line_all_of_them_at_once(cards: Path, change: Change) -> None:
    spoiled = files(cards)
    assert len(spoiled) > 450
    for path in spoiled:
        path.write_text(change(path, path.read_text("utf-8")), "utf-8")
    told = faults(cards)
    named = {fault["file"] for fault in told if fault["line"]}
    assert {path.relative_to(cards).as_posix() for path in spoiled} - named == set()


def test_every_file_that_the_service_reads_by_its_name_is_missed(cards: Path) -> None:
    gone = [*cards.glob("*.yaml"), *(cards / "tables").glob("*.*"), *(cards / "terminology").glob("*.csv")]
    gone += [cards / "terminology" / "units.yaml", cards / "terminology" / "routes.yaml"]
    for path in gone:
        path.unlink()
    names = {path.relative_to(cards).as_posix() for path in gone}
    assert {fault["file"] for fault in faults(cards) if fault["message"] == "is missing"} == names


def test_a_concept_that_is_named_anywhere_is_missed(cards: Path) -> None:
    for name in ("levothyroxine", "pregnancy_status", "egfr", "tetracycline"):
        (cards / "terminology" / f"{name}.yaml").unlink()
    told = " ".join(f"{fault['file']} {fault['message']}" for fault in faults(cards))
    for name in ("levothyroxine", "pregnancy_status", "egfr", "tetracycline"):
        assert name in told, name


@pytest.mark.parametrize("folder", ["safety", "timing", "terminology"])
def test_a_file_that_no_other_names_is_missed(cards: Path, folder: str) -> None:
    """Whichever it is: every twelfth is taken away, and those that are named are put back, until none is left. What
    names a file is one that is still there, so that several hide none."""
    gone = {path: path.read_text("utf-8") for path in some(sorted((cards / folder).glob("*.yaml"))[::12])}
    for path in gone:
        path.unlink()
    while gone:
        told = "\n".join(f"{fault['file']} {fault['message']}" for fault in faults(cards))
        named = [path for path in gone if re.search(rf"\b{path.stem}\b", told)]
        assert named, [path.name for path in gone]
        for path in named:
            path.write_text(gone.pop(path), "utf-8")


def test_a_folder_without_its_catalogue_is_not_called_whole(cards: Path) -> None:
    (cards / "README.md").unlink()
    assert [fault["file"] for fault in faults(cards)] == ["README.md"]


def test_a_file_that_nothing_reads_is_a_fault(cards: Path) -> None:
    (cards / "tables" / "dose_forms.csv").write_text("phrase\n")
    (cards / "safety" / "old.yml").write_text("title: Old\n")
    (cards / "timing" / "README.md").write_text("# Notes\n")
    told = faults(cards)
    assert [fault["file"] for fault in told] == ["safety/old.yml", "tables/dose_forms.csv", "timing/README.md"]
    assert all("read by nothing" in fault["message"] for fault in told)


def test_a_table_that_lost_whole_rows_is_not_taken_for_whole(cards: Path) -> None:
    path = cards / "terminology" / "rxnorm_products.csv"
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:3000]), "utf-8")
    (told,) = faults(cards)
    assert told["file"] == "terminology/rxnorm_products.csv" and "not whole" in told["message"]


SLIPS = [
    ("terminology/units.yaml", "also: [mmol/l, ", "also: [meq/L, ", "units.mmol/L.also", "stands twice"),
    ("terminology/units.yaml", "  mo: {kind: time", "  moon: {kind: time", "units", "no row for the unit mo"),
    ("terminology/units.yaml", 'factor: "86400"', 'factor: "a day"', "units.d.factor", "decimal"),
    ("terminology/units.yaml", "  pmol/L: {", "  nmol/l: {", "units.nmol/L.also", "stands twice"),
    ("terminology/routes.yaml", "[oral, orally", "[rectal, oral", "routes.rectal.names.0", "stands twice"),
    ("terminology/routes.yaml", "  vaginal:\n", "  vagina:\n", "routes.vagina", "should be 'oral'"),
    ("terminology/dose_forms.csv", "oral tablet,tablet,oral,3", "oral tablet,tablet,mouth,3", "route", "'oral'"),
    ("terminology/dose_forms.csv", "oral tablet,", "--,", "phrase", "no word"),
    ("terminology/rxnorm_products.csv", "BN,liothyronine", "BN,liothyronin", "drugs", "did you mean"),
    ("terminology/serum_magnesium.yaml", "unit: mmol/L", "unit: mmol/ltr", "unit", "units.yaml named mmol/ltr"),
    ("terminology/pregnancy_status.yaml", '  "no":', "  never:", "values.never", "should be 'yes'"),
    ("terminology/levothyroxine.yaml", "\nnames: [\n", "\nnames: [\n  '-',\n", "names.0", "no word"),
    ("tables/directions/en.yaml", "[once daily, ", "[twice daily, ", "fixed.1.phrases.0", "stands twice"),
    ("tables/directions/en.yaml", "[once daily, ", "[bid, ", "fixed.0.phrases.0", "stands in tables/directions.yaml"),
    ("tables/directions/en.yaml", "{n} times daily", "{x} times daily", "times.d.0", "places are"),
    ("tables/directions/en.yaml", "  CM: [", "  CX: [", "moments.CX", "no moment CX"),
    ("tables/directions/en.yaml", "{pill}", "{pellet}", "units.{pellet}", "no unit {pellet}"),
    ("tables/timing_codes.yaml", "BID: {frequency: 2", "BID: {frequency: two", "codes.BID.frequency", "integer"),
    ("tables/patient_states.yaml", "answer_holds_days: 300", "answer_holds_days: long", "pregnancy", "integer"),
    ("tables/specimen_comments.yaml", "[any, edta", "['', edta", "between.0", "pattern"),
    ("tables/schedule.yaml", '"06:30"}\n    site', '"6:30"}\n    site', "thresholds.waking_starts", "written as"),
    ("tables/schedule.yaml", '["08:00", "20:00"]', '["08:00"]', "thresholds.doses_a_day_2", "2 different times"),
    ("tables/schedule.yaml", "MORN: {at: morning", "MORN: {at: mornings", "moments.MORN.at", "did you mean"),
    ("terminology/drugs.yaml", "  voriconazole: {", "  sotalol: {", "drugs.sotalol", "a file of its own"),
    ("safety/qt_risks_without_magnesium_test.yaml", "least: qt_drugs", "least: qt_drug", "when", "did you mean"),
    ("tables/thresholds.yaml", "end_of_newborn_age}", "end_of_newborn_age, otherwise: lower_limit}",
     "thresholds.severe_lower_limit.holds_for.otherwise", "an otherwise of its own"),
    ("tables/thresholds.yaml", "end_of_newborn_age}", "end_of_newborn_age, otherwise: infusion_upper_limit}",
     "thresholds.lower_limit.holds_for.otherwise", "an otherwise of its own"),
    ("tables/thresholds.yaml", "otherwise: severe_lower_limit", "otherwise: lower_limit",
     "thresholds.lower_limit.holds_for.otherwise", "an otherwise of its own"),
    ("safety/magnesium_with_dialysis.yaml", ", magnesium-order-sign]", "]", "services", "every order service"),
    ("safety/magnesium_with_rising_creatinine.yaml", "by: creatinine_rise\n", "by: creatinine_times\n", "when",
     "has to be umol/L here"),
    ("safety/magnesium_with_rising_creatinine.yaml", "      times: creatinine_times\n", "", "when.all.0.times",
     "required"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "key", "words"), SLIPS)
def test_a_slip_of_the_pen_is_named_by_file_line_and_key(
    cards: Path, file: str, old: str, new: str, key: str, words: str
) -> None:
    edit(cards, file, old, new)
    told = [fault for fault in faults(cards) if fault["file"] == file and fault["line"]]
    assert [fault for fault in told if fault["key"].startswith(key) and words in fault["message"]], told


def test_a_concept_above_itself_is_a_fault(cards: Path) -> None:
    edit(cards, "terminology/magnesium.yaml", "\nchecked:", "\nmember_of: [magnesium_oxide]\nchecked:")
    told = {fault["file"] for fault in faults(cards) if "member of itself" in fault["message"]}
    assert told == {"terminology/magnesium.yaml", "terminology/magnesium_oxide.yaml"}


def digests(cards: Path) -> Iterator[str]:
    """Of the copy as it is, then after a change of one byte or more in one file of each kind."""
    yield load_library(cards).digest
    tables = ("directions", "directions/fi", "timing_codes", "specimen_comments", "patient_states", "schedule", "foods")
    changed = [*(f"tables/{name}.yaml" for name in tables), *(f"terminology/{name}.csv" for name in CSV)]
    changed += ["terminology/units.yaml", "terminology/routes.yaml", "terminology/digoxin.yaml", "claims.yaml"]
    changed.append("families.yaml")
    for file in [*changed, "timing/digoxin_timing.yaml"]:
        text = (cards / file).read_text("utf-8")
        (cards / file).write_text(f"# \n{text}", "utf-8")
        yield load_library(cards).digest


def test_the_digest_is_of_every_byte_of_the_content(cards: Path) -> None:
    found = list(digests(cards))
    assert len(found) == 18 and len(set(found)) == len(found)
    (cards / "README.md").write_text("Something else\n")
    assert json.loads(invoke("check", "--content", cards, "--json").stdout)["digest"] == found[-1]


def test_a_chart_is_read_by_the_content_that_was_given_and_by_nothing_else(cards: Path) -> None:
    edit(cards, "terminology/units.yaml", "also: [mmol/l, ", "also: [millimoles, ")
    edit(cards, "terminology/routes.yaml", "[oral, orally", "[oral, swallowed")
    edit(cards, "tables/directions/en.yaml", "[once daily, ", "[at every sunrise, ")
    edit(cards, "tables/specimen_comments.yaml", "[any, edta", "[whatever, edta")
    edit(cards, "tables/patient_states.yaml", "answer_holds_days: 300", "answer_holds_days: 250")
    edit(cards, "tables/foods.yaml", "magnesium: 156", "magnesium: 1560")
    edit(cards, "terminology/dose_forms.csv", "oral tablet,tablet", "mouth pebble,tablet")
    edit(cards, "terminology/rxnorm_products.csv", ",Cytomel", ",Newbrand")
    edit(cards, "terminology/other_ingredients.csv", "\n3-iodobenzylguanidine\n", "\nunobtainium\n")
    read = load_content(cards).vocabulary
    unit = read.units.find("millimoles")
    assert unit is not None and unit.code == "mmol/L"
    assert read.routes["", "swallowed"] == "oral"
    timing = read.sigs.read("take 1 tablet at every sunrise")
    assert timing is not None and (timing["frequency"], timing["period"]) == (1, Decimal(1))
    assert not read.specimens.troubles_in(["no whatever haemolysis"])
    assert read.specimens.troubles_in(["no any haemolysis"])
    assert read.holds["pregnancy"] == timedelta(days=250)
    assert read.scoring.amounts["seeds"]["daily"][1] == 1560
    assert read.drug([], "levothyroxine mouth pebble").form == "tablet"
    assert read.drug([], "Newbrand").drugs >= {"liothyronine"}
    assert read.drug([], "unobtainium").others


def test_a_service_does_not_start_on_content_that_is_not_whole(cards: Path) -> None:
    path = cards / "terminology" / "rxnorm_products.csv"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ContentError, match=r"rxnorm_products\.csv"):
        load_content(cards)
