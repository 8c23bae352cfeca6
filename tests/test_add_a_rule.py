"""Adding a rule is one YAML file, one scenario file, `magnesium-cds catalogue` and `lock`; every fault of it is named.

A timing rule is written in the short form of its family, and a drug that is new brings its concept and its line in the
coverage table.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from flask import Flask

from cds_service import create_app
from cds_service.advice.loaded_content import load_content
from cds_service.content.library import default_root
from cds_service.content.loading import load_library
from cds_service.content.long_form import long_form
from cds_service.content.yamlfile import ContentError
from cds_service.sandbox.scenario import Builder, Scenario, read_file
from cds_service.settings import Settings
from tests.conformance.calls import Body, invoke, own, run_cli, services
from tests.conftest import NOW
from tests.test_scenarios import check

RULE = """\
title: Magnesium above the range while taking an antacid
services: [magnesium-patient-view]
status: active
reviewed: {by: pending clinical sign-off, date: 2026-11-21}

why: >
  An example rule: it shows how a rule is added, and belongs to no one's practice.
known_limits: >
  It is an example.

thresholds:
  example_limit:
    label: Serum magnesium above which the example speaks
    unit: mmol/L
    values: {2026-01-01: 1.00}
    site_may_set: [0.90, 1.05]
    reference: alfred_rcpa_aacb

when:
  all:
    - {lab: serum_magnesium, above: example_limit, within: oldest_magnesium}

card:
  indicator: info
  topic: safety
  problem: example
  priority: 1
  summary: "Magnesium {serum_magnesium.value} ({serum_magnesium.age}), above {serum_magnesium.example_limit}"
  detail: "Serum magnesium was {serum_magnesium.value} on {serum_magnesium.date}."
  consider:
    - "Consider asking about antacids."
  override_reasons: [will_monitor, cds_not_applicable]

evidence:
  certainty: very_low
  strength: conditional
  direction: for
  basis: >
    An example.
  references: [alfred_rcpa_aacb]
"""

SCENARIOS = """\
given: {hook: patient-view, sex: female, age: 58}
scenarios:
  - name: a woman with 1.04 mmol/L where the laboratory gives no range
    kind: fires
    labs: [{lab: serum_magnesium, value: 1.04, unit: mmol/L, taken: 2 days ago}]
    expect:
      outcome: fired
      indicator: info
      summary: [1.04 mmol/L]
      detail: Serum magnesium was
      evidence: {certainty: very_low, strength: conditional, direction: for}
      options: [Asking about antacids.]
      suggestions: []
      reasons: [will-monitor, cds-not-applicable]
  - name: exactly at the limit of 1.00 mmol/L
    kind: at_the_limit
    labs: [{lab: serum_magnesium, value: 1.00, unit: mmol/L}]
    expect: {outcome: quiet}
"""

STEM = "example_above_range"
TEST = "{lab: serum_magnesium, above: example_limit, within: oldest_magnesium}"


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    """A copy of all content."""
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Flask]]:
    made: list[Flask] = []

    def make(folder: Path) -> Flask:
        app = create_app(Settings(data_dir=tmp_path / "data"), now=lambda: NOW, content=load_content(folder))
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["advisor"].store.close()


def answer(app: Flask, case: Scenario, folder: Path) -> Body:
    client = app.test_client()
    service = services(client)[case.hook]
    body = Builder(load_content(folder).library, NOW).request(case, service["prefetch"])
    response = client.post(f"/cds-services/{service['id']}", json=body)
    assert response.status_code == 200, response.json
    found: Body = json.loads(response.data)
    return found


def test_a_rule_is_one_file_one_scenario_file_and_the_catalogue(cards: Path, serve: Callable[[Path], Flask]) -> None:
    before = {path for path in cards.rglob("*") if path.is_file()}
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE, "utf-8")
    scenarios = read_file(yaml.safe_load(SCENARIOS)).scenarios

    app = serve(cards)
    fires, limit = (answer(app, case, cards) for case in scenarios)
    kinds = [{item["rule"]: item["outcome"] for item in own(found)["outcomes"]}[STEM] for found in (fires, limit)]
    assert kinds == [case.expect.outcome for case in scenarios] == ["fired", "quiet"]
    card = next(card for card in fires["cards"] if own(card)["rule"] == STEM)
    check(STEM, scenarios[0], fires)
    assert card["summary"] == "Magnesium 1.04 mmol/L (2 d ago), above 1.00 mmol/L"
    assert card["links"][0]["url"].endswith(f"/evidence/{STEM}")
    page = app.test_client().get(f"/evidence/{STEM}")
    assert page.status_code == 200
    assert "Serum magnesium above which the example speaks" in page.text

    assert invoke("catalogue", "--check", "--content", cards).returncode == 1
    assert invoke("catalogue", "--content", cards).returncode == 0
    assert invoke("catalogue", "--check", "--content", cards).returncode == 0
    assert f"[{STEM}](safety/{STEM}.yaml)" in (cards / "README.md").read_text("utf-8")
    assert invoke("lock", STEM, "first version", "--content", cards).returncode == 0
    assert f"\n{STEM}:\n" in (cards / "changes.yaml").read_text("utf-8")
    assert {path for path in cards.rglob("*") if path.is_file()} - before == {cards / "safety" / f"{STEM}.yaml"}


def test_a_site_may_set_the_threshold_of_a_new_rule_at_once(cards: Path, tmp_path: Path) -> None:
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE, "utf-8")
    site = tmp_path / "site.yaml"
    own_value = {"value": 0.95, "reason": "An example"}
    site.write_text(
        yaml.safe_dump({"site": "Test hospital", "rules": {STEM: {"thresholds": {"example_limit": own_value}}}})
    )
    app = create_app(Settings(data_dir=tmp_path / "data", site=site), now=lambda: NOW, content=load_content(cards))
    case = read_file(yaml.safe_load(SCENARIOS)).scenarios[1]
    found = answer(app, case, cards)
    app.extensions["advisor"].store.close()
    assert {item["rule"]: item["outcome"] for item in own(found)["outcomes"]}[STEM] == "fired"


RISE = (
    RULE[: RULE.index("  example_limit:")]
    + """\
  little: {label: Rise, unit: umol/L, values: {2026-01-01: 15}, reference: product_policy}
  a_day: {label: In a day, unit: d, values: {2026-01-01: 1}, reference: product_policy}
  threefold: {label: Times, unit: "1", values: {2026-01-01: 3}, reference: product_policy}
  days: {label: In days, unit: d, values: {2026-01-01: 3}, reference: product_policy}

"""
    + RULE[RULE.index("when:") :]
    .replace(TEST, "{risen: creatinine, by: little, by_within: a_day, times: threefold, times_within: days}")
    .replace(
        "Magnesium {serum_magnesium.value} ({serum_magnesium.age}), above {serum_magnesium.example_limit}",
        "As it says, {matched}",
    )
    .replace("Serum magnesium was {serum_magnesium.value} on {serum_magnesium.date}.", "As it says, {matched}.")
)


@pytest.mark.parametrize(
    ("earlier", "now", "hours", "outcome"),
    [(100, 116, 20, "fired"), (100, 114, 20, "quiet"), (100, 180, 30, "quiet"), (60, 181, 60, "fired")],
)
def test_what_counts_as_a_rise_is_named_by_the_rule(
    cards: Path, serve: Callable[[Path], Flask], earlier: int, now: int, hours: int, outcome: str
) -> None:
    """By 15 in a day, or to three times it in three days, whatever counts as kidney injury elsewhere."""
    (cards / "safety" / f"{STEM}.yaml").write_text(RISE, "utf-8")
    values = [
        {"lab": "creatinine", "value": now, "unit": "umol/L", "taken": "1 hour ago"},
        {"lab": "creatinine", "value": earlier, "unit": "umol/L", "taken": f"{hours + 1} hours ago"},
    ]
    patient = {"hook": "patient-view", "sex": "female", "age": 58, "name": "creatinine of two days", "kind": "fires"}
    case = Scenario.model_validate({**patient, "labs": values, "expect": {"outcome": outcome}})
    found = answer(serve(cards), case, cards)
    assert {item["rule"]: item["outcome"] for item in own(found)["outcomes"]}[STEM] == outcome


def test_a_rule_that_is_taken_away_is_gone(cards: Path, serve: Callable[[Path], Flask]) -> None:
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE, "utf-8")
    (cards / "safety" / f"{STEM}.yaml").unlink()
    assert serve(cards).test_client().get(f"/evidence/{STEM}").status_code == 404


THREE_FAULTS = (
    RULE.replace("above: example_limit,", "above: exampel_limit,")
    .replace("override_reasons: [will_monitor,", "override_reasons: [will_moniter,")
    .replace("Consider asking about antacids.", "You must ask about antacids.")
)


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def test_a_rule_with_three_faults_names_all_three_with_file_key_and_line(cards: Path) -> None:
    (cards / "safety" / f"{STEM}.yaml").write_text(THREE_FAULTS, "utf-8")
    done = invoke("check", "--content", cards, "--json")
    assert done.returncode == 78
    faults = [fault for fault in json.loads(done.stdout)["faults"] if fault["file"] == f"safety/{STEM}.yaml"]
    told = {(fault["key"], fault["line"]) for fault in faults}
    assert ("when.all.0.above", line_of(THREE_FAULTS, "exampel_limit")) in told
    assert ("card.override_reasons.0", line_of(THREE_FAULTS, "will_moniter")) in told
    assert ("card.consider.0", line_of(THREE_FAULTS, "You must ask")) in told
    words = " ".join(fault["message"] for fault in faults)
    assert "example_limit" in words and "will_monitor" in words, "the nearest names are told"


def test_the_same_faults_are_lines_for_people(cards: Path) -> None:
    (cards / "safety" / f"{STEM}.yaml").write_text(THREE_FAULTS, "utf-8")
    done = invoke("check", "--content", cards)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"safety/{STEM}.yaml:{line_of(THREE_FAULTS, 'You must ask')}: card.consider.0: " in done.stderr
    assert done.stderr.splitlines()[-1].endswith("faults")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("known_limits: >\n  It is an example.\n", "", "known_limits"),
        ("card:\n", "colour: red\ncard:\n", "colour"),
        ("unit: mmol/L\n", "unit: mmol/L\n    note: extra\n", "thresholds.example_limit.note"),
        ("values: {2026-01-01: 1.00}", "values: {2026-01-01: about one}", "thresholds.example_limit.values"),
        ("references: [alfred_rcpa_aacb]", "references: [nobody_1999]", "evidence.references.0"),
        ("certainty: very_low", "certainty: certain", "evidence.certainty"),
        ("lab: serum_magnesium, above", "lab: serum_magnesia, above", "when.all.0.lab"),
        ("({serum_magnesium.age})", "({serum_magnesium.mood})", "card.summary"),
        ("unit: mmol/L", "unit: mg/dL", "when.all.0.above"),
        (TEST, "{age: {at_least: oldest_magnesium}}", "when.all.0.age.at_least"),
        (TEST, "{kidney: {below: older_age}, within: oldest_kidney}", "when.all.0.kidney.below"),
        (TEST, "{kidney: {unknown: true, below: kidney_severe}, within: oldest_kidney}", "when.all.0.kidney"),
        (TEST, "{pregnant: true, lactating: true}", "when.all.0.lactating"),
        (TEST, "{condition: [long_qt, long_qtt]}", "when.all.0.condition.1"),
        (TEST, "{magnesium_products: {}}", "when.all.0.magnesium_products"),
        (TEST, "{smoker: true}", "when.all.0"),
    ],
)
def test_a_rule_with_one_fault_is_refused_where_it_is(cards: Path, old: str, new: str, key: str) -> None:
    assert old in RULE
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE.replace(old, new, 1), "utf-8")
    with pytest.raises(ContentError) as caught:
        load_content(cards)
    faults = [fault for fault in caught.value.faults if fault.file == f"safety/{STEM}.yaml"]
    assert [fault for fault in faults if fault.key.startswith(key)], [str(fault) for fault in faults]


def test_a_service_does_not_start_on_content_with_faults(cards: Path) -> None:
    (cards / "wording.yaml").write_text("source_label: only this\n", "utf-8")
    with pytest.raises(ContentError):
        load_content(cards)


TIMING = """\
family: separate
drug: examplidine
hours: {after_drug: 2, before_drug: 4, interval: drug_specific, reference: betapace_label_2014}
urgency: info
why: Magnesium may hold examplidine in the gut.
limits: It is an example. {times_of_day}
detail: Magnesium may lower the level of {drug}.
consider: ["Consider asking how {drug} is taken."]
evidence:
  certainty: low
  strength: conditional
  basis: An example.
  references: [betapace_label_2014]
"""
CONCEPT = """\
title: Examplidine
kind: drug
names: [examplidine]
checked: {source: An example that is no drug, date: 2026-11-21}
"""
TIMING_SCENARIOS = """\
given: {hook: order-sign, sex: female, age: 58}
scenarios:
  - name: magnesium oxide is ordered for a woman who takes examplidine
    kind: fires
    drugs: [{text: examplidine}]
    drafts: [magnesium_oxide]
    expect:
      outcome: fired
      indicator: info
      summary: ["Magnesium with examplidine", 4 h, "evidence: low"]
      detail: Magnesium may lower the level of examplidine
      evidence: {certainty: low, strength: conditional, direction: for}
      options:
        - "Magnesium at 12:30: 4 h 30 min after examplidine at 08:00 (time assumed)"
        - Giving examplidine at least 2 h before or 4 h after magnesium oxide.
        - Asking how examplidine is taken.
      suggestions: [Keep the doses apart]
      reasons: [doses-already-apart, not-taken, will-monitor, does-not-align-preferences, cds-not-applicable]
  - name: magnesium oxide at 10:00, exactly 2 hours after examplidine at 08:00
    kind: at_the_limit
    drugs: [{text: examplidine, at: ["08:00"]}]
    drafts: [{drug: magnesium_oxide, at: ["10:00"]}]
    expect: {outcome: quiet}
"""
DRUG = "examplidine_timing"


def new_timing_drug(cards: Path, rule: str = TIMING) -> None:
    (cards / "timing" / f"{DRUG}.yaml").write_text(rule, "utf-8")
    (cards / "terminology" / "examplidine.yaml").write_text(CONCEPT, "utf-8")
    with (cards / "coverage.yaml").open("a", encoding="utf-8") as file:
        file.write(f"examplidine:\n  rules: [{DRUG}]\n")


def test_a_new_timing_drug_is_its_rule_its_concept_and_a_line_of_coverage(
    cards: Path, serve: Callable[[Path], Flask]
) -> None:
    new_timing_drug(cards)
    assert invoke("lock", "--new", "first version", "--content", cards).returncode == 0
    assert invoke("check", "--content", cards).returncode == 0
    app = serve(cards)
    for case in read_file(yaml.safe_load(TIMING_SCENARIOS)).scenarios:
        check(DRUG, case, answer(app, case, cards))
    page = app.test_client().get(f"/evidence/{DRUG}").text
    assert "Examplidine and oral magnesium: keep doses apart" in page
    assert "It is an example. Times of day are known only where an order states them." in page
    assert "Hours from magnesium to the next dose of examplidine" in page


def test_every_rule_is_shown_in_the_long_form_and_the_loader_reads_that_the_same(cards: Path) -> None:
    new_timing_drug(cards)
    before = load_library(cards).rules
    assert run_cli("show", DRUG, "--content", cards).stdout == long_form(before[DRUG].data)
    assert sum(loaded.rule.separate is not None for loaded in before.values()) > 70
    for loaded in before.values():
        (cards / loaded.file).write_text(long_form(loaded.data), "utf-8")
        assert not (cards / loaded.file).read_text("utf-8").startswith("family"), loaded.id
    after = load_library(cards).rules
    assert {name: loaded.rule for name, loaded in after.items()} == {name: item.rule for name, item in before.items()}
    assert {loaded.version for loaded in after.values()} == {loaded.version for loaded in before.values()}


def test_a_short_rule_may_differ_from_its_family(cards: Path) -> None:
    new_timing_drug(
        cards,
        TIMING.replace("after_drug: 2", "after_drug: {values: {2026-01-01: 2, 2026-06-01: 3}, site_may_set: [1, 9]}")
        .replace("urgency: info", "magnesium: [antacid_salts]\nurgency: info\npriority: 40\nreasons: specialist")
        .replace("examplidine\nhours", "examplidine\ncalled: oral examplidine\nhours")
        .replace("consider:", 'first_option: ""\nconsider:'),
    )
    rule = load_library(cards).rules[DRUG].rule
    assert rule.title.startswith("Oral examplidine and") and rule.separate
    after = rule.thresholds["drug_then_magnesium"]
    assert (after.label, after.unit) == ("Hours from oral examplidine to the next dose of magnesium", "h")
    assert (after.at(NOW.date()), after.site_may_set) == (3, (1, 9))
    assert len(rule.separate.magnesium) == 4 and "magnesium_hydroxide" in rule.separate.magnesium
    assert (rule.card.priority, rule.card.override_reasons[2]) == (40, "specialist_agrees")
    assert rule.card.consider == ["Consider asking how {drug} is taken."]


def test_the_short_rule_of_the_docs_can_be_loaded(cards: Path) -> None:
    told = (Path(__file__).parents[1] / "docs" / "rules.md").read_text("utf-8")
    shown = dedent("  family: separate\n" + told.split("  family: separate\n")[1].split("  ```")[0])
    (cards / "timing" / "chloroquine_timing.yaml").write_text(shown, "utf-8")
    assert invoke("lock", "chloroquine_timing", "As in the docs", "--content", cards).returncode == 0
    assert invoke("check", "--content", cards).returncode == 0


def test_a_rule_that_is_not_there_cannot_be_shown() -> None:
    done = invoke("show", "sotalol_timming")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sotalol_timing" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("family: separate", "family: seperate", "family", "did you mean separate"),
        ("family: separate", "family: avoid", "hours", "has no hours"),
        ("drug: examplidine", "drug: examplidin", "drug", "did you mean examplidine"),
        ("urgency: info", "urgency: critical", "urgency", "no urgency named critical"),
        ("urgency: info", "urgency: info\nreasons: ongoin", "reasons", "did you mean ongoing"),
        ("urgency: info", "urgency: info\npriority: 0", "priority", "greater than or equal to 1"),
        ("urgency: info", "colour: red\nurgency: info", "colour", "not permitted"),
        ("urgency: info\n", "", "urgency", "required"),
        ("{times_of_day}", "{times_of_days}", "limits", "did you mean times_of_day"),
        ("urgency: info", "magnesium: [antacid_salt]\nurgency: info", "magnesium.0", "no drug in terminology/"),
        ("why: Magnesium", "magnesium: [magnesium_oxide]\nwhy: Magnesium", "urgency", "keys stand in the order"),
        ("after_drug: 2", "after_drug: two", "hours.after_drug", "valid decimal"),
        ("after_drug: 2", "after_drug: 5", "hours.after_drug", "no site_may_set for 5 hours"),
        ("after_drug: 2", "after_drug: {hours: 5, site_may_set: [6, 8]}", "hours.after_drug", "outside site_may_set"),
        ("after_drug: 2", "after_drug: {reference: betapace_label_2014}", "hours.after_drug", "hours or values"),
        ("reference: betapace_label_2014", "reference: nobody", "hours.reference", "no reference nobody"),
        ("interval: drug_specific", "interval: read", "hours.interval", "drug_specific"),
        ("certainty: low\n", "certainty: sure\n", "evidence.certainty", "very_low"),
        ("  certainty: low\n", "", "evidence.certainty", "required"),
        ("  basis: An", "  grade: A\n  basis: An", "evidence.grade", "not permitted"),
        ("Consider asking", "You must ask", "consider.0", "does not belong on a card"),
        ("level of {drug}", "level of {drugs}", "detail", "did you mean drug"),
    ],
)
def test_a_fault_of_a_short_rule_is_named_in_its_own_file(
    cards: Path, old: str, new: str, key: str, words: str
) -> None:
    assert old in TIMING
    rule = TIMING.replace(old, new, 1)
    new_timing_drug(cards, rule)
    faults = json.loads(invoke("check", "--content", cards, "--json").stdout)["faults"]
    told = [fault for fault in faults if fault["file"] == f"timing/{DRUG}.yaml"]
    found = [fault for fault in told if fault["key"] == key and words in fault["message"]]
    assert found, told
    top = key.split(".")[0]
    wanted = {line for line, text in enumerate(rule.splitlines(), 1) if text.startswith((f"{top}:", "  "))}
    assert all(fault["line"] in wanted for fault in found) or words == "required"


def test_a_limit_of_a_lab_stands_in_the_unit_of_its_result(cards: Path) -> None:
    """1.7 mg/dL beside a bare limit of 0.74 mmol/L would read as if it were above it."""
    bare, beside = '"{example_limit} and {serum_magnesium.value}"', '"{serum_magnesium.example_limit}"'
    file = cards / "deficiency" / f"{STEM}.yaml"
    for text, faults in ((bare, 1), (beside, 0)):
        rule = RULE.replace('"Consider asking about antacids."', text)
        assert text in rule
        file.write_text(rule, encoding="utf-8")
        told = json.loads(invoke("check", "--content", cards, "--json").stdout)["faults"]
        said = [fault["message"] for fault in told if fault["key"] == "card.consider.0"]
        assert [message.count("{LAB.example_limit}") for message in said] == [1] * faults, said


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("    since: 2026-01-01", "    since: soon", "separate.hours.since"),
        ("  topic: timing\n", "  topic: timming\n", "separate.topic"),
        ("ongoing: [doses_already_apart", "ongoing: [doses_apart", "separate.reasons.ongoing.0"),
        ("reasons: ongoing}", "reasons: on_going}", "separate"),
        ("  suggest: [keep_apart]", "  suggest: [keep_appart]", "separate.suggest.0"),
        ("Consider giving {drug}", "Consider giving {drugg}", "separate.first_option"),
        ("2: [2, 4]", "2: [3, 4]", "separate.hours"),
        ("direction: for", "direction: to", "separate.direction"),
        ("\nseparate:\n", "\nseparated:\n", "separated"),
        ('"{Drug_name} and oral', '"{Drug} and oral', "separate"),
    ],
)
def test_a_fault_of_a_family_is_named_once_and_there(cards: Path, old: str, new: str, key: str) -> None:
    text = (cards / "families.yaml").read_text("utf-8")
    assert old in text
    (cards / "families.yaml").write_text(text.replace(old, new, 1), "utf-8")
    faults = json.loads(invoke("check", "--content", cards, "--json").stdout)["faults"]
    assert [(fault["file"], fault["key"]) for fault in faults] == [("families.yaml", key)]
    assert faults[0]["line"] > 4
