"""Where the product texts of the US and of Europe ask for different waits: which one a card shows, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from flask.testing import FlaskClient

from cds_service import create_app
from cds_service.advice.loaded_content import Content, load_content
from cds_service.commands import patient_file
from cds_service.commands import site as site_commands
from cds_service.commands.why import why
from cds_service.content.loading import load_library
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.content.yamlfile import ContentError
from cds_service.sandbox.scenario import Builder, Scenario, read_file
from cds_service.settings import Settings
from tests.conformance.calls import Body, invoke, run_cli, services
from tests.conftest import NOW
from tests.test_add_a_rule import DRUG, RULE, STEM, TIMING, TIMING_SCENARIOS, cards, new_timing_drug

EU = "{eu: {hours: 6, reference: emc_2678}}"
REGIONAL = TIMING.replace("before_drug: 4", f"before_drug: {{hours: 4, regions: {EU}}}")
CASE = read_file(yaml.safe_load(TIMING_SCENARIOS)).scenarios[0]
LABEL = "hours from magnesium to the next dose of examplidine"
Ask = Callable[..., tuple[Body, FlaskClient]]


@pytest.fixture(scope="module")
def regional(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """The content with a drug whose European text asks for six hours and whose US label asks for four."""
    folder: Path = cards.__wrapped__(tmp_path_factory.mktemp("regional"))
    new_timing_drug(folder, REGIONAL)
    return folder, load_content(folder)


@pytest.fixture
def ask(regional: tuple[Path, Content], tmp_path: Path) -> Ask:
    """The card about that drug under a site file of these members, and the service that gave it."""

    def make(case: Scenario = CASE, **members: Any) -> tuple[Body, FlaskClient]:
        site = tmp_path / "site.yaml"
        site.write_text(yaml.safe_dump({"site": "Test hospital", **members}), "utf-8")
        app = create_app(Settings(data_dir=tmp_path / "data", site=site), now=lambda: NOW, content=regional[1])
        client = app.test_client()
        service = services(client)[case.hook]
        body = Builder(regional[1].library, NOW).request(case, service["prefetch"])
        found = client.post(f"/cds-services/{service['id']}", json=body).json
        app.extensions["advisor"].store.close()
        card: Body = next(card for card in found["cards"] if "examplidine" in card["summary"])
        return card, client

    return make


def test_the_longer_wait_is_shown_where_the_site_chose_no_region_and_the_card_says_whose_it_is(ask: Ask) -> None:
    card, _ = ask()
    assert "6 h" in card["summary"] and "4 h" not in card["summary"]
    assert "or 6 h after magnesium oxide" in card["detail"]
    assert f"{LABEL}: 6 h, EU text (US text: 4 h)" in card["detail"]


def test_a_site_in_the_us_is_shown_the_us_wait(ask: Ask) -> None:
    card, client = ask(region="us")
    assert "4 h" in card["summary"] and "6 h" not in card["summary"]
    assert f"{LABEL}: 4 h, US text, as this site chose (EU text: 6 h)" in card["detail"]
    page = client.get(f"/evidence/{DRUG}").text
    assert "4 h; US text: 4; EU text: 6" in page
    row = next(row for row in client.get(f"/evidence/{DRUG}.json").json["thresholds"] if "regions" in row)
    assert (row["value"], row["region"], row["regions"]) == ("4", "us", {"us": "4", "eu": "6"})
    assert row["reference"] == "betapace_label_2014"


def test_a_site_in_europe_is_shown_the_european_wait_with_its_own_source(ask: Ask) -> None:
    card, client = ask(region="eu")
    assert "6 h" in card["summary"] and "as this site chose (US text: 4 h)" in card["detail"]
    row = next(row for row in client.get(f"/evidence/{DRUG}.json").json["thresholds"] if "regions" in row)
    assert (row["value"], row["region"], row["reference"]) == ("6", "eu", "emc_2678")


def test_a_value_that_the_site_set_itself_goes_before_that_of_any_region(ask: Ask) -> None:
    own = {"value": 8, "reason": "Our pharmacists ask for eight"}
    card, _ = ask(region="us", rules={DRUG: {"thresholds": {"magnesium_then_drug": own}}})
    assert "8 h" in card["summary"]
    assert "8 h is this site's own setting (default 4 h)" in card["detail"] and "EU text" not in card["detail"]


def test_show_tells_both_and_the_loader_reads_that_the_same(regional: tuple[Path, Content]) -> None:
    folder, content = regional
    long = yaml.safe_load(run_cli("show", DRUG, "--content", folder).stdout)
    told = long["thresholds"]["magnesium_then_drug"]
    assert list(told["regions"]) == ["eu"] and list(told["regions"]["eu"]["values"].values()) == [6]
    # The range in which a site may set it is that of both numbers.
    assert told["site_may_set"] == [4, 10]
    (folder / "timing" / f"{DRUG}.yaml").write_text(yaml.safe_dump(long, sort_keys=False), "utf-8")
    assert load_library(folder).rules[DRUG].rule == content.library.rules[DRUG].rule
    (folder / "timing" / f"{DRUG}.yaml").write_text(REGIONAL, "utf-8")


def test_why_and_site_show_tell_both(
    regional: tuple[Path, Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_file, "load_content", lambda *_, **__: regional[1])
    app = create_app(Settings(data_dir=tmp_path / "data"), now=lambda: datetime.now(UTC), content=regional[1])
    service = services(app.test_client())[CASE.hook]
    body = Builder(regional[1].library, datetime.now(UTC)).request(CASE, service["prefetch"])
    app.extensions["advisor"].store.close()
    (tmp_path / "call.json").write_text(json.dumps(body), "utf-8")
    done = CliRunner().invoke(why, [str(tmp_path / "call.json"), DRUG])
    assert done.exit_code == 0, done.output
    assert f"{LABEL.capitalize()}: 6 h (" in done.output
    assert f"; {LABEL}: 6 h, EU text (US text: 4 h))" in done.output
    monkeypatch.setattr(site_commands, "load_content", lambda *_, **__: regional[1])
    lines = CliRunner().invoke(site_commands.show_site).output.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{DRUG}.magnesium_then_drug")]
    assert line.startswith(f"{DRUG}.magnesium_then_drug = 6 h; US text 4; EU text 6; may be 4 to 10")
    assert "region = not chosen; may be us or eu" in lines


def test_a_number_that_is_no_wait_is_the_us_one_unless_the_site_chose(cards: Path) -> None:
    european = "    regions: {eu: {values: {2026-01-01: 1.05}, reference: nhs_lothian}}\n"
    text = RULE.replace("    reference: alfred", f"{european}    reference: alfred", 1)
    (cards / "safety" / f"{STEM}.yaml").write_text(text, "utf-8")
    library = load_library(cards)
    for chosen, value, reference in (("", "1.00", "alfred_rcpa_aacb"), ("us", "1.00", "alfred_rcpa_aacb"),
                                     ("eu", "1.05", "nhs_lothian")):  # fmt: skip
        site = read_site(f"site: Test\nregion: {chosen}\n", "site.yaml", library, frozenset()) if chosen else NO_SITE
        limit = make_rulebook(library, site, NOW.date()).rules[STEM].limits["example_limit"]
        assert (str(limit.value), limit.reference) == (value, reference), chosen


@pytest.mark.parametrize(
    ("regions", "key", "words"),
    [
        ("{eu: {hours: 6, reference: nobody_1999}}", "hours.before_drug.regions.eu.reference", "nobody_1999"),
        ("{eu: {hours: 6}}", "hours.before_drug.regions.eu.reference", "required"),
        ("{eu: {hours: 5, reference: emc_2678}}", "hours.before_drug", "no site_may_set for 5 hours"),
        (
            "{eu: {hours: 6, reference: emc_2678}, us: {hours: 4, reference: emc_2678}}",
            "hours.before_drug",
            "at most 1",
        ),
        ("{uk: {hours: 6, reference: emc_2678}}", "hours.before_drug.regions.uk", "'us' or 'eu'"),
    ],
)
def test_a_fault_of_another_regions_hours_is_told_where_it_is(
    cards: Path,
    regions: str,
    key: str,
    words: str,
) -> None:
    new_timing_drug(cards, REGIONAL.replace(EU, regions))
    with pytest.raises(ContentError) as caught:
        load_library(cards)
    faults = [fault for fault in caught.value.faults if fault.file == f"timing/{DRUG}.yaml"]
    assert faults and all(fault.line == 3 for fault in faults), [str(fault) for fault in faults]
    assert any(fault.key.startswith(key) and words in fault.message for fault in faults), list(map(str, faults))


@pytest.mark.parametrize("key", ["allowance", "upper_level"])
@pytest.mark.parametrize("region", ["us", "eu"])
def test_a_site_file_with_the_settings_of_before_is_told_what_to_write(tmp_path: Path, key: str, region: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(f"site: Test hospital\n{key}: {{region: {region}, reason: Ours}}\n", "utf-8")
    done = invoke("site", "validate", file, "--json")
    (fault,) = json.loads(done.stdout)["faults"]
    assert (done.returncode, fault["line"], fault["key"]) == (78, 2, key)
    assert f"write `region: {region}`" in fault["message"]
