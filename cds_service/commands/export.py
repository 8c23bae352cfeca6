"""`magnesium-cds export`: the patients of a FHIR server as a folder of NDJSON, for `magnesium-cds screen`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson

from cds_service.commands.common import CANNOT_CREATE, FAILED, FILE, FOLDER, USAGE, stop

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")


@click.command()
@click.argument("url")
@click.option("--out", required=True, type=FOLDER, help="Folder to fetch into; run again, the export goes on in it.")
@click.option("--group", help="Id of a Group whose patients are meant; without it, all patients.")
@click.option("--since", help="Only what changed since this instant, as 2026-11-01T00:00:00Z: charts are not whole.")
@click.option("--without", multiple=True, metavar="TYPE", help="A resource type not to ask for; repeatable.")
@click.option("--client-id", help="Id under which the server knows us (SMART Backend Services).")
@click.option("--key", type=FILE, help="File of our private key (JWK, JWK set or PEM), readable by its owner alone.")
@click.option("--kid", default="", help="Name of the key at the server, where the file does not say it.")
@click.option("--token-url", default="", help="Token endpoint, where the server's SMART configuration names none.")
@click.option("--scope", default="", help="Scopes to ask for, instead of those made from the types.")
@click.option("--open", "no_token", is_flag=True, help="The server asks for no token.")
@click.option("--allow", multiple=True, metavar="HOST", help="Another host at a private address; repeatable.")
@click.option("--ca-file", type=FILE, help="Certificates (PEM) to trust instead of the machine's.")
@click.option("--at-once", type=click.IntRange(1, 16), default=3, show_default=True, help="Files fetched at once.")
@click.option("--keep", is_flag=True, help="Leave the export on the server, at the end and at Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="What came, as JSON.")
def export(
    url: str,
    out: Path,
    group: str | None,
    since: str | None,
    without: tuple[str, ...],
    client_id: str | None,
    key: Path | None,
    kid: str,
    token_url: str,
    scope: str,
    no_token: bool,
    allow: tuple[str, ...],
    ca_file: Path | None,
    at_once: int,
    keep: bool,
    as_json: bool,
) -> None:
    """Fetch the patients of a FHIR server, as far as the rules read them, by Bulk Data $export.

    URL is the FHIR base. Killed and run again, it goes on. Exit code 1 where not all came: export.json in the folder
    says what is missing.
    """
    from cds_service.advice.loaded_content import load_content
    from cds_service.commands.common import cards_in_use
    from cds_service.population.screening.calls_out import CallsOut, ExportFailed, Stopped, is_loopback
    from cds_service.population.screening.export import Export, types_read
    from cds_service.population.screening.exported import Exported
    from cds_service.population.screening.smart import Tokens, read_key
    from cds_service.trust.addresses import base_fault

    base = url.rstrip("/")
    try:
        host = urlsplit(base).hostname or ""
    except ValueError:
        host = ""
    if fault := base_fault(base, https_only=not is_loopback(host)):
        stop(USAGE, f"The URL {fault}.")
    if bool(client_id and key) == no_token or bool(client_id) != bool(key):
        stop(USAGE, "Name --client-id and --key, or say --open for a server that asks for no token.")
    if since and not _INSTANT.fullmatch(since):
        stop(USAGE, "--since is an instant with seconds and zone, as 2026-11-01T00:00:00Z.")
    if group and not _ID.fullmatch(group):
        stop(USAGE, "--group is the id of a Group: letters, digits, - and . only.")
    if strange := [each for each in allow if not _HOST.fullmatch(each)]:
        stop(USAGE, f"--allow is a host, as files.example or files.example:8443, not {strange[0]!r:.80}.")
    read = types_read(load_content(cards=cards_in_use()).library)
    if unknown := [each for each in without if each not in read or each == "Patient"]:
        stop(USAGE, f"--without {unknown[0]!r:.80}: what is asked for is {', '.join(read)}; Patient always is.")
    types = [each for each in read if each not in without]
    calls = CallsOut(base, time.time, frozenset(each.lower() for each in allow), ca_file)
    started = None
    try:
        signing = read_key(key, kid) if key else None
        tokens = Tokens(calls, str(client_id), signing, types, token_url, scope) if signing else None
        asked = Exported(server=base, group=group, types=types, since=since)
        started = Export(calls, out, asked, tokens, lambda line: click.echo(line, err=True), at_once, keep)
        found = started.run()
    except (ExportFailed, ValueError) as error:
        stop(FAILED, str(error))
    except OSError as error:
        stop(CANNOT_CREATE, f"{out} cannot be written: {error.strerror}.")
    except (KeyboardInterrupt, Stopped):
        told = started.cancel() if started else False
        stop(FAILED, "Stopped." + (" The server was told to drop the export." if told else " Run again, it goes on."))
    finally:
        calls.close()
    for line in [*found.missing(), *found.remarks()]:
        click.echo(line, err=True)
    counts = found.counts()
    left_out = {"missing": found.missing(), "remarks": found.remarks()}
    if as_json:
        told_of = {"transaction_time": found.transaction_time, "counts": counts, **left_out}
        click.echo(orjson.dumps(told_of, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(f"{out}: as of {found.transaction_time}, " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    if found.missing():
        stop(FAILED, "NOT ALL COULD BE EXPORTED. No number made from this is an all-clear.")
