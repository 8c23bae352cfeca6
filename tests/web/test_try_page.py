"""The page at / on which patients are tried: every way in, what comes out, and what is said of what cannot be used."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cds_service.sandbox import patients
from cds_service.settings import Settings, SettingsError, load_settings
from cds_service.trust.profile import PRESETS
from tests.console.browser import served
from tests.console.support import Visitor, person
from tests.trust.support import BASE
from tests.web.support import bundle, cards, fill, paste, request_of

Maker = Callable[..., Flask]
PLAN = "/try?sample=ciprofloxacin&hook=order-sign&draft=magnesium-oxide"


# In.


def test_the_first_thing_on_the_first_page_is_a_patient_to_pick(app: Flask) -> None:
    page = app.test_client().get("/").text
    first = re.search(r'<main>.*?<a class="sample" href="([^"#]+)', page, re.DOTALL)
    assert first and first[1].startswith("/try?sample=")
    assert app.test_client().get(first[1].replace("&amp;", "&")).status_code == 200
    assert "/cds-services/magnesium-patient-view" in page  # what the short page says is there too


@pytest.mark.parametrize("name", patients.load())
def test_every_sample_is_tried_on_every_hook_that_is_offered(app: Flask, name: str) -> None:
    offered = re.findall(rf'href="(/try\?sample={name}&amp;hook=[^"#]+)', app.test_client().get("/").text)
    assert offered
    for path in offered:
        page = app.test_client().get(path.replace("&amp;", "&"))
        assert page.status_code == 200
        assert "Refused" not in page.text


def test_a_sample_gets_the_cards_that_the_endpoint_gives_its_request(app: Flask) -> None:
    page = app.test_client().get("/try?sample=kidney&hook=order-select")
    answer = app.test_client().post("/cds-services/magnesium-order-select", json=request_of(page)).json
    assert cards(page) == [card["summary"] for card in answer["cards"]]
    assert len(cards(page)) == 2


def test_a_pasted_bundle_and_its_file_and_its_request_get_the_same_cards(app: Flask) -> None:
    chart = bundle("levothyroxine", "magnesium-oxide")
    pasted = paste(app, chart, hook="order-select")
    assert cards(pasted) and "levothyroxine" in cards(pasted)[0]
    file = {"file": (io.BytesIO(json.dumps(chart).encode()), "patient.json")}
    sent = app.test_client().post("/try", data={"way": "text", "text": "", "hook": "order-select", **file})
    assert cards(sent) == cards(pasted)
    again = paste(app, request_of(pasted))  # a request says itself which hook it is of
    assert cards(again) == cards(pasted)
    assert "order-select" in again.text


def test_typed_facts_are_read_by_the_words_and_units_of_the_content(app: Flask) -> None:
    """Low magnesium in mg/dL with digoxin, and magnesium ordered by a patient whose kidneys fail."""
    low = fill(
        app, magnesium="1.4", magnesium_unit="mg/dL", drug=["digoxin"], drug_when=["once a day"], hook="patient-view"
    )
    assert cards(low) == ["Low magnesium 1.4 mg/dL (0 d ago) with digoxin"] or "with digoxin" in cards(low)[0]
    failing = fill(app, egfr="22", order=["magnesium oxide 400 mg"], order_when=["twice a day"])
    assert "eGFR 22" in cards(failing)[0]
    by_creatinine = fill(
        app, creatinine="350", creatinine_unit="umol/L", order=["magnesium oxide 400 mg"], order_when=[""]
    )
    assert any("eGFR" in card for card in cards(by_creatinine))


def test_typed_times_make_a_day(app: Flask) -> None:
    page = fill(
        app, egfr="90", drug=["levothyroxine"], drug_when=["7:00"], order=["magnesium oxide 400 mg"],
        order_when=["once a day"],
    )  # fmt: skip
    assert "levothyroxine" in cards(page)[0]
    drug = (
        request_of(page)["prefetch"]["medications"]["entry"][1]["resource"]
        if "medications" in request_of(page)["prefetch"]
        else None
    )
    assert drug is None or drug["dosageInstruction"][0]["timing"]["repeat"]["timeOfDay"] == ["07:00:00"]
    assert "<svg" in page.text


def test_a_name_that_is_not_known_is_told_with_the_nearest_that_is(app: Flask) -> None:
    page = fill(app, drug=["levothyroxin", "apixaban", "Qzyx"], drug_when=["", "", ""], hook="patient-view")
    told = page.text.partition("Names that are not known here")[2].partition("</section>")[0]
    assert "Qzyx" in told
    assert "apixaban" not in told  # known, and of no interest to these rules
    assert "Every rule that this hook shows was checked" not in page.text  # no all-clear


# Out.


def test_the_exchange_the_day_and_every_rule_stand_beside_the_cards(app: Flask) -> None:
    page = app.test_client().get(PLAN)
    assert len(cards(page)) == 1 and "12:30" in cards(page)[0]
    assert page.text.count("<svg") == 2 and re.search(r'href="/plan/[^"]+">The whole day', page.text)
    answer = app.test_client().post("/cds-services/magnesium-order-sign", json=request_of(page)).json
    told = answer["extension"]["org.magnesium-cds"]["outcomes"]
    for outcome in told:
        assert f'href="/evidence/{outcome["rule"]}"' in page.text
    fired = sum(one["outcome"] == "fired" for one in told)
    assert f"Fired ({fired})" in page.text
    assert page.text.index("Fired (") < page.text.index("Quiet (")
    assert re.search(r"limit: [^<]+ \(", page.text)  # a tree tells its limits


def test_what_is_missing_or_not_read_is_said_and_never_an_all_clear(app: Flask) -> None:
    request = request_of(app.test_client().get("/try?sample=healthy"))
    for key in list(request["prefetch"]):
        if key != "patient":
            del request["prefetch"][key]
    page = paste(app, request)
    assert "Missing or not read" in page.text and "Not checked:" in page.text
    assert "Every rule that this hook shows was checked" not in page.text
    request["prefetch"]["no_such_key"] = None
    assert "nobody asked for this key" in paste(app, request).text


@pytest.mark.parametrize("name", PRESETS)
def test_each_client_gets_the_card_that_its_preset_makes(app: Flask, name: str) -> None:
    page = app.test_client().get(f"/try?sample=kidney&hook=order-sign&preset={name}").text
    sends_buttons = 'value="accepted"' in page
    assert sends_buttons is (name in ("crd", "generic"))
    assert ("Dismiss, because" in page) is (name != "oracle")
    row = page.partition("What other clients show")[2]
    assert "0 of 1 buttons, the rest told in words" in row
    assert "an empty list of systemActions" in row


def test_the_command_to_copy_runs_against_the_service_as_it_stands(app: Flask, tmp_path: Path) -> None:
    import html

    with served(app) as base:
        import requests

        page = requests.get(f"{base}{PLAN}", timeout=30).text
        found = re.search(r'<pre id="curl"[^>]*>(.*?)</pre>', page, re.DOTALL)
        assert found
        script = tmp_path / "call.sh"
        script.write_text(html.unescape(found[1]))
        done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=60)
    assert "12:30" in json.loads(done.stdout)["cards"][0]["summary"], done.stderr


def test_a_token_in_a_pasted_request_is_neither_shown_nor_copied(app: Flask) -> None:
    request = request_of(app.test_client().get("/try?sample=healthy"))
    request["fhirServer"] = "https://ehr.example/fhir"
    request["fhirAuthorization"] = {"access_token": "Zecret7", "token_type": "Bearer", "expires_in": 300,
                                    "scope": "patient/*.read", "subject": "one"}  # fmt: skip
    page = paste(app, request)
    assert page.status_code == 200
    shown = page.text.partition('<textarea id="text"')
    after = shown[2].partition("</textarea>")[2]
    assert "Zecret7" not in shown[0] + after  # in the text that was typed alone
    assert "access token of your request is left out" in page.text


# What cannot be used.


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("", 400, "empty"),
        ("{\n  Zq7", 400, "line 2, column 3"),
        ('{"a": 1, "a": 2}', 400, "Text:"),
        ("[]", 422, "neither a CDS Hooks request nor a FHIR Bundle"),
        ('{"resourceType": "Bundle"}', 422, "0 Patient resources"),
        ('{"hook": "Zq7", "context": {}}', 422, "no service answers the hook"),
        ('{"hook": "patient-view", "context": {}}', 400, "userId is required"),
        ('{"hook": ["patient-view"], "context": {}}', 422, "no service answers"),
    ],
)
def test_a_text_that_cannot_be_used_stays_and_its_fault_is_told(app: Flask, text: str, status: int, said: str) -> None:
    page = paste(app, text)
    assert page.status_code == status
    assert said in page.text
    if text:
        kept = page.text.partition('<textarea id="text"')[2].partition("</textarea>")[0]
        import html

        assert html.unescape(kept.partition(">\n")[2]) == text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("age", "", "Age: type a whole number"),
        ("age", "-4", "Age: type a whole number"),
        ("age", "999", "Age: type a whole number"),
        ("sex", "Zq", "Sex: choose"),
        ("magnesium", "0,6", "Serum magnesium: type a number with a point"),
        ("magnesium", "1.4 mg/dL", "Serum magnesium: type a number"),
        ("magnesium_unit", "Zq/L", "Serum magnesium: choose one of the units"),
        ("egfr", "x", "eGFR: type a number"),
        ("creatinine", "1e3", "Serum creatinine: type a number"),
        ("drug_when", "twice a day", "Medicine 1: type its name"),
        ("drug", "x" * 201, "Medicine 1: shorten it"),
        ("order", "", "This hook is about an order"),
        ("hook", "Zq", "Hook: choose"),
    ],
)
def test_a_fault_of_each_field_is_told_beside_it_and_all_that_was_typed_stays(
    app: Flask, field: str, value: str, said: str
) -> None:
    typed: dict[str, Any] = {"magnesium": "0.6", "magnesium_unit": "mmol/L", "egfr": "55", "creatinine": "",
                             "order": "magnesium oxide", "order_when": ""}  # fmt: skip
    page = fill(app, **{**typed, field: value})
    assert page.status_code in (400, 422)
    assert said in page.text
    if field != "egfr":
        assert 'value="55"' in page.text


def test_what_is_too_large_is_refused_with_the_size_that_is_read(make_app: Maker) -> None:
    app = make_app(max_body=20_000)
    page = paste(app, "x" * 30_000)
    assert page.status_code == 413
    assert "19 kB" in page.text
    assert paste(app, bundle("healthy")).status_code == 200


@pytest.mark.parametrize("query", ["sample=Zq7", "sample=kidney&hook=Zq7", "sample=kidney&draft=Zq7", ""])
def test_an_address_of_no_sample_is_told_and_not_repeated(app: Flask, query: str) -> None:
    page = app.test_client().get(f"/try?{query}")
    assert page.status_code == 400
    assert "Zq7" not in page.text and "hoose" in page.text


def test_a_form_on_another_site_is_refused(app: Flask) -> None:
    client = app.test_client()
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 422),
        ({"Sec-Fetch-Site": "none"}, 422), ({}, 422),
    ):  # fmt: skip
        for path in ("/try", "/plan/form"):
            assert client.post(path, data={"text": "[]"}, headers=headers).status_code == status, (path, headers)
        said = client.post("/try/feedback", data={}, headers=headers).status_code
        assert said == (403 if status == 403 else 404)


# Who may, and what is left.


def test_nothing_of_a_patient_is_logged_or_in_the_database(
    make_app: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(data_dir=tmp_path)
    chart = json.loads(
        json.dumps(bundle("digoxin")).replace("digoxin-", "Zq7x-").replace("Patient/digoxin", "Patient/Zq7x")
    )
    for entry in chart["entry"]:
        entry["resource"]["id"] = entry["resource"]["id"].replace("digoxin", "Zq7x")
    assert cards(paste(app, chart))
    paste(app, {"hook": "Zq7x"})
    fill(app, age="Zq7x", drug=["Zq7x"], drug_when=["Zq7x"])
    fill(app, drug=["Zq7x"], drug_when=[""], hook="patient-view")
    app.test_client().post("/plan/form", data={"doses": "1", "drug": "Zq7x", "drug_when": "07:00"})
    app.extensions["advisor"].store.close()
    said = capsys.readouterr()
    assert "Zq7x" not in said.out + said.err and "request" in said.out
    assert not any(b"Zq7x" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_pages_are_for_this_site_alone_and_are_not_kept(app: Flask) -> None:
    for page in (
        app.test_client().get("/"),
        app.test_client().get(PLAN),
        app.test_client().get("/plan"),
        paste(app, "[]"),
    ):
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self'" in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert not re.search(r'(?:src|action)="(?:https?:)?//', page.text)
        assert not re.search(r"<style|<script(?![^>]* src=)| style=| on[a-z]+=", page.text)


def test_it_can_be_switched_off(make_app: Maker) -> None:
    client = make_app(try_page=False).test_client()
    assert "Pick a patient" not in client.get("/").text
    assert client.get("/").status_code == 200
    assert client.get("/plan").status_code in (404, 405)
    assert client.post("/try").status_code == 404


def test_in_production_it_is_off_unless_set_and_then_for_who_is_signed_in(worker: Maker, signer_file: Path) -> None:
    right = {"profile": "production", "public_url": BASE, "clients": signer_file, "trusted_proxies": 1}
    off = worker(**right).test_client()
    assert "Pick a patient" not in off.get("/").text and off.post("/try").status_code == 404
    app = worker(**right, try_page=True)
    anybody = app.test_client()
    assert anybody.get("/").status_code == 200 and "Pick a patient" not in anybody.get("/").text
    for path in ("/try?sample=digoxin", "/plan"):
        assert anybody.get(path).headers["Location"].endswith("/console/sign-in")
    assert anybody.post("/try", data={"text": "[]"}).status_code == 303
    person(app.extensions["advisor"].store, "anna")
    anna = Visitor(app, base=BASE)
    assert anna.sign_in("anna").status_code == 303
    assert "Pick a patient" in anna.http.get("/", base_url=BASE).text
    page = anna.http.get("/try?sample=digoxin", base_url=BASE)
    assert len(cards(page)) == 1
    assert "Authorization: Bearer $TOKEN" in page.text
    anna.post("/sign-out")
    assert "Pick a patient" not in anna.http.get("/", base_url=BASE).text


def test_in_production_without_a_console_it_is_no_setting() -> None:
    with pytest.raises(SettingsError, match="try_page: in production it is for who is signed in to the console"):
        load_settings({"profile": "production", "try_page": True}, environ={})
    assert Settings.model_validate({"profile": "production", "try_page": False}).tries is False
