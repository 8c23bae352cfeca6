"""Search on the stub, over HTTP: the parameters that CDS clients use, and FHIR's rules for what is not known."""

from collections.abc import Callable
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from cds_service.sandbox.patients import load
from cds_service.sandbox.search import prefetch

from .conftest import NOW

Get = Callable[..., Any]
MAGNESIUM = "http://loinc.org|19123-9,http://loinc.org|2601-3"


def ids(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def test_a_search_is_a_valid_searchset_with_links_and_full_addresses(get: Get, stub: str) -> None:
    bundle = get("Observation?patient=low-magnesium")
    Bundle.model_validate(bundle)
    assert (bundle["type"], bundle["total"]) == ("searchset", 5)
    assert bundle["link"][0] == {"relation": "self", "url": f"{stub}/Observation?patient=low-magnesium"}
    assert bundle["entry"][0]["fullUrl"] == f"{stub}/Observation/low-magnesium-result-1"
    assert bundle["entry"][0]["search"] == {"mode": "match"}


def test_nothing_found_has_a_total_of_zero_and_no_entry(get: Get) -> None:
    bundle = get("Condition?patient=healthy")
    Bundle.model_validate(bundle)
    assert bundle["total"] == 0
    assert "entry" not in bundle


@pytest.mark.parametrize("parameter", ["patient", "subject"])
@pytest.mark.parametrize("value", ["kidney", "Patient/kidney", "http://elsewhere.example/fhir/Patient/kidney"])
def test_the_patient_may_be_named_by_id_reference_or_address(get: Get, parameter: str, value: str) -> None:
    assert ids(get(f"Condition?{parameter}={value}")) == ["kidney-problem-1"]


def test_another_type_of_subject_finds_nothing(get: Get) -> None:
    assert ids(get("Condition?subject=Group/kidney")) == []


def test_an_id_may_be_a_list(get: Get) -> None:
    assert ids(get("Patient?_id=healthy,kidney,nobody")) == ["healthy", "kidney"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("http://loinc.org|2601-3", 2),
        ("2601-3", 2),
        ("http://loinc.org|", 5),
        (MAGNESIUM, 2),
        ("|2601-3", 0),
        ("http://snomed.info/sct|2601-3", 0),
        ("http://loinc.org|2601", 0),
    ],
)
def test_a_code_is_matched_with_its_system(get: Get, code: str, found: int) -> None:
    assert get(f"Observation?patient=low-magnesium&code={code}")["total"] == found


def test_a_drug_is_found_by_its_code(get: Get) -> None:
    rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
    assert ids(get(f"MedicationRequest?code={rxnorm}|892246")) == ["ciprofloxacin-drug-2", "levothyroxine-drug-1"]
    assert ids(get(f"MedicationStatement?code={rxnorm}|282465")) == ["levothyroxine-drug-2"]


@pytest.mark.parametrize(("status", "found"), [("active", 3), ("completed", 0), ("completed,active", 3)])
def test_orders_are_found_by_status(get: Get, status: str, found: int) -> None:
    assert get(f"MedicationRequest?patient=low-magnesium&status={status}")["total"] == found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("active", 2),
        ("http://terminology.hl7.org/CodeSystem/condition-clinical|active", 2),
        ("resolved", 0),
        ("http://example.org|active", 0),
    ],
)
def test_problems_are_found_by_clinical_status(get: Get, status: str, found: int) -> None:
    assert get(f"Condition?patient=low-magnesium&clinical-status={status}")["total"] == found


def test_the_newest_result_comes_first_when_asked(get: Get) -> None:
    query = f"Observation?patient=low-magnesium&code={MAGNESIUM}&_sort="
    newest_first, oldest_first = ids(get(query + "-date")), ids(get(query + "date"))
    assert newest_first == ["low-magnesium-result-1", "low-magnesium-result-2"]
    assert oldest_first == newest_first[::-1]


def test_an_unknown_sort_key_is_ignored_and_a_second_key_breaks_ties(get: Get) -> None:
    found = ids(get("Observation?patient=low-magnesium&_sort=-date,-_id,colour"))
    assert found == [f"low-magnesium-result-{i}" for i in (5, 4, 3, 1, 2)]


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("ge2026-11-11", 4),
        ("gt2026-11-11", 0),
        ("le2026-11-10", 1),
        ("lt2026-11-12", 5),
        ("2026-11-11", 4),
        ("eq2026-11", 4),
        ("ge2027", 0),
        ("ge2026-11-11T12:00:00Z", 4),
        ("gt2026-11-11T12:00:00", 0),
        ("lt2026-11-11T13:30:00%2B01:00", 5),
    ],
)
def test_results_are_found_by_date(get: Get, when: str, found: int) -> None:
    assert get(f"Observation?patient=low-magnesium&date={when}")["total"] == found


def test_a_repeated_parameter_narrows_the_search(get: Get) -> None:
    window = "date=ge2026-01-01&date=le2026-06-01"
    assert ids(get(f"Observation?patient=low-magnesium&{window}")) == ["low-magnesium-result-2"]


def test_pages_follow_each_other_without_gap_or_repeat(get: Get, stub: str) -> None:
    whole = ids(get("Observation?_count=500"))
    bundle, seen = get("Observation?_count=7&_sort=-date&colour=blue"), []
    total = bundle["total"]
    while True:
        seen += ids(bundle)
        assert bundle["total"] == total
        onward = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not onward:
            break
        assert onward[0].startswith(stub)
        bundle = get(onward[0])
    assert len(seen) == len(set(seen)) == total == len(whole)
    assert set(seen) == set(whole)
    assert total > 14


def test_a_search_by_post_leads_on_by_address(post: Get, get: Get) -> None:
    first = post("Observation", {"patient": "low-magnesium", "code": MAGNESIUM, "_sort": "-date", "_count": "1"})
    second = get(next(link["url"] for link in first["link"] if link["relation"] == "next"))
    assert [ids(first), ids(second)] == [["low-magnesium-result-1"], ["low-magnesium-result-2"]]
    assert [link["relation"] for link in second["link"]] == ["self"]


def test_a_count_of_zero_gives_only_the_total(get: Get) -> None:
    bundle = get("Observation?patient=low-magnesium&_count=0")
    assert bundle["total"] == 5
    assert "entry" not in bundle
    assert [link["relation"] for link in bundle["link"]] == ["self"]


def test_post_and_get_find_the_same(post: Get, get: Get) -> None:
    form = {"patient": "kidney", "status": "active"}
    assert ids(post("MedicationRequest", form)) == ids(get("MedicationRequest?patient=kidney&status=active")) != []


def test_an_unknown_or_empty_parameter_is_ignored_and_left_out_of_the_self_link(get: Get) -> None:
    bundle = get("Patient?_id=healthy&colour=blue&_include=Patient:link&name:exact=x&_id=")
    assert ids(bundle) == ["healthy"]
    assert bundle["link"][0]["url"].endswith("/Patient?_id=healthy")


@pytest.mark.parametrize(
    "query",
    [
        "status:not=final",
        "code:in=x",
        "_count=many",
        "_count=-1",
        "date=ne2026-01-01",
        "date=soon",
        "date=2026-13-45T00:00",
    ],
)
def test_what_would_widen_the_search_if_ignored_is_refused(get: Get, query: str) -> None:
    outcome = get(f"Observation?patient=low-magnesium&{query}", status=400)
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == "invalid"


def test_prefetch_without_http_is_what_the_stub_answers(post: Get, get: Get) -> None:
    templates = {
        "patient": "Patient/{{context.patientId}}",
        "magnesium": f"Observation?patient={{{{context.patientId}}}}&code={MAGNESIUM}&_sort=-date&_count=20",
        "nobody": "Patient/nobody",
        "visits": "Encounter?patient={{context.patientId}}",
        "odd": "Patient",
    }
    sample = load()["low-magnesium"]
    given = prefetch(sample.resources(NOW), templates, {"patientId": sample.id})
    assert set(given) == {"patient", "magnesium"}
    assert given["patient"] == get("Patient/low-magnesium")
    over_http = post("Observation", {"patient": sample.id, "code": MAGNESIUM, "_sort": "-date", "_count": "20"})
    assert ids(given["magnesium"]) == ids(over_http)
    Bundle.model_validate(given["magnesium"])
