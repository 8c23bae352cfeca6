"""The command line. stdout is data, stderr is messages; exit codes are those of sysexits."""

from __future__ import annotations

import click

from cds_service import __version__
from cds_service.commands import clients, content, mock_ehr, planning, running, trying

EXIT_HELP = "Exit codes: 0 done, 1 failed, 2 usage, 69 unavailable, 73 cannot create, 78 configuration or content."


@click.group(epilog=EXIT_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Magnesium CDS: advisory cards on magnesium for clinicians, over CDS Hooks."""


main.add_command(running.demo)
main.add_command(running.serve)
main.add_command(running.sandbox)
main.add_command(mock_ehr.mock_ehr)
main.add_command(trying.evaluate)
main.add_command(planning.plan)
main.add_command(clients.clients)
main.add_command(content.check)
main.add_command(content.catalogue)
main.add_command(content.site)
