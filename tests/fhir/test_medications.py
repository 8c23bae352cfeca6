"""S12: what is taken, what is being ordered, and by which route."""

import pytest

from cds_service.patient import Quantity, Source
from tests.fhir.charts import LEVOTHYROXINE, RXNORM, bundle, coded, condition, order, read, statement, without

MG_OXIDE = {"coding": [{"system": RXNORM, "code": "311429", "display": "Magnesium Oxide 250 MG Oral Tablet"}]}
MEDICATION = {"resourceType": "Medication", "id": "m1", "code": {"coding": [LEVOTHYROXINE]}}
REFERRED = {"medicationCodeableConcept": None, "medicationReference": {"reference": "Medication/m1"}}


def active(*orders: dict[str, object]) -> list[str]:
    return [m.source.id for m in read(medications=bundle(*orders)).facts.medications]


def test_an_active_order_is_a_medicine_that_is_taken() -> None:
    (medicine,) = read(medications=bundle(order(authoredOn="2026-01-02T10:00:00Z"))).facts.medications
    assert medicine.source == Source("MedicationRequest", "thyroxine")
    assert (medicine.status, medicine.name, medicine.identified_by) == ("active", "Levothyroxine", "code")
    assert "levothyroxine" in medicine.drugs
    assert str(medicine.since) == "2026-01-02"


@pytest.mark.parametrize("status", ["on-hold", "stopped", "completed", "cancelled", "entered-in-error", "draft"])
def test_an_order_that_is_not_in_force_is_not_taken(status: str) -> None:
    facts = read(medications=bundle(order(status=status))).facts
    assert facts.medications == ()
    assert facts.inputs["medications"].complete


@pytest.mark.parametrize("status", ["unknown", None, "running", "recorded"])
def test_an_order_whose_status_says_nothing_is_counted_as_unreadable(status: object) -> None:
    facts = read(medications=bundle(order(status=status))).facts
    assert facts.medications == ()
    assert facts.inputs["medications"].unreadable == 1


@pytest.mark.parametrize("intent", ["proposal", "plan", "order", "instance-order"])
def test_the_intent_does_not_decide(intent: str) -> None:
    assert active(order(intent=intent)) == ["thyroxine"]


def test_an_order_not_to_give_is_no_order() -> None:
    assert active(order(doNotPerform=True)) == []
    assert active(order(doNotPerform=False)) == ["thyroxine"]


@pytest.mark.parametrize("status", ["completed", "entered-in-error", "intended", "stopped", "on-hold", "not-taken"])
def test_a_statement_that_is_not_active_is_not_taken(status: str) -> None:
    facts = read(medication_statements=bundle(statement(status=status))).facts
    assert facts.medications == ()
    assert facts.inputs["medication_statements"].complete


def test_a_statement_whose_status_is_unknown_is_counted_as_unreadable() -> None:
    facts = read(medication_statements=bundle(statement(status="unknown"))).facts
    assert facts.inputs["medication_statements"].unreadable == 1


def test_an_active_statement_is_taken_unless_its_period_is_over() -> None:
    def taken(**more: object) -> int:
        return len(read(medication_statements=bundle(statement(**more))).facts.medications)

    assert taken() == 1
    assert taken(effectivePeriod={"start": "2026-01-01"}) == 1
    assert taken(effectivePeriod={"start": "2026-01-01", "end": "2026-11-21"}) == 1  # today is still in it
    assert taken(effectivePeriod={"start": "2026-01-01", "end": "2026-11-20"}) == 0
    assert taken(effectivePeriod={"start": "2026-01-01", "end": "2026"}) == 1


# Orders that ended although they say active


@pytest.mark.parametrize(
    ("dispense", "taken"),
    [
        # When it may be dispensed is not when it is taken: what is dispensed on the last day lasts.
        ({"validityPeriod": {"end": "2026-11-20"}}, True),
        ({"validityPeriod": {"end": "2026-10-20"}, "expectedSupplyDuration": {"value": 30, "code": "d"}}, False),
        ({"validityPeriod": {"end": "2026-11-20"}, "expectedSupplyDuration": {"value": 30, "code": "d"}}, True),
        ({"validityPeriod": {"end": "2026-12-20"}}, True),
        ({"validityPeriod": {"end": "2026-11"}}, True),
        # A used-up supply is no stop: the order still says active, and the patient may well go on.
        ({"expectedSupplyDuration": {"value": 30, "code": "d"}}, True),
    ],
)
def test_an_active_order_of_january_counts_until_its_last_supply_is_used_up(
    dispense: dict[str, object], taken: bool
) -> None:
    facts = read(medications=bundle(order(authoredOn="2026-01-02", dispenseRequest=dispense))).facts
    assert bool(facts.medications) is taken
    assert facts.repairs.get("active_order_ended", 0) == (not taken)


def test_a_supply_without_a_date_of_order_does_not_end() -> None:
    assert active(order(dispenseRequest={"expectedSupplyDuration": {"value": 1, "code": "d"}})) == ["thyroxine"]


def test_an_order_whose_every_dosage_ended_is_over_but_not_one_with_a_dosage_left() -> None:
    past = {
        "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "boundsPeriod": {"end": "2026-11-20"}}}
    }
    going = {"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}
    assert active(order(dosageInstruction=[past])) == []
    assert active(order(dosageInstruction=[past, going])) == ["thyroxine"]


# Drafts


@pytest.mark.parametrize("status", ["draft", "active", "on-hold", None, "cancelled"])
def test_whatever_its_status_a_draft_is_a_draft(status: object) -> None:
    (medicine,) = read(drafts=bundle(order(status=status))).facts.medications
    assert medicine.status == "draft"


@pytest.mark.parametrize(
    "selection", ["MedicationRequest/thyroxine", "https://ehr.example/MedicationRequest/thyroxine"]
)
def test_the_selected_draft_is_known(selection: str) -> None:
    drafts = bundle(order(), order(id="other"))
    medicines = read(drafts=drafts, selections=[selection]).facts.medications
    assert [m.selected for m in medicines] == [True, False]


def test_a_draft_without_a_medicine_stays_a_draft_without_a_drug() -> None:
    facts = read(drafts=bundle(without(order(), "medicationCodeableConcept", "intent"))).facts
    (medicine,) = facts.medications
    assert (medicine.name, medicine.drugs, medicine.identified_by) == ("", frozenset(), "none")
    assert (facts.repairs["medication_missing"], facts.repairs["intent_missing"]) == (1, 1)
    assert facts.inputs["draft_orders"].complete


def test_an_order_without_a_medicine_is_counted_as_unreadable() -> None:
    facts = read(medications=bundle(without(order(), "medicationCodeableConcept"))).facts
    assert facts.medications == ()
    assert facts.inputs["medications"].unreadable == 1


def test_the_reason_of_a_draft_is_read_as_list_as_object_and_as_reference() -> None:
    def reasons(**more: object) -> frozenset[str]:
        return read(drafts=bundle(order(**more)), conditions=bundle(condition())).facts.medications[0].reasons

    assert "multiple_sclerosis" in reasons(reasonCode=[coded("24700007")])
    assert "multiple_sclerosis" in reasons(reasonCode=coded("24700007"))
    assert "multiple_sclerosis" in reasons(reasonReference=[{"reference": "Condition/ms"}])
    assert "multiple_sclerosis" in reasons(reason=[{"concept": coded("24700007")}])
    assert reasons(reasonReference=[{"reference": "Condition/gone"}], reasonCode=[]) == frozenset()


def test_a_drafted_laboratory_test_is_known_by_its_codes() -> None:
    test = {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/mona"}}
    chart = read(drafts=bundle(test | {"code": coded("19123-9", "http://loinc.org")}, order()))
    assert chart.drafted_codes == {("http://loinc.org", "19123-9")}
    forbidden = test | {"code": coded("19123-9", "http://loinc.org"), "doNotPerform": True}
    assert read(drafts=bundle(forbidden)).drafted_codes == set()
    newer = read(drafts=bundle(test | {"code": {"concept": coded("19123-9", "http://loinc.org")}}))
    assert newer.drafted_codes == {("http://loinc.org", "19123-9")}


# The drug (F10)


@pytest.mark.parametrize(
    "entry",
    [
        {"resource": MEDICATION},
        {"resource": MEDICATION, "fullUrl": "https://ehr.example/fhir/Medication/m1", "search": {"mode": "include"}},
    ],
)
def test_a_medicine_by_reference_is_found_in_the_bundle(entry: dict[str, object]) -> None:
    search = bundle(order(**REFERRED))
    search["entry"].append(entry)
    assert "levothyroxine" in read(medications=search).facts.medications[0].drugs


def test_a_medicine_by_urn_is_found_by_its_full_url() -> None:
    urn = "urn:uuid:9b6d7a3e-7f4e-4d4b-b2c3-000000000009"
    search = bundle(order(**REFERRED | {"medicationReference": {"reference": urn}}))
    search["entry"].append({"resource": MEDICATION, "fullUrl": urn})
    assert "levothyroxine" in read(medications=search).facts.medications[0].drugs


def test_a_contained_medicine_is_found() -> None:
    held = order(**REFERRED | {"medicationReference": {"reference": "#m1"}}, contained=[{"no": "type"}, MEDICATION])
    assert "levothyroxine" in read(medications=bundle(held)).facts.medications[0].drugs


def test_a_medicine_that_cannot_be_found_is_known_by_the_name_of_its_reference() -> None:
    named = order(
        medicationCodeableConcept=None, medicationReference={"reference": "Medication/x", "display": "Levothyroxine"}
    )
    assert read(medications=bundle(named)).facts.medications[0].identified_by == "name"


def test_a_medicine_that_cannot_be_found_at_all_is_counted_as_unreadable() -> None:
    facts = read(medications=bundle(order(**REFERRED))).facts
    assert facts.medications == ()
    assert facts.inputs["medications"].unreadable == 1


def test_a_medicine_known_only_by_name_says_so() -> None:
    named = order(medicationCodeableConcept={"text": "Thyroxine 0.088 MG Oral Tablet"})
    (medicine,) = read(medications=bundle(named)).facts.medications
    assert (medicine.identified_by, "levothyroxine" in medicine.drugs) == ("name", True)


def test_code_and_name_that_disagree_are_trusted_for_neither() -> None:
    torn = order(medicationCodeableConcept={"coding": [LEVOTHYROXINE], "text": "Ciprofloxacin 500 mg"})
    (medicine,) = read(medications=bundle(torn)).facts.medications
    assert (medicine.conflict, medicine.drugs) == (True, frozenset())


def test_r5_names_the_medicine_in_one_element() -> None:
    newer = without(order(medication={"concept": {"coding": [LEVOTHYROXINE]}}), "medicationCodeableConcept")
    assert "levothyroxine" in read(medications=bundle(newer)).facts.medications[0].drugs
    referred = without(order(medication={"reference": {"reference": "Medication/m1"}}), "medicationCodeableConcept")
    assert "levothyroxine" in read(medications=bundle(referred, MEDICATION)).facts.medications[0].drugs


@pytest.mark.parametrize(
    ("adherence", "taken"),
    [(None, True), ("taking", True), ("not-taking", False), ("stopped", False), ("on-hold-as-directed", False)],
)
def test_r5_says_by_adherence_whether_a_recorded_medicine_is_taken(adherence: str | None, taken: bool) -> None:
    code = {"code": {"coding": [{"code": adherence}]}} if adherence else None
    newer = statement(status="recorded", adherence=code, medication={"concept": {"coding": [LEVOTHYROXINE]}})
    newer = without(newer, "medicationCodeableConcept")
    assert bool(read(medication_statements=bundle(newer)).facts.medications) is taken


# Route


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (coded("26643006"), "oral"),
        (coded("47625008"), "intravenous"),
        (coded("127492001"), "enteral"),
        (coded("PO", "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration"), "oral"),
        ({"text": "By Mouth"}, "oral"),
        ({"text": "IV"}, "intravenous"),
        (coded("26643006", "http://lab.example"), "oral"),  # not read: the product's own route holds
        (coded("1"), "oral"),
        ({"text": "somewhere"}, "oral"),
    ],
)
def test_the_route_is_that_of_the_instruction_else_that_of_the_product(route: object, expected: str) -> None:
    given = order(medicationCodeableConcept=MG_OXIDE, dosageInstruction=[{"route": route}])
    assert read(medications=bundle(given)).facts.medications[0].route == expected


def test_of_two_routes_the_oral_one_matters() -> None:
    given = order(dosageInstruction=[{"route": coded("47625008")}, {"route": coded("26643006")}])
    assert read(medications=bundle(given)).facts.medications[0].route == "oral"


def test_the_strength_of_a_product_is_known() -> None:
    (medicine,) = read(drafts=bundle(order(medicationCodeableConcept=MG_OXIDE))).facts.medications
    assert medicine.components[0].strength == Quantity(medicine.components[0].strength.value, "mg")  # type: ignore[union-attr]
    assert "magnesium" in medicine.drugs


def ended(*orders: dict[str, object]) -> list[tuple[str, str | None]]:
    facts = read(medications=bundle(*orders)).facts
    assert facts.medications == ()
    return [(m.status, str(m.until) if m.until else None) for m in facts.ended]


@pytest.mark.parametrize("status", ["completed", "stopped", "ended"])
def test_an_order_that_is_over_is_kept_apart(status: str) -> None:
    assert ended(order(status=status, authoredOn="2026-01-02")) == [("ended", "2026-01-02")]


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error", "on-hold", "draft"])
def test_an_order_that_never_ended_is_not_an_ended_one(status: str) -> None:
    assert ended(order(status=status, authoredOn="2026-01-02")) == []


def test_an_ended_order_lasted_until_the_latest_past_day_that_it_names() -> None:
    bounds = [{"timing": {"repeat": {"boundsPeriod": {"start": "2026-01-02", "end": "2026-02-03"}}}}]
    later = {"validityPeriod": {"end": "2099-01-01"}}
    assert ended(order(status="stopped", authoredOn="2026-01-02", dosageInstruction=bounds)) == [
        ("ended", "2026-02-03")
    ]
    assert ended(order(status="stopped", authoredOn="2026-01-02", dispenseRequest=later)) == [("ended", "2026-01-02")]
    assert ended(order(status="stopped")) == [("ended", None)]


def test_an_ended_order_that_cannot_be_identified_leaves_the_current_ones_complete() -> None:
    unknown = order(status="completed") | REFERRED
    facts = read(medications=bundle(unknown)).facts
    assert facts.inputs["medications"].complete and facts.ended == ()
