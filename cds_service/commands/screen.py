"""`magnesium-cds screen`: every rule on all patients of an export."""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cds_service.commands.common import FAILED, FILE, MOMENT, USAGE, cards_in_use, cards_option, counted, stop, text_of
from cds_service.logs import configure

if TYPE_CHECKING:
    from cds_service.advice.loaded_content import Content

MIB = 1024 * 1024
SHORTEST_KEY = 16


class _Input(click.Path):
    """A file or folder. An address is refused with the command that fetches from it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" in str(value):
            self.fail(
                "It is an address. Fetch the patients first, `magnesium-cds export ADDRESS --out FOLDER`, then screen "
                "that folder.", param, ctx,
            )  # fmt: skip
        return super().convert(value, param, ctx)


@click.command()
@cards_option
@click.argument("inputs", nargs=-1, type=_Input(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option("--site", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Site values (YAML).")
@click.option("--now", type=MOMENT, help="The moment that results are aged against (default: this one).")
@click.option("--validate", is_flag=True, help="Validate what findings cite, as a hook call does: slower.")
@click.option("--identified", is_flag=True, help="Write the ids of patients beside their pseudonyms.")
@click.option("--key", type=FILE, help="Secret of pseudonyms: two screenings with one name patients alike.")
@click.option("--report-only", is_flag=True, help="Write the report of --out again, from what is kept there.")
@click.option("--csv", is_flag=True, help="Also every outcome of each patient as outcomes.csv.")
@click.option(
    "--smallest-cell", type=click.IntRange(0), help="Hide smaller counts (default 5; with --identified none is hidden)."
)
@click.option("--processes", type=click.IntRange(1, 256), help="Default: one for each core.")
@click.option("--memory", type=click.IntRange(256), default=1024, help="MiB for all processes (default 1024).")
@click.option("--engine", type=click.Choice(["local", "spark"]), default="local", help="Default: local.")
@click.option("--master", help="spark: the cluster, as spark://HOST:PORT, yarn, k8s://... or local[2].")
@click.option(
    "--conf", "settings", multiple=True, metavar="NAME=VALUE", help="spark: a setting of Spark's; repeatable."
)
@click.option("--wait", type=click.IntRange(1), default=120, help="spark: seconds to wait for executors (default 120).")
def screen(
    inputs: tuple[Path, ...],
    out: Path,
    site: Path | None,
    now: datetime | None,
    key: Path | None,
    processes: int | None,
    memory: int,
    smallest_cell: int | None,
    engine: str,
    master: str | None,
    settings: tuple[str, ...],
    wait: int,
    **flags: bool,
) -> None:
    """Try every rule on all patients of an export: FHIR Bulk Data, or Bundles, in files.

    INPUTS are files or folders, of which every file is read, plain or gzip. A run that was ended goes on when the same
    command is given again.
    """
    if (engine == "spark") != bool(master):
        stop(USAGE, "--engine spark and --master go together.")
    given = dict(each.split("=", 1) for each in settings if "=" in each)
    if len(given) < len(settings):
        stop(USAGE, "--conf wants NAME=VALUE, each name once.")
    try:
        import duckdb
        import pyarrow  # noqa: F401
    except ImportError:
        stop(FAILED, "screen needs its extra; in a checkout: pip install '.[screen]'")
    configure("WARNING")
    if flags["report_only"]:
        _report(out, memory, smallest_cell, flags["csv"])
        return
    if not inputs:
        stop(USAGE, "Name the files or folders to screen, or ask for the report of --out alone with --report-only.")
    from cds_service.population.screening.exported import said_of_all
    from cds_service.population.screening.folder import Folder, Refused
    from cds_service.population.screening.local import screen as local
    from cds_service.population.screening.person import Recipe
    from cds_service.population.screening.screened import CannotCompare, screened_at
    from cds_service.population.screening.sources import find

    folder, text, secret = Folder(out), text_of(site) if site else None, _secret(key)
    try:
        if any(out.resolve().is_relative_to(each.resolve()) for each in inputs if each.is_dir()):
            raise Refused(f"{out} lies in a folder that is read. Name one outside of it with --out.")
        sources = find(inputs)
        before = folder.about()
        if now is None:
            now = screened_at(before) if before else datetime.now(UTC).replace(microsecond=0)
        cards = tuple(map(str, cards_in_use()))
        asking = Recipe(now, text, cards, flags["validate"], flags["identified"])
        content = asking.content()
        missing, remarks = said_of_all(sources.exports)
        asked = {
            "now": now.isoformat(),
            "inputs": sources.asked(),
            "rules": content.library.digest,
            "site": asking.rulebook(content, str(site)).site.digest,
            "site_values": text or "",
            "export": {"missing": missing, "remarks": remarks},
            "validated": flags["validate"],
            "identified": flags["identified"],
            "key": hmac.digest(secret, b"screening", "sha256").hex()[:16] if secret else "",
        }
        if folder.begin(asked)["finished"]:
            click.echo(f"{out} holds this screening already.")
            _report(out, memory, smallest_cell, flags["csv"], content)
            return
        recipe = replace(asking, secret=secret or folder.secret())
        if engine == "spark":
            from cds_service.population.screening.spark import screen as on_spark

            found = on_spark(
                sources, folder, recipe, content, master=str(master), settings=given, wait=wait, say=_teller()
            )
        else:
            found = local(
                sources, folder, recipe, content,
                processes=processes or os.cpu_count() or 1, memory=memory * MIB, say=_teller(),
            )  # fmt: skip
    except (Refused, CannotCompare) as fault:
        stop(USAGE, str(fault))
    except KeyboardInterrupt:
        stop(130, "Stopped. Give the same command again to go on.")
    except (OSError, duckdb.Error) as fault:
        stop(FAILED, f"{_why(fault)} What is done stays: give the same command again to go on.")
    click.echo("\n".join(_told(found, out)))
    for line in [*missing, *remarks]:
        click.echo(f"Of the export: {line}", err=True)
    if missing:
        click.echo("NOT ALL WAS EXPORTED. No number of this screening is an all-clear.", err=True)
    _report(out, memory, smallest_cell, flags["csv"], content)
    if not found["patients"]:
        stop(FAILED, "No patient was there.")


def _secret(path: Path | None) -> bytes:
    """What a file of at least 16 bytes holds; nothing where none is named."""
    secret = path.read_bytes() if path else b""
    if path and len(secret) < SHORTEST_KEY:
        stop(USAGE, f"{path} is too short for a secret: {SHORTEST_KEY} bytes at least, such as of `openssl rand 32`.")
    return secret


def _report(out: Path, memory: int, smallest_cell: int | None, outcomes: bool, content: Content | None = None) -> None:
    """Write what comes out of the folder, from its Parquet alone."""
    import duckdb

    from cds_service.population.screening.report import rulebook_of, write_report
    from cds_service.population.screening.summary import NoScreening

    try:
        rulebook = rulebook_of(out, tuple(map(str, cards_in_use())), content)
        said = write_report(out, rulebook, smallest_cell=smallest_cell, memory=f"{memory // 2}MiB", outcomes=outcomes)
    except NoScreening as fault:
        stop(USAGE, str(fault))
    except (OSError, duckdb.Error) as fault:
        stop(FAILED, f"{_why(fault)} The screening stays: write its report with --report-only.")
    click.echo(f"The report is {out / 'report.html'}.")
    if not said["finished"]:
        click.echo("This screening is not finished: the report is of some patients alone, and says so.", err=True)


def _why(fault: Exception) -> str:
    """A fault of the disk or of DuckDB in one line, without a word of a patient's."""
    if isinstance(fault, OSError):
        what = os.strerror(fault.errno) if fault.errno else "A file could not be read or written"
        return f"{what}: {fault.filename or 'a file of --out'}."
    return "DuckDB could not sort the input: its disk or its memory (--memory) is too small."


def _told(found: dict[str, Any], out: Path) -> list[str]:
    not_read = sum(found["charts_not_read"].values())
    told = [f"{counted(found['patients'], 'patient')} of {counted(found['files'], 'file')} screened, into {out}"]
    if not_read:
        told.append(f"{counted(not_read, 'chart')} could not be read: nothing is known of these patients")
    if found["lines_not_read"]:
        told.append(f"{counted(found['lines_not_read'], 'resource')} could not be read: faults/ names file and line")
    return told


def _teller() -> Callable[[Any], None]:
    """Progress on stderr: on a terminal one line that changes, else a line every tenth."""
    shown = {"stage": "", "tenth": -1}

    def say(progress: Any) -> None:
        tenth = 10 * progress.done // max(1, progress.of)
        if (progress.stage, tenth) == (shown["stage"], shown["tenth"]) and not sys.stderr.isatty():
            return
        shown.update(stage=progress.stage, tenth=tenth)
        rate = f", {progress.patients / progress.seconds:.0f} patients a second" if progress.patients else ""
        left = progress.seconds * (progress.of - progress.done) / max(1, progress.done)
        end = "\r" if sys.stderr.isatty() and progress.done < progress.of else "\n"
        words = f"{progress.stage}: {progress.done} of {progress.of}{rate}, about {left:.0f} s left   "
        click.echo(words.rstrip() + end, err=True, nl=False)

    return say
