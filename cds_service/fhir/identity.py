"""Whose data is it? FHIR ids, and what a reference to a patient proves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, quote, urlsplit

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder


class IdentityMismatch(Exception):
    """Something in the request is about another patient, or does not prove to be about this one.

    `where` names the place, e.g. "prefetch.serum_magnesium.entry[2]".
    """

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


class UnsupportedFhirVersion(Exception):
    """The data has the shape of a FHIR version that is not read. `version`: "DSTU2", "STU3" or "unknown"."""

    def __init__(self, where: str, version: str) -> None:
        super().__init__(f"{where}: {version}")
        self.where = where
        self.version = version


class UnreadableInput(Exception):
    """The whole request cannot be used. `reason` is in our own words."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


# FHIR allows 64 characters. Real EHRs send up to 216, and nothing hangs on the number. Not of dots alone.
_LONGEST_ID = 512
_ID = re.compile(rf"(?=.{{1,{_LONGEST_ID}}}\Z)\.*[A-Za-z0-9-][A-Za-z0-9.-]*", re.ASCII | re.DOTALL)


class _Head(Struct, gc=False):
    resourceType: str | None = None
    id: str | None = None


_read_head = Decoder(_Head).decode
UNREADABLE = (DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that are not the JSON we look for."""


def is_id(text: str | None) -> bool:
    """A FHIR id that is safe in a path: FHIR's own pattern also allows `..`."""
    if text is None:
        return False
    # Letters, digits and dashes, as nearly all ids: that takes no pattern.
    plain = len(text) <= _LONGEST_ID and text.isascii() and text.replace("-", "").isalnum()
    return plain or _ID.fullmatch(text) is not None


def as_path(resource_type: str, resource_id: str) -> str:
    """`Type/id` for a URL. Raises ValueError if the id is not one."""
    if not is_id(resource_id):
        raise ValueError("not a FHIR id")
    return f"{resource_type}/{quote(resource_id, safe='')}"


def split_reference(reference: str) -> tuple[str, str] | None:
    """(type, id) of a relative, absolute or versioned literal reference; None for every other kind."""
    if "?" in reference or reference.startswith("#"):
        return None
    absolute = reference.startswith(("http://", "https://"))
    path = _split(reference).path if absolute else reference
    parts = _without_version(path)
    if len(parts) < 2 or (len(parts) > 2 and not absolute):
        return None
    kind, name = parts[-2], parts[-1]
    return (kind, name) if kind.isalpha() and is_id(name) else None


def is_elsewhere(reference: str, base: str | None) -> bool:
    """Whether an absolute reference names something on another server than `base` (None: not known, so never). Another
    path on the same host is another server: there may be one for each ward."""
    server = server_of(reference) if base is not None else None
    return server is not None and base is not None and server != _plain(base).rstrip("/")


def server_of(reference: str) -> str | None:
    """Host and path of the server of an absolute reference; None of any other."""
    if not reference.startswith(("http://", "https://")):
        return None
    return "/".join(_without_version(_plain(reference))[:-2]).rstrip("/")


class Servers:
    """On which servers the patient is, as addresses of and references to the Patient say: an id means somebody on one
    of them alone. What decides wherever no call names its server."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, reference: str, where: str = "") -> None:
        """`where`: its place. One that names no server says nothing."""
        if (server := server_of(reference)) is not None:
            self._found.setdefault(server, where)

    @property
    def second(self) -> str | None:
        """Where the second of them is named; None where there is none."""
        return list(self._found.values())[1] if len(self._found) > 1 else None


def _without_version(path: str) -> list[str]:
    """The steps of a reference, as of one that names no version."""
    parts = path.split("/")
    return parts[:-2] if len(parts) >= 4 and parts[-2] == "_history" else parts


def _plain(url: str) -> str:
    parts = _split(url)
    return parts.netloc.lower().removesuffix(_USUAL_PORTS.get(parts.scheme, "")) + parts.path


def _split(url: str) -> SplitResult:
    """Of what is no address, all is its host: a server that nobody else is on."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", url, "", "", "")


_USUAL_PORTS = {"https": ":443", "http": ":80"}


def is_about(reference: str, patient_id: str, full_urls: Mapping[str, str], contained: Sequence[Raw] | None) -> bool:
    """Whether a reference proves to mean this patient.

    `full_urls`: fullUrl of every Patient entry in the request, with that Patient's id. A `urn:` that names no such
    entry is accepted only if it is the patient's id itself. `#p` must be a contained Patient with the patient's id.
    """
    if reference.startswith("#"):
        return _contained_patient(reference[1:], contained) == patient_id
    if reference.startswith("urn:"):
        known = full_urls.get(reference)
        return known == patient_id if known is not None else reference == f"urn:uuid:{patient_id}"
    return split_reference(reference) == ("Patient", patient_id)


def _contained_patient(name: str, contained: Sequence[Raw] | None) -> str | None:
    for raw in contained or ():
        try:
            head = _read_head(raw)
        except UNREADABLE:
            continue
        if head.resourceType == "Patient" and head.id == name:
            return head.id
    return None


def id_of_url(full_url: str | None) -> str | None:
    """The id that a fullUrl gives its resource."""
    if not full_url:
        return None
    if full_url.startswith("urn:uuid:"):
        return full_url[9:]
    parts = split_reference(full_url)
    return parts[1] if parts else None
