"""Who may ask for a plan, who may open one, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from flask import Flask

from cds_service.sandbox.mock_ehr import Signer
from cds_service.trust.limits import Gate
from tests.trust.support import BASE, DISCOVERY, client_entry, clients_file, running
from tests.trust.test_input import raw, status

Make = Callable[..., Flask]
QUESTION = {"medications": [{"name": "levothyroxine", "times": ["07:00"]}]}


def test_in_production_a_plan_is_made_for_a_client_and_opened_by_whoever_has_its_address(
    call: Any, http: Any, signer: Signer
) -> None:
    refused = call("/plan", "", json=QUESTION)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    elsewhere = signer.token(BASE + DISCOVERY)
    assert call("/plan", elsewhere, json=QUESTION).status_code == 401
    token = signer.token(BASE + "/plan")
    answer = call("/plan", token, json=QUESTION)
    assert answer.json["times"] == ["12:30"]
    assert call("/plan", token, json=QUESTION).status_code == 401, "a token is used once"
    for ending in ("", ".svg"):
        assert http.get(answer.json["link"] + ending).status_code == 200
    assert http.get("/plan/schema.json").status_code == 200


def test_a_caller_without_a_token_is_refused_before_the_question_is_read(call: Any) -> None:
    assert call("/plan", "", data=b"x" * 100_000).status_code == 401


def test_in_dev_anybody_may_ask_until_a_client_is_declared(make_app: Make, signer: Signer, folder: Path) -> None:
    assert make_app().test_client().post("/plan", json=QUESTION).status_code == 200
    declared = make_app(clients=clients_file(folder, client_entry(signer)), public_url=BASE).test_client()
    assert declared.post("/plan", json=QUESTION).status_code == 401
    headers = {"Authorization": f"Bearer {signer.token(BASE + '/plan')}"}
    assert declared.post("/plan", json=QUESTION, headers=headers).status_code == 200


def test_questions_and_openings_count_towards_the_rate_of_their_address(make_app: Make) -> None:
    http = make_app(address_rate=5, workers=1).test_client()
    link = http.post("/plan", json=QUESTION).json["link"]
    for ask in (lambda: http.get(link), lambda: http.get(link + ".svg"), lambda: http.post("/plan", json=QUESTION)):
        seen = Counter(ask().status_code for _ in range(40))
        assert seen[429] >= 20 and seen.keys() <= {200, 429}
    assert http.get("/healthz").status_code == 200


def test_plans_wait_at_the_gate_with_all_other_calls(make_app: Make, monkeypatch: Any) -> None:
    http = make_app().test_client()
    link = http.post("/plan", json=QUESTION).json["link"]
    monkeypatch.setattr(Gate, "place", lambda _: nullcontext(False))
    for answer in (http.get(link), http.get(link + ".svg"), http.post("/plan", json=QUESTION)):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json["resourceType"] == "OperationOutcome"


def test_a_question_in_chunks_is_read_up_to_its_bound_by_a_running_service(tmp_path: Path) -> None:
    head = b"POST /plan HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    question = b'{"medications": []}'
    with running(tmp_path) as service:
        assert status(raw(service, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(question), question))) == 200
        said = raw(service, head + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 3 + b"0\r\n\r\n")
        assert status(said) == 413 and b"OperationOutcome" in said
