"""The command line. stdout is data, stderr is messages; exit codes are those of sysexits."""

from __future__ import annotations

from importlib import import_module

import click

from cds_service import __version__

EXIT_HELP = "Exit codes: 0 done, 1 failed, 2 usage, 69 unavailable, 73 cannot create, 78 configuration or content."
COMMANDS = {
    "demo": "running",
    "serve": "running",
    "sandbox": "running",
    "mock-ehr": "mock_ehr",
    "evaluate": "evaluate",
    "why": "why",
    "plan": "plan",
    "clients": "clients",
    "check": "content",
    "catalogue": "content",
    "show": "content",
    "site": "content",
}
"""The file of `commands/` in which each command stands."""


class Commands(click.Group):
    """Imports a command when it is called, so that none waits for what only another one needs."""

    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f"cds_service.commands.{COMMANDS[name]}")
        found: click.Command = getattr(module, name.replace("-", "_"))
        return found

    def invoke(self, context: click.Context) -> object:
        """As click; a fault of content, settings or store becomes lines and an exit code, never a traceback."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            import_module("cds_service.commands.common").stop_for(error)
            raise


@click.group(cls=Commands, epilog=EXIT_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Magnesium CDS: advisory cards on magnesium for clinicians, over CDS Hooks."""
