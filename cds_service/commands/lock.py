"""The command `lock`: write down what changed in rules, so that a change nobody told of is a fault."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cds_service.commands.common import CANNOT_CREATE, USAGE, cards_in_use, cards_option, stop
from cds_service.content.library import default_root
from cds_service.content.loading import load_library
from cds_service.content.locking import changed, changes_text
from cds_service.content.package import namespace_of, own_name
from cds_service.content.shared import Change
from cds_service.content.sources import CHANGES
from cds_service.spelling import nearest


@click.command()
@cards_option
@click.argument("rule", required=False)
@click.argument("what", required=False)
@click.option("--all", "of_all", metavar="WHAT", help="Of every rule that changed since it was last written down.")
@click.option("--new", "of_new", metavar="WHAT", help="Of every rule of which nothing is written down yet.")
@click.option("--retired", metavar="WHY", help="RULE is gone, and why.")
@click.option(
    "--content", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another content folder."
)
def lock(
    rule: str | None,
    what: str | None,
    of_all: str | None,
    of_new: str | None,
    retired: str | None,
    content: Path | None,
) -> None:
    """Write WHAT changed in RULE into cards/changes.yaml, with the date and the version.

    With --cards into the changes.yaml of that folder: of its rules, which are named as their files are.
    """
    folders = cards_in_use()
    if len(folders) > 1:
        stop(USAGE, "--cards: name one folder, whose changes are written down")
    root = folders[0] if folders else content or default_root()
    library = load_library(content, folders)
    namespace = library.packages[0].namespace if folders else ""
    rules = {own_name(name): rule for name, rule in library.rules.items() if namespace_of(name) == namespace}
    changes = {own_name(n): list(known) for n, known in library.changes.items() if namespace_of(n) == namespace}
    today = datetime.now(UTC).date()
    wanted: dict[str, str] = {}
    if of_all:
        names = (own_name(name) for name in changed(library) if namespace_of(name) == namespace)
        wanted |= dict.fromkeys(names, of_all)
    if of_new:
        wanted |= dict.fromkeys((name for name in rules if name not in changes), of_new)
    if rule and (told := retired or what):
        known = changes if retired else rules
        if rule not in known:
            stop(USAGE, f"no rule {rule}{nearest(rule, known)}")
        if retired and rule in rules:
            stop(USAGE, f"{rules[rule].file} is there: take it away first")
        wanted[rule] = told
    elif rule or retired or not (of_all or of_new):
        stop(USAGE, "say which rule and what changed: lock RULE 'what changed', --all, --new, or RULE --retired 'why'")
    for name, told in wanted.items():
        gone = name not in rules
        change = {"retired": told} if gone else {"version": rules[name].version, "what": told}
        changes.setdefault(name, []).append(Change.model_validate({"date": today, **change}))
    try:
        (root / CHANGES).write_text(changes_text(changes), encoding="utf-8")
    except OSError as error:
        stop(CANNOT_CREATE, f"{root / CHANGES}: {error.strerror}")
    click.echo("\n".join(sorted(wanted)) or "nothing to write down")
