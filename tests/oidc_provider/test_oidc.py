"""Signing in with an account of the organisation: against a real provider, and against one that lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from cds_service.settings import SettingsError
from cds_service.store import NewLine
from tests.conftest import NOW
from tests.console.browser import served_at
from tests.console.support import person
from tests.oidc_provider.running import SECRET, free_port, provider, sent_back

ROLES = ("pharmacy=viewer", "cds admins=admin", "cds admins=editor")
BACK = "/console/sign-in/organisation/back"


@dataclass
class Setting:
    """A console and its issuer."""

    app: Flask
    base: str
    issuer: str

    def begin(self, browser: requests.Session, path: str = "/console/sign-in/organisation") -> str:
        """Where the console sends the browser to."""
        answer = browser.get(self.base + path, allow_redirects=False, timeout=10)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def sign_in(self, login: str, path: str = "/console/sign-in/organisation") -> requests.Response:
        """The last page of the whole way."""
        browser = requests.Session()
        return browser.get(sent_back(browser, self.begin(browser, path), login), timeout=10)

    def roles(self) -> dict[str, tuple[str, ...]]:
        return {one.name: one.roles for one in self.app.extensions["advisor"].store.people()}


@pytest.fixture(scope="module", params=[(), ("--id-token",)], ids=["userinfo", "id token"])
def issuer_options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


@pytest.fixture(scope="module")
def setting(
    make_app: Callable[..., Flask], issuer_options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setting]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    file = tmp_path_factory.mktemp("secret") / "oidc"
    file.write_text(f"{SECRET}\n")
    with provider(base + BACK, *issuer_options) as issuer:
        app = make_app(
            console=True, oidc_issuer=issuer, oidc_client_id="console", oidc_client_secret_file=file, oidc_roles=ROLES
        )
        with served_at(app, port) as address:
            yield Setting(app, address, issuer)


def test_the_organisation_says_who_somebody_is_and_which_roles(setting: Setting) -> None:
    page = setting.sign_in("anna", "/console/sign-in/organisation?next=/console/people")
    assert page.status_code == 200 and page.url == f"{setting.base}/console/people"
    assert setting.roles()["anna"] == ("admin", "editor", "viewer")
    assert setting.sign_in("bruno").status_code == 200
    assert setting.roles()["bruno"] == ("viewer",)


def test_who_has_no_role_is_told_whom_to_ask_and_stays_out(setting: Setting) -> None:
    page = setting.sign_in("carla")
    assert page.status_code == 403
    assert "You have no role here" in page.text and "cds admins" in page.text
    assert "carla" not in setting.roles()


def test_a_name_does_not_make_somebody_the_person_of_that_name(setting: Setting) -> None:
    """Eve calls herself Anna, as the admin of that issuer does, and one of our own passwords' people."""
    person(setting.app.extensions["advisor"].store, "anna-2", "admin")
    setting.sign_in("anna")
    assert setting.sign_in("eve").status_code == 200
    assert setting.roles()["anna"] == ("admin", "editor", "viewer")
    assert setting.roles()["anna-2"] == ("admin",)
    assert setting.roles()["anna-3"] == ("viewer",)


def test_state_nonce_and_pkce_are_sent(setting: Setting) -> None:
    sent = parse_qs(urlsplit(setting.begin(requests.Session())).query)
    assert sent["code_challenge_method"] == ["S256"] and len(sent["code_challenge"][0]) == 43
    assert len(sent["state"][0]) >= 20 and len(sent["nonce"][0]) >= 20
    assert sent["redirect_uri"] == [setting.base + BACK] and sent["response_type"] == ["code"]


def test_an_answer_is_taken_once_and_by_the_browser_that_asked(setting: Setting) -> None:
    browser, other = requests.Session(), requests.Session()
    back = sent_back(browser, setting.begin(browser), "anna")
    setting.begin(other)
    assert other.get(back, timeout=10).status_code == 400, "the answer to somebody else's question"
    assert browser.get(back, timeout=10).status_code == 200
    browser.cookies.clear()
    assert browser.get(back, timeout=10).status_code == 400, "the same answer again"
    for query in ("", "?code=x", "?state=x&code=y", "?error=server_error&error_description=<script>"):
        answer = requests.get(setting.base + BACK + query, timeout=10)
        assert answer.status_code == 400 and "<script" not in answer.text


def test_the_session_has_another_name_after_the_way_back(setting: Setting) -> None:
    browser = requests.Session()
    back = sent_back(browser, setting.begin(browser), "anna")
    before = browser.cookies["magnesium-console"]
    browser.get(back, timeout=10)
    assert browser.cookies["magnesium-console"] != before


def test_where_the_way_back_leads_is_a_page_of_ours(setting: Setting) -> None:
    for path in ("https://evil.example", "//evil.example/console", "/console/../evidence"):
        assert setting.sign_in("anna", f"/console/sign-in/organisation?next={path}").url == f"{setting.base}/console"


def test_a_role_that_the_organisation_takes_back_is_gone_at_the_next_sign_in(setting: Setting) -> None:
    setting.sign_in("bruno")
    store = setting.app.extensions["advisor"].store
    known = next(one for one in store.people() if one.name == "bruno")

    assert (
        store.person_of_issuer(known.subject, "bruno", [], NewLine(NOW, "", "roles told by the organisation")) is None
    )
    assert setting.roles()["bruno"] == ()
    setting.sign_in("bruno")
    assert setting.roles()["bruno"] == ("viewer",)


# An issuer that lies, or that is not there.


@pytest.mark.parametrize("lie", ["issuer", "algorithm", "audience", "nonce", "none"])
def test_a_token_that_does_not_fit_lets_nobody_in(
    lie: str, make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, key = "https://issuer.example", RSAKey.generate_key(2048, {"kid": "k"})
    said: dict[str, Any] = {}

    def request(self: requests.Session, method: str, url: str, **_: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code = 200
        if url.endswith("openid-configuration"):
            body: Any = {"issuer": "https://other.example" if lie == "issuer" else issuer,
                         "authorization_endpoint": f"{issuer}/auth", "token_endpoint": f"{issuer}/token",
                         "jwks_uri": f"{issuer}/jwks",
                         "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"]}  # fmt: skip
        elif url.endswith("/jwks"):
            body = KeySet([key]).as_dict(private=False)
        else:
            claims = {"iss": issuer, "sub": "s", "aud": "console", "exp": 9999999999, "iat": 1, "nonce": said["nonce"],
                      "groups": ["pharmacy"]}  # fmt: skip
            claims |= {"audience": {"aud": "other"}, "nonce": {"nonce": "other"}}.get(lie, {})
            if lie == "algorithm":
                token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET * 2), algorithms=["HS256"])
            else:
                token = jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)
            body = {"access_token": "a", "token_type": "Bearer", "id_token": token}
        answer._content = json.dumps(body).encode()
        return answer

    monkeypatch.setattr(requests.Session, "request", request)
    app = make_app(
        console=True, oidc_issuer=issuer, oidc_client_id="console", oidc_client_secret=SECRET * 2, oidc_roles=ROLES
    )
    http = app.test_client()
    sent = parse_qs(urlsplit(http.get("/console/sign-in/organisation").headers["Location"]).query)
    said["nonce"] = sent["nonce"][0]
    answer = http.get(BACK, query_string={"state": sent["state"][0], "code": "c"})
    assert answer.status_code == (303 if lie == "none" else 400), answer.text
    assert http.get("/console").status_code == (200 if lie == "none" else 303)


def test_an_issuer_that_does_not_answer_is_said_so_and_passwords_still_do(make_app: Callable[..., Flask]) -> None:
    app = make_app(
        console=True, oidc_issuer=f"http://127.0.0.1:{free_port()}", oidc_client_id="console",
        oidc_client_secret=SECRET, oidc_roles=ROLES,
    )  # fmt: skip
    http = app.test_client()
    assert "organisation" in http.get("/console/sign-in").text
    assert http.get("/console/sign-in/organisation").status_code == 503


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"oidc_roles": ()}, "oidc_roles"),
        ({"oidc_roles": ("pharmacy=king",)}, "pharmacy=king"),
        ({"oidc_client_id": None}, "oidc_client_id"),
        ({"oidc_client_secret": None}, "oidc_client_secret_file"),
        ({"oidc_client_secret_file": "nowhere"}, "choose one"),
        ({"oidc_client_secret": None, "oidc_client_secret_file": "nowhere"}, "cannot be read"),
        ({"oidc_issuer": None}, "oidc_issuer"),
        ({"oidc_scope": "profile"}, "openid"),
    ],
)
def test_settings_that_do_not_fit_keep_the_service_from_starting(
    make_app: Callable[..., Flask], wrong: dict[str, Any], told: str
) -> None:
    right = {"oidc_issuer": "https://issuer.example", "oidc_client_id": "console", "oidc_client_secret": SECRET}
    with pytest.raises(SettingsError, match=told):
        make_app(**{"console": True, "oidc_roles": ROLES, **right, **wrong})
