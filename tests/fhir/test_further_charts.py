"""Further examples of every kind of thing that real charts hold: `tests/fhir/further_charts.yaml`, sent over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict, Field

from tests.fhir.charts import LOINC, RXNORM, SNOMED, UCUM, Json, about, answer, bundle, condition, fired, order, patient

SYSTEMS = {
    "sct": SNOMED, "rx": RXNORM, "loinc": LOINC, "atc": "http://www.whocc.no/atc", "npu": "urn:oid:1.2.208.176.2.1",
    "pzn": "http://fhir.de/CodeSystem/ifa/pzn", "icd": "http://hl7.org/fhir/sid/icd-10",
    "gm": "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "edqm": "http://standardterms.edqm.eu",
    "cm": "http://hl7.org/fhir/sid/icd-10-cm", "local": "http://hospital.example/codes",
}  # fmt: skip
DAY = "2026-11-20T08:00:00Z"


class Row(BaseModel):
    """One patient, a woman of 58 with good kidneys unless it says otherwise, and what is right.

    A medicine, a problem or a test is written `system:code|display`, in words, or as the resource has it. Other keys of
    `more` are prefetch values as they come.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=4)]
    drafts: list[Any] = []
    taken: list[Any] = []
    stated: list[Any] = []
    problems: list[Any] = []
    magnesium: list[Json] = []
    kidney: list[Json] = [{"code": "loinc:2160-0", "value": 0.8, "unit": "mg/dL"}]
    electrolytes: list[Json] = []
    more: Json = {}
    person: Json = {}
    fires: list[str] = []
    silent: list[str] = []
    says: list[str] = []
    never: list[str] = []
    outcomes: dict[str, str] = {}
    cards: int | None = None


def rows() -> list[Any]:
    given = yaml.safe_load((Path(__file__).parent / "further_charts.yaml").read_text("utf-8"))
    checked = [(kind, Row.model_validate(row)) for kind, each in given.items() for row in each]
    return [pytest.param(row, id=f"{kind}: {row.name}") for kind, row in checked]


def concept(spec: Any) -> Json:
    if isinstance(spec, dict):
        return spec
    system, _, code = str(spec).partition(":")
    if system not in SYSTEMS:
        return {"text": spec}
    code, _, display = code.partition("|")
    return {"coding": [{"system": SYSTEMS[system], "code": code} | ({"display": display} if display else {})]}


def medicine(spec: Any, number: int, **more: Any) -> Json:
    """A string is `medicine; instruction`; `med`, `sig`, `route` and `times` fill the elements, all else is one."""
    if isinstance(spec, str):
        spec = dict(zip(("med", "sig"), spec.split("; "), strict=False))
    spec = dict(spec)
    made = order(id=f"m{number}") | more
    del made["medicationCodeableConcept"]
    if "med" in spec:
        made["medicationCodeableConcept"] = concept(spec.pop("med"))
    dosage: Json = {"text": spec.pop("sig")} if "sig" in spec else {}
    if "route" in spec:
        dosage["route"] = concept(spec.pop("route"))
    if "times" in spec:
        dosage["timing"] = {"repeat": {"frequency": spec.pop("times"), "period": 1, "periodUnit": "d"}}
    if "dose" in spec:
        dosage["doseAndRate"] = [{"doseQuantity": spec.pop("dose")}]
    return made | ({"dosageInstruction": [dosage]} if dosage else {}) | spec


def result(spec: Json, number: int) -> Json:
    spec = dict(spec)
    made: Json = {"resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": about()}
    made |= {"effectiveDateTime": DAY, "code": concept(spec.pop("code"))}
    if "value" in spec:
        made["valueQuantity"] = {"value": spec.pop("value"), "unit": spec.pop("unit", None)}
        if coded := spec.pop("coded", None):
            made["valueQuantity"] |= {"system": UCUM, "code": coded}
    return made | spec


def send(client: FlaskClient, row: Row) -> Json:
    """The whole answer."""
    stated = [medicine(each, 40 + n, resourceType="MedicationStatement") for n, each in enumerate(row.stated)]
    for each in stated:
        del each["intent"]
        if "dosageInstruction" in each:
            each["dosage"] = each.pop("dosageInstruction")
    prefetch: Json = {
        "patient": patient() | row.person,
        "medications": bundle(*(medicine(each, 20 + n) for n, each in enumerate(row.taken))),
        "medication_statements": bundle(*stated),
        "conditions": bundle(
            *(condition(concept(each), id=f"c{n}") if not (isinstance(each, dict) and "resourceType" in each) else each
              for n, each in enumerate(row.problems))
        ),
        "serum_magnesium": bundle(*(result(each, n) for n, each in enumerate(row.magnesium))),
        "kidney": bundle(*(result(each, 20 + n) for n, each in enumerate(row.kidney))),
        "electrolytes": bundle(*(result(each, 40 + n) for n, each in enumerate(row.electrolytes))),
    }  # fmt: skip
    drafts = [medicine(each, n, status="draft") for n, each in enumerate(row.drafts)]
    hook = "order-sign" if drafts else "patient-view"
    keys = {each["hook"]: each["prefetch"] for each in client.get("/cds-services").get_json()["services"]}[hook]
    sent = {key: value for key, value in (prefetch | row.more).items() if key in keys}
    return answer(client, hook, drafts=drafts, **sent)


def faults(row: Row, told: Json) -> list[str]:
    """What is wrong with an answer, each in a few words."""
    outcomes = {each["rule"]: each["outcome"] for each in told["extension"]["org.magnesium-cds"]["outcomes"]}
    words = " ".join(f"{card['summary']} {card.get('detail', '')}" for card in told["cards"])
    wrong = [f"not fired: {rule} ({outcomes.get(rule)})" for rule in row.fires if rule not in fired(told)]
    wrong += [f"fired: {rule}" for rule in row.silent if rule in fired(told)]
    wrong += [f"not said: {text}" for text in row.says if text not in words]
    wrong += [f"said: {text}" for text in row.never if text in words]
    wrong += [f"{rule}: {outcomes.get(rule)}" for rule, each in row.outcomes.items() if outcomes.get(rule) != each]
    if row.cards is not None and len(told["cards"]) != row.cards:
        wrong.append(f"{len(told['cards'])} cards")
    return wrong


@pytest.mark.parametrize("row", rows())
def test_a_further_example_of_what_charts_hold(client: FlaskClient, row: Row) -> None:
    told = send(client, row)
    assert faults(row, told) == [], [card["summary"] for card in told["cards"]]


def test_every_kind_has_five_examples_or_more() -> None:
    given = yaml.safe_load((Path(__file__).parent / "further_charts.yaml").read_text("utf-8"))
    assert {kind: len(each) for kind, each in given.items() if len(each) < 5} == {}
    assert {kind.partition(" ")[0] for kind in given} == {*"ABCDEFGHIJKLMNOPQRST", "newcomer", "attacks"}


OXIDE = order(id="d", status="draft", medicationCodeableConcept={"text": "Magnesium oxide 400 mg tablet"})


def sent_drafts(client: FlaskClient, drafts: Any) -> Any:
    """What the answer to `draftOrders` of any shape is, for a patient with failing kidneys."""
    service = next(each for each in client.get("/cds-services").get_json()["services"] if each["hook"] == "order-sign")
    keys: Json = {key: bundle(total=0) for key in service["prefetch"] if key != "encounter"}
    kidney = bundle(result({"code": "loinc:2160-0", "value": 6, "unit": "mg/dL"}, 1))
    context = {"userId": "Practitioner/e", "patientId": "mona", "draftOrders": drafts}
    asked = {"hook": "order-sign", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "context": context}
    body = asked | {"prefetch": keys | {"patient": patient(), "kidney": kidney}}
    return client.post(f"/cds-services/{service['id']}", json=body)


@pytest.mark.parametrize(
    "drafts",
    [
        [OXIDE], bundle(OXIDE) | {"entry": {"resource": OXIDE}}, bundle(bundle(OXIDE)),
        bundle(OXIDE | {"resourceType": "medicationrequest"}),
    ],
)  # fmt: skip
def test_odd_shapes_of_draft_orders_that_are_read(client: FlaskClient, drafts: Any) -> None:
    assert "kidney failure range" in str(sent_drafts(client, drafts).get_json()["cards"])


@pytest.mark.parametrize(
    "drafts",
    [
        {"resourceType": "Bundle", "type": "collection", "total": 1}, bundle() | {"entry": [{}]},
        bundle() | {"entry": [OXIDE]}, bundle() | {"entry": [{"resource": [OXIDE]}]},
        bundle() | {"entry": [{"fullUrl": "https://ehr.example/MedicationRequest/1"}]},
        bundle(link=[{"relation": "next", "url": "x"}]), bundle({k: v for k, v in OXIDE.items() if k != "subject"}),
        bundle({"resourceType": "RequestGroup", "id": "g", "contained": [OXIDE]}),
    ],
)  # fmt: skip
def test_draft_orders_that_may_hold_more_than_is_read_are_said(client: FlaskClient, drafts: Any) -> None:
    assert "draft orders" in str(sent_drafts(client, drafts).get_json()["cards"])


@pytest.mark.parametrize(
    "drafts", [OXIDE, bundle() | {"entry": None}, bundle() | {"entry": [None]}, "x", 5, [], {}, {"entry": []}]
)
def test_draft_orders_that_are_no_bundle_are_refused(client: FlaskClient, drafts: Any) -> None:
    refused = sent_drafts(client, drafts)
    assert (refused.status_code, refused.get_json()["issue"][0]["expression"]) == (400, ["context.draftOrders"])


def test_an_integrator_is_told_where_something_could_not_be_read_and_only_in_development(
    client: FlaskClient, make_app: Any
) -> None:
    drafts = bundle(OXIDE | {"dosageInstruction": [{"doseAndRate": "1 tablet"}]}, OXIDE | {"id": 7})
    told = sent_drafts(client, drafts).get_json()["extension"]["org.magnesium-cds"]["diagnostics"]
    assert {each["at"] for each in told["notRead"]} == {f"context.draftOrders.entry[{n}]" for n in (0, 1)}
    assert "no dose was read" in told["notRead"][0]["fault"] and "Expected" in told["notRead"][1]["fault"]
    assert told["unreadable"] == {"draft_orders": 1}
