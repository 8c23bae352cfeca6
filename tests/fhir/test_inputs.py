"""F5-F8: what each key gave, and what is missing from it. Absent is not normal."""

import json

import pytest

from cds_service.fhir import Need, UnreadableInput
from tests.fhir.charts import NEEDS, bundle, condition, magnesium, order, patient, read

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


def test_a_search_with_results_is_given() -> None:
    state = read(conditions=bundle(condition(), total=1)).facts.inputs["conditions"]
    assert (state.state, state.complete) == ("given", True)


@pytest.mark.parametrize("value", [None, bundle(), bundle(total=0), {"resourceType": "Bundle", "type": "searchset"}])
def test_null_and_an_empty_search_mean_searched_and_none(value: object) -> None:
    state = read(conditions=value).facts.inputs["conditions"]
    assert (state.state, state.complete) == ("empty", True)


def test_a_key_that_is_not_sent_is_absent_and_proves_nothing() -> None:
    state = read().facts.inputs["conditions"]
    assert (state.state, state.complete) == ("absent", False)


def test_a_key_that_the_ehr_has_no_data_for_is_not_asked_for() -> None:
    state = read(not_available=frozenset({"intake"})).facts.inputs["intake"]
    assert (state.state, state.complete) == ("not_available", False)


def test_a_key_that_is_not_available_but_sent_is_read() -> None:
    chart = read(serum_magnesium=bundle(magnesium()), not_available=frozenset({"serum_magnesium"}))
    assert chart.facts.inputs["serum_magnesium"].state == "given"


def test_an_operation_outcome_in_place_of_data_is_a_failure() -> None:
    state = read(conditions=OUTCOME).facts.inputs["conditions"]
    assert (state.state, state.complete) == ("failed", False)


@pytest.mark.parametrize(
    "value",
    [
        b"<html><body>503</body></html>",
        b'"Bundle"',
        b"[]",
        b"17",
        b"{}",
        b'{"resourceType": "Bundle", "entry": 3}',
        b'{"resourceType": "Bundle", "entry": [',
        b'{"resource": "<html>"}',
        b"\xff\xfe",
        {"resourceType": "Patient"},
        {"resourceType": "Practitioner", "id": "x"},
    ],
)
def test_what_is_no_search_result_is_a_failure_and_not_an_empty_one(value: object) -> None:
    state = read(conditions=value).facts.inputs["conditions"]
    assert (state.state, state.reason) == ("failed", "unreadable")


def test_a_truncated_body_loses_its_own_key_only() -> None:
    facts = read(conditions=json.dumps(bundle(condition())).encode()[:-9], medications=bundle(order())).facts
    assert facts.inputs["conditions"].state == "failed"
    assert [m.source.id for m in facts.medications] == ["thyroxine"]


def test_fewer_entries_than_the_total_are_incomplete() -> None:
    state = read(conditions=bundle(condition(), total=3)).facts.inputs["conditions"]
    assert (state.state, state.complete) == ("incomplete", False)


def test_an_included_medication_does_not_hide_a_missing_order() -> None:
    search = bundle(order(), total=2)
    search["entry"].append({"resource": {"resourceType": "Medication", "id": "m"}, "search": {"mode": "include"}})
    search["entry"].append({"resource": {"resourceType": "Medication", "id": "n"}})
    assert read(medications=search).facts.inputs["medications"].state == "incomplete"


def test_a_next_link_that_cannot_be_followed_is_incomplete() -> None:
    search = bundle(condition(), link=[{"relation": "next", "url": "https://ehr.example/fhir?page=2"}])
    assert read(conditions=search).facts.inputs["conditions"].state == "incomplete"


@pytest.mark.parametrize(("days", "newest"), [((20, 10, 1), True), ((10, 20, 1), False)])
def test_an_incomplete_search_knows_the_latest_result_only_if_it_is_in_descending_order(
    days: tuple[int, ...], newest: bool
) -> None:
    results = [magnesium(id=f"mg{d}", effectiveDateTime=f"2026-10-{d:02}T08:00:00Z") for d in days]
    state = read(serum_magnesium=bundle(*results, total=40)).facts.inputs["serum_magnesium"]
    assert (state.state, state.newest_first) == ("incomplete", newest)


def test_an_incomplete_search_with_an_undated_result_does_not_know_the_latest() -> None:
    undated = magnesium(id="undated")
    del undated["effectiveDateTime"]
    state = read(serum_magnesium=bundle(magnesium(), undated, total=40)).facts.inputs["serum_magnesium"]
    assert not state.newest_first


@pytest.mark.parametrize(
    ("severity", "state"), [("warning", "incomplete"), ("information", "given"), ("error", "incomplete")]
)
def test_an_outcome_entry_is_tolerated_where_it_only_informs(severity: str, state: str) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity}]}
    search = bundle(condition())
    search["entry"].append({"resource": outcome, "search": {"mode": "outcome"}})
    facts = read(conditions=search).facts
    assert facts.inputs["conditions"].state == state
    assert facts.repairs["outcome_in_searchset"] == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/mona"}, "code": 7},
        {"resourceType": "Condition", "id": 4},
        "not a resource",
        None,
        17,
        {"id": "no-type"},
    ],
)
def test_one_bad_resource_is_counted_and_does_not_lose_the_others(broken: object) -> None:
    facts = read(conditions=bundle(broken, condition())).facts
    assert [c.source.id for c in facts.conditions] == ["ms"]
    assert facts.inputs["conditions"].unreadable == 1
    assert not facts.inputs["conditions"].complete


def test_an_entry_of_another_type_is_read_beside_what_was_asked_for() -> None:
    facts = read(conditions=bundle(condition(), magnesium())).facts
    assert [lab.source.id for lab in facts.labs["serum_magnesium"]] == ["mg"]
    assert facts.inputs["conditions"].complete


def test_entries_of_another_type_alone_are_no_answer_to_what_was_asked() -> None:
    state = read(conditions=bundle(magnesium())).facts.inputs["conditions"]
    assert (state.state, state.complete) == ("incomplete", False)


def test_a_resource_without_an_id_cannot_be_cited_and_counts_as_unreadable() -> None:
    facts = read(conditions=bundle(condition(id=None), condition(id="../x"))).facts
    assert facts.conditions == ()
    assert facts.inputs["conditions"].unreadable == 2


def test_a_resource_without_an_id_has_that_of_its_full_url() -> None:
    search = {"resourceType": "Bundle", "entry": [{"fullUrl": "https://e.example/fhir/Condition/c7"}]}
    search["entry"][0]["resource"] = condition(id=None)  # type: ignore[index]
    assert read(conditions=search).facts.conditions[0].source.id == "c7"


def test_a_single_resource_in_place_of_a_search_is_read_and_counted_as_repaired() -> None:
    facts = read(conditions=condition()).facts
    assert len(facts.conditions) == 1
    assert facts.repairs["resource_without_bundle"] == 1


def test_the_same_result_under_two_keys_is_one_result() -> None:
    facts = read(serum_magnesium=bundle(magnesium()), kidney=bundle(magnesium())).facts
    assert len(facts.labs["serum_magnesium"]) == 1


@pytest.mark.parametrize("code", [None, {}, {"coding": [{"system": "http://loinc.org"}]}])
def test_a_result_that_cannot_be_read_is_missed_under_every_key_that_holds_it(code: object) -> None:
    """An EHR that ignores the codes of a search sends all results under each key: it may be any of them."""
    unread, known = magnesium(id="x") | {"code": code}, magnesium()
    inputs = read(serum_magnesium=bundle(known, unread), kidney=bundle(unread, known)).facts.inputs
    assert {key: inputs[key].unreadable for key in ("serum_magnesium", "kidney")} == {"serum_magnesium": 1, "kidney": 1}


def test_a_result_that_nobody_here_knows_is_told_of_every_key_that_holds_it() -> None:
    unknown = magnesium(id="x") | {"code": {"text": "Kreatinin (eigenes Labor)"}}
    unread = read(serum_magnesium=bundle(magnesium(), unknown), kidney=bundle(unknown)).facts.unread
    assert {key: [one.name for one in found] for key, found in unread.items()} == {
        "serum_magnesium": ["Kreatinin (eigenes Labor)"],
        "kidney": ["Kreatinin (eigenes Labor)"],
    }


def test_two_results_of_one_id_that_differ_are_missed_under_every_key_that_holds_one() -> None:
    one, other = magnesium(1.8), magnesium(0.9)
    inputs = read(serum_magnesium=bundle(one), kidney=bundle(other), intake=bundle(one)).facts.inputs
    assert [inputs[key].unreadable for key in ("serum_magnesium", "kidney", "intake")] == [1, 1, 1]


def test_two_results_with_one_id_that_differ_are_both_unusable() -> None:
    facts = read(serum_magnesium=bundle(magnesium(1.8)), kidney=bundle(magnesium(0.9))).facts
    assert facts.labs == {}
    assert facts.inputs["serum_magnesium"].unreadable == 1
    assert facts.inputs["kidney"].unreadable == 1


def test_a_draft_that_changes_an_active_order_replaces_it() -> None:
    facts = read(medications=bundle(order()), drafts=bundle(order(status="draft"))).facts
    assert [(m.source.id, m.status) for m in facts.medications] == [("thyroxine", "draft")]


def test_more_entries_than_we_read_are_incomplete() -> None:
    many = [condition(id=f"c{n}") for n in range(5001)]
    facts = read(conditions=bundle(*many)).facts
    assert facts.inputs["conditions"].state == "incomplete"
    assert len(facts.conditions) == 5000


@pytest.mark.parametrize("drafts", [[], "x", {"resourceType": "Patient"}, {"entry": []}, OUTCOME, b"null", b"<html>"])
def test_drafts_that_are_no_bundle_make_the_request_unusable(drafts: object) -> None:
    with pytest.raises(UnreadableInput) as refused:
        read(drafts=drafts)
    assert refused.value.where == "context.draftOrders"


def test_an_empty_bundle_of_drafts_is_empty() -> None:
    assert read(drafts=bundle()).facts.inputs["draft_orders"].state == "empty"


def test_no_drafts_are_no_input() -> None:
    assert "draft_orders" not in read().facts.inputs


def test_a_chart_without_some_resources_counts_them_as_unreadable() -> None:
    chart = read(conditions=bundle(condition(), condition(id="two")), patient=patient())
    left = chart.without([chart.facts.conditions[0].source])
    assert [c.source.id for c in left.facts.conditions] == ["two"]
    assert left.facts.inputs["conditions"].unreadable == 1
    assert chart.facts.inputs["conditions"].unreadable == 0


def test_the_keys_are_those_that_were_asked_for() -> None:
    extra = Need("electrolytes", "Observation", "Observation?patient={{context.patientId}}")
    assert read(needs=(*NEEDS, extra), user=patient(id="otto")).facts.inputs.keys() == {n.key for n in (*NEEDS, extra)}


def test_a_duplicate_in_one_search_is_one_fact() -> None:
    assert len(read(conditions=bundle(condition(), condition())).facts.conditions) == 1
