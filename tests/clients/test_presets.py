"""Presets: each value has its fact, each fact its source; they reach a client by its file and by `clients add`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from flask import Flask
from pydantic import ValidationError

from cds_service.content.site import read_site
from cds_service.content.yamlfile import ContentError
from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import SettingsError
from cds_service.trust.clients import read_clients
from cds_service.trust.profile import PRESETS, Profile, preset
from tests.conformance.calls import invoke
from tests.conftest import shipped
from tests.trust.support import BASE, client_entry, clients_file

SIGNER = Signer("https://ehr.example")


@pytest.mark.parametrize("name", PRESETS)
def test_each_value_of_a_preset_has_its_fact_and_each_fact_its_source(name: str) -> None:
    table = preset(name)
    assert table.profile.keys() <= Profile.model_fields.keys()
    assert all(item.facts for item in table.profile.values())
    assert {fact for item in table.profile.values() for fact in item.facts} <= table.facts.keys()
    assert table.facts
    assert {source for fact in table.facts.values() for source in fact.by} == table.sources.keys() - {"SPEC"}
    assert all(item.read.isoformat() <= "2026-11-28" for item in table.sources.values())
    assert Profile.model_validate({"preset": name}).preset == name


def test_generic_changes_nothing() -> None:
    assert Profile.model_validate({"preset": "generic"}) == Profile()


def test_no_preset_of_another_name_is_taken() -> None:
    with pytest.raises(ValidationError, match="preset"):
        Profile.model_validate({"preset": "cerner"})


def test_a_profile_in_the_file_is_filled_from_its_preset(tmp_path: Path) -> None:
    own = {"preset": "epic", "selection_behavior": "own"}
    (client,) = read_clients(clients_file(tmp_path, client_entry(SIGNER, profile=own)))
    assert (client.profile.topics, client.profile.selection_behavior) == ("rule", "own")


def add(folder: Path, *more: str) -> str:
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [SIGNER.public()]}))
    done = invoke("clients", "add", "north", "--issuer", "https://ehr.example", "--jwks", keys,
                  "--data-dir", folder, *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (folder / "clients.toml").read_text()


def test_clients_add_writes_the_preset_and_clients_check_names_what_has_no_button(tmp_path: Path) -> None:
    assert 'preset = "epic"' in add(tmp_path, "--preset", "epic")
    done = invoke("clients", "check", "--data-dir", tmp_path)
    assert done.returncode == 0
    told = [line for line in done.stdout.splitlines() if line.startswith("in words")]
    assert [line.split()[4] for line in told] == [
        "order_serum_magnesium", "repeat_serum_magnesium", "order_kidney_function",
    ]  # fmt: skip
    site = tmp_path / "site.yaml"
    order = {"system": "urn:x", "code": "1", "display": "Magnesium"}
    known = {"order_serum_magnesium": {"north": order}, "repeat_serum_magnesium": {"nort": order}}
    site.write_text(yaml.safe_dump({"site": "Test", "orderables": known}))
    settings = tmp_path / "settings.toml"
    settings.write_text(f'data_dir = "{tmp_path}"\nsite = "{site}"\n')
    told = invoke("clients", "check", "--settings", settings).stdout.splitlines()
    assert not any("north: order_serum_magnesium" in line for line in told)
    assert any("north: repeat_serum_magnesium" in line for line in told)
    assert "in words orderables.repeat_serum_magnesium: there is no client nort (did you mean north?)" in told


def test_a_client_of_another_kind_needs_no_codes(tmp_path: Path) -> None:
    add(tmp_path)
    assert (
        invoke("clients", "check", "--data-dir", tmp_path).stdout
        == f"1 client in {tmp_path}/clients.toml: all usable\n"
    )


def test_a_code_for_no_reason_of_ours_is_a_fault(tmp_path: Path) -> None:
    own = {"override_codes": {"already_adressed": {"system": "urn:x", "code": "1"}}}
    clients_file(tmp_path, client_entry(SIGNER, profile=own))
    done = invoke("clients", "check", "--data-dir", tmp_path)
    assert done.returncode == 78
    assert "there is no reason already_adressed (did you mean already_addressed?)" in done.stdout


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (
            {"order_serum_magnesum": {"north": {"system": "urn:x", "code": "1", "display": "Magnesium"}}},
            "order_serum_magnesium",
        ),
        (
            {"keep_apart": {"north": {"system": "urn:x", "code": "1", "display": "Magnesium"}}},
            "no suggestion orders anything",
        ),
        ({"order_serum_magnesium": {"north": {"code": "1", "display": "Magnesium"}}}, "system"),
        ({"order_serum_magnesium": {"north": {"system": "urn:x", "code": "", "display": "Magnesium"}}}, "code"),
    ],
)
def test_what_the_site_says_wrongly_of_an_order_is_named(known: object, says: str) -> None:
    text = yaml.safe_dump({"site": "Test", "orderables": known})
    with pytest.raises(ContentError, match=says):
        read_site(text, "site.yaml", shipped().library, frozenset())


def test_a_key_that_no_profile_has_is_named(tmp_path: Path) -> None:
    file = clients_file(tmp_path, client_entry(SIGNER, profile={"preset": "epic", "selectionBehavior": "any"}))
    with pytest.raises(SettingsError, match="selectionBehavior: there is no such entry; there are preset, hooks"):
        read_clients(file)


def test_e18_feedback_with_the_audience_of_the_service_is_taken_from_epic_only(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    path = "/cds-services/magnesium-patient-view"
    item = {"card": "x", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
    for name, status in (("epic", 200), ("generic", 401)):
        entry = client_entry(SIGNER, profile={"preset": name})
        folder = tmp_path / name
        folder.mkdir()
        app = make_app(profile="production", public_url=BASE, clients=clients_file(folder, entry))
        token = {"Authorization": f"Bearer {SIGNER.token(BASE + path)}"}
        answer = app.test_client().post(path + "/feedback", json={"feedback": [item]}, headers=token)
        assert answer.status_code == status, name
        again = {"Authorization": f"Bearer {SIGNER.token(BASE + path + '/feedback')}"}
        assert app.test_client().post(path, json={}, headers=again).status_code == 401, "not the other way round"
