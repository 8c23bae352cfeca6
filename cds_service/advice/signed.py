"""Whose rule it is: what a card says of a rule that is not ours."""

from __future__ import annotations

from typing import Literal

from cds_service.advice.phrasing import fill
from cds_service.content.library import Library
from cds_service.content.package import Package
from cds_service.content.rulebook import ActiveRule


def signed(library: Library, package: Package, form: Literal["source_label", "line", "note"], **values: str) -> str:
    """A text with the name of the publisher, as the wording of packages has it."""
    item = package.manifest
    named = {"publisher": item.publisher, "namespace": item.namespace, "version": item.version}
    return fill(library.wording.packages[form], named | values)


def source_label(library: Library, rule: ActiveRule) -> str:
    """Who stands behind a rule's first reference; where that is a weak source, this product. Of a rule that is not ours
    its publisher comes first."""
    reference, package = library.references[rule.loaded.rule.evidence.references[0]], rule.loaded.package
    label = library.wording.source_label if reference.weak else reference.name
    return signed(library, package, "source_label", source=label) if package else label


def by_publisher(library: Library, rule: ActiveRule, line: str) -> str:
    """A line about a rule, with its publisher where it is not ours; "" stays so."""
    package = rule.loaded.package
    return signed(library, package, "line", line=line) if package and line else line


def whose(library: Library, rule: ActiveRule) -> list[str]:
    """What the notes of a card say of a rule that is not ours: its title, publisher, package and version."""
    loaded = rule.loaded
    if loaded.package is None:
        return []
    title = loaded.rule.title.removesuffix(f" ({loaded.package.publisher})")
    return [signed(library, loaded.package, "note", title=title)]
