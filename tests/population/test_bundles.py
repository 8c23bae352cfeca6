"""A whole chart as one Bundle, tried by `evaluate` and by `screen`: what a prefetch would tell is told of it too."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import duckdb
import orjson
import pytest
from click.testing import CliRunner

from cds_service.advice.card_extension import EXTENSION
from cds_service.cli import main
from cds_service.fhir.at_hand import AtHand
from cds_service.fhir.searching import Search
from cds_service.terminology.index import Vocabulary
from tests.conftest import shipped
from tests.population import hospital
from tests.population.test_screening_damage import LOW, Resource, bundle, low, of, person

NOW = datetime.now(UTC)
YESTERDAY = (NOW - timedelta(days=1)).isoformat()
Tried = Callable[..., str]
MAGNESIUM = {"system": hospital.LOINC, "code": "2601-3"}
HAEMOGLOBIN = {"system": hospital.LOINC, "code": "718-7"}


def result(**elements: Any) -> Resource:
    """Magnesium of yesterday, 0.4 mmol/L."""
    return low("a") | {"effectiveDateTime": YESTERDAY} | elements


def panel(own: Resource | None, *parts: Resource) -> Resource:
    """A result that holds its values in components."""
    whole = result(code=own, component=[{"code": each, "valueQuantity": low("a")["valueQuantity"]} for each in parts])
    del whole["valueQuantity"]
    return {name: value for name, value in whole.items() if value is not None}


NORMAL = result(valueQuantity=low("a")["valueQuantity"] | {"value": 0.9})

PULSE = NORMAL | {"id": "pulse", "code": {"text": "Pols"}, "effectiveDateTime": NOW.isoformat(), "category": [
    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}
]}  # fmt: skip


def invoked(*options: str) -> str:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(params=["evaluate", "screen"])
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Tried:
    """What comes of the rule on low magnesium for a chart, by the command."""

    def told(chart: Resource, site: str = "") -> str:
        file = tmp_path / "chart.json"
        file.write_bytes(orjson.dumps(chart))
        (tmp_path / "site.yaml").write_text(site)
        options = ("--site", str(tmp_path / "site.yaml")) if site else ()
        if request.param == "evaluate":
            said = invoked("evaluate", "--json", *options, str(file))
            answer = json.loads(said[said.index("{\n") :])  # a log may stand before it
            found = {each["rule"]: each["outcome"] for each in answer["extension"][EXTENSION]["outcomes"]}
            return found[LOW]
        invoked("screen", str(file), "--out", str(tmp_path / "out"), "--processes", "1", "--validate", *options)
        (row,) = duckdb.sql(f"SELECT {LOW} FROM '{tmp_path}/out/outcomes/*.parquet'").fetchall()
        return str(row[0]).partition(":")[0]

    return told


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ({"coding": [{"system": "urn:oid:2.16.840.1.113883.6.1", "code": "2601-3"}]}, "fired"),
        ({"coding": [{"system": "http://loinc.org/", "code": "2601-3"}]}, "fired"),
        ({"coding": [{"system": "HTTPS://LOINC.ORG", "code": "2601-3"}]}, "fired"),
        ({"coding": [MAGNESIUM | {"code": "2601-3 "}]}, "not_evaluated"),  # found, and no valid FHIR
        ({"coding": [{"code": "2601-3"}]}, "not_evaluated"),
        ({"coding": [{"system": "urn:oid:1.2.3", "code": "MG"}], "text": "Magnesium"}, "not_evaluated"),
        ({"text": "Magnesium"}, "not_evaluated"),
        ({"coding": [HAEMOGLOBIN]}, "not_applicable"),
        ({"coding": [HAEMOGLOBIN | {"system": "http://loinc.org/"}], "text": "Haemoglobin"}, "not_applicable"),
    ],
)
def test_a_result_is_found_by_every_spelling_of_its_code_that_is_read(tried: Tried, code: Any, outcome: str) -> None:
    assert tried(bundle(person("a"), result(code=code))) == outcome


@pytest.mark.parametrize(
    ("chart", "outcome"),
    [
        (panel({"coding": [{"system": hospital.LOINC, "code": "24323-8"}]}, {"coding": [MAGNESIUM]}), "fired"),
        (panel({"text": "Panel"}, {"coding": [HAEMOGLOBIN]}, {"coding": [MAGNESIUM]}), "fired"),
        (panel({"text": "Panel"}, {"coding": [HAEMOGLOBIN]}), "not_applicable"),
        (panel({"text": "Panel"}, {"text": "Magnesium"}), "not_evaluated"),
        (panel(None, {"coding": [HAEMOGLOBIN]}), "not_evaluated"),
    ],
)
def test_a_component_is_found_as_a_result_is(tried: Tried, chart: Resource, outcome: str) -> None:
    assert tried(bundle(person("a"), chart)) == outcome


def test_a_code_of_the_site_without_a_system_is_found(tried: Tried) -> None:
    chart = bundle(person("a"), result(code={"coding": [{"code": "MAGN"}]}))
    assert tried(chart, "site: Example hospital\ncodes:\n  serum_magnesium: [{code: MAGN}]\n") == "fired"


REPORT = {"resourceType": "DiagnosticReport", "id": "r", "subject": {"reference": "Patient/a"}, "status": "final"}
COMPOSITION = {"resourceType": "Composition", "id": "c", "status": "final", "subject": {"reference": "Patient/a"}}
PLAN = {"resourceType": "CarePlan", "id": "p", "status": "active", "subject": {"reference": "Patient/a"}}
PANEL = NORMAL | {"id": "panel", "code": {"coding": [HAEMOGLOBIN]}, "hasMember": [{"reference": "#mg-a"}]}
REFUSED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "suppressed"}]}


def holding(*entries: Any, **elements: Any) -> Resource:
    """A Bundle of a patient with further entries, as they stand."""
    return bundle(person("a")) | {"entry": [{"resource": person("a")}, *entries]} | elements


@pytest.mark.parametrize(
    "chart",
    [
        holding(type="searchset", link=[{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]),
        holding(type="searchset", total=400),
        holding(type="searchset", total="400"),
        holding({"resource": REFUSED}),
        holding({"response": {"status": "403"}}),
        holding({"response": {"status": 403}}),
        holding({}),
        holding({"resource": None}),
        holding({"resource": [result()]}),
        holding(5),
        holding({"resource": result() | {"resourceType": "lab-result"}}),
        holding({"resource": {"id": "x", "subject": {"reference": "Patient/a"}}}),
        holding({"resource": REPORT | {"contained": [result()]}}),
        holding({"resource": PLAN | {"contained": [result()]}}, {"resource": NORMAL}),
        holding({"resource": PANEL | {"contained": [result()]}}, {"resource": NORMAL}),
        holding({"resource": NORMAL}, type="searchset", total=-1),
        holding({"resource": NORMAL}, type="searchset", total=1.5),
        holding(implicitRules="https://ehr.example/rules"),
        holding(meta={"tag": [{"code": "SUBSETTED"}]}),
        holding({"resource": result(), "modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}),
        holding({"resource": bundle(kind="searchset") | {"link": [{"relation": "next", "url": "urn:x"}]}}),
        holding({"resource": result(specimen={"reference": "Specimen/s"})},
                {"resource": of("Specimen", "s", "a", type={"text": "Urine"})}),
        holding({"resource": result(specimen={"reference": "Specimen/s"})},
                *({"resource": of("Specimen", "s", "a", type={"text": told})} for told in ("Urine", "Serum"))),
    ],
    ids=["next link", "total", "total as text", "outcome", "refused", "refused, as a number", "empty entry",
         "null", "a list", "no entry", "another kind", "no kind", "in a report",
         "in a plan", "in a panel", "total below none", "total in parts", "rules", "subsetted", "modifier",
         "next link of a Bundle within", "urine", "two specimens"],
)  # fmt: skip
def test_what_a_bundle_says_of_itself_is_no_all_clear(tried: Tried, chart: Resource) -> None:
    assert tried(chart) == "not_evaluated"


@pytest.mark.parametrize(
    ("chart", "outcome"),
    [
        (holding(type="searchset", total=1), "not_applicable"),
        (holding(link=[{"relation": "self", "url": "https://ehr.example/fhir"}]), "not_applicable"),
        (holding({"resource": REPORT}, {"resource": COMPOSITION}), "not_applicable"),
        (holding({"resource": {"resourceType": "Practitioner", "id": "p"}}), "not_applicable"),
        (holding({"resource": NORMAL}, {"resource": NORMAL}), "quiet"),
        (holding({"resource": NORMAL}, {"resource": PULSE}), "quiet"),
        (holding({"resource": NORMAL}, {"resource": PLAN | {"contained": [{"resourceType": "Goal"}]}}), "quiet"),
        (holding({"resource": person("a")}), "not_applicable"),
        (holding({"resource": bundle(result(), kind="searchset")}), "fired"),
        (holding({"resource": result(), "response": {"status": "200 OK"}}), "fired"),
        (holding({"resource": result() | {"resourceType": "observation"}}), "fired"),
        (holding({"resource": result(specimen={"reference": "Specimen/s"})},
                 {"resource": of("Specimen", "s", "a", type={"text": "Serum"})}), "fired"),
    ],
)  # fmt: skip
def test_what_an_ordinary_bundle_holds_hides_nothing(tried: Tried, chart: Resource, outcome: str) -> None:
    assert tried(chart) == outcome


def test_specimens_of_other_results_are_not_counted_among_those_that_were_found(tmp_path: Path) -> None:
    """5,000 entries of an answer are read."""
    many = [of("Specimen", f"s{number}", "a", type={"text": "Urine"}) for number in range(5100)]
    last = NORMAL | {"specimen": {"reference": "https://ehr.example/fhir/Specimen/s5099/_history/1"}}
    file = tmp_path / "chart.json"
    for results, outcome in (([], "not_applicable"), ([NORMAL], "quiet"), ([last], "not_evaluated")):
        file.write_bytes(orjson.dumps(bundle(person("a"), *results, *many)))
        said = invoked("evaluate", "--json", str(file))
        found = json.loads(said[said.index("{\n") :])["extension"][EXTENSION]
        assert {each["outcome"] for each in found["outcomes"] if each["rule"] == LOW} == {outcome}
        assert found["inputs"]["serum_magnesium"] in ("empty", "given")


@pytest.mark.parametrize("url", ["Observation/mg-a", "https://ehr.example/fhir/Observation/mg-a"])
def test_a_result_that_is_deleted_is_no_finding(tried: Tried, url: str) -> None:
    gone = {"request": {"method": "DELETE", "url": url}}
    assert tried(holding({"resource": result()}, gone, type="history")) == "not_evaluated"


def test_patients_of_two_servers_are_not_one(tmp_path: Path) -> None:
    """They have the same id."""
    theirs = [
        result(id=name, subject={"reference": f"https://{name}.example/fhir/Patient/a"}) for name in ("north", "south")
    ]
    file = tmp_path / "chart.json"
    file.write_bytes(orjson.dumps(bundle(person("a"), *theirs)))
    done = CliRunner().invoke(main, ["evaluate", "--json", str(file)])
    assert done.exit_code == 1
    assert "names patients of more than one server" in done.output
    for number, given in enumerate([[bundle(person("a"), *theirs)], [person("a"), *theirs]]):
        (tmp_path / "in.ndjson").write_bytes(b"\n".join(map(orjson.dumps, given)))
        invoked("screen", str(tmp_path / "in.ndjson"), "--out", str(tmp_path / f"out{number}"), "--processes", "1")
        rows = duckdb.sql(f"SELECT not_read FROM '{tmp_path}/out{number}/facts/*.parquet'").fetchall()
        assert rows == [("its resources name patients of more than one server",)]


def test_every_subject_of_a_result_that_names_several_is_looked_at(tmp_path: Path) -> None:
    """FHIR allows one."""
    north, south = ({"reference": f"https://{name}.example/fhir/Patient/a"} for name in ("north", "south"))
    file = tmp_path / "chart.json"
    file.write_bytes(orjson.dumps(bundle(person("a"), result(subject=[{"reference": "Patient/a"}, north, south]))))
    done = CliRunner().invoke(main, ["evaluate", "--json", str(file)])
    assert done.exit_code == 1
    assert "names patients of more than one server" in done.output


def test_what_contains_what_is_searched_for_is_found_in_one_pass(tmp_path: Path) -> None:
    def seconds(kind: str) -> float:
        held = AtHand(Vocabulary(shipped().library))
        within = {"contained": [{"resourceType": kind, "id": "p"}]}
        held.add(orjson.dumps(bundle(person("a"), *(result(id=f"r{n}") | within for n in range(6000)))))
        begun = process_time()
        assert len(list(held.answers([Search("serum_magnesium", "Observation", None, True)]))) == 1
        return process_time() - begun

    assert seconds("Observation") < seconds("Practitioner") * 5 + 0.5
