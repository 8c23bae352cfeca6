"""The sample patients: valid FHIR R4, known codes, never stale, and files that say what is wrong with them."""

import csv
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from fhir.resources.R4B import get_fhir_model_class

from cds_service.sandbox.expand import PRACTITIONER
from cds_service.sandbox.patients import SampleError, SamplePatient, load, read
from cds_service.sandbox.sample import moment

CARDS = Path(__file__).resolve().parents[2] / "cards"
SAMPLES = list(load().values())
TIMES = [
    datetime(2026, 11, 21, 12, tzinfo=UTC),
    datetime(2028, 2, 29, 0, 0, tzinfo=UTC),
    datetime(2051, 1, 1, tzinfo=UTC),
]
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)


def codes(resource: object, system: str) -> set[str]:
    """Every code of this system anywhere in a resource."""
    if isinstance(resource, list):
        return set().union(*(codes(item, system) for item in resource)) if resource else set()
    if isinstance(resource, dict):
        own = {resource["code"]} if resource.get("system") == system and "code" in resource else set()
        return own.union(*(codes(item, system) for item in resource.values()))
    return set()


def terminology(key: str) -> set[str]:
    """Every code under this key of every concept."""
    found: set[str] = set()
    for entry in (CARDS / "terminology").glob("*.yaml"):
        for code in yaml.safe_load(entry.read_text(encoding="utf-8")).get(key, ()):
            found.add(str(code["code"]) if isinstance(code, dict) else str(code))
    return found


@pytest.mark.parametrize("now", TIMES, ids=lambda now: f"{now:%Y-%m-%d}")
@each_sample
def test_everything_on_file_is_valid_fhir_r4(sample: SamplePatient, now: datetime) -> None:
    drafts = [sample.draft(name, now) for name in sample.drafts]
    for resource in [*sample.resources(now), *drafts, sample.bundle(now), PRACTITIONER]:
        assert get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@each_sample
def test_every_resource_is_of_this_patient_and_has_an_id_of_its_own(sample: SamplePatient) -> None:
    first, *rest = sample.resources(TIMES[0])
    assert (first["resourceType"], first["id"]) == ("Patient", sample.id)
    assert {resource["subject"]["reference"] for resource in rest} <= {f"Patient/{sample.id}"}
    assert len({resource["id"] for resource in rest}) == len(rest)


@each_sample
def test_a_sample_is_labelled_as_test_data_and_named_so_that_nobody_is_meant(sample: SamplePatient) -> None:
    patient = sample.resources(TIMES[0])[0]
    assert [label["code"] for label in patient["meta"]["security"]] == ["HTEST"]
    assert str(sample.name).startswith("Sample ")


@pytest.mark.parametrize("now", TIMES, ids=lambda now: f"{now:%Y-%m-%d}")
@each_sample
def test_the_age_holds_and_no_date_is_in_the_future(sample: SamplePatient, now: datetime) -> None:
    patient, *rest = sample.resources(now)
    born = datetime.fromisoformat(patient["birthDate"])
    age = now.year - born.year - ((now.month, now.day) < (born.month, born.day))
    assert age == sample.age
    for resource in rest:
        for field in ("onsetDateTime", "authoredOn", "effectiveDateTime", "issued"):
            assert resource.get(field, "")[:19] <= now.isoformat()[:19]


@each_sample
def test_a_result_is_as_old_as_its_file_says_at_any_time(sample: SamplePatient) -> None:
    for now in TIMES:
        newest = next(r for r in sample.resources(now) if r["resourceType"] == "Observation")
        taken = datetime.fromisoformat(newest["effectiveDateTime"])
        assert now - taken == timedelta(days=int(sample.results[0].taken.split()[0]))


@each_sample
def test_every_laboratory_code_and_problem_is_one_that_the_terminology_knows(sample: SamplePatient) -> None:
    resources = sample.resources(TIMES[0])
    results = [r for r in resources if r["resourceType"] == "Observation"]
    assert codes(results, "http://loinc.org") <= terminology("codes")
    problems = codes([r for r in resources if r["resourceType"] == "Condition"], "http://snomed.info/sct")
    # Atrial fibrillation is only the reason for the drug: no rule reads it.
    assert problems - {"49436004"} <= terminology("snomed")


@each_sample
def test_every_drug_that_a_rule_could_read_is_in_the_product_table(sample: SamplePatient) -> None:
    with (CARDS / "terminology" / "rxnorm_products.csv").open(encoding="utf-8", newline="") as table:
        known = {row["rxcui"] for row in csv.DictReader(line for line in table if not line.startswith("#"))}
    drugs = [*sample.drugs, *sample.drafts.values()]
    # Calcium and metformin are there to be left alone.
    assert {drug.rxnorm for drug in drugs} - {"282465", "861007"} <= known


def test_the_samples_tell_the_stories_that_the_cards_are_about() -> None:
    assert set(load()) == {
        "alendronate", "ciprofloxacin", "diet", "digoxin", "healthy",
        "kidney", "levothyroxine", "low-magnesium", "sotalol", "unmeasured",
    }  # fmt: skip
    assert all(sample.title and sample.story for sample in SAMPLES)


def test_the_docs_name_every_sample_and_no_other() -> None:
    docs = (CARDS.parent / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \|", docs, re.MULTILINE) == list(load())


def test_low_magnesium_is_flagged_against_the_laboratorys_own_range() -> None:
    newest = load()["low-magnesium"].resources(TIMES[0])[6]
    assert newest["valueQuantity"] == {
        "value": 0.58, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L",
    }  # fmt: skip
    assert newest["referenceRange"][0]["low"]["value"] == 0.7
    assert codes(newest["interpretation"], "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation") == {
        "L"
    }


def test_digoxin_patient_has_magnesium_in_mg_per_dl() -> None:
    found = [r for r in load()["digoxin"].resources(TIMES[0]) if codes(r, "http://loinc.org") == {"19123-9"}]
    assert [(r["valueQuantity"]["value"], r["valueQuantity"]["code"]) for r in found] == [(1.4, "mg/dL")]


def test_the_unmeasured_patient_has_no_magnesium_result() -> None:
    assert not codes(load()["unmeasured"].resources(TIMES[0]), "http://loinc.org") & {"19123-9", "2601-3"}


def test_a_weekly_drug_says_its_day_and_what_the_patient_takes_is_a_statement() -> None:
    weekly = next(r for r in load()["alendronate"].resources(TIMES[0]) if r["resourceType"] == "MedicationRequest")
    assert weekly["dosageInstruction"][0]["timing"]["repeat"] == {
        "frequency": 1, "period": 1, "periodUnit": "wk", "dayOfWeek": ["sun"], "timeOfDay": ["07:00:00"],
    }  # fmt: skip
    kinds = [r["resourceType"] for r in load()["levothyroxine"].resources(TIMES[0])]
    assert kinds.count("MedicationRequest") == kinds.count("MedicationStatement") == 1


def test_a_draft_is_no_part_of_the_record_and_its_context_points_at_it() -> None:
    sample = load()["ciprofloxacin"]
    context = sample.draft_context(TIMES[0], "magnesium-oxide")
    draft = context["draftOrders"]["entry"][0]["resource"]
    assert context["selections"] == ["MedicationRequest/draft-magnesium-oxide"]
    assert (draft["status"], draft["id"]) == ("draft", "draft-magnesium-oxide")
    assert draft["id"] not in {resource["id"] for resource in sample.resources(TIMES[0])}
    assert len(sample.draft_context(TIMES[0])["selections"]) == len(sample.drafts) == 2


def test_an_unknown_draft_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load()["healthy"].draft("magnesium-oxide", TIMES[0])


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("today", timedelta()),
        ("3 hours ago", timedelta(hours=3)),
        ("1 day ago", timedelta(days=1)),
        ("2 weeks ago", timedelta(days=14)),
        ("9 months ago", timedelta(days=270)),
        ("2 years ago", timedelta(days=730)),
    ],
)
def test_a_relative_time_is_counted_back_from_now(text: str, before: timedelta) -> None:
    now = datetime(2026, 11, 21, 12, 0, 7, 999, tzinfo=UTC)
    assert moment(text, now) == now.replace(microsecond=0) - before


@pytest.mark.parametrize("text", ["yesterday", "in 3 days", "-1 days ago", "2026-01-01", ""])
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ago"):
        moment(text, TIMES[0])


HEALTHY = (Path(__file__).resolve().parents[2] / "cds_service/sandbox/patients/healthy.yaml").read_text(
    encoding="utf-8"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEALTHY.replace("age: 34", "age: 340"), "healthy.yaml: age:"),
        (HEALTHY.replace("age: 34", "age: 34\nweight: 60"), "healthy.yaml: weight:"),
        (HEALTHY.replace("taken: 21 days ago", "taken: 2026-01-01"), "healthy.yaml: results.0.taken:"),
        (HEALTHY.replace("id: healthy", "id: other"), "should be the file's stem"),
        ("a: [", "not readable as YAML"),
    ],
    ids=["value out of range", "unknown key", "fixed date", "wrong id", "no YAML"],
)
def test_a_faulty_sample_file_is_refused_with_its_name_and_the_place(text: str, said: str) -> None:
    with pytest.raises(SampleError) as refused:
        read("healthy", text)
    assert said in str(refused.value)
