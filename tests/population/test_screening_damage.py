"""Files and folders as a data team finds them, broken and odd: nothing of them is lost without a word."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.population.screening import sources
from cds_service.population.screening.exported import OTHER
from cds_service.population.screening.lines import Lines
from cds_service.sandbox import patients
from tests.conftest import NOW
from tests.population import hospital
from tests.population.test_screening import screen, screened

LOW, DIGOXIN = "low_serum_magnesium", "low_magnesium_with_digoxin"
Resource = dict[str, Any]


def of(kind: str, name: str, patient: str, **elements: Any) -> Resource:
    return {"resourceType": kind, "id": name, "subject": {"reference": f"Patient/{patient}"}, **elements}


def person(name: str) -> Resource:
    return {"resourceType": "Patient", "id": name, "birthDate": "1950-01-01", "gender": "female"}


def low(patient: str, **elements: Any) -> Resource:
    return of("Observation", f"mg-{patient}", patient, status="final", effectiveDateTime=NOW.isoformat(),
              code={"coding": [{"system": hospital.LOINC, "code": "2601-3"}]},
              valueQuantity={"value": 0.4, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
              **elements)  # fmt: skip


def bundle(*resources: Resource, kind: str = "collection") -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": each} for each in resources]}


def write(path: Path, *resources: Resource) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(map(orjson.dumps, resources)) + b"\n")


def faults(out: Path) -> list[tuple[str, int, str]]:
    return duckdb.sql(f"SELECT file, line, reason FROM '{out}/faults/*.parquet' ORDER BY ALL").fetchall()


def test_what_stands_before_a_break_in_a_packed_file_is_read(tmp_path: Path) -> None:
    """Lines are looked at many together: those that wait when it breaks off are no part of what is lost."""
    names = [f"p{number}" for number in range(300)]
    write(tmp_path / "in/Patient.ndjson", *map(person, names))
    lines = b"\n".join(orjson.dumps(low(name)) for name in names) + b"\n"
    (tmp_path / "in/Observation.ndjson.gz").write_bytes(gzip.compress(lines) + b"\x1f\x8bwhat is no gzip")
    found = screened(tmp_path / "out", tmp_path / "in")
    assert [told[LOW] for told in found.values()] == ["fired"] * 300
    assert faults(tmp_path / "out") == [("Observation.ndjson.gz", 301, "cannot be unpacked from here on")]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("longest", [None, 400], ids=["short", "longer than we hold"])
def test_broken_lines_at_the_start_make_no_document_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool, longest: int | None
) -> None:
    if longest:
        monkeypatch.setattr(sources, "LONGEST", longest)
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+ndjson\r\n\r\n"
    raw += b"\n".join(orjson.dumps(person(f"p{number}")) for number in range(9)) + b"\n"
    file = tmp_path / "all"
    file.write_bytes(gzip.compress(raw) if packed else raw)
    read = Lines()
    assert [line.patient for task in sources.find([file]).tasks for line in task.read(read)] == [
        f"p{number}" for number in range(9)
    ]
    assert read.faults == [(1, "is not JSON"), (2, "is not JSON")]


def test_a_bundle_within_a_bundle_is_opened(tmp_path: Path) -> None:
    write(tmp_path / "in/all.ndjson", bundle(person("a"), bundle(low("a"), person("b"), low("b"), kind="searchset")))
    found = screened(tmp_path / "out", tmp_path / "in")
    assert {name: told[LOW] for (name, _), told in found.items()} == {"a": "fired", "b": "fired"}


def test_a_page_with_one_patient_and_the_results_of_others_goes_to_each_of_them(tmp_path: Path) -> None:
    people = ("a", "b", "c")
    pages = [bundle(*map(person, people), kind="searchset"), bundle(person("d"), *map(low, (*people, "d")))]
    write(tmp_path / "in/pages.ndjson", *pages)
    found = screened(tmp_path / "out", tmp_path / "in")
    assert {name: told[LOW] for (name, _), told in found.items()} == dict.fromkeys("abcd", "fired")


def test_of_two_medications_of_one_id_none_is_taken(tmp_path: Path) -> None:
    """Two sites' exports in one folder: which of them an order means is not known."""
    drugs = hospital.medications()
    digoxin = next(each for each in drugs if each["id"] == "shared-digoxin")
    other = next(each for each in drugs if each is not digoxin)
    for name, also in (("one", digoxin), ("two", other)):
        order = of("MedicationRequest", "m", "a", status="active", intent="order",
                   medicationReference={"reference": "Medication/shared-digoxin"})  # fmt: skip
        write(tmp_path / name / "a.ndjson", person("a"), low("a"), order, digoxin)
        write(tmp_path / name / "b.ndjson", also | {"id": "shared-digoxin"})
    told = {
        name: screened(tmp_path / f"out-{name}", tmp_path / name)["a", "patient-view"][DIGOXIN].partition(":")[0]
        for name in ("one", "two")
    }
    assert told == {"one": "fired", "two": "not_evaluated"}


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (None, "not_evaluated"),
        ("2601-3", "not_evaluated"),
        ({}, "not_evaluated"),
        ({"coding": "2601-3"}, "not_evaluated"),
        ({"coding": [{"system": hospital.LOINC}]}, "not_evaluated"),
        ({"coding": [{"system": hospital.LOINC, "code": ["2601-3"]}]}, "not_evaluated"),
        ({"text": ["Magnesium"]}, "not_evaluated"),
        ({"coding": {"system": hospital.LOINC, "code": "2601-3"}}, "fired"),
        ({"coding": [{"system": hospital.LOINC, "code": "718-7"}]}, "not_applicable"),
        ({"text": "Haemoglobin"}, "not_evaluated"),
        ({"coding": [{"system": hospital.LOINC, "code": "718-7"}], "text": "Haemoglobin"}, "not_applicable"),
    ],
)
def test_a_result_that_does_not_say_what_it_is_may_be_the_one_looked_for(
    tmp_path: Path, code: object, outcome: str
) -> None:
    """No server's search finds it. An export holds it, and its patient is not one without a low result."""
    write(tmp_path / "in/all.ndjson", person("a"), low("a") | {"code": code})
    found = screened(tmp_path / "out", tmp_path / "in")
    assert found["a", "patient-view"][LOW].partition(":")[0] == outcome


@pytest.mark.parametrize("status", [None, "ACTIVE", "unknown", 1, ["active"]], ids=str)
def test_a_medicine_whose_status_says_nothing_is_not_passed_over(tmp_path: Path, status: object) -> None:
    """A server's search would not find it; here it is at hand."""
    (digoxin,) = (each for each in hospital.medications() if each["id"] == "shared-digoxin")
    order = of("MedicationRequest", "m", "a", intent="order", medicationCodeableConcept=digoxin["code"], status=status)
    write(tmp_path / "in/a.ndjson", person("a"), low("a"), {name: each for name, each in order.items() if each})
    found = screened(tmp_path / "out", tmp_path / "in")
    assert found["a", "patient-view"][DIGOXIN].startswith("not_evaluated: ")


@pytest.mark.parametrize("status", ["stopped", "entered-in-error", "cancelled", "completed"])
def test_a_medicine_that_is_over_is_not_taken(tmp_path: Path, status: str) -> None:
    (digoxin,) = (each for each in hospital.medications() if each["id"] == "shared-digoxin")
    order = of("MedicationRequest", "m", "a", intent="order", medicationCodeableConcept=digoxin["code"], status=status)
    write(tmp_path / "in/a.ndjson", person("a"), low("a"), order)
    assert screened(tmp_path / "out", tmp_path / "in")["a", "patient-view"][DIGOXIN].startswith("quiet")


def odd(**elements: Any) -> Resource:
    return {name: value for name, value in (low("a") | elements).items() if value is not None}


@pytest.mark.parametrize(
    "line",
    [
        odd(id=5),
        odd(subject="Patient/a"),
        odd(subject=None, patient=[{"reference": "Patient/a"}]),
        odd(status=["final"]),
        odd(resourceType=None),
        odd(resourceType="lab-result"),
        of("DiagnosticReport", "r", "a", status="final", contained=[low("a")]),
    ],
    ids=["id", "subject as text", "patient", "status", "no kind", "another kind", "a report"],
)
def test_a_line_that_nobody_can_read_stands_in_the_chart_of_its_patient(tmp_path: Path, line: Resource) -> None:
    """Its patient is plain, and is not one without a low result."""
    write(tmp_path / "in/a.ndjson", person("a"), line)
    found = screened(tmp_path / "out", tmp_path / "in")
    assert found["a", "patient-view"][LOW].startswith("not_evaluated: ")
    assert faults(tmp_path / "out") == []


def test_an_order_whose_medicine_is_named_by_a_text_is_not_passed_over(tmp_path: Path) -> None:
    order = of("MedicationRequest", "m", "a", status="active", intent="order",
               medicationReference="Medication/shared-digoxin")  # fmt: skip
    write(tmp_path / "in/a.ndjson", person("a"), low("a"), order)
    found = screened(tmp_path / "out", tmp_path / "in")
    assert found["a", "patient-view"][DIGOXIN].startswith("not_evaluated: ")


@pytest.mark.parametrize(
    "line",
    [
        odd(subject=[{"reference": "Patient/a"}]),
        odd(subject={"reference": "urn:uuid:a"}),
        odd(resourceType="observation"),
    ],
)
def test_a_line_in_another_form_that_is_read_is_a_finding(tmp_path: Path, line: Resource) -> None:
    write(tmp_path / "in/a.ndjson", person("a"), line)
    assert screened(tmp_path / "out", tmp_path / "in")["a", "patient-view"][LOW] == "fired"


def test_the_specimen_of_a_result_is_looked_at_wherever_it_stands(tmp_path: Path) -> None:
    write(tmp_path / "in/Patient.ndjson", person("a"))
    write(tmp_path / "in/Observation.ndjson", low("a", specimen={"reference": "Specimen/s"}))
    write(tmp_path / "in/Specimen.ndjson", of("Specimen", "s", "a", type={"text": "Urine"}))
    found = screened(tmp_path / "out", tmp_path / "in")
    assert found["a", "patient-view"][LOW].startswith("not_evaluated: ")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"entry": [{"request": {"method": "DELETE", "url": "Observation/mg-a"}}]},
         "says that resources are deleted: what other lines hold of them is read all the same"),
        ({"entry": [{"response": {"status": "403"}}]}, "says that a part of it was refused"),
        ({"entry": [{"fullUrl": "urn:uuid:1"}]}, "has entries that hold no resource"),
        ({"link": [{"relation": "next", "url": "urn:x"}]}, "says that there is more than it holds"),
        ({"total": 3}, "says that there is more than it holds"),
        ({"total": -3}, "has a total that cannot be read"),
        ({"entry": [{"resource": odd() | {"patient": {"reference": "Patient/b"}}}]}, "names no patient by Patient/id"),
        ({"entry": [{"resource": {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": odd()}]}}]},
         "names no patient by Patient/id"),
        ({"entry": [{"resource": odd(subject=["Patient/a", "Patient/b"])}]}, "names no patient by Patient/id"),
        ({"entry": [{"resource": [odd()]}]}, "is no FHIR resource of a patient"),
    ],
)  # fmt: skip
def test_what_a_bundle_of_nobody_says_is_named_by_its_line(tmp_path: Path, said: Resource, reason: str) -> None:
    write(tmp_path / "in/a.ndjson", person("a"), {"resourceType": "Bundle", "type": "searchset"} | said)
    screened(tmp_path / "out", tmp_path / "in")
    assert faults(tmp_path / "out") == [("a.ndjson", 2, reason)]


def test_a_linked_folder_is_read_once_and_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write(tmp_path / "far/a.ndjson", person("a"), low("a"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/far").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "in")
    found = screened(tmp_path / "out", tmp_path / "in")
    assert {name: told[LOW] for (name, _), told in found.items()} == {"a": "fired"}
    (tmp_path / "in/gone.ndjson").symlink_to(tmp_path / "nothing")
    refused = screen(tmp_path / "other", tmp_path / "in")
    assert refused.exit_code == 2
    assert "gone.ndjson is no file, or a link that leads nowhere" in refused.output


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff\xfe.ndjson")).write_bytes(orjson.dumps(person("a")))
    refused = screen(tmp_path / "out", tmp_path / "in")
    assert refused.exit_code == 2
    assert "is not UTF-8: give the file another name" in refused.output


def test_names_of_files_that_could_be_read_stand_nowhere(tmp_path: Path) -> None:
    """Some generators call the Bundle of a patient as the patient."""
    write(tmp_path / "in/Ada_Quimby.json", bundle(person("a"), low("a")))
    screened(tmp_path / "out", tmp_path / "in", options=("--csv", "--identified"))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path.name for path in files if b"Quimby" in path.read_bytes()]


def test_a_site_file_without_content_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/a.ndjson", person("a"))
    (tmp_path / "site.yaml").touch()
    refused = screen(tmp_path / "out", tmp_path / "in", options=("--site", str(tmp_path / "site.yaml")))
    assert refused.exit_code == 78
    assert "site.yaml" in refused.output + capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_damaged_screening_json_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "in/a.ndjson", person("a"))
    screened(tmp_path / "out", tmp_path / "in")
    about = tmp_path / "out/screening.json"
    about.write_bytes(orjson.dumps(json.loads(about.read_text()) | {"now": 5}))
    options = ["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert "screening.json does not say for which time this was screened" in done.output


def test_an_export_that_is_not_whole_is_said_wherever_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "in/ward/exported"
    write(folder / "Patient.ndjson", person("a"))
    write(folder / OTHER / "error.ndjson", person("b"))
    (folder / "export.json").write_bytes(orjson.dumps({
        "server": "https://ehr.example/fhir", "group": None, "types": ["Patient"], "files": [], "finished": False,
    }))  # fmt: skip
    for number, given in enumerate((tmp_path / "in", folder / "Patient.ndjson")):
        done = screen(tmp_path / f"out{number}", given)
        assert "NOT ALL WAS EXPORTED" in done.output, given
        about = json.loads((tmp_path / f"out{number}/screening.json").read_text())
        assert about["patients"] == 1
        assert any("not finished" in line for line in about["export"]["missing"])


@pytest.mark.parametrize("table", ["facts", "outcomes", "quality", "faults"])
@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_results_of_which_something_is_gone_are_no_report(tmp_path: Path, table: str, harm: str) -> None:
    samples = [each.bundle(NOW) for each in list(patients.load().values())[:3]]
    write(tmp_path / "in/all.ndjson", *json.loads(json.dumps(samples, default=str)))
    with (tmp_path / "in/all.ndjson").open("a") as file:
        file.write("no json\n")
    assert screen(tmp_path / "out", tmp_path / "in").exit_code == 0
    part = next(iter((tmp_path / "out" / table).glob("*.parquet")))
    if harm == "gone":
        shutil.rmtree(part.parent)
    else:
        part.write_bytes(part.read_bytes()[:-20])
    for asked in (("--report-only",), ("--identified", "--validate")):
        done = screen(tmp_path / "out", *([] if asked[0] == "--report-only" else [tmp_path / "in"]), options=asked)
        assert done.exit_code, done.output
        assert "screen again into a new folder" in done.output
