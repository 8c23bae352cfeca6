"""F1-F10, A23-A25: what the prefetch left out is read from the FHIR server, within bounds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from responses import matchers

from cds_service.fhir import FhirServer, IdentityMismatch, Need, fetching
from cds_service.fhir.fetching import fill
from cds_service.fhir.server import FetchFailed
from cds_service.trust.outbound import Server, guarded_session
from tests.fhir.charts import (
    LEVOTHYROXINE,
    ME,
    NOW,
    about,
    bundle,
    condition,
    magnesium,
    order,
    patient,
    read,
)

BASE = "https://ehr.example/fhir"
MG = Need("serum_magnesium", "Observation", "Observation?patient={{context.patientId}}&code=http://loinc.org|2601-3")
WHO = Need("patient", "Patient", "Patient/{{context.patientId}}")
CONDITIONS = Need("conditions", "Condition", "Condition?patient={{context.patientId}}&_count=500")
ORDERS = Need("medications", "MedicationRequest", "MedicationRequest?patient={{context.patientId}}")


@pytest.fixture
def ehr() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def answer(ehr: responses.RequestsMock, path: str, body: Any, status: int = 200, **more: Any) -> None:
    kind = more.pop("content_type", "application/fhir+json")
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    ehr.add(responses.GET, f"{BASE}/{path}", body=text, status=status, content_type=kind, **more)


def server(**more: Any) -> FhirServer:
    return FhirServer(BASE, session=guarded_session([Server(BASE)]), **more)


def next_link(url: str) -> dict[str, Any]:
    return {"link": [{"relation": "next", "url": url}]}


def state(chart: Any, key: str) -> tuple[str, str]:
    found = chart.facts.inputs[key]
    return found.state, found.reason


# What is fetched


def test_an_absent_key_is_fetched_and_a_given_one_is_not(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition()))
    chart = read(needs=(WHO, CONDITIONS), patient=patient(), server=server())
    assert state(chart, "conditions") == ("fetched", "")
    assert [call.request.url for call in ehr.calls] == [f"{BASE}/Condition?patient={ME}&_count=500"]


def test_null_is_not_fetched_again(ehr: responses.RequestsMock) -> None:
    assert state(read(needs=(CONDITIONS,), conditions=None, server=server()), "conditions")[0] == "empty"
    assert len(ehr.calls) == 0


def test_nothing_is_fetched_without_a_server() -> None:
    assert state(read(needs=(CONDITIONS,)), "conditions")[0] == "absent"


def test_the_search_is_that_of_the_template_with_its_codes(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Observation", bundle(magnesium()))
    read(needs=(MG,), server=server())
    asked = parse_qs(urlsplit(str(ehr.calls[0].request.url)).query)
    assert asked == {"patient": [ME], "code": ["http://loinc.org|2601-3"]}


def test_the_token_is_sent_and_never_shown(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle())
    ours = server(token="s3cret-token")
    read(needs=(CONDITIONS,), server=ours)
    assert ehr.calls[0].request.headers["Authorization"] == "Bearer s3cret-token"
    assert "s3cret" not in repr(ours) + str(vars(ours))


def test_an_empty_search_means_none(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(total=0))
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions")[0] == "empty"


SORTED = Need("serum_magnesium", "Observation", "Observation?patient={{context.patientId}}&_sort=-date&_count=2")


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_server_that_cannot_sort_is_asked_once_more_without(ehr: responses.RequestsMock, status: int) -> None:
    answer(ehr, f"Observation?patient={ME}&_sort=-date&_count=2", {}, status)
    answer(ehr, f"Observation?patient={ME}&_count=2", bundle(magnesium(), total=1))
    chart = read(needs=(SORTED,), server=server())
    assert state(chart, "serum_magnesium") == ("fetched", "")
    assert len(ehr.calls) == 2


def test_what_was_not_sorted_does_not_show_the_newest_where_there_is_more(ehr: responses.RequestsMock) -> None:
    answer(ehr, f"Observation?patient={ME}&_sort=-date&_count=2", {}, 400)
    answer(ehr, f"Observation?patient={ME}&_count=2", bundle(magnesium(), total=9))
    found = read(needs=(SORTED,), server=server()).facts.inputs["serum_magnesium"]
    assert (found.state, found.newest_first) == ("incomplete", False)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_server_that_refuses_for_another_reason_is_not_asked_again(ehr: responses.RequestsMock, status: int) -> None:
    answer(ehr, "Observation", {}, status)
    assert state(read(needs=(SORTED,), server=server()), "serum_magnesium")[0] == "failed"
    assert len(ehr.calls) == 1


# What goes wrong (F1-F6)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "not permitted"), (403, "not permitted"), (404, "not found"), (410, "not found"), (429, "refused"),
     (500, "refused"), (503, "refused"), (204, "refused"), (302, "refused"), (307, "refused")],
)  # fmt: skip
def test_an_answer_other_than_200_is_a_failure(ehr: responses.RequestsMock, status: int, reason: str) -> None:
    answer(ehr, "Condition", "{}", status, headers={"Location": "https://evil.test/"})
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions") == ("failed", reason)
    assert len(ehr.calls) == (2 if status == 503 else 1)  # no redirect followed; 503 passes, and is asked once more


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "application/fhir+json"),
        ("<html>", "application/fhir+json"),
        ("<html>", "text/html"),
        ('{"resourceType": "Bund', "application/json"),
        ('{"resourceType": "Patient", "id": "mona"}', "application/json"),
    ],
)
def test_a_body_that_is_no_search_result_is_a_failure(ehr: responses.RequestsMock, body: str, kind: str) -> None:
    answer(ehr, "Condition", body, content_type=kind)
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions") == ("failed", "unreadable")


def test_an_operation_outcome_is_a_failure(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", {"resourceType": "OperationOutcome", "issue": []})
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions")[0] == "failed"


def test_f5_what_is_not_permitted_does_not_lose_the_rest(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", "{}", 403)
    answer(ehr, "Observation", bundle(magnesium()))
    chart = read(needs=(CONDITIONS, MG), server=server())
    assert state(chart, "conditions") == ("failed", "not permitted")
    assert state(chart, "serum_magnesium")[0] == "fetched"
    assert chart.facts.labs


def test_an_answer_that_is_too_large_is_not_read_to_its_end(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", "x" * 20_000)
    assert state(read(needs=(CONDITIONS,), server=server(max_bytes=10_000)), "conditions") == ("failed", "too large")


def test_f9_the_wrong_patient_from_the_server_stops_everything(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition(subject=about("otto"))))
    with pytest.raises(IdentityMismatch) as stopped:
        read(needs=(CONDITIONS,), server=server())
    assert stopped.value.where == "fetched.conditions.entry[0]"


def test_a_template_that_we_cannot_fill_is_not_fetched(ehr: responses.RequestsMock) -> None:
    odd = Need("odd", "Condition", "Condition?encounter={{context.encounterId}}")
    assert state(read(needs=(odd,), server=server()), "odd")[0] == "absent"
    assert len(ehr.calls) == 0


def test_a_template_with_dates_is_filled() -> None:
    assert (
        fill("A?patient={{context.patientId}}&date=ge{{today() - 90 days}}", {"context.patientId": ME}, NOW)
        == "A?patient=mona&date=ge2026-08-23"
    )
    assert fill("A?date=le{{today()}}", {}, NOW) == "A?date=le2026-11-21"


def test_an_encounter_is_read_by_the_id_in_the_call(ehr: responses.RequestsMock) -> None:
    stay = {"resourceType": "Encounter", "id": "stay", "status": "in-progress", "class": {"code": "IMP"}}
    answer(ehr, "Encounter/stay", stay | {"subject": about()})
    need = Need("encounter", "Encounter", "Encounter/{{context.encounterId}}")
    chart = read(needs=(need,), server=server(), encounter_id="stay")
    assert state(chart, "encounter")[0] == "fetched"
    assert chart.facts.person.encounter_class == "IMP"
    assert chart.facts.repairs == {}


def test_an_id_that_is_none_is_not_put_into_an_address(ehr: responses.RequestsMock) -> None:
    need = Need("encounter", "Encounter", "Encounter/{{context.encounterId}}")
    assert state(read(needs=(need,), server=server(), encounter_id="../Patient"), "encounter")[0] == "absent"
    assert len(ehr.calls) == 0


@pytest.mark.parametrize("status", [404, 410])
def test_searches_about_a_patient_whom_the_server_does_not_know_prove_nothing(
    ehr: responses.RequestsMock, status: int
) -> None:
    answer(ehr, f"Patient/{ME}", "{}", status)
    answer(ehr, "Condition", bundle(total=0))
    answer(ehr, "Observation", bundle(magnesium()))
    chart = read(needs=(WHO, CONDITIONS, MG), server=server())
    assert state(chart, "patient") == ("failed", "not found")
    assert state(chart, "conditions") == ("failed", "patient not found")
    assert state(chart, "serum_magnesium")[0] == "fetched", "what is there is about this patient, and says so"


def test_searches_are_believed_where_only_the_patient_may_not_be_read(ehr: responses.RequestsMock) -> None:
    answer(ehr, f"Patient/{ME}", "{}", 403)
    answer(ehr, "Condition", bundle(total=0))
    assert state(read(needs=(WHO, CONDITIONS), server=server()), "conditions")[0] == "empty"


NO_RESULTS = {
    "null": "null", "a list": "[]", "a list of one": '[{"resourceType":"Bundle"}]', "a text": '"text"',
    "a number": "7", "true": "true", "an object": "{}", "no type": '{"entry":[]}',
    "entry null": '{"resourceType":"Bundle","entry":null}',
    "a null entry": '{"resourceType":"Bundle","entry":[null]}',
    "a text entry": '{"resourceType":"Bundle","entry":["x"]}',
    "entry text": '{"resourceType":"Bundle","entry":"x"}', "entry number": '{"resourceType":"Bundle","entry":0}',
    "a type twice": '{"resourceType":"Condition","resourceType":"Bundle","entry":[]}',
    "entries twice": '{"resourceType":"Bundle","entry":[{}],"entry":[]}',
    "Entry and entry": '{"resourceType":"Bundle","Entry":[{}],"entry":[]}',
    "deep": '{"resourceType":"Bundle","x":' + "[" * 64 + "]" * 64 + "}",
    "NUL": '{"resourceType":"Bundle","x":"\\u0000"}', "two values": '{"resourceType":"Bundle"}{}',
    "nothing": "", "space": "  ",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_RESULTS)
def test_f6_f7_what_is_no_search_result_is_a_failed_input(ehr: responses.RequestsMock, name: str) -> None:
    answer(ehr, "Condition", NO_RESULTS[name])
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions") == ("failed", "unreadable")


@pytest.mark.parametrize("name", NO_RESULTS)
def test_f6_f7_a_further_page_that_is_no_search_result_leaves_the_input_incomplete(
    ehr: responses.RequestsMock, name: str
) -> None:
    first = bundle(condition(), **next_link(f"{BASE}/Condition/_page"))
    answer(ehr, "Condition", first)
    answer(ehr, "Condition/_page", NO_RESULTS[name])
    for more in ({}, {"conditions": first}):  # fetched from the first page on, and from the second
        chart = read(needs=(CONDITIONS,), server=server(), **more)
        assert state(chart, "conditions") == ("incomplete", "a further page was unreadable")
        assert len(chart.facts.conditions) == 1


@pytest.mark.parametrize("name", NO_RESULTS)
def test_f6_f7_a_patient_or_medicine_that_is_no_resource_is_not_read(ehr: responses.RequestsMock, name: str) -> None:
    answer(ehr, f"Patient/{ME}", NO_RESULTS[name])
    answer(ehr, "Medication/m1", NO_RESULTS[name])
    ordered = order(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1"})
    chart = read(needs=(WHO, ORDERS), medications=bundle(ordered), server=server())
    assert state(chart, "patient")[0] == "failed"
    assert chart.facts.inputs["medications"].unreadable == 1


@pytest.mark.parametrize("name", ["entry null", "a null entry", "entry text", "entry number"])
def test_f7_a_prefetched_bundle_whose_entries_are_no_list_is_a_failed_input(name: str) -> None:
    chart = read(needs=(CONDITIONS,), conditions=json.loads(NO_RESULTS[name]))
    assert state(chart, "conditions") == ("failed", "unreadable")


def test_a27_a_subject_that_is_there_twice_in_an_answer_makes_the_input_fail(ehr: responses.RequestsMock) -> None:
    text = json.dumps(bundle(condition()))
    assert text.count('"subject"') == 1
    answer(ehr, "Condition", text.replace('"subject"', '"subject": {"reference": "Patient/other"}, "subject"'))
    assert state(read(needs=(CONDITIONS,), server=server()), "conditions") == ("failed", "unreadable")


# Pages (F8, A24)


@pytest.mark.parametrize(
    ("entries", "more", "found"),
    [
        (4, {}, ("incomplete", "as many entries as asked for and no total")),
        (4, {"total": 4}, ("fetched", "")),
        (4, {"total": 5}, ("incomplete", "fewer entries than announced")),
        (3, {}, ("fetched", "")),
        (5, {}, ("fetched", "")),
    ],
    ids=["as many", "as many, counted", "as many, of more", "fewer", "the limit was not kept"],
)
def test_a_page_without_total_and_link_is_all_only_if_it_has_room(
    ehr: responses.RequestsMock, entries: int, more: dict[str, int], found: tuple[str, str]
) -> None:
    need = Need("conditions", "Condition", "Condition?patient={{context.patientId}}&_count=4")
    given = bundle(*(condition(id=f"c{number}") for number in range(entries)), **more)
    answer(ehr, "Condition", given)
    assert state(read(needs=(need,), server=server()), "conditions") == found
    sent = read(needs=(need,), conditions=given)
    assert state(sent, "conditions") == (found[0].replace("fetched", "given"), found[1])


def test_a_server_that_links_its_pages_needs_no_total(ehr: responses.RequestsMock) -> None:
    need = Need("conditions", "Condition", "Condition?patient={{context.patientId}}&_count=1")
    answer(ehr, "Condition", bundle(condition(), **next_link(f"{BASE}/Condition/_page")))
    answer(ehr, "Condition/_page", bundle(condition(id="two")))
    assert state(read(needs=(need,), server=server()), "conditions")[0] == "fetched"


def test_further_pages_are_read_and_the_input_is_complete(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition(), total=2, **next_link(f"{BASE}?_getpages=2")))
    ehr.add(responses.GET, BASE, json=bundle(condition(id="two"), total=2), content_type="application/fhir+json")
    chart = read(needs=(CONDITIONS,), server=server())
    assert state(chart, "conditions")[0] == "fetched"
    assert {c.source.id for c in chart.facts.conditions} == {"ms", "two"}


def test_further_pages_of_a_prefetch_are_read_too(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition(id="two"), total=2))
    given = bundle(condition(), total=2, **next_link("Condition?page=2"))
    chart = read(needs=(CONDITIONS,), conditions=given, server=server())
    assert state(chart, "conditions")[0] == "given"
    assert len(chart.facts.conditions) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/fhir/Condition?page=2",
        "https://ehr.example.evil.test/fhir/Condition",
        "http://ehr.example/fhir/Condition",
        "https://ehr.example:8443/fhir/Condition",
        "https://u:p@ehr.example/fhir/Condition",
        "https://ehr.example/other/Condition",
        "https://ehr.example/fhirx/Condition",
        "https://ehr.example/fhir/../admin",
        "https://ehr.example/fhir/%2e%2e/admin",
        "https://ehr.example\\@evil.test/fhir",
        "//evil.test/fhir/Condition",
        "https://ehr.example/fhir/Condition#x",
        "file:///etc/passwd",
        "https://[bad/fhir",
    ],
)
def test_a24_a_page_elsewhere_is_never_asked_for(ehr: responses.RequestsMock, url: str) -> None:
    answer(ehr, "Condition", bundle(condition(), **next_link(url)))
    chart = read(needs=(CONDITIONS,), server=server())
    assert state(chart, "conditions") == ("incomplete", "a further page was refused")
    assert len(ehr.calls) == 1
    given = read(needs=(CONDITIONS,), conditions=bundle(condition(), **next_link(url)), server=server())
    assert state(given, "conditions")[0] == "incomplete"
    assert len(ehr.calls) == 1


def test_a_page_that_leads_to_itself_is_read_once(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition(), **next_link(f"{BASE}/Condition?patient={ME}&_count=500")))
    chart = read(needs=(CONDITIONS,), server=server())
    assert state(chart, "conditions")[0] == "incomplete"
    assert len(ehr.calls) == 1


def test_no_more_than_ten_pages_are_read(ehr: responses.RequestsMock) -> None:
    def page(request: Any) -> tuple[int, dict[str, str], str]:
        number = int(parse_qs(urlsplit(request.url).query).get("page", ["1"])[0])
        body = bundle(condition(id=f"c{number}"), **next_link(f"{BASE}/Condition?page={number + 1}"))
        return 200, {}, json.dumps(body)

    ehr.add_callback(responses.GET, re.compile(f"{BASE}/Condition.*"), page, content_type="application/fhir+json")
    chart = read(needs=(CONDITIONS,), server=server())
    assert state(chart, "conditions") == ("incomplete", "too many pages")
    assert len(ehr.calls) == len(chart.facts.conditions) == 10


def test_a_further_page_that_fails_leaves_what_came_before(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Condition", bundle(condition(), **next_link(f"{BASE}/Condition/_page")))
    answer(ehr, "Condition/_page", "{}", 403)
    chart = read(needs=(CONDITIONS,), server=server())
    assert state(chart, "conditions") == ("incomplete", "a further page was not permitted")
    assert len(chart.facts.conditions) == 1


# Medications by reference (F10)


def test_a_medicine_by_reference_is_fetched(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Medication/m1", {"resourceType": "Medication", "id": "m1", "code": {"coding": [LEVOTHYROXINE]}})
    given = order(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1"})
    chart = read(needs=(ORDERS,), medications=bundle(given, given | {"id": "two"}), server=server())
    assert all("levothyroxine" in m.drugs for m in chart.facts.medications)
    assert len(ehr.calls) == 1


@pytest.mark.parametrize("changed", [{"modifierExtension": [{"url": "urn:x"}]}, {"implicitRules": "urn:x"}])
def test_a_fetched_medicine_that_may_mean_something_else_is_not_read(
    ehr: responses.RequestsMock, changed: dict[str, object]
) -> None:
    drug = {"resourceType": "Medication", "id": "m1", "code": {"coding": [LEVOTHYROXINE]}}
    answer(ehr, "Medication/m1", drug | changed)
    given = order(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1", "display": "T4"})
    facts = read(needs=(ORDERS,), medications=bundle(given), server=server()).facts
    assert (facts.medications, facts.inputs["medications"].unreadable) == ((), 1)


@pytest.mark.parametrize(
    "reference",
    ["https://evil.test/fhir/Medication/m1", "Medication/..", "Binary/m1", "urn:uuid:1", "Medication/m1?x=1"],
)
def test_a_medicine_elsewhere_is_never_asked_for(ehr: responses.RequestsMock, reference: str) -> None:
    given = order(medicationCodeableConcept=None, medicationReference={"reference": reference, "display": "thyroxine"})
    chart = read(needs=(ORDERS,), medications=bundle(given), server=server())
    assert len(ehr.calls) == 0
    assert chart.facts.medications[0].identified_by == "name"


def test_another_medicine_than_the_one_asked_for_is_not_taken(ehr: responses.RequestsMock) -> None:
    answer(ehr, "Medication/m1", {"resourceType": "Medication", "id": "m2", "code": {"coding": [LEVOTHYROXINE]}})
    given = order(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1"})
    chart = read(needs=(ORDERS,), medications=bundle(given), server=server())
    assert chart.facts.inputs["medications"].unreadable == 1


# The server itself


@pytest.mark.parametrize(
    "base",
    [
        "ftp://ehr.example",
        "ehr.example/fhir",
        "https://",
        "https://u@ehr.example",
        "https://e.example/?x=1",
        "https://a\\b",
    ],
)
def test_what_is_no_base_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="not a FHIR base URL"):
        FhirServer(base, session=guarded_session([]))


def test_the_time_is_shared_by_all_reads() -> None:
    ours = server(total_seconds=0.01)
    assert ours.seconds_left() > 0
    time.sleep(0.02)
    with pytest.raises(FetchFailed, match="timed out"):
        ours.get("Condition")


MEDICATION = {"resourceType": "Medication", "id": "m1", "code": {"coding": [LEVOTHYROXINE]}}
REFERRING = order(medicationCodeableConcept=None, medicationReference={"reference": "Medication/m1"})
INCLUDING = "MedicationRequest?patient=mona&_include=MedicationRequest:medication"


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_does_not_include", set())


def asked(ehr: responses.RequestsMock) -> list[str]:
    return [str(call.request.url).removeprefix(f"{BASE}/").replace("%3A", ":") for call in ehr.calls]


@pytest.mark.usefixtures("forgetful")
def test_medications_come_with_their_orders_and_are_no_orders(ehr: responses.RequestsMock) -> None:
    found = bundle(REFERRING, total=1)
    found["entry"].append({"resource": MEDICATION, "search": {"mode": "include"}})
    answer(ehr, "MedicationRequest", found)
    chart = read(needs=(ORDERS,), server=server())
    assert asked(ehr) == [INCLUDING]
    assert [sorted(m.drugs)[0] for m in chart.facts.medications] == ["levothyroxine"]
    assert state(chart, "medications") == ("fetched", "")


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("status", [400, 401, 403, 422, 501])
def test_a_server_that_refuses_to_include_is_asked_once_without_and_never_again(
    ehr: responses.RequestsMock, status: int
) -> None:
    for _ in range(2):
        answer(ehr, "MedicationRequest", {}, status, match=[matchers.query_string_matcher(INCLUDING.partition("?")[2])])
        answer(ehr, "MedicationRequest", bundle(REFERRING), match=[matchers.query_string_matcher("patient=mona")])
        answer(ehr, "Medication/m1", MEDICATION)
        chart = read(needs=(ORDERS,), server=server())
        assert state(chart, "medications") == ("fetched", "")
        assert "levothyroxine" in chart.facts.medications[0].drugs
    plain = ["MedicationRequest?patient=mona", "Medication/m1"]
    assert asked(ehr) == [INCLUDING, *plain, *plain]


@pytest.mark.usefixtures("forgetful")
def test_a_server_that_remarks_on_including_is_asked_without(ehr: responses.RequestsMock) -> None:
    remark = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported"}]}
    refused = matchers.query_string_matcher(INCLUDING.partition("?")[2])
    answer(ehr, "MedicationRequest", bundle(REFERRING, remark), match=[refused])
    answer(ehr, "MedicationRequest", bundle(REFERRING), match=[matchers.query_string_matcher("patient=mona")])
    answer(ehr, "Medication/m1", MEDICATION)
    chart = read(needs=(ORDERS,), server=server())
    assert state(chart, "medications") == ("fetched", "")
    assert "levothyroxine" in chart.facts.medications[0].drugs


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_server_that_fails_in_another_way_is_not_asked_again_without_including(
    ehr: responses.RequestsMock, status: int
) -> None:
    answer(ehr, "MedicationRequest", {}, status)
    assert state(read(needs=(ORDERS,), server=server()), "medications")[0] == "failed"
    assert asked(ehr) == [INCLUDING]
