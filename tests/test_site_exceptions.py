"""Thresholds in any unit of the lab, values for one client or one kind of encounter, and limits that contradict."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.needs import all_needs, needs_of
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import client_notes, read_site
from cds_service.content.site_limits import orders
from tests.conformance.calls import Body, answered, invoke, outcome, own, sample_call
from tests.conftest import NOW, shipped
from tests.test_site_values import site_of, without_range, write

Make = Callable[..., FlaskClient]
REASON = "Our laboratory's own interval"


@pytest.fixture
def with_site(make_app: Callable[..., Flask], tmp_path: Path) -> Make:
    def make(**members: Any) -> FlaskClient:
        return make_app(site=write(tmp_path / "site.yaml", site_of(**members))).test_client()

    return make


def limits(rule: str = "shared", **values: Any) -> Body:
    """`rules` with these thresholds; a value is a number, or a number and its unit."""
    thresholds = {}
    for name, value in values.items():
        number, unit = value if isinstance(value, tuple) else (value, None)
        thresholds[name] = {"value": number, **({"unit": unit} if unit else {}), "reason": REASON}
    return {rule: {"thresholds": thresholds}}


def exception(rules: Body, **calls: str) -> Body:
    name = " and ".join(calls.values())
    return {"name": f"Values of {name}", **calls, "rules": rules, "reason": "Agreed with the department"}


def told(tmp_path: Path, **members: Any) -> list[str]:
    """The faults of a document, each as line, key and message."""
    done = invoke("site", "validate", write(tmp_path / "site.yaml", site_of(**members)))
    assert done.returncode in (0, 78) and "Traceback" not in done.stderr, done.stderr
    return list(done.stderr.splitlines()[:-1])


def low_magnesium(client: FlaskClient, value: float, encounter: str | None = None) -> Body:
    """The answer for a magnesium of `value` mmol/L, with no range of the laboratory, in an encounter of this class."""
    body = without_range(sample_call(client, "low-magnesium"), value)
    first = body["prefetch"]["serum_magnesium"]["entry"][0]["resource"]
    first["effectiveDateTime"] = (NOW - timedelta(hours=3)).isoformat()  # in hospital a result is old after two days
    body["prefetch"].pop("encounter", None)
    if encounter:
        body["context"]["encounterId"] = "e1"
        body["prefetch"]["encounter"] = {
            "resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": encounter},
            "subject": {"reference": f"Patient/{body['context']['patientId']}"},
        }  # fmt: skip
    return answered(client, body)


def is_low(answer: Body) -> bool:
    return bool(outcome(answer, "low_serum_magnesium")["outcome"] == "fired")


# Units.


@pytest.mark.parametrize(
    ("rule", "name", "value", "unit", "inside"),
    [
        ("shared", "lower_limit", 1.6, "mg/dL", "0.66 mmol/L"),
        ("shared", "lower_limit", 1.3, "mEq/L", "0.65 mmol/L"),
        ("shared", "creatinine_in_pregnancy", 1.1, "mg/dL", "97 umol/L"),
        ("low_adjusted_calcium_not_correcting", "adjusted_calcium_limit", 8.4, "mg/dL", "2.10 mmol/L"),
        ("shared", "injected_dose_acts", 2, "d", "48 h"),
        ("shared", "oldest_magnesium", 36, "h", "1.5 d"),
    ],
)
def test_a_threshold_may_be_written_in_any_unit_of_its_lab(
    rule: str, name: str, value: float, unit: str, inside: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "site.yaml", site_of(rules=limits(rule, **{name: (value, unit)})))
    shown = invoke("site", "show", file)
    assert shown.returncode == 0, shown.stderr
    line = next(line for line in shown.stdout.splitlines() if line.startswith(f"{rule}.{name} ="))
    assert f"= {inside} (site, set as {value} {unit}; default" in line


def test_a_card_and_its_page_hold_the_converted_limit(with_site: Make) -> None:
    client = with_site(rules=limits(lower_limit=(1.9, "mg/dL")))
    assert is_low(low_magnesium(client, 0.77)) and not is_low(low_magnesium(client, 0.78))
    detail = low_magnesium(client, 0.75)["cards"][0]["detail"]
    assert "0.78 mmol/L is this site's own setting (default 0.70 mmol/L)" in detail
    assert (
        "0.78 mmol/L (site value, set as 1.9 mg/dL; default 0.70)" in client.get("/evidence/low_serum_magnesium").text
    )


@pytest.mark.parametrize(
    ("name", "value", "unit", "words"),
    [
        ("lower_limit", 1.7, "mg/L", "1.7 mg/L is 0.07 mmol/L, which is outside the allowed range 0.60 to 0.85 mmol/L"),
        ("lower_limit", 2.2, "mg/dL", "is outside the allowed range 0.60 to 0.85 mmol/L"),
        ("lower_limit", 17, "h", "h does not fit here; these do: mmol/L, mg/dL, meq/L"),
        ("lower_limit", 1.7, "mg/dl per day", "does not fit here"),
        ("kidney_severe", 35, "mL/min", "mL/min does not fit here"),
        ("oldest_magnesium", 10, "mmol/L", "mmol/L does not fit here"),
        ("dilute_magnesium", 2, "mg/dL", "mg/dL does not fit here; these do: mmol/L, umol/L"),
    ],
)
def test_a_unit_that_does_not_fit_and_a_value_out_of_range_are_told(
    name: str, value: float, unit: str, words: str, tmp_path: Path
) -> None:
    faults = told(tmp_path, rules=limits(**{name: (value, unit)}))
    assert len(faults) == 1 and words in faults[0], faults


# Values for some calls.

EMERGENCY = exception(limits(lower_limit=0.62), encounter="emergency")


def test_another_limit_holds_in_the_emergency_department_only(with_site: Make) -> None:
    client = with_site(exceptions=[EMERGENCY])
    assert not is_low(low_magnesium(client, 0.65, "EMER"))
    for other in ("IMP", "AMB", "VR", None):
        assert is_low(low_magnesium(client, 0.65, other)), other


def test_the_card_of_an_exception_names_its_value_and_the_same_site_values(with_site: Make) -> None:
    client = with_site(
        rules=limits(lower_limit=0.66), exceptions=[exception(limits(lower_limit=0.8), encounter="inpatient")]
    )
    inside, outside = low_magnesium(client, 0.65, "ACUTE"), low_magnesium(client, 0.65, "AMB")
    assert "limit: 0.80 mmol/L" in inside["cards"][0]["detail"]
    assert "limit: 0.66 mmol/L" in outside["cards"][0]["detail"]
    digests = {own(answer["cards"][0])["site"] for answer in (inside, outside)}
    assert digests == {client.get("/readyz").json["site"]["digest"]}
    assert own(inside["cards"][0])["siteExceptions"] == ["Values of inpatient"]
    assert "siteExceptions" not in own(outside["cards"][0])


def test_values_of_one_client_hold_for_that_client(with_site: Make, tmp_path: Path) -> None:
    library = shipped().library
    values = read_site(site_of(exceptions=[exception(limits(lower_limit=0.62), client="our-ehr")]), "site", library,
                       frozenset(all_needs(library)))  # fmt: skip
    whole = make_rulebook(library, values, NOW.date())
    assert whole.at("our-ehr", "AMB").shared["lower_limit"].value == whole.at("our-ehr", None).limit("lower_limit")
    assert [str(whole.at(name, None).limit("lower_limit")) for name in ("our-ehr", "other", "")] == [
        "0.62",
        "0.70",
        "0.70",
    ]
    assert whole.at("our-ehr", "IMP") is whole.at("our-ehr", None), "what is worked out for it is kept"
    assert whole.at("our-ehr", None).at("other", None) is whole
    assert client_notes(values, frozenset({"other"})) and not client_notes(values, frozenset({"our-ehr"}))
    client = with_site(exceptions=[exception(limits(lower_limit=0.62), client="dev")])
    assert not is_low(low_magnesium(client, 0.65)), "nobody declared a client: all calls are dev's"
    assert "dev" in str(client.get("/readyz").json["site"]["notes"])


def test_one_that_names_client_and_encounter_has_the_last_word(with_site: Make) -> None:
    client = with_site(exceptions=[
        exception(limits(lower_limit=0.85), client="dev", encounter="emergency"),
        exception(limits(lower_limit=0.62), client="dev"),
    ])  # fmt: skip
    assert is_low(low_magnesium(client, 0.8, "EMER"))
    assert not is_low(low_magnesium(client, 0.65, "IMP"))


def test_a_rule_is_silent_for_one_kind_of_encounter(with_site: Make) -> None:
    names = ("low_serum_magnesium", "low_magnesium_with_depleting_drug")
    silent = {name: {"show": "silent", "reason": "The ward has its own pathway"} for name in names}
    client = with_site(exceptions=[exception(silent, encounter="inpatient")])
    assert not [c for c in low_magnesium(client, 0.65, "IMP")["cards"] if "Low magnesium" in c["summary"]]
    assert is_low(low_magnesium(client, 0.65, "IMP"))
    assert [c for c in low_magnesium(client, 0.65, "AMB")["cards"] if "Low magnesium" in c["summary"]]


def test_a_rule_that_only_an_exception_shows_has_its_data_asked_for() -> None:
    library = shipped().library
    hide = {name: {"show": "hidden", "reason": "Elsewhere"} for name, item in library.rules.items()
            if item.rule.status == "active" and not item.rule.card.contraindicates_magnesium}  # fmt: skip
    name = "low_potassium_with_low_magnesium"
    shown = exception({name: {"show": "shown"}}, encounter="inpatient")
    keys = frozenset(all_needs(library))
    for exceptions, asked in (([], False), ([shown], True)):
        values = read_site(site_of(rules=hide, exceptions=exceptions), "site", library, keys)
        rulebook = make_rulebook(library, values, NOW.date())
        assert ("electrolytes" in needs_of(rulebook, "magnesium-patient-view")) is asked
        assert (name in {rule.id for rule in rulebook.at("", "IMP").of_service("magnesium-patient-view")}) is asked


def test_site_show_tells_what_holds_for_some_calls(tmp_path: Path) -> None:
    file = write(tmp_path / "site.yaml", site_of(exceptions=[EMERGENCY]))
    assert "shared.lower_limit = 0.70 mmol/L;" in invoke("site", "show", file).stdout
    shown = invoke("site", "show", file, "--encounter", "emergency")
    assert "shared.lower_limit = 0.62 mmol/L (site, exception Values of emergency; default 0.70)" in shown.stdout
    assert "exception Values of emergency: for emergency encounters (Agreed with the department)" in shown.stdout
    rows = json.loads(invoke("site", "show", file, "--encounter", "emergency", "--json").stdout)
    row = next(row for row in rows if (row["rule"], row["threshold"]) == ("shared", "lower_limit"))
    assert (row["value"], row["exception"]) == ("0.62", "Values of emergency")


def test_faults_of_exceptions_are_told_as_those_of_rules(tmp_path: Path) -> None:
    rules: Body = {"low_serum_magnesum": {"show": "silent", "reason": "A slip"}}
    rules |= {"magnesium_with_dialysis": {"show": "hidden"}, "levothyroxine_timing": {"show": "silent"}}
    rules |= limits(lower_limit=0.2)
    faults = told(tmp_path, exceptions=[exception(rules, encounter="inpatient")])
    for words in ("low_serum_magnesium", "write silent", "silent needs a reason", "0.60 to 0.85"):
        assert [line for line in faults if words in line and "exceptions.0.rules" in line], words
    assert len(faults) == 4


@pytest.mark.parametrize(
    ("exceptions", "words"),
    [
        ([exception(limits(lower_limit=0.62), encounter="inpatient"),
          exception(limits(lower_limit=0.8), client="our-ehr")],
         "add an exception that names client our-ehr and inpatient"),
        ([EMERGENCY, EMERGENCY | {"name": "Once more"}], "keep one of them"),
        ([EMERGENCY, EMERGENCY], "is called Values of emergency too"),
        ([{"name": "Nobody", "rules": limits(lower_limit=0.62), "reason": REASON}], "needs client or encounter"),
        ([exception(limits(lower_limit=0.62), encounter="theatre")], "'inpatient', 'outpatient' or 'emergency'"),
        ([exception(limits("levothyroxine_timing", drug_then_magnesium=5), encounter="inpatient")],
         "the hours between two doses are the same for all"),
    ],
    ids=["client and encounter", "twice", "same name", "nobody", "unknown kind", "hours"],
)  # fmt: skip
def test_no_call_gets_two_values_of_one_limit(exceptions: list[Body], words: str, tmp_path: Path) -> None:
    assert [line for line in told(tmp_path, exceptions=exceptions) if words in line]


def test_two_exceptions_may_meet_where_a_third_decides(tmp_path: Path) -> None:
    three = [
        exception(limits(lower_limit=0.62), encounter="inpatient"),
        exception(limits(lower_limit=0.8), client="our-ehr"),
        exception(limits(lower_limit=0.7), client="our-ehr", encounter="inpatient"),
    ]
    assert told(tmp_path, exceptions=three) == []


# Limits that contradict each other.


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (limits(lower_limit=0.6, severe_lower_limit=0.6), "severe_lower_limit is 0.6 mmol/L and lower_limit 0.6"),
        (limits(kidney_reduced=45, kidney_severe=45), "kidney_severe has to be below the other"),
        (limits(infusion_toxic_limit=2.5), "infusion_upper_limit is 3.50 mmol/L by default and"),
        (limits(injected_rate=3, injected_rate_obstetric=2), "injected_rate has to be no higher than the other"),
        (limits(lower_limit=(1.46, "mg/dL"), severe_lower_limit=0.6), "severe_lower_limit has to be below"),
        (limits("qt_risks_without_magnesium_test", qtc_long=490) | limits(qtc_limit=480),
         "qt_risks_without_magnesium_test.qtc_long is 490 ms and qtc_limit 480 ms"),
    ],
)  # fmt: skip
def test_limits_that_contradict_each_other_are_a_fault_that_names_both(rules: Body, words: str, tmp_path: Path) -> None:
    faults = told(tmp_path, rules=rules)
    assert [line for line in faults if words in line], faults


def test_an_exception_may_not_turn_two_limits_round(tmp_path: Path) -> None:
    severe = exception(limits(severe_lower_limit=0.6), encounter="emergency")
    assert told(tmp_path, rules=limits(lower_limit=0.65), exceptions=[severe]) == []
    (fault,) = told(tmp_path, rules=limits(lower_limit=0.6), exceptions=[severe])
    assert "severe_lower_limit is 0.6 mmol/L (Values of emergency) and lower_limit 0.6 mmol/L" in fault
    assert "exceptions.0.rules.shared.thresholds.severe_lower_limit" in fault


def test_one_limit_for_all_infusions_contradicts_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, rules=limits(injected_rate=3, injected_rate_obstetric=3)) == []


def test_pairs_that_keep_their_order_hold_in_what_ships() -> None:
    pairs = {(order.lower[1], order.higher[1]) for order in orders(shipped().library)}
    assert {("severe_lower_limit", "lower_limit"), ("upper_limit", "severe_upper_limit")} <= pairs
    assert ("kidney_severe", "kidney_reduced") in pairs
    assert not {pair for pair in pairs if "label_level" in pair}, "a limit that no site sets orders nothing"


# Urgent rules that are not shown.


def test_urgent_rules_that_are_not_shown_stand_on_the_front_page_and_in_readyz(with_site: Make) -> None:
    reason = "The kidney unit has its own pathway"
    rules = {"magnesium_with_dialysis": {"show": "silent", "reason": reason},
             "rosuvastatin_timing": {"show": "silent", "reason": "Pharmacists see to it"}}  # fmt: skip
    severe = {"severely_low_serum_magnesium": {"show": "silent", "reason": "Called by the laboratory"}}
    client = with_site(rules=rules, exceptions=[exception(severe, encounter="inpatient")])
    muted = {item["rule"]: item for item in client.get("/readyz").json["muted"]}
    indicators = {name: shipped().library.rules[name].rule.card.indicator for name in rules | severe}
    assert set(muted) == {name for name, indicator in indicators.items() if indicator in ("critical", "warning")}
    assert muted["severely_low_serum_magnesium"]["where"] == "inpatient encounters"
    page = client.get("/").text
    assert reason in page and "Called by the laboratory" in page and "for inpatient encounters" in page
    assert "Urgent rules that this site does not show" not in with_site().get("/").text


def test_the_schema_of_the_site_file_holds_units_and_exceptions() -> None:
    schema = json.loads(invoke("site", "schema").stdout)
    assert "exceptions" in schema["properties"] and "unit" in schema["$defs"]["SiteThreshold"]["properties"]
    assert yaml.safe_load(site_of(exceptions=[EMERGENCY]))["exceptions"][0]["encounter"] == "emergency"
