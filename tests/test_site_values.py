"""A site's own values: in force within five seconds, refused with their range, shown on the card that they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import requests
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox import patients
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.sandbox.search import prefetch
from tests.conformance.calls import Body, Running, answered, invoke, outcome, own, run_cli, sample_call, serving, until
from tests.conftest import NOW

LIMIT = """\
site: Test hospital
rules:
  shared:
    thresholds:
      lower_limit:
        value: {value}
        reason: Our laboratory's own interval
"""
HIDDEN = "  magnesium_with_dialysis: {show: hidden, reason: The ward has its own pathway}\n"


def write(file: Path, text: str) -> Path:
    file.write_text(text, "utf-8")
    return file


def site_of(**members: Any) -> str:
    return str(yaml.safe_dump({"site": "Test hospital", **members}, sort_keys=False))


@pytest.fixture
def with_site(make_app: Callable[..., Flask], tmp_path: Path) -> Callable[..., FlaskClient]:
    def make(**members: Any) -> FlaskClient:
        return make_app(site=write(tmp_path / "site.yaml", site_of(**members))).test_client()

    return make


def without_range(body: Body, value: float) -> Body:
    """The call with a newest magnesium of `value` mmol/L, for which the laboratory gives no range."""
    first = body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]
    first["valueQuantity"]["value"] = value
    first.pop("referenceRange", None)
    first.pop("interpretation", None)
    return body


# A service that runs.


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("site") / "site.yaml", LIMIT.format(value="0.70"))


@pytest.fixture(scope="module")
def service(file: Path) -> Iterator[Running]:
    with serving(file.parent, "--site", file) as running:
        yield running


def cards(service: Running, value: float = 0.65) -> list[Body]:
    """The cards for a magnesium of `value` mmol/L, without the laboratory's range and flag."""
    sample = patients.load()["low-magnesium"]
    filled = prefetch(
        sample.resources(datetime.now(UTC)), service.services["patient-view"]["prefetch"], {"patientId": sample.id}
    )
    body = without_range({"prefetch": filled}, value)
    answer = service.call("low-magnesium", prefetch=body["prefetch"])
    assert answer.status_code == 200
    found: list[Body] = answer.json()["cards"]
    return found


def summaries(service: Running) -> str:
    return " | ".join(card["summary"] for card in cards(service))


def ready(service: Running) -> Body:
    found: Body = requests.get(f"{service.base}/readyz", timeout=10).json()
    return found


def test_a_limit_of_0_60_changes_the_card_of_a_running_service_within_five_seconds(
    service: Running, file: Path
) -> None:
    write(file, LIMIT.format(value="0.70"))
    until(lambda: "Low magnesium 0.65 mmol/L" in summaries(service), 5)
    write(file, LIMIT.format(value="0.60"))
    seconds = until(lambda: "Low magnesium" not in summaries(service), 5)
    assert seconds < 5
    write(file, LIMIT.format(value="0.80"))
    until(lambda: "limit 0.80 mmol/L" in summaries(service), 5)
    detail = cards(service)[0]["detail"]
    assert "0.80 mmol/L is this site's own setting (default 0.70 mmol/L)" in detail


def test_a_broken_file_leaves_the_last_good_values_in_force_and_says_so(service: Running, file: Path) -> None:
    write(file, LIMIT.format(value="0.80"))
    until(lambda: "limit 0.80 mmol/L" in summaries(service), 5)
    good = ready(service)
    assert good["status"] == "ready"
    for broken, words in (
        (LIMIT.format(value="0.20"), "0.60 to 0.85"),
        ("site: [", "not YAML"),
        ("", "site.yaml"),
        (LIMIT.format(value="0.80") + HIDDEN, "write silent"),
    ):
        write(file, broken)
        until(lambda words=words: words in str(ready(service)["site"]["faults"]), 5)  # type: ignore[misc]
        state = ready(service)
        assert state["status"] == "degraded"
        assert state["site"]["digest"] == good["site"]["digest"]
        assert "limit 0.80 mmol/L" in summaries(service)
    assert "site values not taken over" in service.log()
    assert "site.yaml:6" in service.log()


def test_a_file_that_is_gone_leaves_the_last_good_values_in_force(service: Running, file: Path) -> None:
    write(file, LIMIT.format(value="0.80"))
    until(lambda: ready(service)["status"] == "ready" and "limit 0.80" in summaries(service), 5)
    file.unlink()
    until(lambda: ready(service)["status"] == "degraded", 5)
    assert "limit 0.80 mmol/L" in summaries(service)
    write(file, LIMIT.format(value="0.75"))
    until(lambda: "limit 0.75 mmol/L" in summaries(service), 5)
    assert ready(service)["status"] == "ready"


def test_a_service_does_not_start_on_a_site_file_that_cannot_be_used(tmp_path: Path) -> None:
    wrong = write(tmp_path / "site.yaml", LIMIT.format(value="0.20") + HIDDEN)
    done = run_cli("serve", "--port", "0", "--data-dir", tmp_path / "data", "--site", wrong)
    assert done.returncode == 78
    assert "site.yaml:6" in done.stderr and "0.60 to 0.85" in done.stderr
    assert "site.yaml:8" in done.stderr and "write silent" in done.stderr
    assert "Traceback" not in done.stderr


# What a card says.


def test_the_card_of_a_site_limit_names_it_and_its_default(with_site: Callable[..., FlaskClient]) -> None:
    rules = {"shared": {"thresholds": {"lower_limit": {"value": 0.8, "reason": "Own interval"}}}}
    client = with_site(rules=rules)
    card = answered(client, without_range(sample_call(client, "low-magnesium"), 0.75))["cards"][0]
    assert "limit 0.80 mmol/L" in card["summary"]
    assert "this site's own setting (default 0.70 mmol/L)" in card["detail"]
    page = client.get("/evidence/low_serum_magnesium").text
    assert "site value" in page


def test_the_laboratorys_range_still_comes_before_a_site_limit(with_site: Callable[..., FlaskClient]) -> None:
    client = with_site(rules={"shared": {"thresholds": {"lower_limit": {"value": 0.85, "reason": "Own interval"}}}})
    body = sample_call(client, "low-magnesium")
    body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]["valueQuantity"]["value"] = 0.72
    assert outcome(answered(client, body), "low_serum_magnesium")["outcome"] == "quiet"


def test_a_silent_rule_is_evaluated_and_not_shown(with_site: Callable[..., FlaskClient]) -> None:
    client = with_site(rules={"levothyroxine_timing": {"show": "silent", "reason": "Pharmacy does this"}})
    answer = answered(client, sample_call(client, "levothyroxine", "order-select"))
    assert outcome(answer, "levothyroxine_timing")["outcome"] == "fired"
    assert not [card for card in answer["cards"] if "levothyroxine" in card["summary"]]
    assert "levothyroxine" not in " ".join(card["detail"] for card in answer["cards"]).lower()


def test_a_hidden_rule_is_not_tried(with_site: Callable[..., FlaskClient]) -> None:
    client = with_site(rules={"levothyroxine_timing": {"show": "hidden", "reason": "Pharmacy does this"}})
    answer = answered(client, sample_call(client, "levothyroxine", "order-select"))
    assert "levothyroxine_timing" not in [item["rule"] for item in own(answer)["outcomes"]]
    assert not [card for card in answer["cards"] if "levothyroxine" in card["summary"]]


LOW_KIDNEY = ("magnesium_with_low_kidney_function", "magnesium_in_use_with_low_kidney_function")


def with_an_egfr_of_18(client: FlaskClient, content: Content) -> Body:
    """The answer when magnesium is signed beside levothyroxine for a woman of 58 with an eGFR of 18."""
    case = Scenario(
        name="magnesium is signed at an eGFR of 18", kind="fires", hook="order-sign", sex="female", age=58,
        drugs=["levothyroxine"],
        drafts=["magnesium_oxide"], labs=[{"lab": "egfr", "value": 18, "unit": "mL/min/{1.73_m2}"}],
        expect={"outcome": "fired"},
    )  # fmt: skip
    service = next(item for item in client.get("/cds-services").json["services"] if item["hook"] == case.hook)
    request = Builder(content.library, NOW).request(case, service["prefetch"])
    response = client.post(f"/cds-services/{service['id']}", json=request)
    assert response.status_code == 200, response.text
    return dict(response.json)


def test_a_silent_rule_against_magnesium_still_keeps_magnesium_from_being_suggested(
    with_site: Callable[..., FlaskClient], content: Content
) -> None:
    shown = with_an_egfr_of_18(with_site(), content)
    assert any("eGFR 18" in card["summary"] for card in shown["cards"])
    rules = {name: {"show": "silent", "reason": "The ward has its own pathway"} for name in LOW_KIDNEY}
    quiet = with_an_egfr_of_18(with_site(rules=rules), content)
    assert outcome(quiet, LOW_KIDNEY[0])["outcome"] == "fired"
    assert outcome(quiet, "levothyroxine_timing")["outcome"] == "fired"
    assert quiet["cards"] and not any("eGFR 18" in card["summary"] for card in quiet["cards"])
    actions = [action for card in quiet["cards"] for item in card.get("suggestions", []) for action in item["actions"]]
    assert not [action for action in actions if action["type"] == "update"]


def test_a_rule_against_magnesium_is_never_hidden_nor_left_without_the_problem_list(
    tmp_path: Path, content: Content
) -> None:
    against = sorted(name for name, rule in content.library.rules.items() if rule.rule.card.contraindicates_magnesium)
    rules = {name: {"show": "hidden", "reason": "The ward has its own pathway"} for name in against}
    inputs = {"conditions": {"available": False, "reason": "Problems are kept on paper"}}
    file = write(tmp_path / "site.yaml", site_of(rules=rules, inputs=inputs))
    lines = file.read_text().splitlines()
    done = invoke("site", "validate", "--json", file)
    assert done.returncode == 78
    *told, problems = json.loads(done.stdout)["faults"]
    assert [fault["key"] for fault in told] == [f"rules.{name}.show" for name in against]
    for fault, name in zip(told, against, strict=True):
        assert name in fault["message"] and "write silent" in fault["message"]
        assert lines[fault["line"] - 1].strip() == "show: hidden" and lines[fault["line"] - 2].strip() == f"{name}:"
    assert problems["key"] == "inputs.conditions" and "magnesium_with_dialysis" in problems["message"]


def test_times_of_day_that_do_not_fit_together_are_a_fault_of_the_file(tmp_path: Path) -> None:
    schedule = {"waking_ends": {"value": "23:59", "reason": "Late ward"}}
    schedule |= {"magnesium_spacing": {"value": 480, "reason": "Own policy"}}
    done = invoke("site", "validate", write(tmp_path / "site.yaml", site_of(schedule=schedule)))
    assert done.returncode == 78
    assert "schedule.waking_ends: the night is shorter" in done.stderr and "site.yaml:3" in done.stderr


def test_a_silent_rule_that_lacks_data_makes_no_card(with_site: Callable[..., FlaskClient], content: Content) -> None:
    names = [name for name, loaded in content.library.rules.items() if loaded.rule.status == "active"]
    client = with_site(rules={name: {"show": "silent", "reason": "Trial period"} for name in names})
    body = sample_call(client, "low-magnesium", prefetch={})
    answer = answered(client, body)
    assert answer["cards"] == []
    assert {item["outcome"] for item in own(answer)["outcomes"]} >= {"not_evaluated"}


def test_results_are_shown_in_the_sites_unit_with_the_laboratorys_own_beside_it(
    with_site: Callable[..., FlaskClient],
) -> None:
    client = with_site(units={"serum_magnesium": {"unit": "mg/dL", "reason": "Our reports use it"}})
    card = answered(client, sample_call(client, "low-magnesium"))["cards"][0]
    assert "1.41 mg/dL" in card["summary"]
    assert "1.41 mg/dL (0.58 mmol/L)" in card["summary"] + card["detail"]
    read = next(item for item in own(card)["inputs"] if item["fact"] == "serum_magnesium")
    assert (read["value"], read["unit"]) == (0.58, "mmol/L")


# The commands.


def test_a_good_file_is_validated_with_exit_0(tmp_path: Path) -> None:
    done = invoke("site", "validate", write(tmp_path / "site.yaml", LIMIT.format(value="0.60")))
    assert (done.returncode, done.stderr) == (0, "")
    assert "can be used" in done.stdout


FAULTY = """\
site: Test hospital
rules:
  shared:
    thresholds:
      lower_limit:
        value: 0.20
        reason: Too low
  low_serum_magnesum:
    show: hidden
    reason: A slip of the pen
  levothyroxine_timing:
    show: hidden
  low_serum_magnesium:
    thresholds:
      lower_limit:
        value: 0.70
        reason: At the wrong place
units:
  serum_magnesium: {unit: mg/L, reason: Not a choice}
inputs:
  medication_statement: {available: false, reason: Another slip}
"""
TOLD = (
    ("site.yaml:6", "0.60 to 0.85 mmol/L"),
    ("site.yaml:8", "low_serum_magnesium"),
    ("site.yaml:12", "needs a reason"),
    ("site.yaml:15", "put it under shared"),
    ("site.yaml:19", "mg/dL"),
    ("site.yaml:21", "medication_statements"),
)


def test_every_fault_is_named_at_once_with_line_range_and_nearest_name(tmp_path: Path) -> None:
    done = invoke("site", "validate", write(tmp_path / "site.yaml", FAULTY))
    assert done.returncode == 78
    assert done.stdout == ""
    for place, words in TOLD:
        assert [line for line in done.stderr.splitlines() if place in line and words in line], (place, words)
    assert done.stderr.splitlines()[-1] == "6 faults"


def test_faults_as_json_have_file_line_key_and_message(tmp_path: Path) -> None:
    done = invoke("site", "validate", "--json", write(tmp_path / "site.yaml", FAULTY))
    assert done.returncode == 78
    faults = json.loads(done.stdout)["faults"]
    assert [fault["line"] for fault in faults] == [6, 8, 12, 15, 19, 21]
    for fault in faults:
        assert set(fault) == {"file", "line", "key", "message"}
        assert fault["file"].endswith("site.yaml")


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_file_that_is_no_text_is_refused_without_a_traceback(tmp_path: Path, as_json: tuple[str, ...]) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"site: \xff\xfe")
    done = invoke("site", "validate", *as_json, file)
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    assert "UTF-8" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("site: Test\nsite: Test\n", "stands twice"),
        ("site: &x Test\nrules: *x\n", "site.yaml"),
        ("- a\n", "site.yaml"),
        ("site: Test\nthresholds: {}\n", "thresholds"),
        ("site: Test\nrules: {shared: {thresholds: {lower_limit: {value: low, reason: Own interval}}}}\n", "value"),
        ("site: Test\nrules: {shared: {thresholds: {adult_age: {value: 16, reason: Own interval}}}}\n", "may not set"),
        ("site: Test\nrules: {shared: {thresholds: {lower_limit: {value: 0.60}}}}\n", "reason"),
        ("site: Test\ninputs: {patient: {available: false, reason: Own interval}}\n", "patient"),
    ],
)
def test_what_is_not_a_site_file_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    done = invoke("site", "validate", write(tmp_path / "site.yaml", text))
    assert done.returncode == 78
    assert words in done.stderr and "site.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_names_default_value_and_range_of_every_threshold(tmp_path: Path) -> None:
    plain = invoke("site", "show")
    assert plain.returncode == 0
    assert "shared.lower_limit = 0.70 mmol/L; may be 0.60 to 0.85." in plain.stdout
    assert "shared.adult_age = 18 a; fixed." in plain.stdout
    own_file = write(tmp_path / "site.yaml", LIMIT.format(value="0.60"))
    assert "shared.lower_limit = 0.60 mmol/L (site; default 0.70)" in invoke("site", "show", own_file).stdout
    rows = json.loads(invoke("site", "show", own_file, "--json").stdout)
    row = next(row for row in rows if (row["rule"], row["threshold"]) == ("shared", "lower_limit"))
    assert (row["default"], row["value"], row["site"], row["allowed"]) == ("0.70", "0.60", True, ["0.60", "0.85"])


def test_diff_says_what_changes_with_exit_1_and_nothing_with_exit_0(tmp_path: Path) -> None:
    old = write(tmp_path / "old.yaml", LIMIT.format(value="0.70"))
    new = write(tmp_path / "new.yaml", LIMIT.format(value="0.60"))
    done = invoke("site", "diff", old, new)
    assert done.returncode == 1
    assert done.stdout == "shared.lower_limit: 0.70 mmol/L -> 0.60 mmol/L\n"
    changes = json.loads(invoke("site", "diff", old, new, "--json").stdout)
    assert changes == [{"key": "shared.lower_limit", "old": "0.70 mmol/L", "new": "0.60 mmol/L"}]
    same = invoke("site", "diff", old, old)
    assert (same.returncode, same.stdout.strip()) == (0, "no difference")


def test_show_and_diff_name_every_choice_that_is_not_a_threshold(tmp_path: Path) -> None:
    old = write(tmp_path / "old.yaml", site_of())
    new = write(tmp_path / "new.yaml", site_of(
        region="eu",
        schedule={"breakfast": {"value": "07:30", "reason": "Ward times"}},
        repetition={"after_override_days": 14, "reason": "Fewer repeats"},
    ))  # fmt: skip
    assert "region = eu" in invoke("site", "show", new).stdout
    changes = {item["key"]: item["new"] for item in json.loads(invoke("site", "diff", old, new, "--json").stdout)}
    assert changes["region"] == "eu"
    assert changes["schedule.breakfast"] == "07:30" and changes["repetition.after_override_days"] == "14"


def test_diff_of_a_file_that_cannot_be_used_is_78_and_not_taken_for_a_difference(tmp_path: Path) -> None:
    good = write(tmp_path / "good.yaml", LIMIT.format(value="0.70"))
    bad = write(tmp_path / "bad.yaml", LIMIT.format(value="0.20"))
    done = invoke("site", "diff", good, bad)
    assert done.returncode == 78
    assert "bad.yaml:6" in done.stderr


def test_the_schema_takes_what_validate_takes(tmp_path: Path) -> None:
    done = invoke("site", "schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(LIMIT.format(value="0.60")))
    for wrong in ("site: Test\nthresholds: {}\n", "site: Test\nrules: {x: {show: never}}\n", "rules: {}\n"):
        assert not validator.is_valid(yaml.safe_load(wrong)), wrong


def test_the_example_that_ships_can_be_used() -> None:
    example = Path(__file__).resolve().parents[1] / "docker" / "site.example.yaml"
    assert invoke("site", "validate", example).returncode == 0


def test_a_site_file_that_still_says_pages_works_and_is_told_the_new_word(tmp_path: Path) -> None:
    new = write(tmp_path / "new.yaml", LIMIT.format(value="0.60"))
    old = write(tmp_path / "old.yaml", LIMIT.format(value="0.60").replace("\nrules:", "\npages:"))
    assert invoke("site", "diff", new, old).returncode == 0
    done = invoke("site", "validate", old)
    assert done.returncode == 0 and "pages is now called rules" in done.stderr
    assert "pages is now called rules" in json.loads(invoke("site", "validate", old, "--json").stdout)["notes"][0]
    assert "now called" not in invoke("site", "validate", new).stderr
    wrong = write(tmp_path / "wrong.yaml", LIMIT.format(value="0.20").replace("\nrules:", "\npages:"))
    assert "wrong.yaml:6" in invoke("site", "validate", wrong).stderr
    both = write(tmp_path / "both.yaml", LIMIT.format(value="0.60") + "pages: {}\n")
    assert "pages: extra inputs are not permitted" in invoke("site", "validate", both).stderr
