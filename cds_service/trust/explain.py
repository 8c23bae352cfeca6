"""Why a token or a key set would be taken or refused, in plain words: for the administrator, never for the caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cds_service.settings import Settings
from cds_service.trust.clients import Client
from cds_service.trust.gatekeeper import Gatekeeper
from cds_service.trust.keys import SANDBOX_ISSUER, SANDBOX_THUMBPRINT, BadKey, parse_set
from cds_service.trust.tokens import (
    LEEWAY,
    LONGEST_LIFE,
    MAX_TOKEN,
    REQUIRED,
    Cause,
    Refused,
    Unproven,
    read_header,
    unproven,
)

Finding = tuple[bool, str]
_MOST: Final = 120

_WORDS: Final[dict[Cause, str]] = {
    "no_token": "there is no token",
    "malformed": "it is not a signed token (three parts with dots between), or its parts are not JSON",
    "header": "its header asks for something critical that is not understood",
    "algorithm": "it is signed with an algorithm that the client, or its key, may not use",
    "issuer": "no client has this issuer: the claim iss must be the same to the letter",
    "tenant": "the client has no such tenant (or has tenants, and the token names none)",
    "jku": "its header names a key address that the client does not have",
    "key": "the client has no usable key with this kid",
    "claims": "a claim is of the wrong kind: exp, iat and nbf are whole seconds, jti and aud are text",
    "audience": "aud is not the address that is called",
    "expired": "it has expired",
    "not_yet": "iat or nbf is in the future: compare the clocks",
    "lifetime": f"it lives longer than {LONGEST_LIFE} s, or ends before it begins",
    "signature": "its signature was not made with the client's key of this kid: another key has taken its place, "
                 "or the token was changed or cut",
    "replayed": "it was used before",
    "sandbox_key": "it is signed with the CDS Hooks Sandbox's key, whose private half is public",
}  # fmt: skip
# What is right by the time that a cause is found: the checks are made in this order.
_AFTER_AUDIENCE: Final = ("expired", "not_yet", "lifetime", "algorithm", "jku", "key", "sandbox_key", "signature")
_AFTER_TIMES: Final = _AFTER_AUDIENCE[3:]
_MILLISECONDS: Final = 100_000_000_000


def explain_token(
    text: str, clients: Sequence[Client], settings: Settings, paths: Sequence[str], service: str | None, now: datetime
) -> list[Finding]:
    """Findings in the order in which the service looks: (good, words). Nothing of the token's text is in them but
    what identifies it: iss, aud, tenant, kid, alg, typ. `paths`: those that the service answers.
    """
    if text.lower().startswith("bearer "):
        text = text[7:].strip()
    try:
        if len(text) > MAX_TOKEN or not text.isascii():
            raise Refused("malformed")
        token = unproven(text)
    except Refused as refusal:
        return [(False, _of_form(text, refusal.cause))]
    keeper = Gatekeeper(settings, clients, None)
    findings = [
        (True, f"token of issuer {_shown(token.claims.get('iss'))}, alg {_shown(token.header['alg'])}, "
               f"kid {_shown(token.header['kid'])}"),
    ]  # fmt: skip
    try:
        client = keeper.client_of(token.claims)
    except Refused as refusal:
        return [*findings, (False, _of_owner(token, refusal.cause, clients))]
    findings.append((True, f"it is of client {client.name}"))
    path = f"/cds-services/{service}" if service else _path_of(token, paths)
    accepted = keeper.audiences(client, path)
    cause = _cause(keeper, text, path)
    if cause is None or cause in _AFTER_AUDIENCE:
        findings.append((True, f"aud is right for {path}"))
    if cause is None or cause in _AFTER_TIMES:
        findings.append((True, _times(token, now)))
    if cause is not None:
        findings.append((False, _of_cause(cause, token, client, accepted, keeper, now)))
    if cause == "expired":
        cause = _cause(keeper, text, path, now.timestamp() - token.claims["iat"])
        if cause is not None:
            return [*findings, (False, _of_cause(cause, token, client, accepted, keeper, now))]
        findings.append((True, "its signature is right: a new one like it would be accepted"))
    elif cause is None:
        findings.append((True, "its signature is right. It would be accepted, once"))
    return findings


def _cause(keeper: Gatekeeper, text: str, path: str, ago: float = 0) -> Cause | None:
    try:
        keeper.prove(text, path, ago)
    except Refused as refusal:
        return refusal.cause
    return None


def _of_form(text: str, cause: Cause) -> str:
    """Why the text cannot be taken for a client's token."""
    parts = text.split(".")
    if len(parts) == 5:
        return "it is encrypted (five parts): a signed token of three parts is needed"
    if len(parts) == 3 and parts[0] and parts[1] and not parts[2]:
        return "its signature is empty (alg none): the EHR must sign it with its private key"
    if cause == "key":
        return "its header names no kid: the EHR must say which of its keys it signed with"
    if cause != "header":
        return _WORDS["malformed"]
    header = read_header(text)
    if not isinstance(header.get("alg"), str):
        return "its header names no alg"
    if header.get("typ", "JWT") != "JWT":
        access = " (an access token of the FHIR server, perhaps?)" if "at+jwt" in str(header["typ"]).lower() else ""
        return f"its header has the typ {_shown(header['typ'])}{access}: JWT is needed"
    return _WORDS["header"]


def _of_owner(token: Unproven, cause: Cause, clients: Sequence[Client]) -> str:
    """Why it is no client's."""
    issuer = token.claims.get("iss")
    if cause == "tenant":
        tenants = [name for client in clients if client.issuer == issuer for name in client.tenants]
        said = _shown(token.claims.get("tenant", "nothing"))
        return f"{_WORDS[cause]}. It says {said}; known: {', '.join(tenants) or 'none'}"
    words = f"{_WORDS[cause]}. Issuers known: {', '.join(sorted({one.issuer for one in clients})) or 'none'}"
    if issuer == SANDBOX_ISSUER:
        words += ". This is the CDS Hooks Sandbox: anybody can sign with its key, so it can be a client in dev only"
    return words


def _of_cause(
    cause: Cause, token: Unproven, client: Client, accepted: Sequence[str], keeper: Gatekeeper, now: datetime
) -> str:
    """The cause in words, with what was found and what is needed."""
    words, claims = _WORDS[cause], token.claims
    if cause == "claims":
        missing = [name for name in REQUIRED if claims.get(name) is None]
        return f"{', '.join(missing)} missing: {', '.join(REQUIRED)} are needed" if missing else words
    if cause == "audience":
        return f"{words}. It says {_shown(claims['aud'])}; accepted: {', '.join(accepted)}"
    if cause == "algorithm":
        secret = ": a shared secret is never taken" if str(token.header["alg"]).startswith("HS") else ""
        return f"{words}{secret}. It says {_shown(token.header['alg'])}; accepted: {', '.join(client.algorithms)}"
    if cause == "jku":
        return f"{words}. It says {_shown(token.header['jku'])}; known: {', '.join(client.jku)}"
    if cause == "key":
        known = keeper.kids(client)
        if client.jku and not known:
            return f"{words}: no key set could be read. Check its address: {', '.join(client.jku)}"
        return f"{words}. It says {_shown(token.header['kid'])}; known: {', '.join(map(_shown, known)) or 'none'}"
    if cause in ("expired", "not_yet", "lifetime"):
        if claims["iat"] > _MILLISECONDS:
            return "its times are in milliseconds: whole seconds since 1970 are needed"
        return f"{words}; {_times(token, now)}"
    return words


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


def _path_of(token: Unproven, paths: Sequence[str]) -> str:
    """The path that the token's own aud names, if the service answers it: whether it is right there is asked."""
    named = token.claims.get("aud")
    first = named[0] if isinstance(named, list) and named else named
    path = urlsplit(first).path if isinstance(first, str) else ""
    return next((known for known in paths if path.endswith(known)), paths[0])


def _times(token: Unproven, now: datetime) -> str:
    issued, expires = token.claims.get("iat"), token.claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        return "its times cannot be read"
    age, left = int(now.timestamp()) - issued, expires - int(now.timestamp())
    when = datetime.fromtimestamp(now.timestamp(), UTC).strftime("%H:%M:%S")
    began = f"issued {age} s ago" if age >= 0 else f"issued {-age} s from now"
    ends = f"ends in {left} s" if left >= 0 else f"ended {-left} s ago"
    return f"{began}, {ends}, by the clock here ({when} UTC, {LEEWAY} s of leeway)"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return "".join(c for c in text if c.isprintable())[:_MOST]
