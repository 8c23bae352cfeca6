"""The page that says what values would do: samples, scenarios, an uploaded file; and what it never keeps."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from cds_service.console import preview_pages
from tests.conftest import NOW, shipped
from tests.console.support import Visitor, visitor
from tests.population.test_uploads import SAMPLES, ndjson
from tests.trust.support import SERVICE, body_for

RULE = "low_magnesium_to_correct_before_qt_drug"
TITLE = shipped().library.rules[RULE].rule.title
SILENT = f"site: Test hospital\nrules:\n  {RULE}:\n    show: silent\n    reason: Our pharmacists see to it\n"
MARK = "Zq7canary"


def site_file(text: str = SILENT) -> tuple[io.BytesIO, str]:
    return io.BytesIO(text.encode()), "draft.yaml"


def people(text: bytes | None = None) -> list[tuple[io.BytesIO, str]]:
    files = {"all.ndjson": text} if text is not None else ndjson(NOW)
    return [(io.BytesIO(held), name) for name, held in files.items()]


def asked(anna: Visitor, **fields: Any) -> TestResponse:
    """The form, as a browser sends it."""
    usual = {"what": "file", "file": site_file(), "against": "nothing", "cohort": "samples", "show": "1"}
    return anna.post("/preview", **(usual | fields))


def test_the_page_offers_drafts_revisions_and_a_file_of_ones_own(anna: Visitor) -> None:
    page = anna.get("/preview").text
    assert "A site file of my own" in page
    assert "The sample patients" in page
    assert 'enctype="multipart/form-data"' in page


def test_a_card_that_would_go_is_shown_as_it_reads_now(anna: Visitor) -> None:
    found = asked(anna)
    assert found.status_code == 200, found.text
    assert "+1 cards, -1; interruptive 60.0 -&gt; 60.0 per 100 charts" in found.text
    assert f"{TITLE}: the card vanishes" in found.text
    assert "with sotalol" in found.text
    assert "No card." in found.text
    assert "Facts behind it" in found.text


def test_nothing_changes_says_so(anna: Visitor) -> None:
    found = asked(anna, what="nothing")
    assert "No rule says anything else" in found.text


def test_uploaded_patients_give_what_the_sample_patients_give(anna: Visitor) -> None:
    found = asked(anna, cohort="upload", patients=people())
    assert f"Tried on {len(SAMPLES)} charts" in found.text
    assert f"{TITLE}: the card vanishes" in found.text
    assert "Nothing of the uploaded files was kept" in found.text


def test_the_answer_as_csv_and_json(anna: Visitor) -> None:
    rows = asked(anna, csv="1").text.splitlines()
    assert rows[1].startswith(f'"{TITLE}","{RULE}","0","1","0"'), rows
    told = json.loads(asked(anna, json="1").text)
    assert told["rules"][RULE]["vanishes"] == 1


def test_attrition_of_a_rule_is_a_table(anna: Visitor) -> None:
    found = asked(anna, rule="low_serum_magnesium")
    assert "Where patients fall: low_serum_magnesium" in found.text
    assert re.search(r"<td[^>]*>17</td>", found.text), "all calls come to the first test"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"file": site_file("site: x\nrules: [")}, "The values cannot be used: draft.yaml"),
        ({"file": (io.BytesIO(b""), "")}, "Choose one site file"),
        ({"cohort": "upload"}, "Choose the files of your patients"),
        ({"cohort": "kept"}, "This site keeps no calls"),
        ({"rule": "low_serum_magnesum"}, "did you mean low_serum_magnesium"),
        ({"what": "revision:99"}, "Not a valid choice"),
        ({"against": "draft:1"}, "Not a valid choice"),
    ],
)
def test_what_cannot_be_tried_is_told_beside_the_form(anna: Visitor, fields: dict[str, Any], said: str) -> None:
    found = asked(anna, **fields)
    assert found.status_code == 400
    assert said in found.text, found.text
    assert "Patients to try them on" in found.text


def test_broken_lines_are_counted_and_named_on_the_page(anna: Visitor) -> None:
    text = b"".join(ndjson(NOW).values()) + b'{"name": "' + MARK.encode() + b"\n"
    found = asked(anna, cohort="upload", patients=people(text))
    assert "is not JSON" in found.text
    assert re.search(r"all\.ndjson, line \d+", found.text)
    assert "not all charts were tried" in found.text
    assert MARK not in found.text


def test_kept_calls_are_tried_too(make_app: Callable[..., Flask]) -> None:
    app = make_app(console=True, managed_by="console", keep_facts=10)
    body = orjson.dumps(body_for(app))
    assert app.test_client().post(SERVICE, data=body, content_type="application/json").status_code == 200
    app.extensions["facts"].flush()
    found = asked(visitor(app, "anna"), cohort="kept")
    assert "Tried on 1 charts (kept calls)" in found.text
    app.extensions["facts"].close()


def test_time_that_is_up_is_said(anna: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_pages, "MOST_SECONDS", 0.0)
    assert "Time was up: not all patients were tried" in asked(anna, cohort="scenarios").text


def test_one_preview_at_a_time(anna: Visitor) -> None:
    with preview_pages._one_at_a_time:
        found = asked(anna)
    assert found.status_code == 503
    assert "Another preview runs now" in found.text
    assert asked(anna).status_code == 200, "the place is free again"


def test_nothing_of_an_upload_is_written_anywhere(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file too, which a framework would put into a temporary file."""
    made: list[str] = []
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", lambda **_: made.append("file") or io.BytesIO())
    app = make_app(console=True, managed_by="console", data_dir=tmp_path / "data")
    anna = visitor(app, "anna")
    text = b"".join(ndjson(NOW).values())
    for sample in SAMPLES:
        text = text.replace(b'"' + sample.id.encode(), b'"' + MARK.encode() + sample.id.encode())
        text = text.replace(b"Patient/" + sample.id.encode(), b"Patient/" + MARK.encode() + sample.id.encode())
        text = text.replace(sample.name.family.encode(), MARK.encode())
    filler = json.dumps({"resourceType": "Claim", "text": MARK * 100_000})
    fields = {"what": "file", "against": "nothing", "cohort": "upload", "show": "1", "csrf_token": anna.token()}
    files = [("file", ("draft.yaml", SILENT)), ("patients", ("all.ndjson", text + filler.encode()))]
    sent = requests.Request("POST", "http://localhost", data=fields, files=files).prepare()
    headers = {"Origin": anna.base, "Content-Type": sent.headers["Content-Type"]}
    found = anna.http.post("/console/preview", data=sent.body, headers=headers, base_url=anna.base)
    assert f"{TITLE}: the card vanishes" in found.text, found.text
    assert made == []
    app.extensions["advisor"].store.close()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes(), path


def test_a_preview_leaves_a_line_in_the_log_without_patients(anna: Visitor) -> None:
    asked(anna, cohort="upload", patients=people())
    page = anna.get("/log").text
    assert "preview made" in page
    assert SAMPLES[0].id not in page


def test_who_is_not_signed_in_previews_nothing(console: Flask) -> None:
    stranger = visitor(console)
    assert stranger.get("/preview").status_code == 303
    assert asked(stranger).status_code == 401
