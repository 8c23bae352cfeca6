"""Signing in with the account of an organisation: OpenID Connect, by Authlib.

Who somebody is, is the issuer and its `sub`, never a name or an address, which others may get one day. What a person
may do is read from a claim at each sign-in.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Final

import requests
import structlog
from flask import Blueprint, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from cds_service.console.access import local_path, open_to_all, who
from cds_service.console.accounts import ROLES
from cds_service.console.errors import error_page
from cds_service.console.parts import Parts
from cds_service.console.passwords import TooManyTries, wait_after
from cds_service.console.session import current_session
from cds_service.hooks.app import address_of_call
from cds_service.settings import Settings, SettingsError
from cds_service.store import NewLine

SECONDS: Final = 5  # for each call of the issuer
FREE: Final = 50  # sign-ins that one address may begin and not end, before it has to wait
# Signatures that only the issuer can make: none, and none by a secret that it shares with us.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
NAMES: Final = ("preferred_username", "email", "name", "sub")
"""Claims that may give a name to show, the best first."""
log = structlog.get_logger("magnesium_cds.console")


def oidc_faults(settings: Settings) -> list[str]:
    """What keeps the console from signing people in elsewhere, by setting; none where it is not asked to."""
    given = [name for name in ("oidc_client_id", "oidc_client_secret", "oidc_client_secret_file", "oidc_roles")
             if getattr(settings, name)]  # fmt: skip
    if settings.oidc_issuer is None:
        return [f"{given[0]} is set, and oidc_issuer is not"] if given else []
    faults = []
    if not settings.dev and not settings.oidc_issuer.startswith("https://"):
        faults.append(f"profile production needs an https oidc_issuer, and {settings.oidc_issuer} is not one")
    if settings.oidc_client_id is None:
        faults.append("oidc_issuer needs oidc_client_id")
    if settings.oidc_client_secret and settings.oidc_client_secret_file:
        faults.append("oidc_client_secret and oidc_client_secret_file are both set: choose one")
    if not settings.oidc_client_secret and not settings.oidc_client_secret_file:
        faults.append("oidc_issuer needs oidc_client_secret_file (or oidc_client_secret)")
    if "openid" not in settings.oidc_scope.split():
        faults.append("oidc_scope must hold openid")
    faults += [f"oidc_roles: {one} is not GROUP=ROLE; roles are {', '.join(ROLES)}" for one in settings.oidc_roles
               if one.rpartition("=")[0] == "" or one.rpartition("=")[2] not in ROLES]  # fmt: skip
    if not settings.oidc_roles:
        faults.append('oidc_issuer needs oidc_roles, as ["pharmacy-admins=admin"]: else nobody could come in')
    if settings.console and find_spec("authlib") is None:
        faults.append("oidc_issuer needs a library; in a checkout: pip install '.[oidc]'")
    return faults


def _secret(settings: Settings) -> str:
    """Raises SettingsError where the file cannot be used."""
    file = settings.oidc_client_secret_file
    if file is None:
        return settings.oidc_client_secret or ""
    try:
        if not settings.dev and file.stat().st_mode & stat.S_IROTH:
            raise SettingsError(f"oidc_client_secret_file: {file} can be read by everybody: chmod o-r {file}")
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"oidc_client_secret_file: {file} cannot be read ({type(error).__name__})") from None
    if not secret:
        raise SettingsError(f"oidc_client_secret_file: {file} is empty")
    return secret


def roles_of(groups: Any, listed: Iterable[str]) -> list[str]:
    """The roles that these groups (a list, or words in one text) have by GROUP=ROLE."""
    named = set(groups.split()) | {groups} if isinstance(groups, str) else set()
    if isinstance(groups, list):
        named = {one for one in groups if isinstance(one, str)}
    pairs = [one.rpartition("=") for one in listed]
    return sorted({role for group, _, role in pairs if group in named})


def name_of(claims: Mapping[str, Any]) -> str:
    """A name to show, of the characters that names here have."""
    for claim in NAMES:
        text = re.sub(r"[^a-z0-9._@+-]+", "-", str(claims.get(claim) or "").lower()).strip("-._@+")
        if len(text) > 1:
            return text[:60]
    return "somebody"


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/sign-in/organisation and where the issuer sends browsers back to. Nothing without `oidc_issuer`."""
    settings = parts.settings
    if faults := oidc_faults(settings):
        raise SettingsError("\n".join(faults))
    if settings.oidc_issuer is None:
        return
    secret = _secret(settings)
    from authlib.integrations.flask_client import FlaskIntegration, FlaskOAuth2App

    def new_client() -> Any:
        """One for each request: what the issuer says of itself, and its keys, are read anew and shared with nobody."""
        return FlaskOAuth2App(
            FlaskIntegration("console"),
            "console",
            client_id=settings.oidc_client_id,
            client_secret=secret,
            server_metadata_url=f"{(settings.oidc_issuer or '').rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": settings.oidc_scope, "code_challenge_method": "S256", "default_timeout": SECONDS},
        )

    @blueprint.get("/sign-in/organisation")
    @open_to_all
    def sign_in_elsewhere() -> ResponseReturnValue:
        wanted = local_path(request.args.get("next")) or url_for("console.front")
        if who().name:
            return redirect(wanted, 303)
        _may_begin(parts)
        try:
            answer: Response = new_client().authorize_redirect(_our_address(parts))
        except Exception as error:  # noqa: BLE001 - of a library, about an answer from elsewhere
            return _not_reached(error)
        current_session()["next"] = wanted
        return answer

    @blueprint.get("/sign-in/organisation/back")
    @open_to_all
    def back_from_elsewhere() -> ResponseReturnValue:
        if who().name:
            return redirect(url_for("console.front"), 303)
        if request.args.get("error") == "access_denied":
            return error_page(403, "Not signed in", "Your organisation did not let you in, or you stopped. Try again.",
                              url_for("console.sign_in"), "To the sign-in page")  # fmt: skip
        try:
            claims = _claims(new_client(), settings)
        except requests.RequestException as error:
            return _not_reached(error)
        except Exception as error:  # noqa: BLE001 - of a library, about an answer from elsewhere
            return _not_taken(error)
        return _signed_in(parts, claims)


def _our_address(parts: Parts) -> str:
    """Where the issuer sends the browser back to, as it must be registered there."""
    return (parts.settings.console_base or request.host_url.rstrip("/")) + url_for("console.back_from_elsewhere")


def _may_begin(parts: Parts) -> None:
    key = parts.store.finding_hash(["sign-in elsewhere from", address_of_call(parts.settings.trusted_proxies)])
    if seconds := parts.store.may_try([(key, FREE)], parts.now(), wait_after):
        raise TooManyTries(seconds)


def _claims(client: Any, settings: Settings) -> dict[str, Any]:
    """What the issuer says of the person: state, signature, issuer, audience, nonce and times are checked by Authlib,
    with the keys that the issuer has now. One that it took away is worth nothing. The issuer is asked nothing for a
    browser that began no sign-in.

    Raises whatever does not fit.
    """
    if client.framework.get_state_data(current_session(), request.args.get("state")) is None:
        raise ValueError("not begun here")
    metadata = client.load_server_metadata()
    if metadata.get("issuer") != settings.oidc_issuer:
        raise ValueError("the issuer calls itself otherwise")
    metadata["id_token_signing_alg_values_supported"] = ALGORITHMS  # in place of what the issuer offers
    token = client.authorize_access_token(
        claims_options={"iss": {"essential": True, "value": settings.oidc_issuer}, "sub": {"essential": True},
                        "aud": {"essential": True, "value": settings.oidc_client_id}, "exp": {"essential": True},
                        "nonce": {"essential": True}},
    )  # fmt: skip
    claims: dict[str, Any] = dict(token["userinfo"])
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise ValueError("no usable sub")
    nameless = not any(claims.get(name) for name in NAMES[:-1])
    if (nameless or settings.oidc_roles_claim not in claims) and metadata.get("userinfo_endpoint"):
        more = dict(client.userinfo(token=token))
        if more.get("sub") != claims["sub"]:
            raise ValueError("userinfo of somebody else")
        claims = more | claims
    return claims


def _signed_in(parts: Parts, claims: Mapping[str, Any]) -> ResponseReturnValue:
    settings, session = parts.settings, current_session()
    subject = f"{settings.oidc_issuer} {claims['sub']}"
    roles = roles_of(claims.get(settings.oidc_roles_claim), settings.oidc_roles)
    line = NewLine(parts.now(), "", "roles told by the organisation", "", {"roles": roles})
    known = parts.store.person_of_issuer(subject, name_of(claims), roles, line)
    wanted = local_path(session.get("next")) or url_for("console.front")
    if known is None:
        return error_page(
            403,
            "You have no role here",
            f"Your organisation says who you are, and none of your groups there has a role in this console. Ask whoever"
            f" manages accounts for one of: {', '.join(one.rpartition('=')[0] for one in settings.oidc_roles)}.",
            url_for("console.sign_in"),
            "To the sign-in page",
        )
    session.begin(parts, known.name, NewLine(parts.now(), known.name, "signed in", "", {"with": "organisation"}))
    return redirect(wanted, 303)


def _not_reached(error: Exception) -> Response:
    log.error("issuer not reached", kind=type(error).__name__)
    text = "The sign-in of your organisation does not answer. Try again in a minute; the service's log says more."
    return error_page(503, "Your organisation does not answer", text, url_for("console.sign_in"), "To the sign-in page")


def _not_taken(error: Exception) -> Response:
    log.warning("sign-in elsewhere not taken", kind=type(error).__name__)
    text = "What your organisation answered does not belong to a sign-in begun here, or is too old. Begin again."
    return error_page(400, "Not signed in", text, url_for("console.sign_in"), "To the sign-in page")
