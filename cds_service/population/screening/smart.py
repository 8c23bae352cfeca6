"""SMART Backend Services: a key of ours, what a server says of itself, and tokens that are taken anew in time."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from cds_service.population.screening.calls_out import FAULTS, CallsOut, ExportFailed, body_of, network_words
from cds_service.trust.outbound import may_read

_MOST: Final = 256 * 1024
_ASSERTION_SECONDS: Final = 240  # at most five minutes (SMART App Launch 2.2, client-confidential-asymmetric)
_BEFORE_END: Final = 30.0
_RSA_BITS: Final = 2048
_JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_V2: Final = re.compile(r"system/[A-Za-z*]+\.c?ru?d?s")
_CODE: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key, its kid ("" if it has none), and the one algorithm that it signs with."""

    key: EllipticCurvePrivateKey | RSAPrivateKey
    kid: str
    algorithm: str


def read_key(path: Path, kid: str = "") -> SigningKey:
    """The private key in a file: a JWK, a JWK set or PEM. `kid`: which of a set, or the name of a key without one.

    Raises ExportFailed: the file is open to others, or holds no key that SMART Backend Services allows (EC on P-384
    for ES384, RSA of 2048 bits or more for RS384).
    """
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExportFailed(f"{path} can be read by others. Let only its owner read it: chmod 600 {path}")
        text = path.read_bytes()
    except OSError as error:
        raise ExportFailed(f"{path} cannot be read: {error.strerror}") from error
    try:
        jwk: Any = None if text.lstrip().startswith(b"-----") else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ExportFailed(f"{path} is neither a JWK nor a key in PEM") from error
    try:
        if jwk is None:
            found: Any = load_pem_private_key(text, None)
        else:
            jwk = _one_of(jwk, kid, path)
            kid = kid or str(jwk.get("kid", ""))
            kind = jwk.get("kty")
            found = ECAlgorithm.from_jwk(jwk) if kind == "EC" else RSAAlgorithm.from_jwk(jwk) if kind == "RSA" else None
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
        raise ExportFailed(f"{path} holds no private key that can be read (a key with a passphrase cannot)") from error
    if isinstance(found, EllipticCurvePrivateKey) and found.curve.name == "secp384r1":
        return SigningKey(found, kid, "ES384")
    if isinstance(found, RSAPrivateKey) and found.key_size >= _RSA_BITS:
        return SigningKey(found, kid, "RS384")
    raise ExportFailed(
        f"{path} holds no private key for ES384 (EC on P-384) or RS384 (RSA, {_RSA_BITS} bits or more); "
        "SMART Backend Services allows these two"
    )


def _one_of(jwk: Any, kid: str, path: Path) -> dict[str, Any]:
    """The one key that is meant, of a JWK or a set of them."""
    keys = jwk.get("keys") if isinstance(jwk, dict) and "keys" in jwk else [jwk]
    private = [key for key in keys if isinstance(key, dict) and "d" in key] if isinstance(keys, list) else []
    fitting = [key for key in private if not kid or len(private) == 1 or key.get("kid") == kid]
    if len(fitting) != 1:
        many = "more than one private key: say which with --kid" if len(fitting) > 1 else "no private key (JWK with d)"
        raise ExportFailed(f"{path} holds {many}")
    return fitting[0]


@dataclass
class Tokens:
    """The token of an export, the same for all its calls until it ends.

    `narrowed`: types that the server's answer does not let us read whole.
    """

    calls: CallsOut
    client_id: str
    key: SigningKey
    types: Sequence[str]
    token_url: str = ""
    scope: str = ""
    narrowed: tuple[str, ...] = ()
    _token: str = field(default="", repr=False)
    _until: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def discover(self) -> None:
        """Ask the server where tokens are had, and in which words scopes are asked for. Raises ExportFailed."""
        url = f"{self.calls.base_url}/.well-known/smart-configuration"
        what = "The SMART configuration"
        try:
            said = self._json("GET", url, what)
        except ExportFailed:
            if not self.token_url:
                raise
            said = {}  # where tokens are had was named to us, perhaps since the server does not say it
        self.token_url = self.token_url or str(said.get("token_endpoint") or "")
        if not self.token_url:
            raise ExportFailed("The server's SMART configuration names no token_endpoint. Name it with --token-url.")
        self.calls.check(self.token_url, "The token endpoint")
        algorithms = said.get("token_endpoint_auth_signing_alg_values_supported")
        if isinstance(algorithms, list) and self.key.algorithm not in algorithms:
            raise ExportFailed(f"The server takes no {self.key.algorithm}. Use a key of another kind.")
        if not self.scope:
            scopes, able = said.get("scopes_supported") or [], said.get("capabilities") or []
            second = "permission-v2" in able or any(_V2.fullmatch(str(each)) for each in scopes)
            ending = "rs" if second or not (scopes or "permission-v1" in able) else "read"
            self.scope = " ".join(f"system/{kind}.{ending}" for kind in self.types)

    def token(self, refused: str | None = None) -> str:
        """A token that still holds. `refused`: one that the server answered with 401, never to be given again.

        Raises ExportFailed where the server gives none.
        """
        with self._lock:
            if not self._token or self._token == refused or monotonic() > self._until:
                self._take()
            return self._token

    def _take(self) -> None:
        if not (self.token_url and self.scope):
            self.discover()
        said = self._json("POST", self.token_url, "The token endpoint", self._form)
        token, seconds = said.get("access_token"), said.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise ExportFailed("The token endpoint gave no access_token.")
        lasts = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 300.0
        self._token = token
        self._until = monotonic() + max(lasts - _BEFORE_END, lasts / 2)
        granted = said.get("scope")
        if isinstance(granted, str) and granted:
            self.narrowed = tuple(kind for kind in self.types if not may_read(granted, kind, "read"))

    def _form(self) -> dict[str, str]:
        """A new one for each try: a server takes an assertion once."""
        now = int(self.calls.now())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.token_url,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
            "jti": uuid4().hex,
        }
        headers = {"kid": self.key.kid} if self.key.kid else {}
        return {
            "grant_type": "client_credentials",
            "scope": self.scope,
            "client_assertion_type": _JWT_BEARER,
            "client_assertion": jwt.encode(claims, self.key.key, algorithm=self.key.algorithm, headers=headers),
        }

    def _json(
        self, method: str, url: str, what: str, form: Callable[[], dict[str, str]] | None = None
    ) -> dict[str, Any]:
        response = self.calls.patiently(method, url, {"Accept": "application/json"}, what=what, data=form)
        try:
            status, body = response.status_code, body_of(response, _MOST)
        except FAULTS as error:
            raise ExportFailed(f"{what}: {network_words(error)}.") from error
        except ValueError as error:
            raise ExportFailed(f"{what} is {error}.") from error
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        if status != 200:
            code = str(said.get("error", "")) if isinstance(said, dict) else ""
            told = f": {code}" if _CODE.fullmatch(code) else ""
            raise ExportFailed(f"{what} answered {status}{told}.{_ADVICE.get(code, '')}")
        if not isinstance(said, dict):
            raise ExportFailed(f"{what} is no JSON object.")
        return said


_ADVICE: Final = {
    "invalid_client": " Is the public key registered there, and is --client-id the one that it was registered with?",
    "invalid_scope": " Ask for the scopes that it knows with --scope, or leave types out with --without.",
}
