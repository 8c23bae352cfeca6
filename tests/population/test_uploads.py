"""Files of patients: Bundles, Bulk NDJSON and hook requests, plain or gzip; what cannot be read is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cds_service.advice.needs import all_needs
from cds_service.population import Cohort, TooLarge, compare, read_upload
from cds_service.population.cases import CallCase
from cds_service.population.screening.lines import Lines
from cds_service.sandbox import patients
from cds_service.sandbox.scenario import Builder, scenario_files
from tests.conformance.calls import invoke
from tests.conftest import NOW, shipped
from tests.population.test_compare import limit, rulebook

SAMPLES = list(patients.load().values())


def ndjson(now: datetime = NOW, *, people: bool = True) -> dict[str, bytes]:
    """All sample patients as a Bulk Data export: a file of lines for each type."""
    lines: dict[str, list[str]] = {}
    for sample in SAMPLES:
        for resource in sample.resources(now):
            lines.setdefault(resource["resourceType"], []).append(json.dumps(resource))
    if not people:
        del lines["Patient"]
    return {f"{kind}.ndjson": "\n".join(found).encode() + b"\n" for kind, found in lines.items()}


def effect(cohort: Cohort) -> dict[str, Any]:
    found = compare(cohort, rulebook(), limit("0.60"), shipped(), NOW)
    assert not found.not_read
    return {key: value for key, value in found.effect().items() if key != "cohort"}


def bundles() -> list[dict[str, Any]]:
    return [sample.bundle(NOW) for sample in SAMPLES]


FORMS: dict[str, Callable[[], list[tuple[str, bytes]]]] = {
    "a file for each type": lambda: list(ndjson().items()),
    "one file of all types": lambda: [("all.ndjson", b"".join(ndjson().values()))],
    "packed": lambda: [(f"{name}.gz", gzip.compress(text)) for name, text in ndjson().items()],
    "packed in two parts": lambda: [("all.gz", b"".join(map(gzip.compress, ndjson().values())))],
    "a Bundle each": lambda: [(f"{n}.json", json.dumps(each, indent=2).encode()) for n, each in enumerate(bundles())],
    "a Bundle in each line": lambda: [("b.ndjson", "\n".join(map(json.dumps, bundles())).encode())],
    "a list of Bundles": lambda: [("list.json", json.dumps(bundles()).encode())],
    "a list whose last Bundle has a line": lambda: [
        ("list.json", f"{json.dumps(bundles()[:-1])[:-1]},\n{json.dumps(bundles()[-1])}\n]".encode())
    ],
    "one Bundle with an entry in each line": lambda: [
        ("one.json", b'{"resourceType":"Bundle","type":"collection","entry":[\n' + b"\n,\n".join(
            json.dumps(entry).encode() for each in bundles() for entry in each["entry"]) + b"\n]}")
    ],
    "one Bundle of all": lambda: [
        ("one.json", json.dumps({"resourceType": "Bundle", "type": "collection",
                                 "entry": [entry for each in bundles() for entry in each["entry"]]}).encode())
    ],
    "with a mark and Windows' line ends": lambda: [
        ("w.ndjson", b"\xef\xbb\xbf" + b"".join(ndjson().values()).replace(b"\n", b"\r\n"))
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_patients_are_read_from_every_form(form: str) -> None:
    found = effect(read_upload(FORMS[form]()))
    assert found["charts"] == len(SAMPLES)
    assert found == effect(read_upload(FORMS["a Bundle each"]()))
    assert found["cards"]["before"]


def test_each_broken_line_is_named_and_the_others_are_tried() -> None:
    good = ndjson()
    lines = good["Observation.ndjson"].splitlines()
    lines[1:1] = [
        b'{"resourceType": "Observation", "status": "fi',
        b"[]",
        b'{"a": 1, "a": 2}',
        b'{"resourceType":"Claim"}',
    ]
    lines.append(b'{"resourceType": "Observation", "subject": {"reference": "Group/1"}}')
    cohort = read_upload((good | {"Observation.ndjson": b"\n".join(lines)}).items())
    last = len(lines)
    assert cohort.remarks == (
        "Observation.ndjson, line 2: is not JSON",
        "Observation.ndjson, line 3: is no FHIR resource of a patient",
        "Observation.ndjson, line 4: An object has the same member twice.",
        f"Observation.ndjson, line {last}: names no patient by Patient/id",
    )
    assert dict(cohort.passed_over) == {"Claim": 1}
    found = compare(cohort, rulebook(), limit("0.60"), shipped(), NOW)
    assert found.charts == len(SAMPLES)
    assert found.effect()["complete"] is False
    assert found.words().endswith("not all charts were tried")


@pytest.mark.parametrize("first", [b'{"resourceType": "Claim",', b'{"a": [', b'{"a": "b', b'[{"a": 1},', b"x"])
def test_lines_after_a_broken_first_one_are_read(first: bytes) -> None:
    cohort = read_upload([("all.ndjson", b"\n".join([first, *ndjson().values()]))])
    assert cohort.remarks == ("all.ndjson, line 1: is not JSON",)
    assert compare(cohort, rulebook(), limit("0.60"), shipped(), NOW).charts == len(SAMPLES)


def test_words_of_a_broken_line_are_not_repeated() -> None:
    cohort = read_upload([("a.ndjson", b'{"resourceType":"Patient","id":"a"}\n{"name": "CANARY\n')])
    assert "CANARY" not in " ".join(cohort.remarks)
    assert len(cohort.remarks) == 1


def test_resources_of_a_patient_who_is_not_there_are_counted_and_not_tried() -> None:
    cohort = read_upload(ndjson(people=False).items())
    assert list(cohort.cases()) == []
    assert f"{len(SAMPLES)} patients of whom no Patient resource is there" in cohort.remarks[-1]
    found = compare(cohort, rulebook(), limit("0.60"), shipped(), NOW)
    assert found.words() == "no chart was read, so nothing can be said"


@pytest.mark.parametrize(
    "raw", [b"", b"\n\n", b"hello", b"\x1f\x8bbroken", gzip.compress(b"x" * 99, mtime=0)[:-9], b"{", b"[1]"]
)
def test_a_file_that_is_none_is_named(raw: bytes) -> None:
    cohort = read_upload([("odd.ndjson", raw)])
    assert len(cohort.remarks) == 1
    assert cohort.remarks[0].startswith("odd.ndjson")


def test_more_bytes_or_patients_than_are_tried_are_refused_with_how_many_are() -> None:
    files = list(ndjson().items())
    with pytest.raises(TooLarge, match="more than 3 patients"):
        read_upload(files, most_patients=3)
    with pytest.raises(TooLarge, match="more than 500 bytes when unpacked"):
        read_upload(files, most_bytes=500)
    bomb = gzip.compress(b" " * 10_000_000)
    with pytest.raises(TooLarge, match="1 MB when unpacked"):
        read_upload([("bomb.gz", bomb)], most_bytes=1024 * 1024)


def test_two_medications_of_one_name_are_both_kept_and_neither_wins() -> None:
    codes = ("1", "2")
    drugs = [{"resourceType": "Medication", "id": "m", "code": {"text": code}} for code in codes]
    order = {"resourceType": "MedicationRequest", "id": "r", "subject": {"reference": "Patient/a"},
             "medicationReference": {"reference": "Medication/m"}}  # fmt: skip
    lines = [{"resourceType": "Patient", "id": "a"}, order, *drugs]
    found = read_upload([("a.ndjson", "\n".join(map(json.dumps, lines)).encode())])
    assert [each for each in _gathered(found) if each["resourceType"] == "Medication"] == drugs


def _gathered(cohort: Cohort) -> list[dict[str, Any]]:
    """The resources of the first chart."""
    case = next(iter(cohort.cases()))
    assert isinstance(case, CallCase) and isinstance(case.request, partial)
    return [entry["resource"] for entry in case.request.args[0]["entry"]]


def test_a_patient_with_a_draft_is_tried_when_it_is_signed_too() -> None:
    sample = next(each for each in SAMPLES if each.drafts)
    name = next(iter(sample.drafts))
    bundle = sample.bundle(NOW)
    bundle["entry"].append({"resource": sample.draft(name, NOW)})
    cases = list(read_upload([("b.json", json.dumps(bundle).encode())]).cases())
    assert [case.hook for case in cases] == ["patient-view", "order-sign"]
    assert len({case.patient for case in cases}) == 1


def test_hook_requests_are_tried_as_they_were_sent() -> None:
    builder = Builder(shipped().library, NOW)
    cases = scenario_files()["low_serum_magnesium"].scenarios[:4]
    templates = {key: need.template for key, need in all_needs(shipped().library).items()}
    calls = [builder.request(each, templates) for each in cases]
    cohort = read_upload([("calls.ndjson", b"\n".join(json.dumps(each).encode() for each in calls))])
    assert [case.hook for case in cohort.cases()] == [each.hook for each in cases]
    assert effect(cohort)["rules"]
    without = {key: value for key, value in calls[0].items() if key != "prefetch"}
    with pytest.raises(TooLarge, match="more than 3 patients"):
        read_upload([("calls.json", json.dumps(calls).encode())], most_patients=3)
    assert "without prefetch" in read_upload([("c.json", json.dumps(without).encode())]).remarks[0]


def test_what_a_chart_holds_of_somebody_else_is_not_tried_and_that_is_said() -> None:
    bundle = SAMPLES[0].bundle(NOW)
    other = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/somebody-else"}}
    bundle["entry"].append({"resource": other})
    cohort = read_upload([("b.json", json.dumps(bundle).encode())])
    found = compare(cohort, rulebook(), limit("0.60"), shipped(), NOW)
    assert found.charts == 1
    assert cohort.remarks == ("1 resources name 1 patients of whom no Patient resource is there: not tried",)
    assert found.effect()["complete"] is False


def test_an_upload_names_line_by_line_what_a_screening_names() -> None:
    """The same code reads both: nobody's resources come in by one way and are dropped by the other."""
    text = "\n".join([
        *(json.dumps(each) for each in SAMPLES[0].resources(NOW)),
        '{"resourceType": "Encounter", "id": "e"}',
        '{"resourceType": "Claim", "id": "c", "patient": {"reference": "Patient/a"}}',
        '{"resourceType": "Slot"}', '{"resourceType": "<b>"}', "null", "{",
        json.dumps({"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "x"}],
                    "entry": [{"resource": {"resourceType": "Claim"}}, {"response": {"status": "404"}}]}),
        '{"resourceType": "Patient"}', '{"resourceType": "Observation", "subject": {"reference": "Group/1"}}',
    ]).encode()  # fmt: skip
    screened = Lines()
    list(screened.read(text.splitlines()))
    cohort = read_upload([("all.ndjson", text)])
    assert list(cohort.remarks) == [f"all.ndjson, line {number}: {why}" for number, why in sorted(screened.faults)]
    assert cohort.passed_over == dict(sorted(screened.passed_over.items())) == {"Claim": 2, "Slot": 1}
    found = compare(cohort, rulebook(), limit("0.60"), shipped(), NOW)
    assert found.charts == 1 and found.told()["passed_over"] == {"Claim": 2, "Slot": 1}


# The command.


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    file = tmp_path / "draft.yaml"
    file.write_text(
        "site: Test hospital\nrules:\n  low_magnesium_to_correct_before_qt_drug:\n    show: silent\n    reason: Ours\n"
    )
    return file


def test_the_command_tells_what_a_site_file_would_do(draft: Path) -> None:
    done = invoke("site", "preview", draft)
    assert done.returncode == 0, done.stderr
    assert "sample patients: 10 charts" in done.stdout
    assert "the card of low_magnesium_to_correct_before_qt_drug vanishes" in done.stdout
    assert "after:  no card" in done.stdout
    told = json.loads(
        invoke("site", "preview", draft, "--json", "--rule", "low_magnesium_to_correct_before_qt_drug").stdout
    )
    assert told["vanishes"] >= 1
    assert told["attrition"]["after"]["steps"]


def test_the_command_tries_a_file_against_another_one(draft: Path, tmp_path: Path) -> None:
    today = ndjson(datetime.now(UTC))
    for name, text in today.items():
        (tmp_path / name).write_bytes(text)
    files = [part for name in today for part in ("--cohort", str(tmp_path / name))]
    told = json.loads(invoke("site", "preview", draft, "--against", draft, "--json", *files).stdout)
    assert (told["charts"], told["appears"], told["vanishes"], told["changes"]) == (len(SAMPLES), 0, 0, 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--cohort", "nobody"), "cannot be read"),
        (("--rule", "low_serum_magnesum"), "did you mean low_serum_magnesium"),
        (("--against", "nothing.yaml"), "no such file"),
    ],
)
def test_what_is_not_there_is_told(draft: Path, more: tuple[str, ...], said: str) -> None:
    done = invoke("site", "preview", draft, *more)
    assert done.returncode == 2
    assert said in done.stderr.lower() or said in done.stderr
