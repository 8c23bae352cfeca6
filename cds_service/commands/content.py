"""Commands on content: check, catalogue, show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from cds_service import __version__
from cds_service.advice.loaded_content import Content, load_content
from cds_service.commands.common import (
    CANNOT_CREATE,
    FAILED,
    USAGE,
    cards_in_use,
    cards_option,
    faults_as_json,
    stop,
)
from cds_service.content.library import default_root
from cds_service.content.loading import gone_files, load_library, read_content
from cds_service.content.long_form import long_form
from cds_service.content.sources import source_faults
from cds_service.content.yamlfile import ContentError
from cds_service.settings import Settings
from cds_service.spelling import nearest
from cds_service.terminology.index import Vocabulary

CONTENT = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@cards_option
@click.option("--content", type=CONTENT, help="Folder of content to check instead of the one shipped.")
@click.option("--json", "as_json", is_flag=True, help="Faults as JSON.")
def check(content: Path | None, as_json: bool) -> None:
    """Load all content and report every fault at once. Exit 78 on faults.

    With --cards somebody else's rules are checked beside ours, and tried on the patients in their folder `scenarios`.
    """
    cards, patients = cards_in_use(), 0
    with faults_as_json(as_json):
        library, documents = read_content(content, cards)
        loaded = Content(library, Vocabulary(library))
        faults = [*gone_files(content or default_root()), *source_faults(library, documents)]
        morning = datetime.now(UTC).replace(hour=9, minute=30, second=0, microsecond=0)
        for package, folder in zip(library.packages, cards, strict=True):
            from cds_service.commands.scenarios import tried

            count, found = tried(loaded, package, folder, morning)
            patients, faults = patients + count, [*faults, *found]
        if faults:
            raise ContentError(faults)
    counts: dict[str, int | str] = {
        "rules": len(library.rules),
        "terminology": len(library.terminology),
        "references": len(library.references),
        "claims": len(library.claims),
        "digest": library.digest,
    }
    if cards:
        counts |= {"packages": len(library.packages), "their patients": patients}
    click.echo(json.dumps({"faults": [], **counts}) if as_json else ", ".join(f"{k} {v}" for k, v in counts.items()))
    if content is None and not cards:
        load_content()  # so that an account that may write beside the content leaves it compiled for others' starts


@click.command()
@click.option("--content", type=CONTENT, help="Folder of content instead of the one shipped.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 if a page is not current.")
def catalogue(content: Path | None, only_check: bool) -> None:
    """Write cards/README.md and the pages of docs/ that are made from the content and the code.

    They are docs/reference, docs/ehrs, docs/what-is-read.md and docs/openapi.json.
    """
    from cds_service.publish.catalogue import catalogue_text
    from cds_service.publish.command_line import commands_page, flags_of
    from cds_service.publish.ehr_sheet import ehr_pages
    from cds_service.publish.reference import reference_pages
    from cds_service.publish.what_is_read import what_is_read
    from cds_service.web.described import openapi_text

    root = content or default_root()
    library = load_library(root)
    pages = {root / "README.md": catalogue_text(library)}
    docs = root.parent / "docs"
    if docs.is_dir():
        main = click.get_current_context().find_root()
        if not isinstance(main.command, click.Group) or not (serve := main.command.get_command(main, "serve")):
            raise TypeError("the command line is a group that can serve")
        pages[docs / "what-is-read.md"] = what_is_read(library)
        pages |= {docs / "ehrs" / name: text for name, text in ehr_pages(library).items()}
        pages |= {docs / "reference" / name: text for name, text in reference_pages(library, flags_of(serve)).items()}
        pages[docs / "reference" / "commands.md"] = commands_page(main.command)
        pages[docs / "openapi.json"] = openapi_text(library, Settings(), __version__)
    for target, text in pages.items():
        name = f"{target.parent.name}/{target.name}"
        if only_check:
            if not target.exists() or target.read_text(encoding="utf-8") != text:
                stop(FAILED, f"{name} is not current: run `magnesium-cds catalogue`")
            continue
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            stop(CANNOT_CREATE, f"{target}: {error.strerror}")
        click.echo(str(target), err=True)


@click.command()
@cards_option
@click.argument("rule")
@click.option("--content", type=CONTENT, help="Folder of content instead of the one shipped.")
def show(rule: str, content: Path | None) -> None:
    """Print RULE in long form, as the loader reads it: a timing rule is filled by its family."""
    rules = load_library(content, cards_in_use()).rules
    if rule not in rules:
        stop(USAGE, f"no rule {rule}{nearest(rule, rules)}")
    click.echo(long_form(rules[rule].data), nl=False)
