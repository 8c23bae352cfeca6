"""Signing in with an account of the organisation: against a real provider, and against one that lies."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
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
from tests.console.conftest import Clock
from tests.console.support import PASSWORD, person
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


# An issuer that lies, has new keys, or is not there.


class Issuer(ThreadingHTTPServer):
    """An issuer that says what it is told to. `claims` and `header` are put into its tokens; `jwks` are its keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.told: dict[str, Any] = {"issuer": self.url, "id_token_signing_alg_values_supported": ["RS256", "HS256"]}
        self.told |= {"authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token"}
        self.told["jwks_uri"] = f"{self.url}/jwks"
        self.claims: dict[str, Any] = {"iss": self.url, "sub": "s", "aud": "console", "groups": ["pharmacy"]}
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "k"}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.take(RSAKey.generate_key(2048, {"kid": "k"}))

    def take(self, key: RSAKey) -> None:
        """Another key, and no other from now on."""
        self.key, self.jwks = key, KeySet([key]).as_dict(private=False)

    def token(self) -> str:
        now = int(time.time())
        key = self.key if self.header["alg"] == "RS256" else OctKey.import_key(SECRET * 2)
        return jwt.encode(self.header, {"exp": now + 300, "iat": now} | self.claims, key, algorithms=["RS256", "HS256"])


class Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        path = self.path.rpartition("/")[2]
        self.server.asked.append(path)
        bodies: dict[str, Callable[[], Any]] = {
            "openid-configuration": lambda: self.server.told,
            "jwks": lambda: self.server.jwks,
            "token": lambda: {"access_token": "a", "token_type": "Bearer", "id_token": self.server.token()},
        }
        self.send_response(500 if path in self.server.broken else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(bodies[path]()).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def made(make_app: Callable[..., Flask], issuer: Issuer, **more: Any) -> Flask:
    """A console of this issuer."""
    own = {"oidc_issuer": issuer.url, "oidc_client_id": "console", "oidc_client_secret": SECRET * 2}
    return make_app(console=True, oidc_roles=ROLES, **own, **more)


@pytest.fixture
def console(make_app: Callable[..., Flask], issuer: Issuer) -> Flask:
    return made(make_app, issuer)


def signed_in(console: Flask, issuer: Issuer, meanwhile: Mapping[str, Any] = MappingProxyType({})) -> tuple[int, int]:
    """The status of the way back, and of the first page after it. The nonce is the right one unless one is set.
    `meanwhile`: what the issuer says of itself from the way there on."""
    http = console.test_client()
    sent = parse_qs(urlsplit(http.get("/console/sign-in/organisation").headers["Location"]).query)
    issuer.told |= meanwhile
    own = dict(issuer.claims)
    issuer.claims = {"nonce": sent["nonce"][0]} | own
    answer = http.get(BACK, query_string={"state": sent["state"][0], "code": "c"})
    issuer.claims = own
    return answer.status_code, http.get("/console").status_code


LIES: dict[str, dict[str, Any]] = {
    "issuer": {"iss": "https://other.example"}, "audience": {"aud": "other"}, "nonce": {"nonce": "other"},
    "expired": {"exp": int(time.time()) - 300}, "never expires": {"exp": None}, "nobody": {"sub": ""},
}  # fmt: skip


@pytest.mark.parametrize("lie", [*LIES, "metadata", "algorithm", "only algorithm", "key"])
def test_a_token_that_does_not_fit_lets_nobody_in(lie: str, console: Flask, issuer: Issuer) -> None:
    assert signed_in(console, issuer) == (303, 200), "but for the lie"
    if lie == "metadata":
        issuer.told["issuer"] = "https://other.example"
    elif lie.endswith("algorithm"):
        issuer.header = {"alg": "HS256", "kid": "shared"}
        issuer.jwks["keys"].append(OctKey.import_key(SECRET * 2, {"kid": "shared"}).as_dict())
        issuer.told["id_token_signing_alg_values_supported"] = ["RS256", "HS256"] if lie == "algorithm" else ["HS256"]
    elif lie == "key":
        issuer.key = RSAKey.generate_key(2048, {"kid": "k"})
    else:
        issuer.claims |= LIES[lie]
    assert signed_in(console, issuer) == (400, 303)


def test_what_the_issuer_says_of_itself_is_read_on_the_way_back_too(console: Flask, issuer: Issuer) -> None:
    """It moved while somebody typed a password there."""
    issuer.told["token_endpoint"] = f"{issuer.url}/gone"
    assert signed_in(console, issuer, {"token_endpoint": f"{issuer.url}/token"}) == (303, 200)
    assert signed_in(console, issuer, {"issuer": "https://other.example"}) == (400, 303)


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x&code=y", "?state=x&error=server_error"])
def test_nobody_asks_the_issuer_anything_without_a_sign_in_begun_here(
    query: str, console: Flask, issuer: Issuer
) -> None:
    """Where it hangs, each question would hold a worker."""
    assert console.test_client().get(BACK + query).status_code == 400
    assert not issuer.asked


@pytest.mark.parametrize("header", [{"alg": "RS256"}, {"alg": "RS256", "kid": "k"}], ids=["no kid", "the same kid"])
def test_a_new_key_of_the_issuer_is_taken_and_one_that_it_took_away_is_not(
    header: dict[str, Any], console: Flask, issuer: Issuer
) -> None:
    issuer.header = header
    assert signed_in(console, issuer) == (303, 200)
    old, new = issuer.key, RSAKey.generate_key(2048, {"kid": "k"})
    issuer.take(new)
    assert signed_in(console, issuer) == (303, 200)
    issuer.key = old
    assert signed_in(console, issuer) == (400, 303), "signed by whoever stole the old key"


@pytest.mark.parametrize("later", [timedelta(minutes=31), timedelta(hours=13), timedelta(hours=-2)])
def test_a_session_that_has_ended_is_not_begun_again_by_who_only_began_to_sign_in(
    later: timedelta, make_app: Callable[..., Flask], issuer: Issuer
) -> None:
    """Anna goes home; somebody at her machine opens the sign-in by organisation and goes back."""
    clock = Clock()
    http = made(make_app, issuer, now=clock).test_client()
    person(http.application.extensions["advisor"].store, "anna", "admin")
    token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', http.get("/console/sign-in").text)[0]
    form = {"name": "anna", "password": PASSWORD, "csrf_token": token}
    http.post("/console/sign-in", data=form, headers={"Origin": "http://localhost"})
    assert http.get("/console").status_code == 200
    clock.now += later
    assert http.get("/console/sign-in/organisation").status_code == 302
    assert http.get("/console").status_code == 303, "nobody signed in"
    clock.now -= later
    assert http.get("/console").status_code == 303, "nor is what had ended there any more"


@pytest.mark.parametrize("broken", ["token", "jwks"])
def test_an_issuer_that_breaks_down_on_the_way_is_told_as_one_that_does_not_answer(
    broken: str, console: Flask, issuer: Issuer
) -> None:
    assert signed_in(console, issuer) == (303, 200)
    issuer.broken = {broken}
    assert signed_in(console, issuer) == (503, 303)
    issuer.broken = {"openid-configuration"}
    assert console.test_client().get("/console/sign-in/organisation").status_code == 503
    issuer.broken = set()
    assert signed_in(console, issuer) == (303, 200)


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
