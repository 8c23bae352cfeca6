"""`docs/reference/commands.md`: every command, with its arguments and options, read from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from cds_service.publish.reference import page, table

INTRO = """
`magnesium-cds COMMAND --help` says the same in a terminal. Data goes to stdout, messages to stderr; where a command has
`--json`, what it prints is for other machines.

{exits}
"""


def commands_page(main: click.Group) -> str:
    """The whole page. What the exit codes mean stands at the end of the help of `main`."""
    top = click.Context(main, info_name="magnesium-cds")
    found = list(_walk(main, top))
    index = [
        (f"[`{context.command_path.partition(' ')[2]}`](#{context.command_path.replace(' ', '-')})", _first(command))
        for command, context in found
        if not isinstance(command, click.Group)
    ]
    parts = [_command(command, context) for command, context in found]
    intro = INTRO.format(exits=main.epilog)
    return page("Command line", "`cds_service/commands`", intro, table(("command", "does"), index), *parts)


def flags_of(serve: click.Command) -> dict[str, str]:
    """Setting -> the option of this command that sets it."""
    return {item.name: item.opts[0] for item in serve.params if isinstance(item, click.Option) and item.name}


def _walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield command, inner
        if isinstance(command, click.Group):
            yield from _walk(command, inner)


def _command(command: click.Command, context: click.Context) -> str:
    depth = "##" if context.parent and context.parent.parent is None else "###"
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{depth} {context.command_path}", _told(command), f"```text\n{' '.join(usage.split())}\n```"]
    rows = [
        (" ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts)), _value(option, context),
         f"{option.help or ''}{' Repeatable.' if option.multiple and 'repeatable' not in (option.help or '') else ''}")
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]  # fmt: skip
    if rows:
        parts.append(table(("option", "value", "what"), rows))
    return "\n\n".join(parts)


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag or option.count:
        return ""
    default = option.get_default(context, call=False)
    words = f"`{option.make_metavar(context)}`"
    if option.required:
        return f"{words}, must be given"
    shown = isinstance(default, (str, int, float)) and not isinstance(default, bool) and default != ""
    return f"{words}, {default} unless said" if shown else words


def _first(command: click.Command) -> str:
    return _told(command).partition("\n\n")[0]


def _told(command: click.Command) -> str:
    """Its help, as paragraphs."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    return "\n\n".join(" ".join(part.replace("\b", "").split()) for part in text.split("\n\n"))
