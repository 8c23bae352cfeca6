"""CORS and headers (A46, A51, A54), limits (A36, F34), and the counting of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import SettingsError
from cds_service.trust.limits import Buckets, Gate
from tests.support.timing import within
from tests.trust.support import (
    BASE,
    DISCOVERY,
    FEEDBACK,
    SERVICE,
    bare_body,
    client_entry,
    clients_file,
    running,
    wait_until,
)

Make = Callable[..., Flask]
GOOD = "https://ehr.example"
BAD_ORIGINS = [
    "null", "https://evil.example", "https://ehr.example.evil.example", "http://ehr.example", "https://ehr.example:444",
    "https://EHR.example", "https://ehr.example/", "https://evilehr.example", "https://ehr.example@evil.example", "*",
    "https://sandbox.cds-hooks.org", "http://localhost:8080", "http://127.0.0.1", "file://", "",
]  # fmt: skip


def shared_with(answer: Any) -> str | None:
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]
    return str(found) if (found := answer.headers.get("Access-Control-Allow-Origin")) is not None else None


@pytest.mark.parametrize("origin", BAD_ORIGINS)
def test_a46_no_other_origin_may_read_an_answer(http: Any, origin: str) -> None:
    assert shared_with(http.get(DISCOVERY, headers={"Origin": origin})) is None
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert shared_with(http.options(SERVICE, headers=asked)) is None


def test_a46_a_clients_origin_may_and_on_errors_too(call: Any, http: Any) -> None:
    origin = {"Origin": GOOD}
    assert shared_with(call(DISCOVERY, headers=origin)) == GOOD
    for answer, status in (
        (call(DISCOVERY, "", headers=origin), 401), (call(SERVICE, json={}, headers=origin), 400),
        (call("/cds-services/none", json={}, headers=origin), 404), (http.get("/nothing", headers=origin), 404),
        (http.put(SERVICE, headers=origin), 405), (call(SERVICE, data=b"x" * 9_000_000, headers=origin), 415),
        (call(SERVICE, data=b"x" * 9_000_000, headers=origin | {"Content-Type": "application/json"}), 413),
        (call(FEEDBACK, json={}, headers=origin), 400),
    ):  # fmt: skip
        assert (answer.status_code, shared_with(answer)) == (status, GOOD)


def test_a46_a_preflight_needs_no_token(http: Any) -> None:
    answer = http.options(
        SERVICE,
        headers={"Origin": GOOD, "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization,content-type"},
    )  # fmt: skip
    assert answer.status_code == 204
    assert shared_with(answer) == GOOD
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"


@pytest.mark.parametrize("origin", ["*", "null", "https://ehr.example/", "https://*.example", "ehr.example", ""])
def test_a46_a_client_is_given_exact_origins_only(make_app: Make, signer: Signer, folder: Path, origin: str) -> None:
    file = clients_file(folder, client_entry(signer, origins=[origin]))
    with pytest.raises(SettingsError, match="origins"):
        make_app(profile="production", public_url=BASE, clients=file)


@pytest.mark.parametrize("path", [DISCOVERY, SERVICE, FEEDBACK, "/healthz", "/readyz", "/evidence", "/", "/nothing"])
def test_a51_a54_every_answer_has_its_headers_and_tells_nothing_of_what_is_inside(http: Any, path: str) -> None:
    answer = http.get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not {"Server", "X-Powered-By", "Set-Cookie"} & set(answer.headers.keys())
    assert "Traceback" not in answer.text
    if answer.content_type.startswith("text/html"):
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/console", "/debug", "/.git/config", "/static/../../pyproject.toml", "/admin"])
def test_a54_what_is_not_served_is_not_there(http: Any, path: str) -> None:
    assert http.get(path).status_code == 404


def test_a36_a_flood_from_one_address_is_stopped_before_its_tokens_are_looked_at(
    make_app: Make, signer: Signer, folder: Path
) -> None:
    app = make_app(
        profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)), workers=1,
        address_rate=5, client_rate=1000, trusted_proxies=1,
    )  # fmt: skip
    http = app.test_client()

    def get(address: str, token: str = "nonsense") -> Any:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"9.9.9.9, {address}"}
        return http.get(DISCOVERY, headers=headers)

    seen = Counter(get("1.1.1.1").status_code for _ in range(40))
    assert seen[401] <= 16
    assert seen[429] >= 24
    refused = get("1.1.1.1")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json["issue"][0]["code"] == "throttled"
    assert get("2.2.2.2", signer.token(BASE + DISCOVERY)).status_code == 200, "others go on"
    assert http.get("/healthz").status_code == 200


def test_a36_what_a_caller_writes_before_the_proxy_is_not_its_address(make_app: Make) -> None:
    for proxies, path in ((0, DISCOVERY), (1, DISCOVERY)):
        http = make_app(address_rate=2, workers=1, trusted_proxies=proxies).test_client()
        answers = [http.get(path, headers={"X-Forwarded-For": f"8.8.8.{n}, 1.1.1.1"}).status_code for n in range(10)]
        assert 429 in answers


def test_a36_a_flood_of_one_client_leaves_the_others_alone(make_app: Make, folder: Path) -> None:
    loud, calm = Signer("https://loud.example"), Signer("https://calm.example")
    file = clients_file(folder, client_entry(loud, name="loud"), client_entry(calm, name="calm"))
    app = make_app(profile="production", public_url=BASE, clients=file, client_rate=4, address_rate=100_000, workers=1)
    http = app.test_client()

    def get(signer: Signer) -> int:
        return http.get(DISCOVERY, headers={"Authorization": f"Bearer {signer.token(BASE + DISCOVERY)}"}).status_code

    seen = Counter(get(loud) for _ in range(40))
    assert seen[429] >= 10
    assert get(calm) == 200


def test_a36_a_bucket_fills_again_and_knows_a_bounded_number_of_names() -> None:
    clock = [0.0]
    buckets = Buckets(2, lambda: clock[0])
    assert [buckets.take("a") for _ in range(6)] == [0, 0, 0, 0, 1, 1]
    clock[0] += 0.6
    assert [buckets.take("a"), buckets.take("a")] == [0, 1]
    slow = Buckets(0.1, lambda: clock[0])
    assert [slow.take("a"), slow.take("a")] == [0, 10]
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._levels) == 10_000


@contextmanager
def held(gate: Gate, count: int) -> Iterator[None]:
    with ExitStack() as places:
        assert all(places.enter_context(gate.place()) for _ in range(count))
        yield


def test_f34_beyond_those_who_work_and_wait_callers_are_sent_away_at_once() -> None:
    gate = Gate(working=2, waiting=1, seconds=2)
    with held(gate, 2):
        waiting = threading.Thread(target=lambda: gate.place().__enter__())
        waiting.start()
        assert gate._queue is not None
        wait_until(lambda: gate._queue._value == 0, 5, "it does not wait")
        with within(0.5), gate.place() as free:
            assert not free
        waiting.join()
    with gate.place() as free:
        assert free


def test_f34_a_burst_is_answered_or_told_to_come_back_and_the_admitted_stay_quick(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("burst"), threads=8) as service:
        sessions = threading.local()

        def post(_: int) -> tuple[int, float, str | None]:
            if not hasattr(sessions, "http"):
                sessions.http = requests.Session()
            start = time.monotonic()
            answer = sessions.http.post(service.url + SERVICE, json=bare_body(), timeout=20)
            return answer.status_code, time.monotonic() - start, answer.headers.get("Retry-After")

        alone = sorted(post(0)[1] for _ in range(9))[4]
        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(post, range(240)))
        seen = Counter(status for status, _, _ in answers)
        assert seen.keys() <= {200, 503}
        assert seen[200] > 20
        assert all(retry == "1" for status, _, retry in answers if status == 503)
        admitted = sorted(took for status, took, _ in answers if status == 200)
        assert admitted[len(admitted) // 2] < 40 * alone, "the queue is bounded: nobody waits for forty others"
        after = [post(0) for _ in range(5)]
        assert [status for status, _, _ in after] == [200] * 5, "and it is over at once"


def test_the_gate_is_left_whatever_happens_inside(make_app: Make) -> None:
    app = make_app(threads=4)  # two at a time
    http = app.test_client()
    for body in (b"{", b"", b"[]", None) * 5:
        assert http.post(SERVICE, data=body, content_type="application/json").status_code == 400
        assert http.get("/cds-services/none").status_code in (404, 405)
        assert http.options(SERVICE).status_code == 204
    assert http.get(DISCOVERY).status_code == 200
