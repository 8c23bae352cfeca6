"""A client's token: read, checked, believed. PyJWT decides on the signature and the registered claims; what it would
let pass (a missing jti, a life of years, an expiry that is text, a strange typ) is refused here as well.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import orjson

from cds_service.trust.keys import MAX_ID, Key

LEEWAY: Final = 60  # seconds: the CDS Hooks Sandbox rounds iat up, and clocks differ
LONGEST_LIFE: Final = 3600
MAX_TOKEN: Final = 16 * 1024
_MAX_AUDIENCES: Final = 20
REQUIRED: Final = ("iss", "aud", "exp", "iat", "jti")

# The whole set of causes that the log may name. The caller is never told which.
Cause = Literal[
    "no_token", "malformed", "header", "algorithm", "issuer", "tenant", "jku", "key", "claims", "audience", "expired",
    "not_yet", "lifetime", "signature", "replayed", "sandbox_key",
]  # fmt: skip
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class Refused(Exception):
    """A call that is not authenticated."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


@dataclass(frozen=True, slots=True)
class Unproven:
    """What a token says, before anything of it is believed."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proven:
    """The claims of a token that was found good. `expires_at`: until then its jti must be remembered."""

    issuer: str
    tenant: str | None
    jti: str
    issued_at: datetime
    expires_at: datetime


def bearer(headers: Collection[str]) -> str:
    """The token in the Authorization headers of a call. Raises Refused."""
    if len(headers) != 1:
        raise Refused("no_token")
    scheme, _, token = next(iter(headers)).partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN or not token.isascii():
        raise Refused("no_token")
    return token


def unproven(text: str) -> Unproven:
    """The parts of a compact JWS. Raises Refused: anything else, encryption and detached content included."""
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise Refused("malformed")
    header, claims = (_json_part(part) for part in parts[:2])
    if "crit" in header or "b64" in header or not isinstance(header.get("alg"), str):
        raise Refused("header")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise Refused("header")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_ID:
        raise Refused("key")
    return Unproven(text, header, claims)


def read_header(text: str) -> dict[str, Any]:
    """The header of a compact JWS. Raises Refused."""
    return _json_part(text.partition(".")[0])


def _json_part(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Refused("malformed") from error
    if not isinstance(value, dict):
        raise Refused("malformed")
    return value


def check_claims(claims: dict[str, Any], audiences: Collection[str], now: float) -> None:
    """Everything but issuer, tenant and signature; cheap, so it comes before the signature. Raises Refused."""
    if any(claims.get(name) is None for name in REQUIRED):
        raise Refused("claims")
    issued, expires, begins = claims["iat"], claims["exp"], claims.get("nbf", 0)
    # A bool is an int in Python, and 1e30 or "1700000000" would be turned into one by a tolerant reader.
    if any(type(moment) is not int for moment in (issued, expires, begins)):
        raise Refused("claims")
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_ID or not jti.isprintable():
        raise Refused("claims")
    named = claims["aud"]
    listed = named if isinstance(named, list) else [named]
    if len(listed) > _MAX_AUDIENCES or not all(isinstance(one, str) for one in listed):
        raise Refused("claims")
    if not set(listed) & set(audiences):
        raise Refused("audience")
    if expires <= now - LEEWAY:
        raise Refused("expired")
    if issued > now + LEEWAY or begins > now + LEEWAY:
        raise Refused("not_yet")
    if not 0 < expires - issued <= LONGEST_LIFE:
        raise Refused("lifetime")


def check_signature(
    token: Unproven, key: Key, algorithms: Collection[str], audiences: Collection[str], leeway: float = LEEWAY
) -> Proven:
    """PyJWT's word on the whole token. Raises Refused."""
    usable = [name for name in algorithms if name in key.algorithms]
    if token.header["alg"] not in usable:
        raise Refused("algorithm")
    import jwt  # here: a service without clients never needs it

    try:
        claims = jwt.decode(
            token.text,
            key.public,
            algorithms=usable,
            audience=list(audiences),
            issuer=str(token.claims["iss"]),
            leeway=leeway,
            options={"require": list(REQUIRED), "verify_sub": False},
        )
    except jwt.InvalidSignatureError as error:
        raise Refused("signature") from error
    except jwt.PyJWTError as error:
        raise Refused("malformed") from error
    if claims != token.claims:  # two readers, one answer
        raise Refused("malformed")
    return Proven(
        issuer=claims["iss"],
        tenant=claims.get("tenant"),
        jti=claims["jti"],
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"] + LEEWAY + 1, UTC),
    )
