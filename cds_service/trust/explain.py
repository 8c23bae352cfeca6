"""Why a token or a key set would be taken or refused, in plain words: for the administrator, never for the caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cds_service.settings import Settings
from cds_service.trust.clients import Client
from cds_service.trust.gatekeeper import Gatekeeper
from cds_service.trust.keys import SANDBOX_THUMBPRINT, BadKey, parse_set
from cds_service.trust.tokens import LEEWAY, LONGEST_LIFE, MAX_TOKEN, Cause, Refused, Unproven, unproven

Finding = tuple[bool, str]
_MOST: Final = 120

_WORDS: Final[dict[Cause, str]] = {
    "no_token": "there is no token",
    "malformed": "it is not a signed token of three parts, or its claims cannot be read",
    "header": "its header has a typ other than JWT, no alg, or asks for something critical that is not understood",
    "algorithm": "its algorithm is not among those of the client, or does not fit the key",
    "issuer": "no client has this issuer: the claim iss must be the same to the letter",
    "tenant": "the client has no such tenant (or has tenants, and the token names none)",
    "jku": "its header names a key address that the client does not have",
    "key": "the client has no usable key with this kid",
    "claims": "a claim is missing or of the wrong kind: iss, aud, exp, iat and jti are needed, times as whole seconds",
    "audience": "aud is not the address that is called",
    "expired": "it has expired",
    "not_yet": "iat or nbf is in the future: compare the clocks",
    "lifetime": f"it lives longer than {LONGEST_LIFE} s, or ends before it begins",
    "signature": "its signature was not made with the client's key",
    "replayed": "it was used before",
    "sandbox_key": "it is signed with the CDS Hooks Sandbox's key, whose private half is public",
}


def explain_token(
    text: str, clients: Sequence[Client], settings: Settings, service: str | None, now: datetime
) -> list[Finding]:
    """Findings in the order in which the service looks: (good, words). Nothing of the token's text is in them but
    what identifies it: iss, aud, tenant, kid, alg.
    """
    if text.lower().startswith("bearer "):
        text = text[7:].strip()
    if len(text) > MAX_TOKEN or not text.isascii():
        return [(False, _WORDS["malformed"])]
    try:
        token = unproven(text)
    except Refused as refusal:
        return [(False, _WORDS[refusal.cause])]
    keeper = Gatekeeper(settings, clients, None)
    path = f"/cds-services/{service}" if service else _path_of(token)
    findings = [
        (True, f"token of issuer {_shown(token.claims.get('iss'))}, alg {_shown(token.header['alg'])}, "
               f"kid {_shown(token.header['kid'])}"),
    ]  # fmt: skip
    try:
        client = keeper.client_of(token.claims)
    except Refused as refusal:
        known = ", ".join(sorted({client.issuer for client in clients})) or "none"
        return [*findings, (False, f"{_WORDS[refusal.cause]}. Issuers known: {known}")]
    findings.append((True, f"it is of client {client.name}"))
    audiences = keeper.audiences(client, path)
    try:
        keeper.prove(text, path)
    except Refused as refusal:
        words = _WORDS[refusal.cause]
        if refusal.cause == "audience":
            words += f". It says {_shown(token.claims.get('aud'))}; accepted there: {', '.join(audiences)}"
        if refusal.cause == "algorithm":
            words += f". Accepted: {', '.join(client.algorithms)}"
        if refusal.cause in ("expired", "not_yet", "lifetime"):
            words += f". {_times(token, now)}"
        return [*findings, (False, words)]
    findings.append((True, f"aud is right for {path}"))
    findings.append((True, f"{_times(token, now)}"))
    findings.append((True, "its signature is right. It would be accepted, once"))
    return findings


def explain_keys(url: str, raw: bytes, owner: Client | None, settings: Settings) -> list[Finding]:
    """The same for the key set read from an address. `owner`: the client that has it in its list."""
    findings: list[Finding] = [
        (True, f"the address is in the list of client {owner.name}")
        if owner
        else (False, f"no client has {_shown(url)} in its list (entry jku): tokens that name it are refused")
    ]
    if url.startswith("http://") and not settings.dev:
        findings.append((False, "the address must be https in production"))
    try:
        keys, faults = parse_set(raw)
    except BadKey as fault:
        return [*findings, (False, f"it cannot be used: {fault.reason}")]
    wanted = set(owner.algorithms) if owner else None
    for key in keys.values():
        usable = sorted(key.algorithms & wanted if wanted is not None else key.algorithms)
        public = key.thumbprint == SANDBOX_THUMBPRINT and not settings.dev
        if public or not usable:
            why = _WORDS["sandbox_key"] if public else "it signs with no algorithm that the client may use"
            findings.append((False, f"key {_shown(key.kid)}: {why}"))
        else:
            findings.append((True, f"key {_shown(key.kid)}: verifies {', '.join(usable)}"))
    findings += [(False, f"key {_shown(fault.kid or '(no kid)')}: {fault.reason}") for fault in faults]
    if not keys:
        findings.append((False, "there is no usable key in it"))
    return findings


def _path_of(token: Unproven) -> str:
    """The path that the token's own aud names: what is asked is whether it would be right there."""
    named = token.claims.get("aud")
    first = named[0] if isinstance(named, list) and named else named
    path = urlsplit(first).path if isinstance(first, str) else ""
    start = path.find("/cds-services")
    return path[start:] if start >= 0 else "/cds-services"


def _times(token: Unproven, now: datetime) -> str:
    issued, expires = token.claims.get("iat"), token.claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        return "its times cannot be read"
    age, left = int(now.timestamp()) - issued, expires - int(now.timestamp())
    when = datetime.fromtimestamp(now.timestamp(), UTC).strftime("%H:%M:%S")
    return f"issued {age} s ago, ends in {left} s, by the clock here ({when} UTC, {LEEWAY} s of leeway)"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return "".join(c for c in text if c.isprintable())[:_MOST]
