"""Public keys of clients: a JWK set read strictly. A private key is never used, nor is one that is too weak."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS: Final = ("ES384", "RS384", "RS256", "ES256", "PS384")
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MAX_ID: Final = 255
_CURVES: Final = {"P-384": "ES384", "P-256": "ES256"}
_RSA_BITS: Final = (2048, 8192)
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# RFC 7638 thumbprint of the key whose private half the CDS Hooks Sandbox publishes: anybody can sign with it.
SANDBOX_ISSUER: Final = "https://sandbox.cds-hooks.org"
SANDBOX_THUMBPRINT: Final = "b3d7ce7be283603d66c99f180b395e52a25082b6192f8f645628c1c619d9bd97"


class BadKey(Exception):
    """A JWK that is not used, with the reason in plain words. `kid`: for messages, "" if it has none."""

    def __init__(self, reason: str, kid: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kid = kid


@dataclass(frozen=True, slots=True)
class Key:
    """One public key. `algorithms`: those it may verify, by its kind and by what its JWK says."""

    kid: str
    public: EllipticCurvePublicKey | RSAPublicKey
    algorithms: frozenset[str]
    thumbprint: str


def read_set(document: object) -> tuple[dict[str, Key], list[BadKey]]:
    """The usable keys of a JWK set by kid, and why the others are not. Raises BadKey where it is no JWK set."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise BadKey("not a JWK set: an object with an array `keys` is expected")
    if len(listed) > MAX_KEYS:
        raise BadKey(f"more than {MAX_KEYS} keys")
    found: dict[str, Key] = {}
    faults: list[BadKey] = []
    torn: set[str] = set()
    for item in listed:
        try:
            key = read_key(item)
        except BadKey as fault:
            faults.append(fault)
            continue
        known = found.setdefault(key.kid, key)
        if known.thumbprint != key.thumbprint:
            torn.add(key.kid)
    for kid in torn:
        del found[kid]
        faults.append(BadKey("two different keys have this kid", kid))
    return found, faults


def parse_set(raw: bytes) -> tuple[dict[str, Key], list[BadKey]]:
    """`read_set` of JSON bytes."""
    if len(raw) > MAX_BYTES:
        raise BadKey(f"larger than {MAX_BYTES // 1024} KiB")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadKey("not JSON") from error
    return read_set(document)


def read_key(jwk: object) -> Key:
    """One key. Raises BadKey."""
    if not isinstance(jwk, dict):
        raise BadKey("not a JSON object")
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_ID or not kid.isprintable():
        raise BadKey(f"it has no kid of 1 to {MAX_ID} characters")
    if _PRIVATE & jwk.keys():
        raise BadKey("it is a private or secret key: give the public half only, and replace the key", kid)
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise BadKey("it is not meant for signatures (use, key_ops)", kid)
    public, algorithms = _public(jwk, kid)
    said = jwk.get("alg")
    if said is not None:
        algorithms &= {said} if isinstance(said, str) else set()
    if not algorithms:
        raise BadKey(f"its alg {said!r:.40} does not fit its kind, or is none of {', '.join(ALGORITHMS)}", kid)
    return Key(kid, public, frozenset(algorithms), thumbprint(jwk))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, hexadecimal: the same key has the same one, whatever its kid."""
    members = ("crv", "kty", "x", "y") if jwk.get("kty") == "EC" else ("e", "kty", "n")
    return sha256(orjson.dumps({name: str(jwk.get(name, "")).rstrip("=") for name in members})).hexdigest()


def _public(jwk: dict[str, Any], kid: str) -> tuple[EllipticCurvePublicKey | RSAPublicKey, set[str]]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt import InvalidKeyError
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    kind = jwk.get("kty")
    try:
        if kind == "EC":
            curve = _CURVES.get(str(jwk.get("crv")))
            if curve is None:
                raise BadKey(f"its curve is none of {', '.join(_CURVES)}", kid)
            point = ECAlgorithm.from_jwk(jwk)
            if isinstance(point, EllipticCurvePublicKey):
                return point, {curve}
        elif kind == "RSA":
            if len(str(jwk.get("n"))) > 2 * _RSA_BITS[1] or len(str(jwk.get("e"))) > 8:
                raise BadKey("its RSA numbers are too large", kid)
            number = RSAAlgorithm.from_jwk(jwk)
            if isinstance(number, RSAPublicKey):
                if not _RSA_BITS[0] <= number.key_size <= _RSA_BITS[1]:
                    raise BadKey(f"its RSA modulus has {number.key_size} bits; {_RSA_BITS[0]} or more are needed", kid)
                return number, {"RS384", "RS256", "PS384"}
    except (InvalidKeyError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadKey("its numbers are not those of a key", kid) from error
    raise BadKey("its kty is neither EC nor RSA", kid)


FRESH: Final = 300.0  # seconds; older keys are read again in the background
STALE: Final = 600.0  # older ones are read again before one is used: a key that was taken away is refused from here on
DEAD: Final = 24 * 3600.0  # the last good set is used so long where no newer one can be had
PAUSE: Final = 30.0  # between two attempts, whoever asks
LONGEST_READ: Final = 2.0
_MOST_WAITING: Final = 2
log = structlog.get_logger("magnesium_cds.trust")


class KeysNotRead(Exception):
    """The keys could not be had now; the text says why, in a few words of ours."""


class Keys:
    """Keys by their kid: as they are, those that stand in the clients' file."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = dict(keys)

    def find(self, kid: str) -> Key | None:
        """The key with this kid, None where there is none to be had."""
        return self._keys.get(kid)

    def kids(self) -> list[str]:
        """The kids of the keys known now. Reads nothing."""
        return list(self._keys)


class ReadKeys(Keys):
    """Keys that `read` gives as the bytes of a JWK set (it raises KeysNotRead, and takes at most LONGEST_READ).

    An unknown kid makes one reading, at most one in PAUSE seconds; who comes meanwhile is answered from what is known.
    `clock`: seconds that only go up.
    """

    def __init__(self, client: str, read: Callable[[], bytes], clock: Callable[[], float] = monotonic) -> None:
        super().__init__({})
        self._client = client
        self._read = read
        self._clock = clock
        self._good_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def find(self, kid: str) -> Key | None:
        age = self._clock() - self._good_at
        if age > STALE or kid not in self._keys:
            self._read_now()
        elif age > FRESH and self._due():
            threading.Thread(target=self._read_now, name="key-reader", daemon=True).start()
        return None if self._clock() - self._good_at > DEAD else self._keys.get(kid)

    def _due(self) -> bool:
        return self._clock() - self._tried_at >= PAUSE

    def _read_now(self) -> None:
        """Read if it is time. While another thread reads, a few wait for it; with no keys at all, everybody does."""
        if self._reading.acquire(blocking=False):
            try:
                if self._due():
                    self._tried_at = self._clock()
                    self._take()
            finally:
                self._reading.release()
        elif not self._keys:
            self._wait()
        elif self._waiting.acquire(blocking=False):
            try:
                self._wait()
            finally:
                self._waiting.release()

    def _wait(self) -> None:
        if self._reading.acquire(timeout=LONGEST_READ):
            self._reading.release()

    def _take(self) -> None:
        try:
            keys, faults = parse_set(self._read())
        except (KeysNotRead, BadKey) as error:
            log.warning("keys not read", client=self._client, cause=str(error))
            return
        for unused in faults:
            log.warning("key left out", client=self._client, cause=unused.reason)
        if not keys:
            log.warning("keys not read", client=self._client, cause="no usable key in the set")
            return
        self._keys = keys
        self._good_at = self._clock()
