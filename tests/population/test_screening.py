"""A whole hospital screened: every patient gets the outcomes that a hook call gives; what was not read is named."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from cds_service.advice.advise import outcomes_of
from cds_service.advice.card_extension import EXTENSION
from cds_service.advice.one_bundle import has_drafts, hook_request
from cds_service.cli import main
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE
from cds_service.population.cases import CallCase, Side
from cds_service.population.kept import KeptChart
from cds_service.population.kept_facts import read_kept
from cds_service.population.screening import local, person, sources
from cds_service.population.screening.in_short import in_short
from cds_service.population.screening.lines import TOO_LONG, Lines
from cds_service.population.screening.rare import put_rare_together
from cds_service.population.shipped import shipped_cohort
from cds_service.rules.evaluate import Evaluation
from cds_service.sandbox import patients
from tests.conftest import NOW, shipped
from tests.population import hospital
from tests.population.kills import parts_of
from tests.population.test_uploads import FORMS, ndjson

HOOKS = ("patient-view", "order-sign")
MOMENT = NOW.strftime("%Y-%m-%dT%H:%M:%S%z")
Outcomes = dict[tuple[str, str], dict[str, str]]


def screen(out: Path, *inputs: Path, options: tuple[str, ...] = ("--identified", "--validate")) -> Result:
    asked = ["screen", *map(str, inputs), "--out", str(out), "--now", MOMENT, *options]
    return CliRunner().invoke(main, asked)


def screened(out: Path, *inputs: Path, options: tuple[str, ...] = ("--identified", "--validate")) -> Outcomes:
    """By patient and hook, what came of each rule."""
    found = screen(out, *inputs, options=options)
    assert found.exit_code == 0, found.output
    rows = duckdb.sql(
        f"SELECT f.patient_id, o.* FROM '{out}/outcomes/*.parquet' o JOIN '{out}/facts/*.parquet' f USING (key, hook)"
    )
    made = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
    drop = ("patient_id", "key", "hook")
    return {
        (row["patient_id"], row["hook"]): {rule: told for rule, told in row.items() if told and rule not in drop}
        for row in made
    }


def in_words(evaluation: Evaluation) -> dict[str, str]:
    return {each.rule_id: in_short(each) for each in evaluation.outcomes}


def kinds(outcomes: Mapping[str, str]) -> dict[str, str]:
    return {rule: told.partition(":")[0] for rule, told in outcomes.items()}


def side() -> Side:
    content = shipped()
    return Side(content, make_rulebook(content.library, NO_SITE, NOW.date()), NOW)


def as_called(bundle: dict[str, Any], hook: str, of: Side) -> dict[str, str]:
    """What the hook call that an EHR would make of this Bundle gives."""
    case = CallCase("", "", hook, lambda of: hook_request(bundle, hook, of.needs(hook).values(), of.vocabulary))
    return in_words(outcomes_of(case.chart(of), of.rulebook, of.services[hook])[1])


def test_two_thousand_patients_have_the_outcomes_of_hook_calls_and_of_their_kept_facts(tmp_path: Path) -> None:
    hospital.write(tmp_path / "in", 2000, seed=1, files=3)
    found = screened(tmp_path / "out", tmp_path / "in")
    of = side()
    expected: Outcomes = {}
    for number in range(2000):
        bundle = hospital.bundle(hospital.patient(number, 1))
        for hook in HOOKS if has_drafts(bundle) else HOOKS[:1]:
            expected[f"p1-{number}", hook] = as_called(bundle, hook, of)
    assert sum(told == "fired" for each in expected.values() for told in kinds(each).values()) > 1000
    assert found == expected
    kept = duckdb.sql(f"SELECT patient_id, hook, facts FROM '{tmp_path}/out/facts/*.parquet'").fetchall()
    for name, hook, facts in kept:
        chart = KeptChart(read_kept(facts, NOW.date()), of.vocabulary)
        told = in_words(outcomes_of(chart, of.rulebook, of.services[hook])[1])
        assert told == expected[name, hook], name


@pytest.mark.parametrize("form", FORMS)
def test_sample_patients_have_the_outcomes_that_the_service_answers(
    form: str, tmp_path: Path, client: FlaskClient
) -> None:
    for name, text in FORMS[form]():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / (name if "." in name else f"{name}.ndjson")).write_bytes(text)
    found = screened(tmp_path / "out", tmp_path / "in")
    assert {name for name, _ in found} == {sample.bundle(NOW)["entry"][0]["resource"]["id"] for sample in samples()}
    for sample in samples():
        assert kinds(found[sample.id, "patient-view"]) == answered(client, sample.bundle(NOW)), sample.id


def answered(client: FlaskClient, bundle: dict[str, Any]) -> dict[str, str]:
    of = side()
    call = hook_request(bundle, "patient-view", of.needs("patient-view").values(), of.vocabulary)
    answer = client.post(f"/cds-services/{of.services['patient-view']}", json=call)
    assert answer.status_code == 200
    return {each["rule"]: each["outcome"] for each in json.loads(answer.data)["extension"][EXTENSION]["outcomes"]}


def samples() -> list[Any]:
    return list(patients.load().values())


def test_patients_of_all_scenarios_have_the_outcomes_of_their_calls(tmp_path: Path) -> None:
    """Each scenario's own call holds what its author sent; as an export it is asked for anew."""
    of, lines, expected = side(), [], {}
    for number, case in enumerate(shipped_cohort(shipped(), NOW).cases()):
        if case.hook not in HOOKS or not isinstance(case, CallCase):
            continue
        bundle = as_bundle(case.request(of), f"s{number}")
        if bundle is not None:
            lines.append(orjson.dumps(bundle))
            expected[f"s{number}"] = as_called(bundle, "patient-view", of)
    assert len(expected) > 1500
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(lines))
    found = screened(tmp_path / "out", tmp_path / "in.ndjson")
    assert {name: found[name, "patient-view"] for name in expected} == expected


def as_bundle(call: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """All resources of a call, of a patient of this name; None where it is not of one readable patient."""
    sent = [call["context"].get("draftOrders"), *(call.get("prefetch") or {}).values()]
    made: dict[str, dict[str, Any]] = {}
    for each in sent:
        listed = [one.get("resource") for one in each.get("entry") or ()] if isinstance(each, dict) else []
        for resource in [*listed, each] if isinstance(each, dict) and each.get("resourceType") == "Patient" else listed:
            if isinstance(resource, dict) and isinstance(resource.get("id"), str):
                made[f"{resource.get('resourceType')}/{resource['id']}"] = resource
    if sum(each.startswith("Patient/") for each in made) != 1:
        return None
    old = next(each for each in made if each.startswith("Patient/"))
    entries = [{"resource": each} for each in made.values()]
    text = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})
    bundle: dict[str, Any] = json.loads(text.replace(json.dumps(old), json.dumps(f"Patient/{name}")))
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == "Patient":
            entry["resource"]["id"] = name
    return bundle


WHOLE = [
    b'{"resourceType": "Patient", "id": "a"}',
    b'{"resourceType": "Condition", "id": "1", "subject": {"reference": "Patient/a"}}',
]


BROKEN = [
    b'{"resourceType": "Patient", "id": "a"}',
    b'{"resourceType": "Observation", "id": "1", "subject": {"reference": "Patient/a"}, "id": "2"}',
    b'{"resourceType": "Observation", "id": "3"',
    b'{"resourceType": "Condition", "id": "4", "subject": {"reference": "Group/a"}}',
    b"",
    b'{"resourceType": "Condition", "id": "5", "subject": {"reference": "Patient/nobody"}}',
    b'{"resourceType": "Patient"}',
    b'{"resourceType": "Practitioner", "id": "x"}',
    b'{"resourceType": "Observation", "id": 7, "subject": {"reference": "Patient/nobody"}}',
    b"[1, 2]",
    b'{"resourceType": "Medication", "code": {"text": "a mixture"}}',
]


def test_what_cannot_be_read_is_named_by_file_and_line_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(b"\n".join(BROKEN))
    people = [b'{"resourceType": "Patient", "id": "%d"}' % number for number in range(9000)]
    whole = gzip.compress(b"\n".join(people))
    (folder / "b.ndjson.gz").write_bytes(whole[:-12])
    found = screen(tmp_path / "out", folder)
    assert found.exit_code == 0
    assert "could not be read: faults/ names file and line" in found.output
    faults = duckdb.sql(f"SELECT file, line, reason FROM '{tmp_path}/out/faults/*.parquet' ORDER BY ALL").fetchall()
    assert [(file, line) for file, line, _ in faults if file == "a.ndjson"] == [
        ("a.ndjson", number) for number in (2, 3, 4, 6, 7, 9, 10, 11)
    ]
    told = {line: reason for file, line, reason in faults if file == "a.ndjson"}
    assert told[2] == "An object has the same member twice."
    assert told[3] == "is not JSON"
    assert told[4] == "names no patient by Patient/id"
    assert told[6] == "names a patient of whom no Patient resource is there"
    assert any(file == "b.ndjson.gz" and "unpacked" in reason for file, _, reason in faults)
    about = json.loads((tmp_path / "out" / "screening.json").read_text())
    assert about["passed_over"] == {"Practitioner": 1}
    assert about["lines_not_read"] == len(faults)
    assert about["patients"] >= 2
    assert "nobody" not in json.dumps(about) + found.output


def test_two_patients_of_one_id_are_never_taken_for_one(tmp_path: Path) -> None:
    lines = [
        {"resourceType": "Patient", "id": "a", "birthDate": "1950-01-01"},
        {"resourceType": "Patient", "id": "a", "birthDate": "1990-01-01"},
        {"resourceType": "Patient", "id": "b", "birthDate": "1990-01-01"},
        {"resourceType": "Patient", "id": "b", "birthDate": "1990-01-01"},
    ]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    found = screen(tmp_path / "out", tmp_path / "in.ndjson")
    assert "1 chart could not be read: nothing is known of these patients" in found.output
    rows = duckdb.sql(f"SELECT patient_id, not_read FROM '{tmp_path}/out/facts/*.parquet' ORDER BY 1").fetchall()
    assert rows == [("a", "it has 2 different Patient resources"), ("b", None)]


def test_a_fault_of_ours_in_one_chart_takes_no_other_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = person.read_call

    def failing(side: Side, hook: str, patient_id: str, *given: Any) -> Any:
        if patient_id == "a":
            raise ZeroDivisionError("Anna Example")
        return read(side, hook, patient_id, *given)

    monkeypatch.setattr(person, "read_call", failing)
    lines = [{"resourceType": "Patient", "id": name, "birthDate": "1950-01-01"} for name in "ab"]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    found = screen(tmp_path / "out", tmp_path / "in.ndjson")
    assert "1 chart could not be read: nothing is known of these patients" in found.output
    rows = duckdb.sql(f"SELECT patient_id, not_read FROM '{tmp_path}/out/facts/*.parquet' ORDER BY 1").fetchall()
    assert rows[0][1].startswith("a fault of this program: ")
    assert rows[1] == ("b", None)
    assert "Anna" not in found.output + json.dumps(rows)


def test_ids_are_written_only_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(WHOLE).replace(b'"a"', b'"qz-7781"').replace(b"/a", b"/qz-7781"))
    assert screen(tmp_path / "out", tmp_path / "in.ndjson", options=()).exit_code == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    rows = duckdb.sql(f"SELECT key, patient_id FROM '{tmp_path}/out/facts/*.parquet'").fetchall()
    assert rows
    assert all(len(key) == 32 and name is None for key, name in rows)
    for path in files:
        text = str(duckdb.sql(f"SELECT * FROM '{path}'").fetchall()) if path.suffix == ".parquet" else path.read_text()
        assert "qz-7781" not in text, path.name
    assert not (tmp_path / "out" / "pseudonym-key").exists()


def with_codes(folder: Path, codes: Mapping[str, int]) -> Path:
    """So many patients each of whom has a problem of this code."""
    lines = []
    for place, (code, people) in enumerate(codes.items()):
        for number in range(people):
            name = f"u{place}-{number}"
            lines.append({"resourceType": "Patient", "id": name})
            lines.append({
                "resourceType": "Condition", "id": f"o{name}", "subject": {"reference": f"Patient/{name}"},
                "code": {"coding": [{"system": "http://ward.example", "code": code, "display": "a problem"}]},
            })  # fmt: skip
    folder.mkdir()
    (folder / "all.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return folder


def test_a_code_that_few_patients_have_stands_nowhere_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PART_SIZE", 300)
    codes = {"Anna Example": 4, "pale": 5, "see Anna Example": 1}
    given = with_codes(tmp_path / "in", codes)
    query = "SELECT code, count(DISTINCT key) FROM '{}/quality/*.parquet' WHERE what = 'code_not_read' GROUP BY 1"
    query += " ORDER BY 1"
    assert screen(tmp_path / "named", given, options=("--identified",)).exit_code == 0
    as_typed = [(f"http://ward.example|{code}", people) for code, people in codes.items()]
    assert duckdb.sql(query.format(tmp_path / "named")).fetchall() == as_typed
    found = screen(tmp_path / "out", given, options=("--csv",))
    assert found.exit_code == 0, found.output
    assert len(list((tmp_path / "out" / "quality").iterdir())) > 2
    assert duckdb.sql(query.format(tmp_path / "out")).fetchall() == [as_typed[1], ("rare", 5)]
    for path in (path for path in (tmp_path / "out").iterdir() if path.is_file()):
        assert "Anna" not in path.read_text(), path.name
    before = parts_of(tmp_path / "out")
    put_rare_together(tmp_path / "out")
    assert parts_of(tmp_path / "out") == before


def test_a_unit_that_is_not_known_is_shown_as_the_laboratory_wrote_it(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"resourceType": "Patient", "id": "a"}]
    for number, quantity in enumerate([
        {"value": 0.7, "unit": "arb.u."}, {"value": 0.8, "code": "lumps", "system": "http://unitsofmeasure.org"},
        {"value": 0.9}, {"value": 1.9, "unit": "mg/dL", "code": "mmol/L", "system": "http://unitsofmeasure.org"},
    ]):  # fmt: skip
        lines.append({
            "resourceType": "Observation", "id": f"o{number}", "status": "final", "valueQuantity": quantity,
            "subject": {"reference": "Patient/a"}, "effectiveDateTime": "2026-01-01",
            "code": {"coding": [{"system": "http://loinc.org", "code": "19123-9"}]},
        })  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in/all.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    assert screen(tmp_path / "out", tmp_path / "in", options=("--identified",)).exit_code == 0
    met = duckdb.sql(f"SELECT code FROM '{tmp_path}/out/quality/*.parquet' WHERE what = 'unit_not_read' ORDER BY 1")
    assert met.fetchall() == [("",), ("arb.u.",), ("lumps",), ("mg/dL",)]


def test_a_broken_first_line_costs_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(b"not json\n" + b"\n".join(ndjson()["Patient.ndjson"].splitlines()[:2]))
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(b'{"resourceType":\n' + BROKEN[0] + b"\n"))
    assert {name for name, _ in screened(tmp_path / "out", folder)} > {"a"}
    faults = duckdb.sql(f"SELECT file, line, reason FROM '{tmp_path}/out/faults/*.parquet' ORDER BY ALL").fetchall()
    assert faults == [("a.ndjson", 1, "is not JSON"), ("b.ndjson.gz", 1, "is not JSON")]


def test_a_line_that_is_too_long_is_named_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST", 100)
    long = BROKEN[0][:-1] + b', "language": "' + b"x" * 300 + b'"}'
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([BROKEN[0], long, BROKEN[0].replace(b'"a"', b'"b"')]))
    lines = Lines()
    (task,) = sources.find([tmp_path / "in.ndjson"]).tasks
    assert [line.patient for line in task.read(lines)] == ["a", "b"]
    assert lines.faults == [(2, TOO_LONG)]
    pieces = sources.find([tmp_path / "in.ndjson"], piece=50).tasks
    assert [line.patient for piece in pieces for line in piece.read(Lines())] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "another"),
    [
        (("--validate",), "validated"),
        (("--identified",), "identified"),
        (("--site", "site.yaml"), "site"),
        (("--key", "key.yaml"), "key"),
    ],
)
def test_a_folder_takes_no_other_question(options: tuple[str, ...], another: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: Test hospital\n")
    (tmp_path / "key.yaml").write_bytes(b"k" * 32)
    (tmp_path / "in.ndjson").write_bytes(BROKEN[0])
    assert screen(tmp_path / "out", tmp_path / "in.ndjson", options=()).exit_code == 0
    again = screen(tmp_path / "out", tmp_path / "in.ndjson", options=())
    assert "holds this screening already" in again.output
    asked = tuple(str(tmp_path / each) if each.endswith(".yaml") else each for each in options)
    refused = screen(tmp_path / "out", tmp_path / "in.ndjson", options=asked)
    assert refused.exit_code == 2
    assert another in refused.output
    assert "Name another folder with --out" in refused.output


def test_a_file_changed_within_its_size_and_time_is_another_question(tmp_path: Path) -> None:
    file = tmp_path / "in.ndjson"
    file.write_bytes(BROKEN[0])
    assert screen(tmp_path / "out", file, options=()).exit_code == 0
    time = file.stat().st_mtime_ns
    file.write_bytes(BROKEN[0].replace(b'"a"', b'"b"'))
    os.utime(file, ns=(time, time))
    refused = screen(tmp_path / "out", file, options=())
    assert refused.exit_code == 2
    assert "Name another folder with --out" in refused.output


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(BROKEN[0])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("Dear colleague")
    refused = screen(tmp_path / "out", tmp_path / "in.ndjson", options=())
    assert refused.exit_code == 2
    assert "is not empty and holds no screening" in refused.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_results_do_not_stand_among_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(BROKEN[0])
    refused = screen(tmp_path / "out", tmp_path, options=())
    assert refused.exit_code == 2
    assert "Name one outside of it with --out" in refused.output
    assert not (tmp_path / "out").exists()


def test_an_address_is_refused_with_the_command_that_fetches_from_it(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["screen", "https://ehr.example/fhir", "--out", str(tmp_path / "out")])
    assert found.exit_code == 2
    assert "magnesium-cds export ADDRESS --out FOLDER" in found.output
    assert not (tmp_path / "out").exists()


def test_no_patient_at_all_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(BROKEN[7])
    found = screen(tmp_path / "out", tmp_path / "in.ndjson", options=())
    assert found.exit_code == 1
    assert "No patient was there." in found.output
