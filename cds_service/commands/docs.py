"""The docs as a site: docs build."""

from __future__ import annotations

from pathlib import Path

import click

from cds_service.commands.common import CANNOT_CREATE, FAILED, FOLDER, stop


@click.group()
def docs() -> None:
    """The docs as a site, with a search. A service in profile dev serves them at /docs/."""


@docs.command()
@click.option("--out", type=FOLDER, help="Folder of the site, to serve it elsewhere. Default: where `serve` looks.")
def build(out: Path | None) -> None:
    """Build the site with Sphinx (extra docs). Exit 1 on any warning."""
    from cds_service.publish import docs_site

    pages = docs_site.pages_folder()
    if pages is None:
        stop(FAILED, "The pages of the docs are not in this package: run it in a checkout of the sources.")
    target = out or docs_site.site_folder()
    try:
        number = docs_site.build(pages, target)
    except docs_site.DocsError as error:
        stop(FAILED, str(error))
    except OSError as error:
        stop(CANNOT_CREATE, f"{target} cannot be made: {error.strerror}. Name another folder with --out.")
    served = "" if out else "; a service in profile dev serves them at /docs/"
    click.echo(f"{number} pages are in {target}{served}", err=True)
