"""A change of site values over a screened population: the quick answer is the whole one, and says what it is not."""

from __future__ import annotations

import shutil
import sys
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, assume, given, reject, settings
from hypothesis import strategies as st

from cds_service.content.lab_words import LabTest
from cds_service.content.library import SHARED
from cds_service.content.rulebook import Rulebook
from cds_service.content.site_limits import thresholds_of
from cds_service.content.word_fields import limits_of
from cds_service.content.yamlfile import ContentError
from cds_service.population.kept_facts import Kept, read_kept
from cds_service.population.screening.affected import reached
from cds_service.population.screening.change import Change, compare_screened
from cds_service.population.screening.screened import CannotCompare
from cds_service.rules.evaluate import evaluate
from tests.conformance.calls import invoke
from tests.conftest import NOW, shipped
from tests.population.screened import fact_rows, write_folder
from tests.population.test_compare import SILENT, limit, rulebook
from tests.support.own_disk import on_own_disk, own_disk

SETTABLE = [
    (owner, name, threshold.site_may_set)
    for owner in (SHARED, *shipped().library.rules)
    for name, threshold in (thresholds_of(shipped().library, owner) or {}).items()
    if threshold.site_may_set
]
# Limits of laboratory results that a site may set, with the lab.
LIMITS = sorted({
    (SHARED if name in shipped().library.shared_thresholds else loaded.id, name, part.lab)
    for loaded in shipped().library.rules.values()
    for _, part in loaded.rule.parts() if isinstance(part, LabTest)
    for name in limits_of(part).values()
} & {(owner, name, lab) for owner, name, _ in SETTABLE for lab in shipped().library.terminology})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("screened") / "out", fact_rows(every=25))


def asked(folder: Path, before: Rulebook, after: Rulebook, *, every: bool = False, processes: int = 1) -> Change:
    return compare_screened(folder, before, after, shipped(), NOW, every=every, processes=processes, examples=4)


@st.composite
def values(draw: st.DrawFn) -> str:
    """Some thresholds at one end of what a site may set, and perhaps a rule whose cards are not shown."""
    chosen = draw(st.lists(st.sampled_from(SETTABLE), max_size=3, unique_by=lambda each: each[:2]))
    rules: dict[str, list[str]] = {}
    for owner, name, bounds in chosen:
        written = f"      {name}: {{value: {draw(st.sampled_from(bounds))}, reason: A trial}}\n"
        rules.setdefault(owner, []).append(written)
    return "".join(f"  {owner}:\n    thresholds:\n{''.join(lines)}" for owner, lines in rules.items())


def valid(text: str) -> Rulebook | None:
    try:
        return rulebook(text)
    except ContentError:  # limits that contradict each other
        return None


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=values(), after=values())
def test_the_quick_answer_is_that_of_every_rule_on_every_patient(folder: Path, before: str, after: str) -> None:
    old, new = valid(before), valid(after)
    assume(old is not None and new is not None)
    assert old is not None and new is not None
    try:
        quick = asked(folder, old, new)
    except CannotCompare:  # it may change what rules ask for
        reject()
    whole = asked(folder, old, new, every=True)
    assert quick.found.changed == whole.found.changed
    assert quick.found.groups == whole.found.groups


@lru_cache(maxsize=1)
def kept_rows(folder: Path) -> list[tuple[str, str, Kept]]:
    rows = pq.read_table(folder / "facts", columns=["key", "hook", "facts"]).to_pylist()
    return [(row["key"], row["hook"], read_kept(row["facts"], NOW.date())) for row in rows]


def of_everybody(folder: Path, old: Rulebook, new: Rulebook, lab: str | None = None) -> set[tuple[str, str, str]]:
    """Whose outcomes differ, by trying the rules that can change on everybody, or on all with a result of `lab`."""
    services: dict[str, str] = {service.hook: name for name, service in old.library.services.items()}
    found = set()
    for key, hook, kept in kept_rows(folder):
        if lab is not None and lab not in kept.facts.labs:
            continue
        reach = reached(old, new, hook, services[hook])
        only = None if reach is None else {one.rule for one in reach}
        sides = [
            evaluate(kept.facts, book.at("", kept.facts.person.encounter_class), services[hook], False, only).outcomes
            for book in (old, new)
        ]
        found |= {
            (key, hook, was.rule_id)
            for was, is_ in zip(*sides, strict=True)
            if (was.kind, was.reasons) != (is_.kind, is_.reasons)
            and ("not_evaluated" in (was.kind, is_.kind) or was.kind != is_.kind)
        }
    return found


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("few") / "out", fact_rows(every=120))


# To look for a smaller failure would take many minutes.
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_nobody_is_passed_over_who_changes_under_another_limit(few: Path, data: st.DataObject) -> None:
    """Limits lie where results are, so that what stands on a limit is met."""
    owner, name, lab = data.draw(st.sampled_from(LIMITS))
    low, high = next(bounds for of, each, bounds in SETTABLE if (of, each) == (owner, name))
    on_file = {each.value for *_, kept in kept_rows(few) for each in kept.facts.labs.get(lab, ())}
    decimals = shipped().library.terminology[lab].decimals
    rounded = {round(value, decimals) for value in on_file if value is not None}
    possible = sorted({low, high, *(value for value in rounded if low <= value <= high)})
    books = [valid(one_limit(owner, name, data.draw(st.sampled_from(possible)))) for _ in range(2)]
    old, new = books
    assume(old is not None and new is not None)
    assert old is not None and new is not None
    quick = compare_screened(few, old, new, shipped(), NOW, examples=0)
    whole = of_everybody(few, old, new)
    assert {(one.key, one.hook, one.rule) for one in quick.found.changed} == whole


def test_a_result_that_lies_on_a_limit_is_tried(folder: Path) -> None:
    """Each magnesium on file becomes the old limit and the new one."""
    low, high = next(bounds for of, each, bounds in SETTABLE if (of, each) == (SHARED, "lower_limit"))
    values = {each.value for *_, kept in kept_rows(folder) for each in kept.facts.labs.get("serum_magnesium", ())}
    rounded = sorted({round(value, 2) for value in values if value is not None})
    changed = 0
    for value in [value for value in rounded if low < value < high][::3]:
        for new in (value + Decimal("0.01"), value - Decimal("0.01")):
            books = [rulebook(one_limit(SHARED, "lower_limit", limit)) for limit in (value, new)]
            quick = compare_screened(folder, books[0], books[1], shipped(), NOW, examples=0)
            whole = of_everybody(folder, books[0], books[1], "serum_magnesium")
            assert {(one.key, one.hook, one.rule) for one in quick.found.changed} == whole
            changed += len(whole)
    assert changed


def one_limit(owner: str, name: str, value: Decimal) -> str:
    return f"  {owner}:\n    thresholds:\n      {name}: {{value: {value}, reason: A trial}}\n"


def test_facts_without_values_are_tried(few: Path, tmp_path: Path) -> None:
    """Of an earlier version, and beside ones of this version, as where a screening was gone on with."""
    found = asked(few, rulebook(), limit("0.72"))
    for number in (1, 2):
        copy = shutil.copytree(few, tmp_path / str(number))
        for part in sorted((copy / "facts").iterdir())[:number]:
            pq.write_table(pq.read_table(part).drop_columns(["results"]), part)
        other = asked(copy, rulebook(), limit("0.72"))
        assert other.found.changed == found.found.changed
        assert other.found.tried > found.found.tried


def test_a_higher_limit_makes_more_cards_and_reads_only_who_has_the_result(folder: Path) -> None:
    found = asked(folder, rulebook(), limit("0.80"))
    assert found.rules is not None
    assert "low_serum_magnesium" in found.rules
    assert found.ways()["low_serum_magnesium"]["quiet -> fired"] > 0
    assert 0 < found.found.tried < found.rows
    assert found.found.changed == asked(folder, rulebook(), limit("0.80"), every=True).found.changed
    fired = [each for each in found.examples if each.changed.way == "quiet -> fired"]
    assert all(each.before is None or each.before != each.after for each in fired)
    assert any(each.after and each.after.indicator in ("info", "warning") for each in fired)


def test_two_processes_say_what_one_says(folder: Path) -> None:
    one, two = (asked(folder, rulebook(), limit("0.80"), processes=number) for number in (1, 2))
    assert one.told() | {"seconds": 0} == two.told() | {"seconds": 0}


def test_a_rule_that_is_no_longer_shown_is_told_apart(folder: Path) -> None:
    silent = rulebook(SILENT.format("low_serum_magnesium"))
    found = asked(folder, rulebook(), silent)
    assert set(found.ways()) == {"low_serum_magnesium"}
    assert set(found.ways()["low_serum_magnesium"]) == {"fired -> fired, not shown"}


def test_damaged_and_missing_facts_are_said(folder: Path, tmp_path: Path) -> None:
    rows = fact_rows(most=6)
    rows[0]["facts"] = b'{"format": 99}'
    rows[1] |= {"facts": None, "not_read": "of another patient"}
    made = write_folder(tmp_path / "out", rows)
    found = asked(made, rulebook(), limit("0.80"), every=True).told()
    assert found["not_read"] == {"of another patient": 1, "kept facts of another format, or damaged": 1}
    assert found["rows_tried"] == 4


def test_codes_of_the_site_need_a_new_screening(folder: Path) -> None:
    other = rulebook().site.document
    assert other.codes == {}
    from dataclasses import replace

    from cds_service.content.rulebook import make_rulebook

    site = replace(rulebook().site, document=other.model_copy(update={"inputs": {"medication_statements": "none"}}))
    with pytest.raises(CannotCompare, match="charts are read differently"):
        asked(folder, rulebook(), make_rulebook(shipped().library, site, NOW.date()))


def test_a_folder_without_facts_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "facts")
    with pytest.raises(CannotCompare, match="no screening folder"):
        asked(copy, rulebook(), limit("0.80"))


def test_the_command_says_who_changes_and_writes_them(folder: Path, tmp_path: Path) -> None:
    site, out = tmp_path / "b.yaml", tmp_path / "who.csv"
    site.write_text(
        "site: Test hospital\nrules:\n  shared:\n    thresholds:\n"
        "      lower_limit: {value: 0.80, reason: Our own interval}\n"
    )
    told = orjson.loads(invoke("screen-compare", folder, "--compare", site, "--out", out, "--json").stdout)
    assert told["rules"]["low_serum_magnesium"]["ways"]["quiet -> fired"] > 0
    assert out.read_text().splitlines()[0] == '"key","hook","rule","before","after"'
    assert len(out.read_text().splitlines()) == 1 + sum(sum(r["ways"].values()) for r in told["rules"].values())
    words = invoke("screen-compare", folder, "--compare", site).stdout
    assert "the others cannot change" in words
    assert "per 1,000 patients" in words


@own_disk
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_full_disk_names_the_file_that_was_to_be_written_after_the_answer(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    site, small = tmp_path / "b.yaml", tmp_path / "small"
    site.write_text("site: Test hospital\n")
    asked = ["screen-compare", folder, "--compare", site, "--out", small / f"who.{kind}"]
    words = [sys.executable, "-m", "cds_service", *asked]
    code, said = on_own_disk("8k", small, words, before="head -c 8192 /dev/zero > fill", after="ls -A")
    assert code == 1
    assert "0 patients change\n" in said
    assert said.endswith(f"\n{small}/who.{kind} cannot be written: No space left on device.\nfill\n")


def test_a_folder_of_other_rules_or_not_finished_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    about = orjson.loads((copy / "screening.json").read_bytes())
    site = tmp_path / "b.yaml"
    site.write_text("site: Test hospital\n")
    for change, said in (({"rules": "other"}, "another version of the rules"), ({"finished": False}, "not finished")):
        (copy / "screening.json").write_bytes(orjson.dumps(about | change))
        found = invoke("screen-compare", copy, "--compare", site)
        assert found.returncode == 2
        assert said in found.stderr
