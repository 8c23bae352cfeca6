"""`changes.yaml`: what changed in every rule, with the version at which it was written down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from cds_service.content.library import Library
from cds_service.content.long_form import long_form
from cds_service.content.shared import Change, History

HEAD = """\
# What changed in the evidence, rule by rule; shown at /evidence/changes. `magnesium-cds lock RULE 'what changed'`
# writes it, with the date and the version of the rule. Words may be mended by hand, versions may not.
"""


def changed(library: Library) -> list[str]:
    """Rules that are not what they were when their last change was written down."""
    return [
        name
        for name, loaded in library.rules.items()
        if name in library.changes and library.changes[name].version != loaded.version
    ]


def with_change(library: Library, name: str, day: date, what: str, retired: bool = False) -> History:
    """The history of a rule with one change more; `retired`: that it is gone, and `what` says why."""
    before, loaded = library.changes.get(name), library.rules.get(name)
    change = Change(date=day, what=what)
    version = loaded.version if loaded else before.version if before else ""
    return History(
        version=version, retired=what if retired else None, changes=[*(before.changes if before else ()), change]
    )


def history_text(changes: Mapping[str, History]) -> str:
    """The whole file, rules by their names."""
    return HEAD + long_form({name: changes[name].model_dump(exclude_none=True) for name in sorted(changes)})
