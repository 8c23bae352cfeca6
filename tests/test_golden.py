"""What a real client sent, and the whole answer to it.

`tests/golden/NAME.json` is a request that the CDS Hooks Sandbox really made; `NAME.expected.json` is the answer to it,
twice: as it was recorded (its prefetch keys are those of another service), and with its prefetch under our keys. Rule
versions and uuids are the only parts that are not compared. Outcomes are written as lists of the rules that have them;
of the quiet ones only the count, so that a rule that is quiet no longer changes the count and stands in another list.
`pytest tests/test_golden.py --update-golden` writes the expected files anew; such a run always fails, so that nobody
takes it for a passed one: look at what changed, then run it again without.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.content.yamlfile import MAX_BYTES
from tests.conformance.calls import Body, own, services, walk
from tests.conftest import SHARED
from tests.support.some import some

FOLDER = Path(__file__).parent / "golden"
PREFLIGHT = "preflight-options"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
# The recorded service's prefetch keys that ask for what one of ours asks for.
OUR_KEYS = {"patient": "patient", "conditions": "conditions", "mg": "serum_magnesium", "meds": "medications"}
HEADERS = ("Content-Type", "Cache-Control", "Access-Control-Allow-Origin")
ORIGIN = "http://127.0.0.1:8090"


def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


NAMES = sorted(
    path.stem
    for path in FOLDER.glob("*.json")
    if not path.name.startswith("feedback-") and not path.name.endswith(".expected.json")
)
CALLS = [name for name in NAMES if name != PREFLIGHT]


def with_our_prefetch(body: Body, client: FlaskClient) -> Body:
    """The call with what it sent under our keys; the client knows of nothing under the others."""
    sent = {OUR_KEYS[key]: value for key, value in body["prefetch"].items() if key in OUR_KEYS}
    asked = services(client)[body["hook"]]["prefetch"]
    return body | {"prefetch": {key: sent.get(key) for key in asked}}


def send(client: FlaskClient, body: Body) -> TestResponse:
    return client.post(f"/cds-services/magnesium-{body['hook']}", json=body, headers={"Origin": ORIGIN})


def normalised(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Uuids of ours and rule versions named instead of given; a uuid that is not ours stays."""
    if isinstance(value, dict):
        return {key: normalised(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [normalised(item, (*path, index)) for index, item in enumerate(value)]
    if path and path[-1] == "uuid" and UUID.match(value):
        return "(uuid)"
    if path and path[-1] == "version" and "cards" in path:
        return "(version)"
    return value


def grouped(outcomes: list[Body]) -> Body:
    """The rules of each outcome and reason, in order; for `quiet` alone their number."""
    groups: dict[str, list[str]] = {}
    for item in outcomes:
        rest = {name: value for name, value in item.items() if name not in ("rule", "outcome")}
        said = item["outcome"] + (f" {json.dumps(rest, sort_keys=True)}" if rest else "")
        groups.setdefault(said, []).append(item["rule"])
    return {said: len(rules) if said == "quiet" else rules for said, rules in groups.items()}


def told(response: TestResponse) -> Body:
    """What is compared: status, the headers that matter, the body with its outcomes grouped."""
    body = normalised(json.loads(response.data))
    if "extension" in body:
        own(body)["outcomes"] = grouped(own(body)["outcomes"])
    return {
        "status": response.status_code,
        "headers": {name: response.headers.get(name) for name in HEADERS},
        "body": body,
    }


def compare(name: str, found: Any, request: pytest.FixtureRequest) -> None:
    """Hold `found` against NAME.expected.json, or write it there and fail."""
    file = FOLDER / f"{name}.expected.json"
    if request.config.getoption("--update-golden", default=False):
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        pytest.fail(f"{file.name} was written: look at what changed, and run without --update-golden", pytrace=False)
    assert file.exists(), f"{file.name} is missing: write it with --update-golden"
    assert found == json.loads(file.read_text("utf-8"))


@pytest.mark.parametrize("name", CALLS)
def test_a_recorded_call_gets_the_answer_that_is_written_down(
    name: str, client: FlaskClient, request: pytest.FixtureRequest
) -> None:
    body = recorded(name)
    answers = {
        "as recorded": told(send(client, body)),
        "with our prefetch": told(send(client, with_our_prefetch(body, client))),
    }
    compare(name, answers, request)


def test_a_recorded_pre_flight_is_answered_without_credentials(
    client: FlaskClient, request: pytest.FixtureRequest
) -> None:
    answers = []
    for item in recorded(PREFLIGHT):
        if item["kind"] != "cds":
            continue  # the others went to the client's FHIR server
        path = item["path"].replace("mg-patient-view", "magnesium-patient-view")
        names = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")
        response = client.options(path, headers={name: item["headers"][name] for name in names})
        allowed = {name: value for name, value in sorted(response.headers.items()) if name.startswith("Access-Control")}
        answers.append({"path": path, "status": response.status_code, "headers": allowed})
        assert item["headers"]["Access-Control-Request-Method"] in allowed["Access-Control-Allow-Methods"]
        for header in item["headers"]["Access-Control-Request-Headers"].split(","):
            assert header in allowed["Access-Control-Allow-Headers"]
    assert len(answers) == 2
    compare(PREFLIGHT, answers, request)


# What must hold of these answers, whatever is written down.


def answer(client: FlaskClient, name: str, ours: bool = True) -> Body:
    body = recorded(name)
    response = send(client, with_our_prefetch(body, client) if ours else body)
    assert response.status_code == 200
    found: Body = json.loads(response.data)
    return found


def fired(found: Body) -> set[str]:
    return {item["rule"] for item in own(found)["outcomes"] if item["outcome"] == "fired"}


@pytest.mark.parametrize("name", [name for name in CALLS if "without-draft" not in name])
def test_every_recorded_call_but_one_is_answered(name: str, client: FlaskClient) -> None:
    for ours in (False, True):
        assert isinstance(answer(client, name, ours)["cards"], list)


def test_a_second_click_on_the_tab_without_draft_orders_is_refused_with_its_place(client: FlaskClient) -> None:
    body = recorded("order-select-tab-reclick-without-draft-orders")
    for one in (body, with_our_prefetch(body, client)):
        response = send(client, one)
        assert response.status_code == 400
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN, "a browser must be able to read the refusal"
        issues = json.loads(response.data)["issue"]
        assert "context.draftOrders" in [place for issue in issues for place in issue["expression"]]


def test_a_draft_without_a_medication_is_no_drug_and_no_all_clear(client: FlaskClient) -> None:
    found = answer(client, "order-select-empty")
    assert fired(found) == set()
    (card,) = found["cards"]
    assert "an ordered medicine without a name or known code" in card["summary"]


@pytest.mark.parametrize("name", ["pama-order-select", "pama-order-select-empty"])
def test_an_imaging_order_is_answered_calmly(name: str, client: FlaskClient) -> None:
    found = answer(client, name)
    assert found["cards"] == []
    assert fired(found) == set()


@pytest.mark.parametrize("name", ["order-select", "order-select-reason", "order-select-after-suggestion"])
def test_magnesium_that_replaces_the_low_level_of_the_recorded_patient_meets_no_card(
    name: str, client: FlaskClient
) -> None:
    found = answer(client, name)
    assert (found["cards"], fired(found)) == ([], set())


def test_the_low_result_of_the_recorded_patient_is_one_card_with_value_unit_and_age(client: FlaskClient) -> None:
    cards = answer(client, "patient-view")["cards"]
    assert "1.5 mg/dL" in cards[0]["summary"]
    assert "11 d ago" in cards[0]["summary"]
    assert [card for card in cards if "1.5 mg/dL" in card["summary"]] == cards[:1]


def test_the_reason_of_the_draft_is_read_though_it_comes_as_an_object(client: FlaskClient) -> None:
    body = with_our_prefetch(recorded("order-select-reason"), client)
    body["prefetch"]["serum_magnesium"] = None  # with the low level that is recorded, it would be a replacement
    found: Body = json.loads(send(client, body).data)
    assert "magnesium_for_multiple_sclerosis" in fired(found)
    assert own(found)["repairs"]["reason_code_as_object"] >= 1


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("order-s") and "without-draft" not in name])
def test_what_this_client_gets_wrong_is_mended_by_name_and_counted(name: str, client: FlaskClient) -> None:
    repairs = own(answer(client, name))["repairs"]
    assert repairs["bundle_without_type"] == 1
    if name != "order-select-empty":
        assert repairs["category_as_object"] == 1


@pytest.mark.parametrize("name", [name for name in CALLS if "without-draft" not in name])
def test_what_was_not_sent_under_our_keys_is_never_an_all_clear_where_it_matters(
    name: str, client: FlaskClient
) -> None:
    found = answer(client, name, ours=False)
    kinds = {item["outcome"] for item in own(found)["outcomes"]}
    assert found["cards"] or "not_evaluated" not in kinds


def test_nothing_of_the_patient_is_in_an_answer_but_in_the_resources_of_suggestions(client: FlaskClient) -> None:
    for name in some(name for name in CALLS if "without-draft" not in name):
        told = [(path, value) for path, value in walk(answer(client, name)) if isinstance(value, str)]
        for path, value in some(one for one in told if "resource" not in one[0]):
            assert "Testcase" not in value and "mg-1" not in value.split("/"), (name, path)


def test_golden_files_are_what_the_client_sent(client: FlaskClient) -> None:
    assert len(CALLS) == 9
    for name in NAMES:
        assert 0 < (FOLDER / f"{name}.json").stat().st_size < MAX_BYTES
        origin = SHARED / "requests" / f"{name}.json"
        if origin.exists():
            assert recorded(name) == json.loads(origin.read_text("utf-8")), (
                "a recorded request is a fact: never edit it"
            )


@pytest.mark.parametrize("now", ["fired", "not_evaluated", "not_applicable"])
def test_a_rule_that_is_quiet_no_longer_is_seen_though_quiet_ones_are_only_counted(now: str) -> None:
    before = [{"rule": "one", "outcome": "quiet"}, {"rule": "two", "outcome": "quiet"}]
    assert grouped(before) == {"quiet": 2}
    assert grouped([{"rule": "one", "outcome": now}, before[1]]) == {now: ["one"], "quiet": 1}


def test_every_expected_answer_belongs_to_a_recorded_request() -> None:
    expected = {path.name.removesuffix(".expected.json") for path in FOLDER.glob("*.expected.json")}
    assert expected == set(NAMES)
