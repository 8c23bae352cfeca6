"""What a folder of somebody else's rules says of itself in `package.yaml`, and how its names are told from ours.

A name of a package is its namespace, a hyphen and the name in its files: `exampleh-own_rule`. No name of ours has a
hyphen, which is valid wherever a rule's id goes: addresses, FHIR ids, labels of metrics, keys of site files, the
database. A dot is not: it parts keys of site values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from pydantic import Field, model_validator

from cds_service.content.base import Strict, Text

MANIFEST = "package.yaml"
BETWEEN = "-"
LONGEST_ID = 64
"""Characters of an id in FHIR."""
OURS = frozenset({"magnesium", "cds", "shared", "org", "urn", "fhir"})
"""No namespace of a package: it would read as ours."""
_VERSION = r"^[0-9]+(\.[0-9]+){0,3}$"
Version = Annotated[str, Field(pattern=_VERSION)]


def numbers(text: str) -> tuple[int, ...]:
    """The numbers at the start of a version, for comparing."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def our_version() -> str:
    """The version of this software that is installed."""
    return version("magnesium-cds")


class MadeFor(Strict):
    """The versions of this software that a package was tried with: `from` this one on, and `below` that one."""

    from_: Annotated[Version, Field(alias="from")]
    below: Version

    @model_validator(mode="after")
    def _in_order(self) -> MadeFor:
        if numbers(self.from_) >= numbers(self.below):
            raise ValueError("from is not before below")
        return self

    def holds(self, installed: str) -> bool:
        return numbers(self.from_) <= numbers(installed) < numbers(self.below)


class Manifest(Strict):
    """`package.yaml`: whose rules these are. `publisher` stands behind every title and on every card; with `contact` it
    is the developer, and `funding` the funding source, among the source attributes of each rule."""

    namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{2,15}$")]
    title: Text
    publisher: Annotated[str, Field(min_length=3, max_length=40)]
    version: Version
    contact: Text
    licence: Text
    funding: Text
    made_for: MadeFor

    @model_validator(mode="after")
    def _not_ours(self) -> Manifest:
        if self.namespace in OURS:
            raise ValueError(f"namespace: {self.namespace} would read as ours; take another one")
        if "magnesium cds" in self.publisher.lower():
            raise ValueError("publisher: names this product; name who answers for these rules")
        return self


@dataclass(frozen=True, slots=True)
class Package:
    """A folder of somebody else's rules, read: what it says of itself, and `digest`, which names exactly its bytes."""

    manifest: Manifest
    folder: str
    digest: str

    @property
    def namespace(self) -> str:
        return self.manifest.namespace

    @property
    def publisher(self) -> str:
        return self.manifest.publisher

    def told(self) -> dict[str, str]:
        """As `/readyz` and cards name it."""
        item = self.manifest
        return {
            "namespace": item.namespace,
            "title": item.title,
            "publisher": item.publisher,
            "version": item.version,
            "digest": self.digest,
        }


def own_name(name: str) -> str:
    """A name without the namespace of its package; one of ours as it is."""
    return name.partition(BETWEEN)[2] or name


def namespace_of(name: str) -> str:
    """The namespace of a name; "" of one of ours."""
    return name.partition(BETWEEN)[0] if BETWEEN in name else ""
