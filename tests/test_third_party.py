"""Somebody else's rules, beside ours and never over them: docs/example-cards, and what no package may do."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import yaml
from flask import Flask
from flask.testing import FlaskClient

from cds_service import create_app
from cds_service.advice.loaded_content import Content, load_content
from cds_service.advice.needs import all_needs
from cds_service.content.library import Library
from cds_service.content.loading import beside, read_content
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.content.yamlfile import ContentError, Document
from cds_service.population import kept_facts
from cds_service.publish.fhir import plan_definition, value_set
from cds_service.sandbox.expected import EXTENSION, leader, outcome_of, rules_of
from cds_service.sandbox.scenario import Builder, Scenario, scenario_files
from cds_service.settings import Settings, SettingsError, load_settings
from cds_service.store import StoreError
from tests.conformance.calls import every_sample_call, invoke, services, serving, until
from tests.conftest import NOW
from tests.support.some import some

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "example-cards"
PAGE = (ROOT / "docs" / "third-party-rules.md").read_text("utf-8")
LOW_FILE = "deficiency/low_magnesium_with_exampline.yaml"
TIMING, LOW = "exampleh-exampline_timing", "exampleh-low_magnesium_with_exampline"


@pytest.fixture(scope="module")
def both() -> Content:
    """Our content and the example."""
    return load_content(cards=[EXAMPLE])


@pytest.fixture(scope="module")
def their_app(both: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The service with the example loaded."""
    values = {"data_dir": tmp_path_factory.mktemp("data"), "cards": [EXAMPLE], "console": True}
    app = create_app(Settings.model_validate(values), now=lambda: NOW, content=both)
    app.testing = True
    yield app
    app.extensions["advisor"].store.close()


@pytest.fixture
def theirs(their_app: Flask) -> FlaskClient:
    return their_app.test_client()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, to be spoilt."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example-cards"))


def edited(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text("utf-8")
    assert old in text, f"{file} has no {old!r}"
    (folder / file).write_text(text.replace(old, new), "utf-8")


@cache
def ours() -> tuple[Library, Mapping[str, Document]]:
    """Our content and its files, read once."""
    return read_content()


def loaded(*folders: Path) -> Library:
    """Our content and these packages, as a service loads them."""
    return beside(*ours(), folders)[0]


def faults(*folders: Path) -> list[str]:
    """Why a service with these packages does not start."""
    with pytest.raises(ContentError) as caught:
        loaded(*folders)
    return [str(fault) for fault in caught.value.faults]


def post(client: FlaskClient, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(f"/cds-services/magnesium-{body['hook']}", json=body)
    assert response.status_code == 200, response.json
    answer: dict[str, Any] = orjson.loads(response.data)
    return answer


def asked(client: FlaskClient, content: Content, **case: Any) -> dict[str, Any]:
    """The answer for a patient, who is written as in a scenario."""
    hook = case.get("hook", "patient-view")
    templates = services(client)[hook]["prefetch"]
    written = {"name": "a patient of this test", "kind": "fires", "expect": {"outcome": "quiet"}, **case}
    return post(client, Builder(content.library, NOW).request(Scenario.model_validate(written), templates))


LOW_LAB = {"lab": "serum_magnesium", "value": 0.62, "unit": "mmol/L", "taken": "2 days ago"}


def on_exampline(client: FlaskClient, content: Content) -> dict[str, Any]:
    """The card of their rule on low magnesium."""
    answer = asked(client, content, drugs=["exampleh-exampline"], labs=[LOW_LAB])
    (card,) = [card for card in answer["cards"] if leader(card) == LOW]
    return dict(card)


def test_a_card_of_theirs_says_whose_rule_it_is(theirs: FlaskClient, both: Content) -> None:
    card = on_exampline(theirs, both)
    assert card["source"]["label"] == "Example hospital: Medicines list"
    assert "is a rule of Example hospital (package exampleh 1.0.0), not of Magnesium CDS" in card["detail"]
    package = card["extension"][EXTENSION]["package"]
    assert (package["namespace"], package["version"]) == ("exampleh", "1.0.0")
    assert package["publisher"] == "Example hospital"


def test_beneath_a_rule_of_ours_their_line_says_whose_it_is(theirs: FlaskClient, both: Content) -> None:
    answer = asked(
        theirs, both, hook="order-sign", drugs=["levothyroxine", "exampleh-exampline"], drafts=["magnesium_oxide"]
    )
    (card,) = [card for card in answer["cards"] if TIMING in rules_of(card)]
    assert rules_of(card) == ["levothyroxine_timing", TIMING]
    assert "(rule of Example hospital)" in card["detail"]
    assert "not of Magnesium CDS" in card["detail"]
    ours, their = card["extension"][EXTENSION], card["extension"][EXTENSION]["alsoFired"][0]
    assert "package" not in ours
    assert their["package"]["publisher"] == "Example hospital"


def test_ours_say_nothing_of_packages(client: FlaskClient, content: Content) -> None:
    answer = asked(client, content, labs=[LOW_LAB])
    assert "package" not in some(answer["cards"])[0]["extension"][EXTENSION]
    assert client.get("/readyz").get_json()["packages"] == []


def sure_that_ours_are_the_same(theirs: FlaskClient, client: FlaskClient, body: dict[str, Any]) -> None:
    before, after = post(client, body), post(theirs, body)
    told = {item["rule"]: item for item in after["extension"][EXTENSION]["outcomes"]}
    ours = some(before["extension"][EXTENSION]["outcomes"])
    assert told.keys() - {item["rule"] for item in ours} <= {TIMING, LOW}
    assert [told[item["rule"]] for item in ours] == ours
    assert [_plain(card) for card in before["cards"]] == [_plain(card) for card in after["cards"]]


def test_no_outcome_and_no_card_of_ours_differs_for_a_sample_patient(theirs: FlaskClient, client: FlaskClient) -> None:
    calls = list(every_sample_call(client))
    assert len(calls) > 20
    for _, body in calls:
        sure_that_ours_are_the_same(theirs, client, body)


def test_nor_for_the_first_patient_of_any_rule_of_ours(
    theirs: FlaskClient, client: FlaskClient, content: Content
) -> None:
    builder, asks = Builder(content.library, NOW), services(client)
    for rule in some(name for name in scenario_files() if name in content.library.rules):
        case = scenario_files()[rule].scenarios[0]
        sure_that_ours_are_the_same(theirs, client, builder.request(case, asks[case.hook]["prefetch"]))


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """A card without what is made anew for each answer."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|/plan/[\w.-]+", "-", json.dumps(card, sort_keys=True))
    return dict(json.loads(text))


def test_their_evidence_page_says_whose_it_is(theirs: FlaskClient) -> None:
    page = theirs.get(f"/evidence/{LOW}").get_data(as_text=True)
    assert "<h1>Low magnesium while exampline is taken (Example hospital)</h1>" in page
    assert "A rule of Example hospital, not of Magnesium CDS." in page
    assert "pharmacy@hospital.example" in page
    assert "Made within the Magnesium CDS project" not in page, "the source attributes name who made it"
    data = theirs.get(f"/evidence/{LOW}.json").get_json()
    assert data["package"]["title"] == "Rules of Example hospital"
    assert "(Example hospital)" in theirs.get("/evidence").get_data(as_text=True)


def test_an_evidence_page_of_ours_names_no_publisher(theirs: FlaskClient) -> None:
    assert "not of Magnesium CDS" not in theirs.get("/evidence/low_serum_magnesium").get_data(as_text=True)
    assert "package" not in theirs.get("/evidence/low_serum_magnesium.json").get_json()


def test_readyz_lists_the_packages_and_the_content_has_another_digest(
    theirs: FlaskClient, content: Content, both: Content
) -> None:
    state = theirs.get("/readyz").get_json()
    (package,) = state["packages"]
    assert package == both.library.packages[0].told()
    assert re.fullmatch(r"[0-9a-f]{12}", package["digest"])
    assert state["content"] == both.library.digest != content.library.digest


def test_a_changed_byte_gives_the_package_another_digest(folder: Path, both: Content) -> None:
    edited(folder, "package.yaml", "1.0.0", "1.0.1")
    assert loaded(folder).packages[0].digest != both.library.packages[0].digest


def test_their_ids_are_valid_in_fhir(both: Content) -> None:
    library, rulebook = both.library, make_rulebook(both.library, NO_SITE, NOW.date())
    made = [plan_definition(library.rules[name], rulebook) for name in (TIMING, LOW)]
    made.append(value_set("exampleh-exampline", library.terminology["exampleh-exampline"], library))
    for resource in made:
        assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"])
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", resource["name"])
    assert made[0]["publisher"] == "Example hospital"


def test_a_site_sets_their_threshold_as_it_sets_ours(both: Content, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(site: .*?)```", PAGE, re.DOTALL)
    site = tmp_path / "site.yaml"
    site.write_text(text)
    done = invoke("site", "show", site, "--cards", EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    assert TIMING in done.stdout
    values = read_site(text, "site.yaml", both.library, frozenset(all_needs(both.library)))
    limits = make_rulebook(both.library, values, NOW.date()).rules[TIMING].limits
    assert [limits["drug_then_magnesium"].value, limits["magnesium_then_drug"].value] == [3, 4]
    alone = invoke("site", "validate", site)
    assert alone.returncode == 78
    assert TIMING in alone.stderr, "without the package nobody knows the rule"


def test_feedback_and_statistics_name_their_rule(their_app: Flask, theirs: FlaskClient, both: Content) -> None:
    card = on_exampline(theirs, both)
    reason = next(item for item in card["overrideReasons"] if item["code"] == "pharmacy-told")
    assert reason["system"] == "https://hospital.example/override-reasons"
    body = {"feedback": [{"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": NOW.isoformat(),
                          "overrideReason": {"reason": reason}}]}  # fmt: skip
    assert theirs.post("/cds-services/magnesium-patient-view/feedback", json=body).status_code == 200
    store = their_app.extensions["advisor"].store
    until(lambda: any(LOW in str(row) for row in store.export()), 10)


def test_why_and_evaluate_and_show_know_their_rule(both: Content, tmp_path: Path) -> None:
    case = {"drugs": ["exampleh-exampline"], "labs": [LOW_LAB], "name": "a patient on exampline", "kind": "fires",
            "expect": {"outcome": "quiet"}}  # fmt: skip
    made = Builder(both.library, datetime.now(UTC)).resources(Scenario.model_validate(case))
    file = tmp_path / "patient.json"
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": item} for item in made]}
    file.write_bytes(orjson.dumps(bundle))
    answer = json.loads(invoke("evaluate", file, "--cards", EXAMPLE, "--json").stdout)
    assert outcome_of(LOW, answer)["outcome"] == "fired"
    told = json.loads(invoke("why", file, LOW, "--cards", EXAMPLE, "--json").stdout)
    assert told["title"] == "Low magnesium while exampline is taken (Example hospital)"
    shown = invoke("show", TIMING, "--cards", EXAMPLE)
    assert yaml.safe_load(shown.stdout)["separate"]["drug"] == "exampleh-exampline"
    assert invoke("evaluate", file, "--json").returncode == 0


def test_previews_go_on_working(both: Content, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(site: .*?)```", PAGE, re.DOTALL)
    site = tmp_path / "site.yaml"
    site.write_text(text)
    done = invoke("site", "preview", site, "--cards", EXAMPLE, "--cohort", "samples", "--json")
    assert done.returncode == 0, done.stderr


def test_a_plan_link_for_their_drug_opens(theirs: FlaskClient, both: Content) -> None:
    answer = asked(theirs, both, hook="order-sign", drugs=["exampleh-exampline"], drafts=["magnesium_oxide"])
    links = [link["url"] for card in answer["cards"] for link in card["links"] if "/plan/" in link["url"]]
    (url,) = links
    page = theirs.get(url[url.index("/plan/") :])
    assert page.status_code == 200
    assert "xampline" in page.get_data(as_text=True)


def test_an_order_that_keeps_their_drug_apart_is_read_again(theirs: FlaskClient, both: Content) -> None:
    draft = {"drug": "magnesium_oxide", "kept_apart": "exampleh-exampline"}
    answer = asked(theirs, both, hook="order-sign", drugs=["exampleh-exampline"], drafts=[draft])
    assert outcome_of(TIMING, answer)["outcome"] == "quiet"


def test_what_they_bring_is_kept_as_facts_too() -> None:
    assert kept_facts._key("exampleh-exampline_levels")
    assert not kept_facts._key("Anna-Maria Müller")


# What no package may do.


def concept(**more: Any) -> str:
    """A concept of theirs as YAML."""
    checked = {"source": "Made up", "date": date(2026, 11, 28)}
    usual = {"title": "Otherline", "kind": "drug", "names": ["otherline"], "checked": checked}
    return yaml.safe_dump(usual | more, sort_keys=False)


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ({"rxnorm_ingredients": ["10582"]}, "rxnorm_ingredients.0", "10582 is a code of levothyroxine"),
        ({"rxnorm_ingredients": ["892246"]}, "rxnorm_ingredients.0", "892246 is a code of levothyroxine"),
        ({"names": ["otherline", "Synthroid"]}, "names.1", "'Synthroid' would be read in the place of a name of"),
        ({"names": ["magnesium otherline"]}, "names.0", "would be read in the place of a name of"),
        ({"names": ["citrate"]}, "names.0", "would be read in the place of a name of"),
        ({"title": "Levothyroxine"}, "title", "would be read in the place of a name of levothyroxine"),
        ({"member_of": ["proton_pump_inhibitors"]}, "member_of.0", "proton_pump_inhibitors is ours"),
        ({"not": ["levothyroxine"]}, "not", "a package cannot"),
        ({"kind": "condition", "names": [], "snomed": ["46177005"]}, "snomed.0", "46177005 is a code of"),
        (
            {"kind": "lab", "names": [], "unit": "mmol/L", "input": "exampleh-levels",
             "codes": [{"system": "loinc", "code": "2601-3", "property": "substance"}]},
            "codes.0", "2601-3 is a code of serum_magnesium",
        ),
        (
            {"kind": "lab", "names": [], "unit": "mmol/L", "input": "serum_magnesium", "codes": []},
            "input", "begins with your namespace, such as exampleh-serum_magnesium",
        ),
    ],
)  # fmt: skip
def test_a_concept_of_theirs_takes_nothing_of_ours(more: dict[str, Any], key: str, says: str, folder: Path) -> None:
    (folder / "terminology" / "otherline.yaml").write_text(concept(**more), "utf-8")
    (fault,) = [text for text in faults(folder) if f" {key}: " in text]
    assert re.match(r"example-cards/terminology/otherline\.yaml:\d+: ", fault)
    assert says in fault


def test_a_concept_of_theirs_that_takes_nothing_is_loaded(folder: Path) -> None:
    (folder / "terminology" / "otherline.yaml").write_text(concept(), "utf-8")
    assert loaded(folder).terminology["exampleh-otherline"].title == "Otherline"


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            LOW_FILE, "problem: exampleh-low_with_exampline", "problem: low_magnesium",
            "deficiency/low_magnesium_with_exampline.yaml:19: card.problem: begins with your namespace",
        ),
        (
            LOW_FILE, "  priority: 500", "  joins: low_magnesium\n  priority: 500",
            "card.joins: begins with your namespace, such as exampleh-low_magnesium",
        ),
        (
            LOW_FILE, "  priority: 500", "  never_cut: true\n  priority: 500",
            "card.never_cut: belongs to rules of ours",
        ),
        (
            LOW_FILE, "below: lower_limit", "below: lower_limits",
            "deficiency/low_magnesium_with_exampline.yaml:13: when.all.0.below: no threshold named lower_limits",
        ),
        (
            LOW_FILE, "medication: [exampleh-exampline]", "medication: [exampline]",
            "no drug in terminology/ named exampline",
        ),
        (
            "timing/exampline_timing.yaml", "references: [exampleh-own_choice]", "references: [nobody]",
            "timing/exampline_timing.yaml:12: evidence.references.0: no reference nobody",
        ),
        (
            "timing/exampline_timing.yaml", "urgency: info", "urgency: infos",
            "timing/exampline_timing.yaml:4: urgency: input should be",
        ),
        ("references.yaml", "kind: local_policy", "kind: policy", "own_choice.kind: is a choice of ours"),
        ("references.yaml", "kind: local_policy", "kinds: x", "references.yaml:2: own_choice.kinds: extra inputs"),
        (
            "override_reasons.yaml", "https://hospital.example/override-reasons", "urn:magnesium-cds:override-reason",
            "override_reasons.yaml:2: pharmacy_told.system: take an address of your own code system",
        ),
        ("package.yaml", "namespace: exampleh", "namespace: magnesium", "namespace: magnesium would read as ours"),
        ("package.yaml", "namespace: exampleh", "namespace: Ex", "package.yaml:2: namespace: string should match"),
        ("package.yaml", "publisher: Example hospital", "publisher: Magnesium CDS", "publisher: names this product"),
        (
            "package.yaml", "{from: 0.1.0, below: 2.0.0}", "{from: 0.0.1, below: 0.0.2}",
            "made_for: was made for 0.0.1 or later, and below 0.0.2, and this is",
        ),
        ("package.yaml", "{from: 0.1.0, below: 2.0.0}", "{from: 2.0.0, below: 1.0.0}", "from is not before below"),
        ("package.yaml", "licence: Apache-2.0\n", "", "licence: field required"),
    ],
)  # fmt: skip
def test_a_fault_of_theirs_is_told_with_its_file_key_and_line(
    file: str, old: str, new: str, says: str, folder: Path
) -> None:
    edited(folder, file, old, new)
    assert any(says in text for text in faults(folder)), faults(folder)


def test_a_rule_of_ours_cannot_be_redefined(folder: Path) -> None:
    shutil.copy(ROOT / "cards" / "deficiency" / "low_serum_magnesium.yaml", folder / "deficiency")
    assert any(
        "low_serum_magnesium is a rule of ours: no package changes it. Give this one another file name" in text
        for text in faults(folder)
    )


def test_an_id_that_is_one_of_ours_in_fhir_is_refused(folder: Path) -> None:
    edited(folder, "package.yaml", "namespace: exampleh", "namespace: low")
    for path in folder.rglob("*.yaml"):
        path.write_text(path.read_text("utf-8").replace("exampleh-", "low-"), "utf-8")
    rule = folder / "deficiency" / "low_magnesium_with_exampline.yaml"
    rule.rename(rule.with_name("serum_magnesium.yaml"))
    (fault,) = faults(folder)
    assert "low-serum_magnesium is the same as low_serum_magnesium in FHIR: give it another file name" in fault


def test_two_packages_of_one_namespace_are_refused(folder: Path) -> None:
    (fault,) = faults(EXAMPLE, folder)
    assert "namespace: the folder example-cards has this namespace too: rename one" in fault


def test_two_packages_stand_beside_each_other(folder: Path) -> None:
    for path in folder.rglob("*.yaml"):
        text = path.read_text("utf-8").replace("exampleh", "secondh")
        path.write_text(text.replace("exampline", "secondline").replace("Exampline", "Secondline"), "utf-8")
        if "exampline" in path.name:
            path.rename(path.with_name(path.name.replace("exampline", "secondline")))
    edited(folder, "terminology/secondline.yaml", "Exampria", "Secondria")
    library = loaded(EXAMPLE, folder)
    assert {"exampleh-exampline_timing", "secondh-secondline_timing"} <= library.rules.keys()
    assert [package.namespace for package in library.packages] == ["exampleh", "secondh"]


@pytest.mark.parametrize("name", ["services.yaml", "wording.yaml", "families.yaml", "tables/thresholds.yaml", "a.txt"])
def test_a_file_that_is_ours_alone_is_refused(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("a: 1\n")
    (fault,) = faults(folder)
    assert fault.startswith(f"example-cards/{name}: is read by nothing: a package has the folders")


def test_hidden_files_and_a_readme_may_lie_beside(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "README.md").write_text("Ours.\n")
    assert loaded(folder).packages


@pytest.mark.parametrize("missing", ["nowhere", "empty"])
def test_a_folder_without_a_package_is_named(missing: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (fault,) = faults(tmp_path / missing)
    assert ("is no folder" in fault) == (missing == "nowhere")
    assert ("package.yaml: is missing" in fault) == (missing == "empty")


def test_a_service_with_a_broken_package_does_not_start(folder: Path, tmp_path: Path) -> None:
    edited(folder, "timing/exampline_timing.yaml", "drug: exampleh-exampline", "drug: exampleh-exampine")
    done = invoke("serve", "--cards", folder, "--port", "0", "--data-dir", tmp_path / "data")
    assert done.returncode == 78
    assert "example-cards/timing/exampline_timing.yaml:2: drug" in done.stderr
    assert "Traceback" not in done.stderr


# Their patients.


def test_check_tries_their_patients_and_counts_them() -> None:
    done = invoke("check", "--cards", EXAMPLE)
    assert done.returncode == 0, done.stderr
    assert "packages 1, their patients 5" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("expect: {outcome: quiet}", "expect: {outcome: fired, indicator: info, summary: x}", "the outcome is quiet"),
        ("indicator: info", "indicator: warning", "the indicator is info, not warning"),
        (
            "while taking exampline'",
            "while taking another'",
            "without 'Low magnesium 0.62 mmol/L ",
        ),
        ("suggestions: []", "suggestions: [Repeat serum magnesium]", "the suggestions are [], not ['Repeat serum"),
        ("pharmacy-told, ", "", "the reasons are ['pharmacy-told', "),
        ("certainty: very_low", "certainty: low", "the evidence is coded ['very-low', "),
        (
            "low_serum_magnesium: fired",
            "low_serum_magnesium: quiet",
            "the outcome of low_serum_magnesium is",
        ),
        ("  labs: [{lab: serum_magnesium", "  labs: [{lab: exampleh-none", "there is no concept 'exampleh-none'"),
        ("scenarios:", "patients:", "patients: extra inputs are not permitted"),
    ],
)
def test_check_names_the_patient_whom_their_rule_fails(old: str, new: str, says: str, folder: Path) -> None:
    edited(folder, "scenarios/low_magnesium_with_exampline.yaml", old, new)
    done = invoke("check", "--cards", folder)
    assert done.returncode == 78
    assert "example-cards/scenarios/low_magnesium_with_exampline.yaml" in done.stderr
    assert says in done.stderr


def test_a_rule_without_patients_and_patients_without_a_rule_are_faults(folder: Path) -> None:
    path = folder / "scenarios" / "exampline_timing.yaml"
    path.rename(path.with_name("exampline_time.yaml"))
    done = invoke("check", "--cards", folder)
    assert "exampline_time.yaml: there is no rule exampline_time in this package" in done.stderr
    assert "timing/exampline_timing.yaml: has no scenarios/exampline_timing.yaml: write a patient" in done.stderr


def test_what_changed_in_their_rules_is_written_into_their_folder(folder: Path) -> None:
    assert invoke("lock", "--cards", folder, "--new", "first version").returncode == 0
    written = yaml.safe_load((folder / "changes.yaml").read_text("utf-8"))
    assert written.keys() == {"exampline_timing", "low_magnesium_with_exampline"}
    assert invoke("check", "--cards", folder).returncode == 0
    edited(folder, "timing/exampline_timing.yaml", "urgency: info", "urgency: warning")
    done = invoke("check", "--cards", folder)
    assert "example-cards/changes.yaml:" in done.stderr
    assert "example-cards/timing/exampline_timing.yaml changed: `magnesium-cds lock" in done.stderr
    invoke("lock", "--cards", folder, "--all", "more urgent")
    after = yaml.safe_load((folder / "changes.yaml").read_text("utf-8"))
    assert [len(after[name]) for name in sorted(after)] == [2, 1]


# What docs/third-party-rules.md says.


def test_every_command_of_the_page_runs(folder: Path, tmp_path: Path) -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("magnesium-cds ")]
    assert len(commands) == len(lines) == 5
    for words in commands:
        words = [str(folder) if word == "docs/example-cards" else word for word in words]
        if words[0] == "serve":
            with serving(tmp_path, "--cards", folder) as running:
                (package,) = requests.get(f"{running.base}/readyz", timeout=20).json()["packages"]
                assert package["namespace"] == "exampleh"
        else:
            assert invoke(*words).returncode == 0, words


def test_the_manifest_and_the_rule_on_the_page_are_those_of_the_example() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    manifest = (EXAMPLE / "package.yaml").read_text("utf-8").partition("\n")[2]
    rule = (EXAMPLE / "timing" / "exampline_timing.yaml").read_text("utf-8")
    assert manifest in blocks
    assert any(rule.startswith(block) for block in blocks)


def test_the_setting_names_folders_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'cards = ["{EXAMPLE}"]\n')
    assert load_settings({}, file, {}).cards == (EXAMPLE,)
    assert load_settings({}, None, {"MAGNESIUM_CDS_CARDS": f"{EXAMPLE} other"}).cards == (EXAMPLE, Path("other"))


# Extras, named as they can be installed from a checkout: the project is in no registry.


def test_every_text_names_an_extra_as_it_can_be_installed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "cds_service").rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in some(files)}
    assert [name for name, text in texts.items() if "magnesium-cds[" in text] == []
    told = {extra for text in texts.values() for found in re.findall(r"pip install (?:-e )?'\.\[([\w,]+)\]'", text)
            for extra in found.split(",")}  # fmt: skip
    assert told == extras.keys(), "every extra is named somewhere, and no other"


@pytest.mark.parametrize(
    ("settings", "hidden", "extra"),
    [
        ({"database": "postgresql+psycopg://nobody@127.0.0.1:1/none"}, "psycopg", "postgres"),
        (
            {"console": True, "oidc_issuer": "https://login.example", "oidc_client_id": "a",
             "oidc_client_secret": "b", "oidc_roles": ("a=admin",), "public_url": "https://cds.example"},
            "authlib", "oidc",
        ),
    ],
)  # fmt: skip
def test_a_service_without_an_extra_says_what_to_type(
    settings: dict[str, Any], hidden: str, extra: str, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == hidden]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises((SettingsError, StoreError)) as told:
        create_app(Settings.model_validate({"data_dir": tmp_path, **settings}), content=content)
    assert f"pip install '.[{extra}]'" in str(told.value)
