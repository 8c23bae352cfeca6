"""Two EHRs of one service, each with the units its clinicians read: through HTTP, each with tokens of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.mock_ehr import Signer
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.settings import SettingsError
from tests.conftest import NOW
from tests.trust.support import BASE, SERVICE, Json, client_entry, clients_file
from tests.trust.test_commands import invoke

US = {"serum_magnesium": "mg/dL", "potassium": "meq/L", "albumin": "g/dL"}
SI = {"serum_magnesium": "mmol/L", "albumin": "g/L"}
Ask = Callable[[str], Json]
LABS_SI = [
    {"lab": "serum_magnesium", "value": 0.62, "unit": "mmol/L"},
    {"lab": "potassium", "value": 3.1, "unit": "mmol/L"},
    {"lab": "albumin", "value": 24, "unit": "g/L"},
]
LABS_US = [
    {"lab": "serum_magnesium", "value": 1.5, "unit": "mg/dL"},
    {"lab": "potassium", "value": 3.1, "unit": "meq/L"},
    {"lab": "albumin", "value": 2.4, "unit": "g/dL"},
]


@pytest.fixture
def asks(make_app: Callable[..., Flask], content: Content, tmp_path: Path) -> Callable[..., Ask]:
    """A service with the clients `us`, `si` and `plain`, asked about one patient with these results."""

    def make(labs: list[Json], **site: Any) -> Ask:
        signers = {name: Signer(f"https://{name}.example") for name in ("us", "si", "plain")}
        units = {"us": US, "si": SI}
        entries = [
            client_entry(signer, name=name, profile={"units": units[name]} if name in units else {})
            for name, signer in signers.items()
        ]
        settings: dict[str, Any] = {"clients": clients_file(tmp_path, *entries)}
        if site:
            settings["site"] = tmp_path / "site.yaml"
            settings["site"].write_text(yaml.safe_dump({"site": "Test hospital", **site}), "utf-8")
        app = make_app(profile="production", public_url=BASE, **settings)
        http = app.test_client()
        case = Scenario.model_validate({
            "name": "low magnesium and what goes with it", "kind": "fires", "hook": "patient-view", "labs": labs,
            "expect": {"outcome": "fired"},
        })  # fmt: skip

        def call(name: str) -> Json:
            def headers(path: str) -> dict[str, str]:
                return {"Authorization": f"Bearer {signers[name].token(BASE + path)}"}

            services = http.get("/cds-services", headers=headers("/cds-services")).get_json()["services"]
            templates = next(one["prefetch"] for one in services if one["hook"] == "patient-view")
            body = Builder(content.library, NOW).request(case, templates)
            answer = http.post(SERVICE, json=body, headers=headers(SERVICE))
            assert answer.status_code == 200, answer.text
            told: Json = answer.get_json()
            return told

        return call

    return make


def words(answer: Json) -> str:
    return "\n".join(card["summary"] + "\n" + card["detail"] for card in answer["cards"])


def test_each_client_reads_its_own_units_with_the_laboratorys_beside_them(asks: Callable[..., Ask]) -> None:
    ask = asks(LABS_SI)
    assert "1.51 mg/dL (0.62 mmol/L)" in words(ask("us"))
    assert "3.1 mEq/L (3.1 mmol/L)" in words(ask("us"))
    assert "mg/dL" not in words(ask("si"))
    assert "0.62 mmol/L" in words(ask("si"))
    assert words(ask("si")) == words(ask("plain")), "the laboratory's own units are those that this client chose"


def test_a_laboratory_that_reports_in_conventional_units_is_read_in_si(asks: Callable[..., Ask]) -> None:
    ask = asks(LABS_US)
    assert "0.62 mmol/L (1.5 mg/dL)" in words(ask("si"))
    assert "24 g/L (2.4 g/dL)" in words(ask("si"))
    assert "1.5 mg/dL (0.62 mmol/L)" in words(ask("us"))
    assert "mmol/L" not in words(ask("plain"))


def test_the_limit_is_in_the_unit_of_the_value_and_no_digit_that_counts_is_rounded_away(
    asks: Callable[..., Ask],
) -> None:
    labs = [LABS_SI[0], {"lab": "albumin", "value": 28, "unit": "g/L"}]
    ask = asks(labs)
    assert "limit 1.70 mg/dL" in words(ask("us"))
    assert "limit 0.70 mmol/L" in words(ask("si"))
    ask = asks(labs, rules={"low_serum_magnesium": {"show": "hidden", "reason": "So that albumin leads"}})
    assert "Albumin was 2.8 g/dL (28 g/L) on 2026-11-20. Below 3.0 g/dL" in words(ask("us"))
    assert "Albumin was 28 g/L on 2026-11-20. Below 30 g/L" in words(ask("si"))


def test_what_was_found_and_measured_is_the_same_for_both(asks: Callable[..., Ask]) -> None:
    ask = asks(LABS_SI)
    found = [
        [(card["indicator"], card["extension"]["org.magnesium-cds"]["inputs"]) for card in ask(name)["cards"]]
        for name in ("us", "si")
    ]
    assert found[0] == found[1]
    own = next(item for item in found[0][0][1] if item["fact"] == "serum_magnesium")
    assert (own["value"], own["unit"]) == (0.62, "mmol/L")


def test_the_clients_choice_wins_over_the_sites_and_the_sites_holds_for_the_others(asks: Callable[..., Ask]) -> None:
    ask = asks(LABS_SI, units={"serum_magnesium": {"unit": "meq/L", "reason": "Our reports use it"}})
    assert "1.51 mg/dL (0.62 mmol/L)" in words(ask("us"))
    assert "mEq/L" not in words(ask("si")).replace("potassium", "")
    assert "1.24 mEq/L (0.62 mmol/L)" in words(ask("plain"))


@pytest.mark.parametrize(
    ("units", "fault"),
    [
        ({"serum_magnesium": "mg/L"}, "mg/L is not one of mmol/L, mg/dL, meq/L"),
        ({"magnesium": "mg/dL"}, "no lab with a choice of units magnesium"),
        ({"egfr": "mg/dL"}, "no lab with a choice of units egfr"),
    ],
)
def test_a_unit_that_cannot_be_shown_keeps_the_service_from_starting_and_the_command_says_it(
    make_app: Callable[..., Flask], signer: Signer, folder: Path, units: dict[str, str], fault: str
) -> None:
    file = clients_file(folder, client_entry(signer, profile={"units": units}))
    with pytest.raises(SettingsError, match=r"client ehr: profile\.units: ") as refused:
        make_app(clients=file)
    assert fault in str(refused.value) and str(file) in str(refused.value)
    told = invoke("check", "--data-dir", str(folder))
    assert told.exit_code == 78
    assert f"REFUSED  client ehr: profile.units: {fault}" in told.output
