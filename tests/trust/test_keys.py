"""Key sets that are read from an address (A6-A9, A11, F14): when, how far, and what of them is used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from cds_service.sandbox.mock_ehr import KEYS_PATH, MockEhr, Signer
from cds_service.trust.keysource import DEAD, PAUSE, STALE, KeysNotRead, ReadKeys
from cds_service.trust.outbound import KeyReader, Server
from cds_service.trust.words import base_fault
from tests.support.timing import within
from tests.trust.support import BASE, DISCOVERY, clients_file, rsa_pair

Make = Callable[..., Flask]


@pytest.fixture
def http(make_app: Make, ehr: MockEhr, folder: Path) -> FlaskClient:
    """A service that reads the fake EHR's keys from their address."""
    entry = {"name": "ehr", "issuer": ehr.url, "jku": [ehr.url + KEYS_PATH]}
    return make_app(clients=clients_file(folder, entry), public_url=BASE).test_client()


def status(http: FlaskClient, token: str) -> int:
    return http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code


def reads(ehr: MockEhr) -> int:
    return ehr.asked(KEYS_PATH)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every name that is looked up and every connection that is begun."""
    seen: list[tuple[str, int]] = []
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        seen.append((host, port))
        return resolve(host, port, *rest, **more)

    def begin(self: socket.socket, place: Any) -> None:
        seen.append(place[:2])
        connect(self, place)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", begin)
    return seen


def test_keys_are_read_at_the_first_token_and_not_again(http: FlaskClient, ehr: MockEhr) -> None:
    assert [status(http, ehr.signer.token(BASE + DISCOVERY)) for _ in range(5)] == [200] * 5
    assert reads(ehr) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda url: "https://evil.example/jwks.json",
        lambda url: url.replace("127.0.0.1", "127.0.0.1.evil.example"),
        lambda url: url.replace("//", "//user@"),
        lambda url: url.replace("//127", "//127.0.0.1@127"),
        lambda url: url.rpartition(":")[0] + ":1/jwks.json",
        lambda url: url.replace("jwks", "JWKS"),
        lambda url: url.replace("http:", "HTTP:"),
        lambda url: url.replace("/jwks", "/x/../jwks"),
        lambda url: url + "?x=1",
        lambda url: url + "#x",
        lambda url: url.replace("/jwks", "\\jwks"),
        lambda url: url + ".",
        lambda url: url.replace("http://", "https://"),
        lambda url: "file:///etc/passwd",
        lambda url: "",
        lambda url: None,
        lambda url: [url],
        lambda url: url + "\n",
    ],
)
def test_a6_a_key_address_that_is_not_in_the_list_is_never_read(
    http: FlaskClient, ehr: MockEhr, outside: list[Any], change: Callable[[str], Any]
) -> None:
    signer = Signer(ehr.url, change(ehr.url + KEYS_PATH), kid=ehr.signer.kid, key=ehr.signer.key)
    import jwt

    named = change(ehr.url + KEYS_PATH)
    head = {"kid": signer.kid, "jku": named}
    token = jwt.encode(jwt.decode(signer.token(BASE + DISCOVERY), options={"verify_signature": False}), signer.key,
                       algorithm="ES384", headers=head)  # fmt: skip
    assert status(http, token) == 401
    assert outside == []


@pytest.mark.parametrize("where", ["/elsewhere.json", "http://169.254.169.254/latest", "file:///etc/passwd"])
def test_a7_a_redirect_of_the_key_address_is_not_followed(
    http: FlaskClient, ehr: MockEhr, outside: list[Any], where: str
) -> None:
    for code in (301, 302, 303, 307, 308):
        ehr.fail(KEYS_PATH, status=code, headers={"Location": where}, times=1)
    assert status(http, ehr.signer.token(BASE + DISCOVERY)) == 401
    assert {place[1] for place in outside} == {int(ehr.url.rpartition(":")[2])}
    assert ehr.asked("/elsewhere") == 0


BAD_SETS: dict[str, dict[str, Any]] = {
    "too large": {"body": '{"keys": [' + " " * 300_000 + "]}"},
    "too many keys": {"body": orjson.dumps({"keys": [{"kid": str(n)} for n in range(101)]}).decode()},
    "not JSON": {"body": "<html>keys</html>"},
    "deep": {"body": '{"keys": ' + "[" * 5000 + "]" * 5000 + "}"},
    "a list": {"body": "[]"},
    "no keys": {"body": '{"keys": {}}'},
    "empty": {"body": ""},
    "an error": {"status": 500},
    "compressed": {"headers": {"Content-Encoding": "gzip"}},
    "reset": {"cut_at": 40},
    "cut": {"headers": {"Content-Length": "5000"}, "cut_at": 300},
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_a8_a_bad_key_set_is_not_used_and_the_last_good_one_is_kept(
    ehr: MockEhr, make_app: Make, folder: Path, name: str
) -> None:
    clock = [0.0]
    read = KeyReader(Server(ehr.url + KEYS_PATH, dev_networks()))
    keys = ReadKeys("ehr", read, lambda: clock[0])
    assert keys.find(ehr.signer.kid)
    clock[0] += STALE + 1
    ehr.fail(KEYS_PATH, **BAD_SETS[name])
    with capture_logs() as logs:
        assert keys.find(ehr.signer.kid), "the last good set is used"
    assert [line["event"] for line in logs] == ["keys not read"]
    fresh = ReadKeys("ehr", read, lambda: clock[0])
    assert fresh.find(ehr.signer.kid) is None


def dev_networks() -> Any:
    from cds_service.trust.addresses import LOCAL

    return LOCAL


@pytest.mark.parametrize("fault", [{"delay": 60}, {"stall": 60}, {"drip": 5}])
def test_a8_a_slow_key_set_costs_two_seconds_and_no_more(ehr: MockEhr, fault: dict[str, Any]) -> None:
    ehr.fail(KEYS_PATH, **fault)
    read = KeyReader(Server(ehr.url + KEYS_PATH, dev_networks()))
    with within(20, least=1.5), pytest.raises(KeysNotRead):
        read()


def test_a8_of_a_key_set_only_fit_keys_are_used(http: FlaskClient, ehr: MockEhr) -> None:
    other, weak = Signer(ehr.url), rsa_pair(1024)[1]
    ehr.published = [
        ehr.signer.public(), other.public() | {"d": "private"}, weak | {"kid": "weak"},
        Signer(ehr.url, kid="twice").public(), Signer(ehr.url, kid="twice").public(), "text", {"kid": "empty"},
    ]  # fmt: skip
    assert status(http, ehr.signer.token(BASE + DISCOVERY)) == 200
    assert status(http, Signer(ehr.url, kid="twice").token(BASE + DISCOVERY)) == 401
    assert status(http, other.token(BASE + DISCOVERY)) == 401
    ehr.published = [ehr.signer.public()]


def test_a9_a_flood_of_unknown_kids_makes_one_reading(http: FlaskClient, ehr: MockEhr) -> None:
    assert status(http, ehr.signer.token(BASE + DISCOVERY)) == 200
    for _ in range(200):
        assert status(http, Signer(ehr.url).token(BASE + DISCOVERY)) == 401
    assert reads(ehr) == 1, "the first reading was less than half a minute ago"


def test_a9_one_reading_in_half_a_minute_whoever_asks(ehr: MockEhr) -> None:
    clock = [0.0]
    keys = ReadKeys("ehr", KeyReader(Server(ehr.url + KEYS_PATH, dev_networks())), lambda: clock[0])
    for second in range(300):
        clock[0] = float(second)
        assert keys.find("unknown") is None
    assert reads(ehr) == 300 / PAUSE


def test_a9_while_keys_are_read_slowly_known_callers_go_on_and_a_flood_is_sent_away(ehr: MockEhr) -> None:
    clock = [0.0]
    keys = ReadKeys("ehr", KeyReader(Server(ehr.url + KEYS_PATH, dev_networks())), lambda: clock[0])
    assert keys.find(ehr.signer.kid)
    clock[0] += PAUSE + 1
    ehr.fail(KEYS_PATH, delay=1.5)
    ended: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: (keys.find(f"unknown {n}"), ended.append("unknown"))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    assert keys.find(ehr.signer.kid)
    import time

    time.sleep(0.5)
    assert len(ended) == 17, "one reads, two wait for it, the others have their answer"
    for thread in threads:
        thread.join(5)


def test_a11_a_new_key_is_taken_after_one_more_reading_and_an_old_one_within_ten_minutes_no_more(ehr: MockEhr) -> None:
    clock = [0.0]
    keys = ReadKeys("ehr", KeyReader(Server(ehr.url + KEYS_PATH, dev_networks())), lambda: clock[0])
    old = ehr.signer.kid
    assert keys.find(old)
    ehr.rotate()
    clock[0] = PAUSE + 1
    before = reads(ehr)
    assert keys.find(ehr.signer.kid)
    assert reads(ehr) == before + 1
    assert keys.find(old) is None
    gone = ehr.signer.kid
    ehr.rotate()
    clock[0] += STALE + 1
    assert keys.find(gone) is None, "no later than ten minutes after it was taken away"


def test_a11_keys_in_a_file_of_their_own_are_read_again_too(folder: Path) -> None:
    clock = [0.0]
    one, two = Signer("x"), Signer("x")
    file = folder / "keys.json"
    file.write_bytes(orjson.dumps({"keys": [one.public()]}))
    keys = ReadKeys("ehr", file.read_bytes, lambda: clock[0])
    assert keys.find(one.kid)
    file.write_bytes(orjson.dumps({"keys": [two.public()]}))
    clock[0] += PAUSE + 1
    assert keys.find(two.kid)
    assert keys.find(one.kid) is None


def test_f14_known_keys_go_on_for_a_day_while_their_address_is_down(ehr: MockEhr) -> None:
    clock = [0.0]
    keys = ReadKeys("ehr", KeyReader(Server(ehr.url + KEYS_PATH, dev_networks())), lambda: clock[0])
    assert keys.find(ehr.signer.kid)
    ehr.fail(KEYS_PATH, status=503)
    for hours in (0.2, 1, 12, 23.9):
        clock[0] = hours * 3600
        assert keys.find(ehr.signer.kid)
        assert keys.find("unknown") is None
    clock[0] = DEAD + 1
    assert keys.find(ehr.signer.kid) is None
    ehr.heal()
    clock[0] += PAUSE + 1
    assert keys.find(ehr.signer.kid), "and it comes back by itself"


def test_keys_are_read_only_from_addresses_that_may_be_connected_to(ehr: MockEhr) -> None:
    read = KeyReader(Server(ehr.url + KEYS_PATH))
    with pytest.raises(KeysNotRead, match="not reachable"):
        read()
    assert reads(ehr) == 0


@pytest.mark.parametrize(
    "url",
    ["https://ehr.example", "https://ehr.example/fhir", "https://ehr.example:8443/a/b", "https://[2001:db8::1]/fhir"],
)
def test_a_base_url_is_written_in_one_way(url: str) -> None:
    assert base_fault(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://ehr.example", "https://EHR.example", "https://ehr.example/", "https://ehr.example:443/fhir",
        "https://user@ehr.example", "https://ehr.example/fhir?x", "https://ehr.example/fhir#x",
        "https://ehr.example\\@evil.example/fhir", "https://ehr.example/a/../b", "https://ehr.example//fhir",
        "https://ehr.example/%2e%2e/x", "ftp://ehr.example", "https://", "https://ehr.example:99999", "ehr.example",
        "https://ehr.examplé", "https://ehr.example/a b", "javascript:alert(1)", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_any_other_way_of_writing_it_is_refused_at_the_start(url: str) -> None:
    assert base_fault(url) != ""
