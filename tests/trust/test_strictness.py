"""What JSON allows and we do not (A27, A29, A30): refused wherever it is, exactly and cheaply."""

from __future__ import annotations

import gc
import json
import time
from typing import Any
from unicodedata import normalize
from unittest.mock import patch

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from cds_service.fhir import strict_json
from cds_service.fhir.strict_json import DEEPEST, NotStrict, check
from tests.trust.support import FEEDBACK, MARK, PATIENT, SERVICE, bare_body, body_for, context, inputs, states


def twice(body: str, member: str, other: str) -> bytes:
    """The JSON text with `other` put before the member that begins so."""
    assert member in body
    return body.replace(member, f"{other}, {member}", 1).encode()


@pytest.mark.parametrize(
    ("member", "other"),
    [
        ('"patientId"', f'"patientId": "{MARK}"'), ('"patientId"', f'"PatientId": "{MARK}"'),
        ('"patientId"', f'"\\u0070atientId": "{MARK}"'), ('"context"', '"context": {}'),
        ('"patientId"', f'"patient\uff29d": "{MARK}"'), ('"hook"', '"hook": "order-sign"'),
        ('"access_token"', f'"access_token": "{MARK}"'), ('"prefetch"', '"prefetch": {}'),
        ('"patient":', '"patient": null'), ('"conditions"', '"conditions": null'), ('"nested"', '"nested": 1'),
        ('"fhirServer"', '"fhirserver": "x"'),
    ],
)  # fmt: skip
def test_a27_a_member_that_is_there_twice_is_refused(app: Flask, post: Any, member: str, other: str) -> None:
    token = {"access_token": "x", "token_type": "Bearer", "expires_in": 1, "scope": "", "subject": "s"}
    body = body_for(app) | {
        "fhirServer": "https://ehr.example", "fhirAuthorization": token, "extension": {"a": {"nested": 1}}
    }  # fmt: skip
    text = json.dumps(body)
    assert post(text.encode()).status_code == 200
    answer = post(twice(text, member, other))
    assert answer.status_code == 400
    assert "same member twice" in answer.json["issue"][0]["details"]["text"]


IN_RESOURCES = {
    "another patient": ('"subject"', f'"subject": {{"reference": "Patient/{MARK}"}}'),
    "another id": ('"id": "low-magnesium"', f'"id": "{MARK}"'),
    "another type": ('"resourceType": "Observation"', '"resourceType": "Patient"'),
    "another entry": ('"entry"', '"entry": []'),
    "another value": ('"value": 0.58', '"value": 0.95'),
    "another unit, deep inside": ('"unit"', '"unit": "mg/dL"'),
    "in capitals": ('"subject"', f'"Subject": {{"reference": "Patient/{MARK}"}}'),
    "escaped": ('"subject"', f'"\\u0073ubject": {{"reference": "Patient/{MARK}"}}'),
    "escaped capital": ('"subject"', f'"\\u0053ubject": {{"reference": "Patient/{MARK}"}}'),
    "wide letters": ('"subject"', f'"\uff53ubject": {{"reference": "Patient/{MARK}"}}'),
    "wide letters escaped": ('"subject"', f'"\\uff53ubject": {{"reference": "Patient/{MARK}"}}'),
    "the Kelvin sign": ('"link"', '"lin\u212a": []'),
}


@pytest.mark.parametrize("others", [0, 3000], ids=["small", "large"])
@pytest.mark.parametrize("name", IN_RESOURCES)
def test_a27_a_member_that_is_there_twice_in_a_resource_is_refused(
    app: Flask, post: Any, name: str, others: int
) -> None:
    body = body_for(app)
    results = body["prefetch"]["serum_magnesium"]
    results["link"] = [{"relation": "self", "url": "https://ehr.example/é\\"}]
    other = {"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{PATIENT}"}}
    results["entry"] += [{"resource": {"id": f"o{number}"} | other} for number in range(others)]
    text = json.dumps(body, ensure_ascii=False)
    assert post(text.encode()).status_code == 200
    answer = post(twice(text, *IN_RESOURCES[name]))
    assert answer.status_code == 400
    assert "same member twice" in answer.json["issue"][0]["details"]["text"]


def test_a27_so_it_is_in_draft_orders_and_feedback(post: Any) -> None:
    drafts = b'{"resourceType": "Bundle", "entry": [], "entry": []}'
    body = json.dumps(context(draftOrders=MARK) | {"hook": "order-sign"}).encode().replace(f'"{MARK}"'.encode(), drafts)
    assert "same member twice" in post(body, "/cds-services/magnesium-order-sign").text
    assert "same member twice" in post(b'{"feedback": [{"card": "a", "card": "b"}]}', FEEDBACK).text


def test_a27_what_is_in_a_text_is_no_member(app: Flask, post: Any) -> None:
    body = body_for(app)
    body["extension"] = {"note": '"patientId": 1, "patientId": 2', "patientId": 3}
    body["prefetch"]["patient"]["text"] = {"status": "additional", "div": '"a": [[{{ "a": ]]'}
    assert post(body).status_code == 200


DEEP = 100_000


def cheaply(post: Any, raw: bytes) -> TestResponse:
    """The answer, for no more of our own work than some times that of a plain call with a plain list as long."""
    plain = json.dumps(bare_body() | {"extension": {"list": [0] * (len(raw) // 2)}}, separators=(",", ":")).encode()
    answer, spent = worked(post, raw)
    _, floor = worked(post, plain)
    assert spent < 15 * floor  # usually up to five times; what grows with the square is hundreds
    return answer


def worked(post: Any, raw: bytes) -> tuple[TestResponse, float]:
    """The answer, and the seconds of our own work: the best of three, since what runs beside it shows in it."""
    spent = []
    gc.collect()
    for _ in range(3):
        start = time.process_time()
        answer: TestResponse = post(raw)
        spent.append(time.process_time() - start)
    return answer, min(spent)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"hook": ' + b"[" * 65 + b"]" * 65 + b"}", b'{"prefetch": {"patient": ' + b'{"a":' * 63 + b"1" + b"}" * 65,
        b'{"prefetch": {"patient": ' + b'[' * DEEP + b"]" * DEEP + b"}}",
        b'{"context": {"draftOrders": ' + b'{"x":[' * 5000 + b"]}" * 5000 + b"}}",
        b"[" + b'"]]]]",[' * 70 + b"]" * 71, b'{"a": ' + b'["]", ' * 65 + b"0" + b"]" * 65 + b"}",
        b"[" + b'"\\\"]]]", [' * 70 + b"]" * 71,
    ],
    ids=["open", "closed", "objects", "65", "in prefetch", "deep in prefetch", "in draftOrders", "texts that close",
         "one that closes before each", "texts with quotes"],
)  # fmt: skip
def test_a29_what_is_nested_too_deeply_is_refused_at_once(post: Any, body: bytes) -> None:
    answer = cheaply(post, body)
    assert answer.status_code == 400
    assert "deeper than 64 levels" in answer.text


def test_a29_sixty_levels_are_read(app: Flask, post: Any) -> None:
    body = body_for(app) | {"extension": {"deep": json.loads("[" * 60 + "]" * 60)}}
    assert post(body).status_code == 200


BRACKETS = ["[" * 1000, "]" * 1000, "{[" * 500 + '"', '"[{', '\\"[', "\\", '\\\\"', "[\n[", '"', "", '[" : {"a": [']


@pytest.mark.parametrize("text", BRACKETS, ids=range(len(BRACKETS)))
def test_a29_brackets_in_texts_are_no_depth(app: Flask, post: Any, text: str) -> None:
    body = body_for(app) | {"extension": {"list": [text, "", {text: text}] * 40}}
    body["prefetch"]["patient"]["text"] = {"status": "additional", "div": f"<div>{text}</div>"}
    assert post(body).status_code == 200


NESTED = st.recursive(
    st.one_of(st.none(), st.integers(), st.text('[]{}",:\\ax\u00e9\u4e2d', max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('[]{}",:\\ax\u00e9', max_size=4), inner, max_size=3)
    ),
    max_leaves=20,
)  # fmt: skip


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def one_name_each(value: Any) -> bool:
    if isinstance(value, dict):
        names = {normalize("NFKC", name).casefold() for name in value}
        return len(names) == len(value) and all(map(one_name_each, value.values()))
    return all(map(one_name_each, value)) if isinstance(value, list) else True


def passes(raw: bytes) -> bool:
    try:
        check(raw)
    except NotStrict:
        return False
    return True


@settings(max_examples=300, deadline=None, database=None)
@given(value=NESTED, around=st.integers(0, 70), plain=st.booleans(), space=st.sampled_from([None, 1]),
       piece=st.sampled_from([8, 30, strict_json._PIECE]))  # fmt: skip
def test_a27_a29_depth_and_members_are_counted_exactly(
    value: Any, around: int, plain: bool, space: int | None, piece: int
) -> None:
    whole: Any = value
    for _ in range(around):
        whole = [whole, "]"]
    raw = json.dumps(whole, ensure_ascii=plain, indent=space).encode()
    # A body of this size is taken apart as a large one is.
    with patch.multiple(strict_json, _PIECE=piece, _SPARSE=strict_json._SPARSE if piece > 30 else 0):
        assert passes(raw) == (levels(whole) <= DEEPEST and one_name_each(value))


@pytest.mark.parametrize(
    ("change", "status_"),
    [
        ({"extension": {"list": [0] * 1_000_000}}, 200), ({"extension": {"list": [[]] * 1_000_000}}, 400),
        ({"extension": {"list": [{}] * 1_000_000}}, 400), ({"extension": {"text": "x" * 7_000_000}}, 200),
        ({"extension": {"text": "[" * 7_000_000}}, 200), ({"extension": {"text": "x" * 10_000_000}}, 413),
        ({"prefetch": {str(n): None for n in range(100_000)}}, 200),
        ({"prefetch": {str(n): "x" * 70 for n in range(80_000)}}, 200),
        ({"extension": {str(n): 0 for n in range(100_000)}}, 200),
        ({"prefetch": {"serum_magnesium": {"resourceType": "Bundle", "entry": [{"resource": {"id": "1"}}] * 100_000}}},
         400),
        ({"prefetch": {f"n{number}": 0 for number in range(700_000)}}, 400),
        ({"extension": {f"\u00e9{number}": 0 for number in range(20_000)}}, 400),
        ({"extension": {"\ufdfa" * 1_000_000: 0}}, 400),
    ],
    ids=["long list", "lists", "objects", "long text", "brackets", "larger", "many prefetch keys", "many texts",
         "many members", "many entries", "700,000 names", "many odd names", "a long odd name"],
)  # fmt: skip
def test_a29_what_is_long_is_read_or_refused_and_not_slow(post: Any, change: dict[str, Any], status_: int) -> None:
    raw = json.dumps(bare_body() | change, separators=(",", ":")).encode()
    assert cheaply(post, raw).status_code == status_


def test_a29_of_twenty_thousand_entries_no_more_than_five_thousand_are_read(app: Flask, post: Any) -> None:
    body = body_for(app)
    bundle = body["prefetch"]["serum_magnesium"]
    assert bundle["entry"]
    bundle["entry"] = [{"resource": {"resourceType": "Observation"}}] * 20_000
    answer = post(body)
    assert answer.status_code == 200
    assert inputs(answer.json)["serum_magnesium"] in ("incomplete", "failed")


BAD_JSON: dict[str, bytes] = {
    "NaN": b'{"hook": NaN}', "Infinity": b'{"hook": Infinity}', "too large a number": b'{"extension": {"n": 1e400}}',
    "5,000 digits": b'{"extension": {"n": ' + b"9" * 5000 + b"}}", "half a surrogate": b'{"hook": "\\ud800"}',
    "NUL escaped": b'{"extension": {"n": "a\\u0000b"}}', "NUL in prefetch": b'{"prefetch": {"x": {"y": "\\u0000"}}}',
    "NUL": b'{"hook": "\x00"}', "BOM": b'\xef\xbb\xbf{"hook": "patient-view"}',
    "UTF-16": '{"hook": "x"}'.encode("utf-16"),
    "Latin-1": '{"hook": "é"}'.encode("latin-1"), "comment": b'{"hook": /* x */ "y"}', "comma": b'{"hook": "x",}',
    "single quotes": b"{'hook': 1}", "two values": b"{} {}", "empty": b"", "space": b"  ",
    "list": b"[]", "null": b"null",
    "number": b"7", "text": b'"x"', "control character": b'{"hook": "\x01"}', "escape": b'{"hook": "\\x"}',
    "cut": b'{"hook": "patient-vi', "plus": b'{"n": +1}', "zero": b'{"n": 007}', "hex": b'{"n": 0x1}',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("path", [SERVICE, FEEDBACK])
def test_a30_what_is_not_json_is_refused(post: Any, name: str, path: str) -> None:
    assert post(BAD_JSON[name], path).status_code == 400


def test_a30_an_escaped_backslash_before_u0000_is_no_nul(post: Any) -> None:
    assert post(bare_body() | {"extension": {"n": "\\u0000"}}).status_code == 200


@pytest.mark.parametrize("name", ["NaN", "too large a number", "half a surrogate", "control character"])
def test_a30_in_a_prefetched_resource_it_is_refused_or_makes_the_input_fail(app: Flask, post: Any, name: str) -> None:
    value = {"NaN": b"NaN", "too large a number": b"1e400", "half a surrogate": b'"\\udfff"',
             "control character": b'"\x02"'}[name]  # fmt: skip
    text = json.dumps(body_for(app)).encode()
    answer = post(text.replace(b'"value": 0.58', b'"value": ' + value))
    if answer.status_code == 200:
        assert states(answer.json)["low_serum_magnesium"] == "not_evaluated"
        assert inputs(answer.json)["serum_magnesium"] in ("failed", "given")
    else:
        assert answer.status_code == 400
