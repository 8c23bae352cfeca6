"""S3, A26: everything is about one patient, or nothing is read."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.fhir import IdentityMismatch, UnreadableInput
from cds_service.fhir.identity import is_id
from tests.fhir.charts import LEVOTHYROXINE, ME, about, bundle, condition, magnesium, order, patient, read, without

CONTAINED = {"contained": [{"resourceType": "Patient", "id": ME}], "subject": {"reference": f"#{ME}"}}


@pytest.mark.parametrize(
    "reference",
    [
        f"Patient/{ME}",
        f"Patient/{ME}/_history/2",
        f"https://ehr.example/fhir/Patient/{ME}",
        f"https://ehr.example/fhir/Patient/{ME}/_history/7",
        f"urn:uuid:{ME}",
    ],
)
def test_a_result_may_name_the_patient_in_every_form_of_reference(reference: str) -> None:
    chart = read(serum_magnesium=bundle(magnesium(subject={"reference": reference})))
    assert chart.facts.labs["serum_magnesium"][0].source.id == "mg"


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/otto",
        "https://ehr.example/fhir/Patient/otto",
        "Patient/otto/_history/1",
        "urn:uuid:3f0f6f5e-0d35-4f4d-9f35-5d7d1f1e2a11",
        "#otto",
        "Group/all",
        "Patient?identifier=1",
        ME,
        f"Patient/{ME} ",
        f"patient/{ME}",
        f"Patient/{ME}/extra",
    ],
)
def test_a_result_of_somebody_else_stops_everything(reference: str) -> None:
    with pytest.raises(IdentityMismatch) as stopped:
        read(
            patient=patient(),
            serum_magnesium=bundle(magnesium(), magnesium(id="other", subject={"reference": reference})),
        )
    assert stopped.value.where == "prefetch.serum_magnesium.entry[1]"


def test_another_patient_resource_stops_everything() -> None:
    with pytest.raises(IdentityMismatch) as stopped:
        read(patient=patient(id="otto"))
    assert stopped.value.where == "prefetch.patient"


def test_a_patient_entry_of_somebody_else_inside_a_search_stops_everything() -> None:
    with pytest.raises(IdentityMismatch) as stopped:
        read(conditions=bundle(condition(), patient(id="otto")))
    assert stopped.value.where == "prefetch.conditions.entry[1]"


def test_a_resource_of_another_type_that_makes_no_fact_is_checked_all_the_same() -> None:
    allergy = {"resourceType": "AllergyIntolerance", "id": "a", "patient": about("otto")}
    with pytest.raises(IdentityMismatch):
        read(conditions=bundle(allergy))


def test_a_draft_for_somebody_else_stops_everything() -> None:
    with pytest.raises(IdentityMismatch) as stopped:
        read(drafts=bundle(order(subject=about("otto"))))
    assert stopped.value.where == "context.draftOrders.entry[0]"


def test_the_mismatch_tells_no_name_and_no_id() -> None:
    with pytest.raises(IdentityMismatch) as stopped:
        read(conditions=bundle(condition(subject={"reference": "Patient/otto", "display": "Otto Normal"})))
    assert "otto" not in str(stopped.value).lower()


@pytest.mark.parametrize("subject", ["Patient/otto", ["Patient/otto"], [{"reference": "Patient/otto"}]])
def test_a_subject_of_the_wrong_shape_that_names_somebody_else_stops_everything(subject: object) -> None:
    with pytest.raises(IdentityMismatch):
        read(conditions=bundle(condition(subject=subject)))


def test_a_contained_patient_with_the_patients_id_is_the_patient() -> None:
    assert read(conditions=bundle(condition(**CONTAINED))).facts.conditions


def test_a_contained_patient_with_another_id_is_not() -> None:
    other = {"contained": [{"resourceType": "Patient", "id": "p"}], "subject": {"reference": "#p"}}
    with pytest.raises(IdentityMismatch):
        read(conditions=bundle(condition(**other)))


def test_a_contained_patient_is_looked_at_in_a_mended_order_and_in_any_other_resource_too() -> None:
    other = {"contained": [{"resourceType": "Patient", "id": "p"}], "subject": {"reference": "#p"}}
    with pytest.raises(IdentityMismatch):
        read(drafts=bundle(order(category={"text": "as object"}, **other)))
    with pytest.raises(IdentityMismatch):
        read(conditions=bundle({"resourceType": "Procedure", "id": "x"} | other))


def test_a_urn_is_explained_by_the_full_url_of_the_patient_entry_even_if_that_comes_later() -> None:
    urn = "urn:uuid:9b6d7a3e-7f4e-4d4b-b2c3-000000000001"
    search = bundle(condition(subject={"reference": urn}))
    search["entry"].append({"fullUrl": urn, "resource": patient()})
    assert len(read(conditions=search).facts.conditions) == 1


@pytest.mark.parametrize("subject", [None, {}, {"display": "Mona"}, {"identifier": {"value": "123"}}])
def test_an_order_that_names_nobody_is_counted_as_unreadable_and_not_used(subject: object) -> None:
    chart = read(medications=bundle(order(subject=subject)))
    assert chart.facts.medications == ()
    assert chart.facts.inputs["medications"].unreadable == 1
    assert not chart.facts.inputs["medications"].complete


def test_a_draft_that_names_nobody_is_counted_as_unreadable() -> None:
    chart = read(drafts=bundle(without(order(), "subject")))
    assert chart.facts.medications == ()
    assert chart.facts.inputs["draft_orders"].unreadable == 1


@pytest.mark.parametrize("patient_id", ["..", ".", "", "a/b", "a?x=1", "a%2e", "x" * 513, "a\nb", "mona "])
def test_a25_an_id_that_is_none_is_refused_before_anything_is_read(patient_id: str) -> None:
    with pytest.raises(UnreadableInput) as refused:
        read(patient_id=patient_id)
    assert refused.value.where == "context.patientId"


def test_two_patients_one_after_the_other_share_nothing() -> None:
    first = read(serum_magnesium=bundle(magnesium(0.5, "mmol/L", code="2601-3")))
    second = read(patient_id="otto", serum_magnesium=bundle(magnesium(2.0, subject=about("otto"))))
    assert first.facts.labs != second.facts.labs
    assert second.patient_id == "otto"


HERE = "https://ehr.example/fhir/R4/"


@pytest.mark.parametrize(
    ("reference", "taken"),
    [
        ("https://ehr.example/fhir/R4/Patient/mona", True),
        ("https://EHR.example/fhir/R4/Patient/mona", True),
        ("https://ehr.example:443/fhir/R4/Patient/mona", True),
        ("http://ehr.example:443/fhir/R4/Patient/mona", False),
        ("http://ehr.example/fhir/R4/Patient/mona/_history/2", True),
        ("Patient/mona", True),
        ("https://other.example/fhir/R4/Patient/mona", False),
        ("https://ehr.example/fhir/STU3/Patient/mona", False),
        ("https://ehr.example/fhir/R4x/Patient/mona", False),
        ("https://ehr.example:8443/fhir/R4/Patient/mona", False),
        ("https://ehr.example/fhir/R4/ward-b/Patient/mona", False),
        ("https://ehr.example/fhir/R4/../other/Patient/mona", False),
        ("https://ehr.example.evil.example/fhir/R4/Patient/mona", False),
    ],
)
def test_a_patient_on_another_server_than_the_calls_is_not_taken_for_this_one(reference: str, taken: bool) -> None:
    problem = condition(subject={"reference": reference})
    for base, read_as in ((HERE, taken), (None, True)):
        facts = read(base=base, conditions=bundle(problem)).facts
        assert (bool(facts.conditions), facts.inputs["conditions"].complete) == (read_as, read_as)


@pytest.mark.parametrize("other", ["https://b.example/fhir", "https://a.example/fhir/ward-b"])
def test_where_no_server_is_named_two_servers_have_two_patients(other: str) -> None:
    here = {"subject": {"reference": f"https://a.example/fhir/Patient/{ME}"}}
    there = {"subject": {"reference": f"{other}/Patient/{ME}"}}
    assert read(conditions=bundle(condition(**here)), serum_magnesium=bundle(magnesium(**here))).facts.labs
    with pytest.raises(IdentityMismatch) as stopped:
        read(conditions=bundle(condition(**here)), serum_magnesium=bundle(magnesium(**there)))
    assert stopped.value.where == "prefetch.serum_magnesium.entry[0]"
    known = bundle(patient())
    known["entry"][0]["fullUrl"] = f"https://a.example/fhir/Patient/{ME}"
    with pytest.raises(IdentityMismatch):
        read(patient=known, serum_magnesium=bundle(magnesium(**there)))


@pytest.mark.parametrize("address", ["https://[base]/Patient/mona", "http://[x/Patient/mona", "https://[/"])
def test_an_address_that_is_none_is_nobodys(address: str) -> None:
    known = bundle(patient())
    known["entry"][0]["fullUrl"] = address
    assert read(patient=known).facts.person.source is not None
    with pytest.raises(IdentityMismatch):
        read(patient=patient(), serum_magnesium=bundle(magnesium(subject={"reference": f"{address}/Patient/otto"})))


def test_a_medication_on_another_server_is_not_the_one_with_the_same_id_here() -> None:
    medication = {"resourceType": "Medication", "id": "m1", "code": {"coding": [LEVOTHYROXINE]}}
    for server, known in ((HERE, True), ("https://other.example/fhir/R4/", False)):
        ordered = order(medicationReference={"reference": f"{server}Medication/m1"})
        del ordered["medicationCodeableConcept"]
        facts = read(base=HERE, medications=bundle(ordered, medication)).facts
        assert bool(facts.medications) is known
        assert facts.inputs["medications"].complete is known


@settings(max_examples=1000)
@given(text=st.text("aZ09.-_ /\n\u00e9\u0661", max_size=8) | st.integers(505, 520).map("a".__mul__) | st.text())
def test_a_plain_id_is_told_as_its_pattern_tells_it(text: str) -> None:
    holds = re.fullmatch(r"\.*[A-Za-z0-9-][A-Za-z0-9.-]*", text) is not None
    assert is_id(text) == (holds and len(text) <= 512)
