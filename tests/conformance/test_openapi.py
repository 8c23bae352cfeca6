"""The OpenAPI document says what is: every address is in it, and every answer is as its schema says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from cds_service.hooks.request import Envelope
from cds_service.publish.openapi import codes_of, path_of, written
from cds_service.publish.refusals import refusals
from cds_service.sandbox import patients
from tests.conformance.calls import Body, every_sample_call, in_production, post, sample_call, services
from tests.conformance.strict import Json, faults
from tests.support.some import some
from tests.test_golden import CALLS, recorded, with_our_prefetch

PRESETS = ("epic", "oracle", "crd", "sandbox", "generic")


@pytest.fixture(scope="module")
def told(app: Flask) -> Json:
    found: Json = json.loads(app.test_client().get("/openapi.json").data)
    return found


def test_the_document_is_valid_openapi_3_1(told: Json) -> None:
    assert told["openapi"] == "3.1.0"
    assert [str(fault) for fault in OpenAPIV31SpecValidator(told).iter_errors()] == []


def test_a_document_with_a_fault_is_not_valid(told: Json) -> None:
    broken = deepcopy(told)
    del broken["paths"]["/plan/{text}"]["get"]["parameters"]
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def routes(app: Flask) -> dict[str, set[str]]:
    """Methods by route, without those that every route answers."""
    found: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        found.setdefault(rule.rule, set()).update((rule.methods or set()) - {"HEAD", "OPTIONS"})
    return found


def test_every_address_is_in_the_document_or_on_the_list_of_those_left_out(app: Flask) -> None:
    described = {route: {method.upper() for method in methods} for route, methods in written().operations.items()}
    left_out = written().left_out
    assert not described.keys() & left_out.keys()
    assert all(len(reason) > 10 for reason in left_out.values())
    found = routes(app)
    assert found.keys() == described.keys() | left_out.keys()
    assert {route: found[route] for route in described} == described


def test_every_service_has_its_own_path(app: Flask, told: Json, client: FlaskClient) -> None:
    for service in some(services(client).values()):
        operation = told["paths"][f"/cds-services/{service['id']}"]["post"]
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        request = told["components"]["schemas"][name]
        assert request["properties"]["hook"] == {"const": service["hook"]}
        asked = request["properties"]["prefetch"]["properties"]
        assert asked.keys() == service["prefetch"].keys()
        for key, value in asked.items():
            assert re.search(r"\. Read by rules on .+\.$", value["description"]), (key, value)


def test_services_of_two_parts_are_described_as_they_are_served(make_app: Callable[..., Flask]) -> None:
    client = make_app(split_services=True).test_client()
    told = json.loads(client.get("/openapi.json").data)
    ids = {service["id"] for service in json.loads(client.get("/cds-services").data)["services"]}
    assert len(ids) == 9
    assert ids == set(told["components"]["schemas"]["ServiceId"]["enum"])
    assert {f"/cds-services/{id_}" for id_ in ids} <= told["paths"].keys()
    assert list(OpenAPIV31SpecValidator(told).iter_errors()) == []


def test_the_envelope_published_is_the_one_that_is_read(told: Json) -> None:
    published = told["components"]["schemas"]["PatientViewRequest"]["properties"]
    assert published.keys() == Envelope.model_fields.keys() | {"prefetch"}


def test_every_code_of_the_service_is_told_of_some_operation() -> None:
    named = {code for methods in written().operations.values() for each in methods.values() for code in codes_of(each)}
    ours = {code for code, refusal in refusals().items() if refusal.by == "service"}
    # A method that an address does not answer is no operation, and /metrics is left out.
    assert ours - named == {"method-not-allowed", "metrics-token"}
    groups = written().groups
    listed = {name for methods in written().operations.values() for each in methods.values() for name in each.refusals}
    assert listed | {code for codes in groups.values() for code in codes} <= refusals().keys() | groups.keys()


def test_no_token_is_asked_for_in_dev_and_one_in_production(make_app: Callable[..., Flask], told: Json) -> None:
    assert told["paths"]["/plan"]["post"]["security"] == [{"cdsHooks": []}, {}]
    kept = json.loads(in_production(make_app).test_client().get("/openapi.json").data)
    assert kept["paths"]["/plan"]["post"]["security"] == [{"cdsHooks": []}]
    assert kept["servers"] == [{"url": "https://cds.example"}]


# Answers.


def answered(client: FlaskClient, few: bool) -> Iterator[tuple[str, Body]]:
    """Every call of a sample patient, and without `few` every recorded call and calls with faults, with its answer."""
    for name, body in every_sample_call(client):
        yield name, json.loads(post(client, body).data)
    if few:
        return
    for name in CALLS:
        for body in (recorded(name), with_our_prefetch(recorded(name), client)):
            yield name, json.loads(client.post(f"/cds-services/magnesium-{body['hook']}", json=body).data)
    for name, sample in patients.load().items():
        for draft in sample.drafts:
            for hook in ("order-select", "order-sign"):
                yield f"{name}, {draft}", json.loads(post(client, sample_call(client, name, hook, draft)).data)
        for changes in (
            {},
            {"unknown": {}},
            {"medications": {"resourceType": "Bundle", "entry": [{}, {"resource": {}}]}},
        ):
            body = sample_call(client, name)
            body["prefetch"] = changes if not changes else body["prefetch"] | changes
            yield f"{name} with {list(changes)}", json.loads(post(client, body).data)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_answer_is_as_the_document_says(make_app: Callable[..., Flask], told: Json, preset: str) -> None:
    client = make_app(dev_preset=preset).test_client()
    count = cards = 0
    for name, answer in answered(client, few=preset != "generic"):
        schema = "Answer" if "cards" in answer else "OperationOutcome"
        assert list(faults(told, schema, answer)) == [], (name, preset)
        count += 1
        cards += len(answer.get("cards", ()))
    assert count > (25 if preset != "generic" else 80)
    assert cards > 20


def test_a_member_that_nobody_described_is_found(told: Json, client: FlaskClient) -> None:
    answer = json.loads(post(client, sample_call(client, "low-magnesium")).data)
    assert list(faults(told, "Answer", answer)) == []
    answer["cards"][0]["new"] = 1
    del answer["extension"]["org.magnesium-cds"]["outcomes"][0]["rule"]
    assert len(list(faults(told, "Answer", answer))) == 2


def json_reads(told: Json) -> Iterator[tuple[str, str]]:
    """Path and schema of every JSON answer to a GET, filled with the examples of its arguments."""
    for path, methods in told["paths"].items():
        for operation in [methods[method] for method in methods if method == "get"]:
            for param in operation.get("parameters", []):
                path = path.replace(f"{{{param['name']}}}", param.get("example", "{}"))
            if "{}" in path:
                continue  # a plan, which has a test of its own
            for media, one in operation["responses"]["200"].get("content", {}).items():
                if "json" in media and "$ref" in one["schema"]:
                    yield path, one["schema"]["$ref"].rpartition("/")[2]


def test_every_read_is_as_the_document_says(told: Json, client: FlaskClient) -> None:
    found = list(json_reads(told))
    assert len(found) > 12
    for path, name in found:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert list(faults(told, name, json.loads(answer.data))) == [], path


def test_a_plan_is_as_the_document_says(told: Json, client: FlaskClient) -> None:
    drugs = [["levothyroxine"], ["ciprofloxacin", "doxycycline"], ["quinine"], ["nothing-known"], ["raltegravir"]]
    for names in drugs:
        asked = {"medications": [{"name": name, "times": ["07:00", "19:00"]} for name in names]}
        assert list(faults(told, "PlanQuestion", asked)) == []
        answer = client.post("/plan", json=asked)
        assert list(faults(told, "PlanAnswer", json.loads(answer.data))) == [], names
        again = client.get(json.loads(answer.data)["link"] + ".json")
        assert list(faults(told, "PlanAnswer", json.loads(again.data))) == [], names


def test_path_arguments_are_written_as_openapi_has_them() -> None:
    assert path_of("/claims/<claim_id>.json") == "/claims/{claim_id}.json"
    assert path_of("/static/<path:filename>") == "/static/{filename}"
