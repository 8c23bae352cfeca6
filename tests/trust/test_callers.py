"""Whose tokens count: in which profile (A12), of which issuer (A17), of which tenant (A18, A19)."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import SettingsError
from tests.store.helpers import counts
from tests.trust.support import BASE, DISCOVERY, FEEDBACK, SANDBOX_JWK, SERVICE, body_for, client_entry, clients_file


def test_a12_production_does_not_start_with_the_sandbox_as_a_client(make_app: Any, folder: Any) -> None:
    sandbox = {"name": "sandbox", "issuer": "https://sandbox.cds-hooks.org", "jwks": [SANDBOX_JWK]}
    renamed = sandbox | {"issuer": "https://ehr.example", "jwks": [SANDBOX_JWK | {"kid": "mine"}]}
    for entry, words in ((sandbox, "profile dev only"), (renamed, "private half is public")):
        file = clients_file(folder, entry)
        with pytest.raises(SettingsError, match=words):
            make_app(profile="production", public_url=BASE, clients=file)
        assert make_app(clients=file)  # dev takes it: tests/trust/test_sandbox.py


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"public_url": None}, "needs public_url"),
        ({"public_url": "http://cds.example"}, "https public_url"),
        ({"clients": None}, "at least one client"),
        ({"key": None}, "needs key_file, kept apart from the database: magnesium-cds key make FILE"),
        ({"fhir_servers": ("https://ehr.example/fhir",)}, "registered for each client"),
    ],
)
def test_production_does_not_start_half_configured(
    make_app: Any, signer: Signer, folder: Any, settings_: dict[str, Any], words: str
) -> None:
    good = {"profile": "production", "public_url": BASE, "clients": clients_file(folder, client_entry(signer))}
    with pytest.raises(SettingsError, match=words):
        make_app(**(good | settings_))


def test_in_production_the_key_does_not_lie_beside_the_hashes_that_it_protects(
    make_app: Any, signer: Signer, tmp_path: Any
) -> None:
    good = {"profile": "production", "public_url": BASE, "clients": clients_file(tmp_path, client_entry(signer))}
    data = tmp_path / "data"
    data.mkdir()
    for place in (data, tmp_path):
        (place / "key").write_text("k" * 32)
    apart = {"key": None, "key_file": tmp_path / "key", "data_dir": data}
    assert make_app(**good, **apart)
    with pytest.raises(SettingsError, match="keep it outside the data folder"):
        make_app(**good, **apart | {"key_file": data / "key"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "cds.example"])
def test_a35_production_listens_where_no_caller_can_pass_the_proxy_by(
    make_app: Any, signer: Signer, folder: Any, host: str
) -> None:
    good = {"profile": "production", "public_url": BASE, "clients": clients_file(folder, client_entry(signer))}
    with pytest.raises(SettingsError, match=rf"listen on {host}: a proxy .* Set host .* or set trusted_network = true"):
        make_app(**good, host=host)
    for allowed in ({"host": host, "trusted_network": True}, {"host": "unix:/run/cds.sock"}, {"host": "::1"}):
        assert make_app(**(good | allowed))
    assert make_app(host=host), "dev is for trials"


def test_in_profile_dev_no_token_is_needed_and_without_clients_none_is_looked_at(app: Flask) -> None:
    http = app.test_client()
    assert http.get(DISCOVERY).status_code == 200
    assert http.get(DISCOVERY, headers={"Authorization": "Bearer nonsense"}).status_code == 200


def test_in_profile_dev_a_declared_client_makes_tokens_needed(make_app: Any, signer: Signer, folder: Any) -> None:
    sandbox = {"name": "sandbox", "issuer": "https://sandbox.cds-hooks.org", "jwks": [SANDBOX_JWK]}
    http = make_app(clients=clients_file(folder, client_entry(signer), sandbox), port=8123).test_client()
    assert http.get(DISCOVERY).status_code == 401
    for base in ("http://127.0.0.1:8123", "http://localhost:8123"):
        token = signer.token(base + DISCOVERY)
        assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    for token in (signer.token(BASE + DISCOVERY), "nonsense"):
        assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a17_the_same_jti_of_another_issuer_is_another_token(make_app: Any, folder: Any) -> None:
    one, two = Signer("https://one.example"), Signer("https://two.example")
    file = clients_file(folder, client_entry(one, name="one"), client_entry(two, name="two"))
    http = make_app(profile="production", public_url=BASE, clients=file).test_client()
    for signer in (one, two):
        token = signer.token(BASE + DISCOVERY, jti="the same")
        assert http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a18_tenants_of_one_issuer_are_different_clients(make_app: Any, folder: Any) -> None:
    north = Signer("https://cloud.example")
    south = Signer("https://cloud.example")
    file = clients_file(
        folder,
        client_entry(north, name="north", tenants=["n1", "n2"]),
        client_entry(south, name="south", tenants=["s"]),
    )
    http = make_app(profile="production", public_url=BASE, clients=file).test_client()

    def get(signer: Signer, tenant: str | None) -> int:
        token = signer.token(BASE + DISCOVERY, tenant=tenant)
        return http.get(DISCOVERY, headers={"Authorization": f"Bearer {token}"}).status_code

    assert [get(north, "n1"), get(north, "n2"), get(south, "s")] == [200, 200, 200]
    assert [get(north, "s"), get(south, "n1"), get(north, "n3"), get(north, None), get(north, "N1")] == [401] * 5


def test_a18_a19_what_one_tenant_was_shown_no_other_can_answer(make_app: Any, folder: Any) -> None:
    shared = Signer("https://cloud.example")
    file = clients_file(folder, client_entry(shared, tenants=["n", "s"]))
    app = make_app(profile="production", public_url=BASE, clients=file)
    http = app.test_client()

    def post(path: str, tenant: str, body: dict[str, Any]) -> TestResponse:
        token = shared.token(BASE + path, tenant=tenant)
        return http.post(path, json=body, headers={"Authorization": f"Bearer {token}"})

    shown = post(SERVICE, "n", body_for(app)).json
    assert shown is not None
    item = {"card": shown["cards"][0]["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z",
            "overrideReason": {"userComment": "not mine"}}  # fmt: skip
    assert post(FEEDBACK, "s", {"feedback": [item]}).status_code == 200
    assert not any(overridden for _, _, overridden in counts(app.extensions["advisor"].store).values())
    assert post(FEEDBACK, "n", {"feedback": [item]}).status_code == 200
    assert sum(overridden for _, _, overridden in counts(app.extensions["advisor"].store).values()) == 1
