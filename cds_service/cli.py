"""The command line. stdout is data, stderr is messages; exit codes are those of sysexits."""

from __future__ import annotations

from importlib import import_module

import click

from cds_service import __version__
from cds_service.loading import interruptible, uncollected

EXIT_HELP = "Exit codes: 0 done, 1 failed, 2 usage, 69 unavailable, 73 cannot create, 78 configuration or content."
COMMANDS = {
    "audit": ("audit", "The console's audit log: print it, and check that no line was changed."),
    "backup": (
        "backup",
        "Copy the SQLite database to FILE while the service runs. Of PostgreSQL, pg_dump makes a copy.",
    ),
    "catalogue": (
        "content",
        "Write cards/README.md and the pages of docs/ that are made from the content and the code.",
    ),
    "check": ("content", "Load all content and report every fault at once."),
    "clients": ("clients", "Add, list, check and remove the EHRs that may call."),
    "demo": ("running", "Start on sample patients, show their cards, and keep serving."),
    "docs": ("docs", "The docs as a site, with a search. A service in profile dev serves them at /docs/."),
    "evaluate": ("evaluate", "Evaluate FILE ('-' for stdin): a hook request, or a FHIR Bundle of one patient."),
    "example": ("openapi", "Print the body of the example NAME, made for this moment; without NAME list them."),
    "export": ("export", "Fetch the patients of a FHIR server, as far as the rules read them, by Bulk Data $export."),
    "facts": ("facts", "Facts of real calls, kept as codes and numbers where keep_facts is set: show and delete them."),
    "feedback": ("feedback", "Print feedback on cards: a line each, as JSON Lines or CSV."),
    "key": ("key", "The secret that hashes and links are made with: make one, or take another one into use."),
    "lock": ("lock", "Write WHAT changed in RULE into cards/changes.yaml, with the date and the version."),
    "mock-ehr": ("mock_ehr", "Serve a fake EHR: FHIR over the sample patients, a key set, and tokens for anyone."),
    "openapi": ("openapi", "Print the OpenAPI 3.1 document of the service, as it is served at /openapi.json."),
    "people": ("people", "People of the console: add, list, change roles, give a new code, remove."),
    "plan": ("plan", "Plan when to take magnesium beside the other medicines in FILE ('-' for stdin)."),
    "sandbox": ("running", "Serve sample patients as a FHIR R4 server beside the service, for the CDS Hooks Sandbox."),
    "screen": ("screen", "Try every rule on all patients of an export: FHIR Bulk Data, or Bundles, in files."),
    "screen-compare": ("screen_compare", "Say who changes in FOLDER, a finished screening, under other site values."),
    "serve": ("running", "Serve CDS Hooks until stopped."),
    "show": ("content", "Print RULE in long form, as the loader reads it: a timing rule is filled by its family."),
    "site": ("site", "This site's own values: a file to validate, show and compare, or revisions in the database."),
    "stats": ("stats", "Print how often each rule fires, is shown, accepted and overridden."),
    "why": ("why", "Say why RULE fired for the patient in FILE ('-' for stdin), or why it did not."),
}
"""The file of `commands/` in which each command stands, and its line in `--help`, which imports none of them."""


class Commands(click.Group):
    """Imports a command when it is called, so that none waits for what only another one needs."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        with interruptible(), uncollected():
            module = import_module(f"cds_service.commands.{COMMANDS[name][0]}")
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

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, epilog=EXIT_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Magnesium CDS: advisory cards on magnesium for clinicians, over CDS Hooks."""
