"""`changes.yaml`: what changed in every rule, with the version that the rule has since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from cds_service.content.library import Library
from cds_service.content.shared import Change

HEAD = """\
# What changed in the evidence, rule by rule, the newest last; shown at /evidence/changes.
# `magnesium-cds lock RULE 'what changed'` writes a line, with the date and the version of the rule since; words may be
# mended by hand. A merge keeps the lines of both sides; `magnesium-cds lock --all 'what changed'` writes down the rest.
"""


def changed(library: Library) -> list[str]:
    """Rules that are not what they were when their last change was written down."""
    return [
        name
        for name, loaded in library.rules.items()
        if name in library.changes and library.changes[name][-1].version != loaded.version
    ]


def changes_text(changes: Mapping[str, Sequence[Change]]) -> str:
    """The whole file: rules by their names, each change on a line of its own."""
    parts = [HEAD]
    for name in sorted(changes):
        parts.append(f"{name}:\n")
        for change in changes[name]:
            data = change.model_dump(exclude_none=True)
            line = yaml.safe_dump(
                data, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
            )
            parts.append(f"- {line}")
    return "".join(parts)
