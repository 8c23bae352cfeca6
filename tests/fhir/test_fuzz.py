"""Any JSON in any position is read or named: nothing but the three exceptions ever leaves the reader."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cds_service.fhir import Chart, IdentityMismatch, UnreadableInput, UnsupportedFhirVersion
from tests.fhir.charts import (
    MG_SUBSTANCE,
    RXNORM,
    bundle,
    coded,
    condition,
    magnesium,
    observation,
    order,
    patient,
    quantity,
    raw,
    read,
    statement,
)

RANGE = {"low": quantity(1.7), "high": quantity(2.3), "type": coded("normal"), "appliesTo": [{"text": "x"}]}
PART = {"code": coded(MG_SUBSTANCE, "http://loinc.org"), "valueQuantity": quantity(0.8, "mmol/L")}
INSTRUCTION = {
    "sequence": 1,
    "text": "once daily",
    "route": coded("26643006"),
    "asNeededBoolean": False,
    "additionalInstruction": [{"coding": [{"system": "urn:magnesium-cds:keep-apart", "code": "magnesium"}]}],
    "doseAndRate": [{"doseQuantity": quantity(1, "mg"), "doseRange": {"low": quantity(1, "mg")}}],
    "timing": {
        "event": ["2026-11-21T08:00:00Z"],
        "code": coded("BID"),
        "repeat": {
            "frequency": 1,
            "period": 1,
            "periodUnit": "d",
            "count": 3,
            "offset": 30,
            "when": ["ACM"],
            "timeOfDay": ["08:00:00"],
            "dayOfWeek": ["mon"],
            "boundsDuration": quantity(7, "d"),
            "boundsPeriod": {"start": "2026-11-01", "end": "2026-12-31"},
        },
    },
}
DISPENSE = {
    "validityPeriod": {"end": "2027"},
    "expectedSupplyDuration": quantity(9, "mo"),
    "numberOfRepeatsAllowed": 1,
}
TEST = {"resourceType": "ServiceRequest", "id": "s", "code": coded("2601-3"), "subject": {"reference": "Patient/mona"}}
REQUEST: dict[str, Any] = {
    "patient": patient(deceasedBoolean=False),
    "conditions": bundle(condition(recordedDate="2020"), condition("77386006", id="preg"), total=2),
    "medications": bundle(
        order(dosageInstruction=[INSTRUCTION], dispenseRequest=DISPENSE, authoredOn="2026-11-20"),
        order(id="two", medicationCodeableConcept=None, medicationReference={"reference": "#m"}, contained=[
            {"resourceType": "Medication", "id": "m", "form": {"text": "tablet"}, "code": coded("10582", RXNORM)}]),
        link=[{"relation": "next", "url": "x"}],
    ),
    "medication_statements": bundle(statement(effectivePeriod={"start": "2020"}, dosage=[INSTRUCTION])),
    "serum_magnesium": bundle(
        magnesium(referenceRange=[RANGE], interpretation=[coded("L")], note=[{"text": "x"}], issued="2026-11-10"),
        magnesium(id="old", effectiveDateTime="2026-11-10"),
        observation("24323-8", id="panel", component=[PART]),
    ),
    "pregnancy": bundle(observation("82810-3", id="status", valueCodeableConcept=coded("77386006"))),
    "intake": bundle(observation("81005-1", id="eaten", valueQuantity=quantity(200, "mg/d"))),
    "drafts": bundle(order(id="draft", reasonCode=[coded("24700007")], category=[coded("x")]), TEST),
}  # fmt: skip

NAMES = ["resourceType", "id", "reference", "coding", "code", "system", "value", "unit", "text", "entry", "resource"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        ["Patient/mona", "#m", "urn:uuid:mona", "2026-11-10T08:00:00Z", "9999-12-31", "0001-01-01", "mg/dL", "active"]
    ),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = list(places(REQUEST))


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    request = copy.deepcopy(REQUEST)
    target: Any = request
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return request


def use(request: dict[str, Any], **more: Any) -> Chart | None:
    try:
        chart = read(**request, **more)
    except (IdentityMismatch, UnreadableInput, UnsupportedFhirVersion):
        return None
    for source in chart.sources:
        assert chart.resource(source)["resourceType"] == source.type
    bad = chart.invalid(chart.sources)
    left = chart.without(bad)
    kept = [m for m in left.facts.medications if m.source in bad]  # of these, no dose is read
    assert all(dosage.problem and not dosage.frequency for m in kept for dosage in m.dosages)
    assert not {lab.source for labs in left.facts.labs.values() for lab in labs} & bad.keys()
    for labs in chart.facts.labs.values():
        assert all((lab.value is None) == bool(lab.problem) for lab in labs)
    return chart


def test_the_request_that_is_changed_is_a_good_one() -> None:
    chart = use(REQUEST)
    assert chart is not None
    assert len(chart.sources) == 13
    assert {key: a.unreadable for key, a in chart.facts.inputs.items() if a.unreadable} == {}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(path=st.sampled_from(PLACES), value=ANYTHING)
@example(path=("conditions", "entry", 0, "resource", "subject", "reference"), value="Patient/otto")
@example(path=("drafts", "entry"), value={"resource": 1})
def test_any_json_in_any_place_is_read_or_named(path: tuple[Any, ...], value: Any) -> None:
    use(changed(path, value))


@settings(max_examples=100, deadline=None)
@given(
    key=st.sampled_from(sorted(REQUEST)), value=st.binary(max_size=40) | ANYTHING.map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_for_a_key_are_read_or_named(key: str, value: bytes) -> None:
    use(REQUEST | {key: value})


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(PLACES), value=ANYTHING)
def test_validating_everything_changes_no_fact(path: tuple[Any, ...], value: Any) -> None:
    request = changed(path, value)
    lazily, eagerly = use(request), use(request, validate_all=True)
    assert (lazily is None) == (eagerly is None)
    if lazily is not None and eagerly is not None:
        assert lazily.facts == eagerly.facts


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(PLACES), value=ANYTHING)
def test_s2_no_change_makes_an_input_complete_that_lost_something(path: tuple[Any, ...], value: Any) -> None:
    """A fact that disappears is seen: its input is incomplete, or what was sent says plainly that it does not count."""
    chart = use(changed(path, value))
    if chart is None or len(path) < 4 or path[3] != "resource" or len(path) > 4:
        return
    key = {"drafts": "draft_orders"}.get(path[0], path[0])
    if not isinstance(value, dict):
        assert chart.facts.inputs[key].unreadable >= 1


def deep(levels: int) -> bytes:
    return b'{"resourceType":"Bundle","entry":[{"resource":' + b"[" * levels + b"]" * levels + b"}]}"


def test_a29_depth_is_no_crash() -> None:
    for levels in (100, 2_000, 100_000):
        state = read(conditions=deep(levels)).facts.inputs["conditions"]
        assert state.state == "failed" or state.unreadable == 1


def test_an_invalid_string_is_no_crash() -> None:
    for text in (b'"\\ud800"', b'"\xff"', b'"\\u0000"'):
        body = raw(bundle(condition(id="PLACE"))).replace(b'"PLACE"', text)
        state = read(conditions=body).facts.inputs["conditions"]
        assert not state.complete
