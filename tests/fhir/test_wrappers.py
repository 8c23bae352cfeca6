"""What the results of a search come wrapped in: it is read where that is harmless, else the input is incomplete."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.patient import Availability, PatientFacts
from tests.fhir.charts import Json, bundle, condition, magnesium, order, read

LOW = magnesium(0.4, "mmol/L", code="2601-3")
EPIC = "urn:oid:1.2.840.114350.1.13.861.1.7.2.657369"


def sent(value: Any) -> tuple[Availability, list[str]]:
    """The state of the magnesium key that holds `value`, and the ids of the results read from it."""
    facts: PatientFacts = read(serum_magnesium=value).facts
    return facts.inputs["serum_magnesium"], [lab.source.id for lab in facts.labs.get("serum_magnesium", ())]


def outcome(**issue: Any) -> Json:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"} | issue]}


def vendor(code: str) -> Json:
    return {"coding": [{"system": EPIC, "code": code}]}


@pytest.mark.parametrize(
    "value",
    [
        bundle(bundle(LOW)),
        bundle(bundle(bundle(LOW))),
        bundle(bundle(LOW, total=1), bundle(total=0)),
        bundle(bundle(LOW), type="batch-response"),
        {"resourceType": "Bundle", "type": "batch-response", "entry": [
            {"resource": bundle(LOW, total=1), "response": {"status": "200 OK"}}]},
        {"resourceType": "Bundle", "type": "transaction-response", "entry": [
            {"resource": LOW, "response": {"status": "201"}}]},
        [LOW],
        [bundle(LOW)],
        bundle(LOW | {"resourceType": "observation"}),
        bundle(LOW, resourceType="bundle"),
        bundle(LOW, {"resourceType": "Practitioner", "id": "p"}),
        bundle(LOW, outcome(severity="information", code="informational")),
        bundle(LOW, outcome(details=vendor("4119"))),
    ],
)  # fmt: skip
def test_a_result_in_a_harmless_wrapper_is_read(value: Any) -> None:
    state, found = sent(value)
    assert (state.state, state.unreadable, found) == ("given", 0, ["mg"])


@pytest.mark.parametrize(
    "value",
    [
        bundle({"resourceType": "Parameters", "parameter": [{"name": "x", "resource": LOW}]}),
        bundle({"resourceType": "DiagnosticReport", "id": "r", "contained": [LOW]}),
        bundle({"resourceType": "labresult", "id": "x"}),
        bundle({"resourceType": "List", "id": "l"}),
        bundle(bundle(bundle(bundle(bundle(LOW))))),
        bundle(bundle(LOW, total=2), bundle(total=0)),
        bundle(bundle(LOW, link=[{"relation": "next", "url": "https://e.example/next"}])),
        bundle(LOW, link=[{"relation": "next", "url": "https://e.example/next"}]),
        {"resourceType": "Bundle", "type": "batch-response", "entry": [{"response": {"status": "403 Forbidden"}}]},
        {"resourceType": "Bundle", "type": "batch-response", "entry": [
            {"resource": bundle(total=0), "response": {"status": "200", "outcome": outcome(code="suppressed")}}]},
        bundle(meta={"tag": [{"code": "SUBSETTED"}]}),
        bundle(LOW | {"meta": {"tag": [{"system": "urn:x", "code": "SUBSETTED"}]}}),
        bundle(condition(), order()),
        [],
        [17],
        {"resourceType": "Parameters", "parameter": []},
    ],
)  # fmt: skip
def test_what_may_hide_a_result_is_no_complete_answer(value: Any) -> None:
    state, _ = sent(value)
    assert not state.complete
    assert state.reason or state.unreadable


@pytest.mark.parametrize(
    "issue",
    [
        *({"severity": "information", "code": code} for code in (
            "suppressed", "security", "forbidden", "throttled", "timeout", "too-costly", "incomplete")),
        {"severity": "error", "code": "exception"},
        {"severity": "fatal", "code": "informational"},
        {"severity": "error", "details": vendor("4101")},
        {"details": vendor("59204")},
        {"details": vendor("99999")},
        {"details": {"coding": [{"system": "urn:oid:1.2.3", "code": "4101"}]}},
        {"severity": None, "code": None},
    ],
)  # fmt: skip
def test_what_an_ehr_says_it_left_out_may_have_been_a_result(issue: Json) -> None:
    state, found = sent(bundle(LOW, outcome(**issue)))
    assert (state.state, state.reason) == ("incomplete", "the EHR said that something was left out")
    assert found == ["mg"]


@pytest.mark.parametrize("value", [bundle(outcome(details=vendor("4101"))), outcome(details=vendor("4101"))])
def test_a_search_that_an_ehr_says_found_nothing_found_nothing(value: Json) -> None:
    assert sent(value)[0].state == "empty"


wrapped = st.recursive(
    st.just(bundle(LOW)),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2).map(lambda held: bundle(*held))
        | inner.map(lambda held: [held])
        | inner.map(lambda held: {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": held}]})
    ),
    max_leaves=4,
)


@given(wrapped)
def test_a_result_in_any_wrapper_is_read_or_the_input_is_not_complete(value: Any) -> None:
    state, found = sent(value)
    assert found == ["mg"] or not state.complete


def test_drafts_that_count_themselves_are_whole() -> None:
    nutrition = {"resourceType": "NutritionOrder", "id": "n"}
    draft = order(status="draft")
    assert read(drafts=bundle(draft, nutrition, total=2)).facts.inputs["draft_orders"].complete
    assert not read(drafts=bundle(draft, nutrition, total=3)).facts.inputs["draft_orders"].complete
    assert read(drafts=bundle(bundle(draft))).facts.medications[0].status == "draft"
    assert not read(drafts=bundle({"resourceType": "Parameters"})).facts.inputs["draft_orders"].complete
