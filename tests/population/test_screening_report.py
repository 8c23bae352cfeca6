"""What comes out of a screening folder: a hospital of few patients whose answers are known, through real Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE
from cds_service.population.screening import summary, tables
from cds_service.population.screening.report import FILES, page, write_report
from cds_service.population.screening.small_cells import hidden
from cds_service.population.screening.summary import KINDS, NoScreening
from tests.conftest import NOW, shipped
from tests.console.browser import DESKTOP, PHONE, chromium, tab, without_barriers

RULE = "arsenic_trioxide_with_low_magnesium"
OTHER = "low_serum_magnesium"
HOOK = "patient-view"
BOOK = make_rulebook(shipped().library, NO_SITE, NOW.date())
RULE = RULE if RULE in BOOK.rules else next(
    name for name, rule in BOOK.rules.items()
    if "arsenic_trioxide" in str(rule.loaded.rule.when) and rule.loaded.rule.card.indicator == "warning"
)  # fmt: skip
Person = dict[str, Any]


def patient(rule: str | None, other: str | None = "quiet", **facts: Any) -> Person:
    return (
        {"age_years": 70, "sex": "female", "conditions": [], "drugs": [], "labs": []}
        | facts
        | {"outcomes": {RULE: rule, OTHER: other}}
    )


def folder(
    path: Path,
    people: list[Person],
    faults: int = 0,
    quality: list[Any] | None = None,
    rules: Sequence[str] = (RULE, OTHER),
    **asked: Any,
) -> Path:
    """A screening folder of these patients."""
    facts, outcomes = [], []
    for number, each in enumerate(people):
        key = f"k{number:06}"
        facts.append({"key": key, "hook": HOOK} | {name: each.get(name) for name in
                      ("age_years", "sex", "conditions", "drugs", "labs", "not_read")})  # fmt: skip
        outcomes.append({"key": key, "hook": HOOK} | each["outcomes"])
    lines = [{"file": "Patient.ndjson", "line": line, "reason": "not JSON"} for line in range(faults)]
    made = {
        "facts": (facts, tables.FACTS), "outcomes": (outcomes, tables.outcomes(rules)),
        "faults": (lines, tables.FAULTS), "quality": (quality or [], tables.QUALITY),
    }  # fmt: skip
    for name, (rows, schema) in made.items():
        (path / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path / name / "part-0000.parquet")
    (path / "screening.json").write_bytes(orjson.dumps({"finished": True, "now": "2026-11-21T09:30:00Z"} | asked))
    return path


def hospital() -> list[Person]:
    """Twenty without the drug, six with it and magnesium above the level (one of whom takes it no more),
    seven who fire, two of whom it is not known, one who has died, and three whose chart could not be read."""
    arsenic = {"drugs": ["arsenic_trioxide"], "labs": ["serum_magnesium"]}
    return [
        *(patient("quiet") for _ in range(20)),
        *(patient("quiet: test(1)", age_years=30, sex="male", **arsenic) for _ in range(5)),
        patient("quiet", age_years=30, sex="male", **arsenic),
        *(patient("fired", "fired", age_years=85, **arsenic) for _ in range(7)),
        *(patient("not_evaluated: no_result(serum_magnesium)", drugs=["arsenic_trioxide"], sex=None) for _ in range(2)),
        patient("not_applicable: deceased", "not_applicable: deceased", age_years=None),
        *(patient(None, None, not_read="patient: it belongs to another patient") for _ in range(3)),
    ]


def of(said: dict[str, Any], rule: str = RULE) -> dict[str, Any]:
    return next(each for each in said["rules"] if each["rule"] == rule)


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))


def test_every_patient_is_counted_once_by_outcome_age_and_sex(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, hospital()), BOOK, smallest_cell=0)
    rule = of(said)
    assert [rule[kind] for kind in KINDS] == [7, 26, 1, 2]
    assert sum(rule[kind] for kind in KINDS) == rule["tried"] == said["read"] == 36
    assert said["patients"] == 39 and said["could_not_be_read"] == 3
    for by in ("by_age", "by_sex"):
        assert sum(each["tried"] for each in rule[by]) == 36
        assert sum(each["fired"] for each in rule[by]) == 7
    assert {each["name"]: each["tried"] for each in rule["by_sex"]} == {
        "female": 28,
        "male": 6,
        "other": 0,
        "unknown": 2,
    }
    assert next(each for each in rule["by_age"] if each["name"] == "80 and over")["per_1000"] == 1000
    assert said["with_a_finding"]["any"] == {"patients": 7, "per_1000": round(7000 / 36, 2)}
    assert [name for name in FILES if not (tmp_path / name).is_file()] == []


def test_where_a_site_hides_every_rule_patients_are_counted_and_no_rule_is_told(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, hospital(), rules=()), BOOK, smallest_cell=0)
    assert said["rules"] == []
    assert said["patients"] == 39 and said["could_not_be_read"] == 3


def test_all_patients_fall_at_one_step_or_fire(tmp_path: Path) -> None:
    rule = of(write_report(folder(tmp_path, hospital()), BOOK, smallest_cell=0))
    fell = {each["step"]: each["fell"] for each in rule["attrition"]}
    assert fell["on the chart: arsenic trioxide"] == 20
    (level,) = (step for step in fell if step.startswith("newest Serum magnesium at or below"))
    assert fell[level] == 5
    assert fell["what it asks for is not over; at an order, it is being ordered"] == 1
    assert sum(fell.values()) + rule["fired"] == rule["tried"]
    assert rule["attrition"][-1]["reached"] == 7


def test_the_same_is_counted_of_many_parts_as_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_report(folder(tmp_path / "whole", hospital(), faults=2), BOOK, smallest_cell=0)
    parted = folder(tmp_path / "parted", hospital(), faults=2)
    for name in ("facts", "outcomes"):
        rows = pq.read_table(parted / name / "part-0000.parquet")
        for number, start in enumerate(range(0, len(rows), 5)):
            pq.write_table(rows.slice(start, 5), parted / name / f"part-{number:04}.parquet")
    for most in (1, 10, 1000):
        monkeypatch.setattr(summary, "ROWS", most)
        assert write_report(parted, BOOK, smallest_cell=0) == whole
    assert sorted(each.name for each in parted.iterdir() if each.name.startswith(".")) == []


def test_why_it_was_not_evaluated_stands_in_the_words_of_cards(tmp_path: Path) -> None:
    people = [*hospital(), patient("not_evaluated: input_failed(medications); result_too_old(serum_magnesium)")]
    words = {each["words"] for each in of(write_report(folder(tmp_path, people), BOOK, smallest_cell=0))["reasons"]}
    assert {"no serum magnesium result on record", "medication orders could not be read"} <= words
    assert "the newest serum magnesium result is too old" in words
    assert not any("{" in each for each in words)


def test_the_report_never_calls_those_it_could_not_read_free_of_findings(tmp_path: Path) -> None:
    write_report(folder(tmp_path, hospital(), faults=4), BOOK)
    text = (tmp_path / "report.html").read_text()
    assert "3 patients could not be read" in text
    assert "4 lines" in text
    assert "no all-clear" in text
    assert "<script" not in text and "http://" not in text and "https://" not in text


def test_a_small_count_is_told_nowhere(tmp_path: Path) -> None:
    people = [*(patient("quiet") for _ in range(90)), *(patient("fired", sex="male") for _ in range(3))]
    write_report(folder(tmp_path, people), BOOK)
    said = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert said["smallest_cell"] == 5
    rule = of(said)
    assert rule["fired"] is None and rule["quiet"] is None, "93 less 90 would tell"
    assert all(each["fired"] != 3 and each["tried"] != 3 for each in rule["by_sex"])
    assert all(each["reached"] != 3 and each["fell"] != 3 for each in rule["attrition"])
    told = next(each for each in rows(tmp_path / "summary.csv") if each["rule"] == RULE and each["by"] == "all")
    assert told["fired"] == "hidden" and told["fired_per_1000"] == ""


def test_of_an_identified_screening_nothing_is_hidden_and_the_page_says_so(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, hospital(), identified=True), BOOK)
    assert of(said)["not_evaluated"] == 2
    assert "Do not pass this report on" in (tmp_path / "report.html").read_text()


def test_the_reasons_of_a_hidden_outcome_do_not_tell_it(tmp_path: Path) -> None:
    """228 do not apply and 4 are quiet: whoever knows the 228 knows the 4."""
    reasons = ["no_result(serum_magnesium)"] * 193 + ["result_too_old(serum_magnesium)"] * 35
    people = [*(patient(f"not_applicable: {each}") for each in reasons), *(patient("quiet") for _ in range(4))]
    rule = of(write_report(folder(tmp_path, people), BOOK))
    assert rule["quiet"] is None and rule["not_applicable"] is None
    assert [each["patients"] for each in rule["reasons"]] == [None, None]


@pytest.mark.parametrize("cells", [[3, 97], [0, 4, 0], [1, 1, 50], [4, 4, 4, 90], [100], [5, 6], [2]])
def test_what_is_hidden_cannot_be_told_from_the_total(cells: list[int]) -> None:
    away = [each for each, said in zip(cells, hidden(cells, 5), strict=True) if said is None]
    assert all(each in away for each in cells if 0 < each < 5)
    others = [each for each in cells if each]
    assert not away or len(others) == len(away) or (len(away) > 1 and sum(away) >= 5)


def met(what: str, code: str, patients: int) -> list[Person]:
    """So many patients in whom this was met twice each."""
    return [
        {"key": f"k{number:06}", "what": what, "input": "labs", "code": code, "count": 2} for number in range(patients)
    ]


def test_a_code_or_unit_that_few_patients_have_is_not_shown_as_typed(tmp_path: Path) -> None:
    quality = [
        *met("unit_not_read", "Anna Example", 4),
        *met("unit_not_read", "mg per dl", 5),
        *met("unit_not_read", "see Anna Example", 3),
        *met("code_not_read", "urn:ward|Bob", 1),
        *met("result_not_read", "no value", 2),
    ]
    said = write_report(folder(tmp_path, hospital(), quality=quality), BOOK)
    assert [(each["what"], each["code"], each["patients"], each["times"]) for each in said["quality"]] == [
        ("unit_not_read", "mg per dl", 5, 10),
        ("unit_not_read", "rare", None, None),
        ("result_not_read", "no value", None, None),
        ("code_not_read", "rare", None, None),
    ]
    for name in FILES:
        text = (tmp_path / name).read_text()
        assert "Anna" not in text and "Bob" not in text, name
    said = write_report(tmp_path, BOOK, smallest_cell=6)
    assert [each["code"] for each in said["quality"]] == ["rare", "no value", "rare"]
    assert said["quality"][0]["patients"] is None, "five patients, each with several of them"
    assert "Anna Example" in str(write_report(tmp_path, BOOK, smallest_cell=0)["quality"])


def test_a_code_that_is_a_formula_does_not_run(tmp_path: Path) -> None:
    bad = {"key": "k000001", "what": "code_not_read", "input": "conditions", "code": "=HYPERLINK(1)", "count": 1}
    write_report(folder(tmp_path, hospital(), quality=[bad]), BOOK, smallest_cell=0, outcomes=True)
    assert "'=HYPERLINK(1)" in [each["code"] for each in rows(tmp_path / "quality.csv")]
    assert len(rows(tmp_path / "outcomes.csv")) == 39


def test_no_patients_is_said_and_is_no_finding_of_nothing(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, []), BOOK)
    assert said["patients"] == 0
    text = (tmp_path / "report.html").read_text()
    assert "No patient was screened" in text and "none read" in text


def test_a_screening_that_is_not_finished_is_never_told_as_whole(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, hospital(), finished=False), BOOK)
    assert said["finished"] is False
    assert "This screening is not finished" in (tmp_path / "report.html").read_text()


def test_a_folder_without_a_screening_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoScreening, match=r"holds no screening\.json"):
        write_report(tmp_path, BOOK)


def test_everybody_can_read_the_report(tmp_path: Path) -> None:
    said = write_report(folder(tmp_path, hospital(), faults=2), BOOK)
    assert page(said) == (tmp_path / "report.html").read_text()
    with chromium() as browser:
        for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
            shown = tab(browser, "http://127.0.0.1", viewport=size, color_scheme=scheme, bypass_csp=True)
            shown.goto((tmp_path / "report.html").as_uri())
            assert without_barriers(shown, scheme) == []
