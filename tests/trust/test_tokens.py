"""Tokens (A1-A5, A10, A13-A15, A17, A18, A20): what is taken, and that nothing else is."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256, sha384, sha512
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from joserfc import jwt as other_jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import SettingsError
from tests.trust.support import (
    BASE,
    DISCOVERY,
    FEEDBACK,
    ISSUER,
    SERVICE,
    bare_body,
    body_for,
    client_entry,
    clients_file,
    rsa_pair,
)

Call = Callable[..., TestResponse]
REFUSAL = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login",'
    b'"details":{"coding":[{"system":"urn:magnesium-cds:error","code":"not-authenticated"}],'
    b'"text":"This call is not authenticated."},"diagnostics":"https://cds.example/errors/not-authenticated"}]}'
)


def refused(answer: TestResponse) -> bool:
    """The one answer that every cause gives, to the byte."""
    assert answer.status_code == 401, answer.text
    assert answer.data == REFUSAL
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert sorted(answer.headers.keys()) == [
        "Cache-Control", "Content-Length", "Content-Type", "Referrer-Policy", "Strict-Transport-Security", "Vary",
        "WWW-Authenticate", "X-Content-Type-Options",
    ]  # fmt: skip
    return True


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": BASE + DISCOVERY, "iat": now, "exp": now + 300, "jti": uuid4().hex} | changes
    return {name: value for name, value in said.items() if value is not ...}


def signed(signer: Signer, header: dict[str, Any], said: dict[str, Any]) -> str:
    """A token with any header and any claims, signed rightly with the EHR's key."""
    head = {"alg": "ES384", "kid": signer.kid, "typ": "JWT"} | header
    head = {name: value for name, value in head.items() if value is not ...}
    text = f"{b64(head)}.{b64(said)}"
    from jwt.algorithms import ECAlgorithm

    return f"{text}.{b64(ECAlgorithm(ECAlgorithm.SHA384).sign(text.encode(), signer.key))}"


def cause_of(call: Call, token: str, path: str = DISCOVERY) -> str:
    """Refused, and the word in the log."""
    with capture_logs() as logs:
        assert refused(call(path, token))
    return next(str(line["cause"]) for line in logs if line["event"] == "call refused")


def test_a_good_token_is_taken_on_discovery_service_and_feedback(call: Call, production: Flask) -> None:
    assert call(DISCOVERY).status_code == 200
    answer = call(SERVICE, json=body_for(production))
    assert answer.status_code == 200
    assert answer.json is not None
    card = answer.json["cards"][0]["uuid"]
    item = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z",
            "overrideReason": {"userComment": "seen"}}  # fmt: skip
    assert call(FEEDBACK, json={"feedback": [item]}).status_code == 200


@pytest.mark.parametrize("path", [DISCOVERY, SERVICE, FEEDBACK])
def test_a1_a_call_without_a_token_is_refused_before_its_body_is_read(http: Any, path: str) -> None:
    method = "GET" if path == DISCOVERY else "POST"
    for headers in (
        [], [("Authorization", "")], [("Authorization", "Bearer")], [("Authorization", "Bearer ")],
        [("Authorization", "Basic dXNlcjpwYXNz")], [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer x")],
        [("Authorization", "Bearer " + "x" * 20_000)], [("Authorization", "Bearer é.é.é")],
    ):  # fmt: skip
        assert refused(http.open(path, method=method, headers=headers, data=b"not json"))


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", "", None, 7, ["ES384"]])
def test_a2_a_token_without_signature_is_refused(call: Call, signer: Signer, algorithm: Any) -> None:
    head = {"alg": algorithm, "kid": signer.kid, "typ": "JWT"}
    for signature in ("", "AA"):
        assert refused(call(DISCOVERY, f"{b64(head)}.{b64(claims())}.{signature}"))
    del head["alg"]
    assert refused(call(DISCOVERY, f"{b64(head)}.{b64(claims())}.AA"))


@pytest.mark.parametrize(("algorithm", "hasher"), [("HS256", sha256), ("HS384", sha384), ("HS512", sha512)])
def test_a3_a_token_signed_with_the_public_key_as_a_secret_is_refused(
    call: Call, signer: Signer, algorithm: str, hasher: Any
) -> None:
    public = signer.key.public_key()
    formats = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, formats),
        public.public_bytes(serialization.Encoding.DER, formats),
        json.dumps(signer.public()).encode(),
    ]
    for secret in secrets:
        text = f"{b64({'alg': algorithm, 'kid': signer.kid, 'typ': 'JWT'})}.{b64(claims())}"
        assert cause_of(call, f"{text}.{b64(hmac.new(secret, text.encode(), hasher).digest())}") == "algorithm"


def test_a3_no_client_can_be_given_a_shared_secret_algorithm(make_app: Any, signer: Signer, folder: Any) -> None:
    for algorithm in ("HS256", "none", "ES512K"):
        file = clients_file(folder, client_entry(signer, algorithms=[algorithm]))
        with pytest.raises(SettingsError, match="algorithms"):
            make_app(clients=file)


def test_a4_a_key_is_used_only_with_the_algorithm_it_is_for(make_app: Any, signer: Signer, folder: Any) -> None:
    rsa_key, rsa_jwk = rsa_pair()
    p256 = ec.generate_private_key(ec.SECP256R1())
    p256_jwk = dict(jwt.algorithms.ECAlgorithm.to_jwk(p256.public_key(), as_dict=True)) | {"kid": "p256"}
    keys = [signer.public(), rsa_jwk | {"kid": "rsa"}, rsa_jwk | {"kid": "only256", "alg": "RS256"}, p256_jwk]
    file = clients_file(
        folder, client_entry(signer, jwks=keys, algorithms=["ES384", "RS384", "ES256", "RS256", "PS384"])
    )
    app = make_app(profile="production", public_url=BASE, clients=file)
    tried = {
        ("ES384", "rsa"): signer.key, ("RS384", signer.kid): rsa_key, ("RS384", "only256"): rsa_key,
        ("ES256", signer.kid): p256, ("RS256", "rsa"): rsa_key, ("PS384", "only256"): rsa_key,
        ("RS384", "p256"): rsa_key, ("ES256", "p256"): p256, ("RS384", "rsa"): rsa_key, ("RS256", "only256"): rsa_key,
        ("PS384", "rsa"): rsa_key,
    }  # fmt: skip
    taken = set()
    for (algorithm, kid), key in tried.items():
        token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
        answer = app.test_client().get(DISCOVERY, headers={"Authorization": f"Bearer {token}"})
        if answer.status_code == 200:
            taken.add((algorithm, kid))
        else:
            assert refused(answer)
    assert taken == {
        ("RS256", "rsa"), ("ES256", "p256"), ("RS384", "rsa"), ("RS256", "only256"), ("PS384", "rsa"),
    }  # fmt: skip
    forged = signed(signer, {"alg": "ES256"}, claims())
    assert refused(app.test_client().get(DISCOVERY, headers={"Authorization": f"Bearer {forged}"}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": rsa_pair(1024)[1]["n"], "kty": "RSA", "e": "AQAB"}, "1024 bits"),
        ({"use": "enc"}, "not meant for signatures"),
        ({"key_ops": ["sign"]}, "not meant for signatures"),
        ({"crv": "P-521"}, "curve"),
        ({"crv": "P-256"}, "not those of a key"),
        ({"alg": "HS256"}, "alg"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "private or secret"),
        ({"d": "AAAA"}, "private or secret"),
        ({"x": "AAAA"}, "not those of a key"),
        ({"kid": ""}, "no kid"),
        ({"kid": "x" * 256}, "no kid"),
        ({"kty": "OKP", "crv": "Ed25519"}, "neither EC nor RSA"),
    ],
)
def test_a4_a_weak_or_unfit_key_keeps_the_service_from_starting(
    make_app: Any, signer: Signer, folder: Any, changes: dict[str, Any], words: str
) -> None:
    file = clients_file(folder, client_entry(signer, jwks=[signer.public() | changes]))
    with pytest.raises(SettingsError, match=words):
        make_app(clients=file)


def test_a5_what_a_header_asks_for_is_not_done(call: Call, signer: Signer) -> None:
    mine = Signer("https://evil.example")
    forger = Signer(ISSUER, kid=signer.kid)
    for header in (
        {"jwk": forger.public()}, {"x5c": ["MIIB"]}, {"x5u": "https://evil.example/cert"},
        {"jku": "https://evil.example/jwks.json"},
    ):  # fmt: skip
        assert cause_of(call, signed(forger, header, claims())) == "signature"
        # Signed by the right key, such a header is merely not looked at.
        assert call(DISCOVERY, signed(signer, header, claims())).status_code == 200
    for header in (
        {"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": False}, {"typ": "at+jwt"},
        {"typ": "JWE"}, {"typ": 7}, {"alg": "ES384 "},
    ):  # fmt: skip
        assert cause_of(call, signed(signer, header, claims())) in ("header", "algorithm")
    assert cause_of(call, mine.token(BASE + DISCOVERY)) == "issuer"
    assert call(DISCOVERY, signed(signer, {"typ": ...}, claims())).status_code == 200
    good = signer.token(BASE + DISCOVERY)
    head, body, signature = good.split(".")
    for text in (
        json.dumps({"payload": body, "protected": head, "signature": signature}), f"{good}.AAAA.BBBB", f"{head}.{body}",
        f"{head}..{signature}", f"{b64({'alg': 'ES384', 'kid': signer.kid, 'cty': 'JWT'})}.{b64(good.encode())}.AA",
        f"{head}.{b64([1])}.{signature}", f"{head}.{b64(b'{')}.{signature}", "..", "a.b.c",
    ):  # fmt: skip
        assert refused(call(DISCOVERY, text))


@settings(max_examples=150, deadline=None, database=None)
@given(kid=st.one_of(st.text(max_size=400), st.integers(), st.none(), st.just("x" * 10_000)))
def test_a10_any_kid_is_only_looked_up(production: Flask, signer: Signer, kid: Any) -> None:
    assume(kid != signer.kid)
    token = signed(signer, {"kid": kid}, claims())
    assert refused(production.test_client().get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}))


@pytest.mark.parametrize("kid", ["../../x", "' OR 1=1 --", "\x00", "🙂", "http://evil.example/", ""])
def test_a10_a_hostile_kid_is_only_looked_up(call: Call, signer: Signer, kid: str) -> None:
    assert cause_of(call, signed(signer, {"kid": kid}, claims())) == "key"


@pytest.mark.parametrize(
    "audience",
    [
        BASE, BASE + "/", BASE + DISCOVERY, BASE + SERVICE + "/", BASE + SERVICE + "x", BASE + FEEDBACK,
        BASE + "/cds-services/magnesium-order-select", "http://cds.example" + SERVICE, "https://CDS.example" + SERVICE,
        "https://cds.example:443" + SERVICE, SERVICE, "", [], ["https://other.example"], [BASE + DISCOVERY, 7],
        {"aud": BASE + SERVICE}, None, 7, [[BASE + SERVICE]], "https://cds.example/" + SERVICE,
    ],
)  # fmt: skip
def test_a13_a_token_for_another_address_is_refused(call: Call, signer: Signer, audience: Any) -> None:
    assert refused(call(SERVICE, signed(signer, {}, claims(aud=audience)), json=bare_body()))


def test_a13_the_address_may_be_one_of_several(call: Call, signer: Signer) -> None:
    token = signed(signer, {}, claims(aud=["https://other.example", BASE + SERVICE]))
    assert call(SERVICE, token, json=bare_body()).status_code == 200


def test_a13_a_client_may_have_audiences_of_its_own_and_then_no_other(
    make_app: Any, signer: Signer, folder: Any
) -> None:
    file = clients_file(folder, client_entry(signer, audiences=["magnesium at st elsewhere"]))
    http = make_app(profile="production", public_url=BASE, clients=file).test_client()

    def get(audience: str) -> int:
        return http.get(DISCOVERY, headers={"Authorization": f"Bearer {signer.token(audience)}"}).status_code

    assert get("magnesium at st elsewhere") == 200
    assert get(BASE + DISCOVERY) == 401


def test_a14_the_host_that_a_call_names_does_not_make_its_audience_right(call: Call, signer: Signer) -> None:
    token = signer.token("https://evil.example" + DISCOVERY)
    for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
                    {"Forwarded": "host=evil.example;proto=https"}):  # fmt: skip
        assert refused(call(DISCOVERY, token, headers=headers))
        assert call(DISCOVERY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"exp": -61}, "expired"), ({"exp": -3600, "iat": -7000}, "expired"), ({"exp": ...}, "claims"),
        ({"exp": "soon"}, "claims"), ({"exp": 1e30}, "claims"), ({"exp": 10**30}, "claims"),
        ({"exp": -(10**12)}, "expired"), ({"exp": 3601}, "lifetime"), ({"exp": 3600.5}, "claims"),
        ({"exp": True}, "claims"), ({"iat": ...}, "claims"), ({"iat": 120}, "not_yet"), ({"iat": "now"}, "claims"),
        ({"iat": None}, "claims"), ({"nbf": 120}, "not_yet"), ({"nbf": "later"}, "claims"), ({"iat": 301}, "not_yet"),
        ({"jti": ...}, "claims"), ({"jti": ""}, "claims"), ({"jti": "x" * 256}, "claims"), ({"jti": 7}, "claims"),
        ({"jti": "a\x00b"}, "claims"), ({"jti": "\ud800"}, "malformed"), ({"iss": ...}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"), ({"iss": ISSUER + "/"}, "issuer"), ({"aud": ...}, "claims"),
        ({"tenant": "north"}, "tenant"), ({"tenant": 7}, "tenant"), ({"tenant": ""}, "tenant"),
    ],
)  # fmt: skip
def test_a15_a17_a18_a_claim_that_is_wrong_is_refused(
    call: Call, signer: Signer, changes: dict[str, Any], cause: str
) -> None:
    now = int(time.time())
    moments = {
        name: now + value if type(value) in (int, float) and name != "jti" and value not in (1e30,) else value
        for name, value in changes.items()
        if name in ("exp", "iat", "nbf")
    }
    assert cause_of(call, signed(signer, {}, claims(**(changes | moments)))) == cause


def test_a15_times_in_milliseconds_are_refused(call: Call, signer: Signer) -> None:
    now = int(time.time() * 1000)
    assert cause_of(call, signed(signer, {}, claims(iat=now, exp=now + 300_000))) == "not_yet"
    assert cause_of(call, signed(signer, {}, claims(exp=now))) == "lifetime"


@pytest.mark.parametrize(
    "changes",
    [{"iat": 55}, {"exp": -50, "iat": -55}, {"nbf": 55}, {"nbf": -300}, {"exp": 3600, "iat": 0}, {"sub": 7},
     {"jti": "x" * 255}, {"jti": "🙂"}],
)  # fmt: skip
def test_a15_clocks_may_differ_by_a_minute_and_an_hour_is_long_enough(
    call: Call, signer: Signer, changes: dict[str, Any]
) -> None:
    now = int(time.time())
    moments = {name: now + value for name, value in changes.items() if name in ("exp", "iat", "nbf")}
    unique = {"jti": changes["jti"][:-8] + uuid4().hex[:8]} if "jti" in changes and len(changes["jti"]) > 8 else {}
    assert call(DISCOVERY, signed(signer, {}, claims(**(changes | moments | unique)))).status_code == 200


@settings(max_examples=200, deadline=None, database=None)
@given(
    said=st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "jti", "tenant", "sub"]),
        st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False),
                  st.text(max_size=9), st.lists(st.text(max_size=3), max_size=2)),
        min_size=1,
    )
)  # fmt: skip
def test_a15_strange_claims_never_break_the_service(production: Flask, signer: Signer, said: dict[str, Any]) -> None:
    token = signed(signer, {}, claims(**said))
    answer = production.test_client().get(DISCOVERY, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401)
    if answer.status_code == 200:  # then only what is free to vary varied
        assert not {"iss", "aud"} & said.keys()


def test_a20_the_log_knows_the_cause_and_nothing_of_the_token(call: Call, signer: Signer) -> None:
    with capture_logs() as logs:
        refused(call(DISCOVERY, signed(Signer(ISSUER, kid=signer.kid), {}, claims(jti="marked-jti", sub="marked-sub"))))
    lines = [line for line in logs if line["event"] == "call refused"]
    assert lines == [{"event": "call refused", "log_level": "warning", "cause": "signature"}]


def test_joserfc_agrees_with_every_token_that_is_taken(call: Call, signer: Signer) -> None:
    keys = KeySet.import_key_set({"keys": [signer.public()]})
    for header in ({}, {"typ": ...}, {"x5u": "https://evil.example"}):
        token = signed(signer, header, claims())
        assert call(DISCOVERY, token).status_code == 200
        seen = other_jwt.decode(token, keys, algorithms=["ES384", "RS384"])
        assert seen.claims["iss"] == ISSUER
    good = signer.token(BASE + DISCOVERY)
    for at in range(0, len(good), 7):
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        try:
            other_jwt.decode(changed, keys, algorithms=["ES384", "RS384"])
        except (JoseError, ValueError, UnicodeError):
            assert refused(call(DISCOVERY, changed))
        else:  # the last character of a part carries bits that mean nothing
            assert call(DISCOVERY, changed).status_code in (200, 401)
