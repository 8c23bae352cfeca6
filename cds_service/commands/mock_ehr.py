"""`magnesium-cds mock-ehr`: a fake EHR that fails as its script says."""

from __future__ import annotations

from pathlib import Path

import click

from cds_service.commands.common import FILE, UNAVAILABLE, USAGE, stop
from cds_service.sandbox.mock_ehr import KEYS_PATH, TOKEN_PATH, MockEhr, ScriptError, read_script
from cds_service.trust.clients import written

EXAMPLE = """
A script is TOML, one table for each fault; the first that fits a call counts:

\b
  clock = -120            # its clock is two minutes behind
  [[answer]]
  path = "Observation"    # every search and read of Observations
  status = 503
  times = 1               # once, then all is well

Other entries: headers, body, delay, stall, drip (bytes a second), cut_at, patient, pages, next_link, entries.
"""


@click.command(name="mock-ehr", epilog=EXAMPLE)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--script", type=FILE, help="Faults (TOML).")
def mock_ehr(host: str, port: int, script: Path | None) -> None:
    """Serve a fake EHR: FHIR over the sample patients, a key set, and tokens for anyone.

    For trials in profile dev only.
    """
    try:
        answers, clock = read_script(script.read_text(encoding="utf-8")) if script else ([], 0.0)
    except (ScriptError, UnicodeDecodeError, OSError) as error:
        stop(USAGE, f"{script}: {error}")
    try:
        server = MockEhr(host, port, script=answers, clock=clock)
    except OSError as error:
        stop(UNAVAILABLE, f"Cannot listen on {host} port {port}: {error.strerror}.")
    with server as ehr:
        click.echo(f"FHIR      {ehr.fhir}", err=True)
        click.echo(f"Keys      {ehr.url}{KEYS_PATH}", err=True)
        click.echo(f"Token     curl -d aud=http://127.0.0.1:8000/cds-services {ehr.url}{TOKEN_PATH}", err=True)
        click.echo("A client of this EHR, for clients.toml:", err=True)
        entries = {"name": "mock-ehr", "issuer": ehr.signer.issuer, "jku": [ehr.signer.jku], "fhir_servers": [ehr.fhir]}
        click.echo(written(entries), nl=False)
        try:
            ehr.wait()
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
