"""The only exceptions that reading a chart raises. None of them carries a value from the request."""

from __future__ import annotations


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
