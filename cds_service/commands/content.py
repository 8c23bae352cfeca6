"""Commands on content and site values: check, catalogue, site."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from cds_service.commands.common import CANNOT_CREATE, CONFIGURATION, FAILED, FILE, USAGE, stop
from cds_service.content.library import Library, default_root
from cds_service.content.loading import gone_files, load_library, read_content
from cds_service.content.long_form import long_form
from cds_service.content.rulebook import limits_of
from cds_service.content.site import SiteValues, read_site, site_schema
from cds_service.content.sources import source_faults
from cds_service.content.yamlfile import ContentError, Fault
from cds_service.spelling import nearest
from cds_service.terminology.index import Vocabulary

CONTENT = click.Path(exists=True, file_okay=False, path_type=Path)


@contextmanager
def _faults_as_json(wanted: bool) -> Iterator[None]:
    """Where it is wanted, faults of the content go to stdout as JSON, with exit code 78."""
    try:
        yield
    except ContentError as error:
        if not wanted:
            raise
        faults = [{"file": f.file, "line": f.line, "key": f.key, "message": f.message} for f in error.faults]
        click.echo(json.dumps({"faults": faults}, indent=1))
        stop(CONFIGURATION)


@click.command()
@click.option("--content", type=CONTENT, help="Folder of content to check instead of the one shipped.")
@click.option("--json", "as_json", is_flag=True, help="Faults as JSON.")
def check(content: Path | None, as_json: bool) -> None:
    """Load all content and report every fault at once. Exit 78 on faults."""
    with _faults_as_json(as_json):
        library, documents = read_content(content)
        Vocabulary(library)
        if faults := [*gone_files(content or default_root()), *source_faults(library, documents)]:
            raise ContentError(faults)
    counts = {
        "rules": len(library.rules),
        "terminology": len(library.terminology),
        "references": len(library.references),
        "claims": len(library.claims),
        "digest": library.digest,
    }
    click.echo(json.dumps({"faults": [], **counts}) if as_json else ", ".join(f"{k} {v}" for k, v in counts.items()))


@click.command()
@click.option("--content", type=CONTENT, help="Folder of content instead of the one shipped.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 if a page is not current.")
def catalogue(content: Path | None, only_check: bool) -> None:
    """Write cards/README.md, docs/what-is-read.md and docs/ehrs/ from the content."""
    from cds_service.publish.catalogue import catalogue_text
    from cds_service.publish.ehr_sheet import ehr_pages
    from cds_service.publish.what_is_read import what_is_read

    root = content or default_root()
    library = load_library(root)
    pages = {root / "README.md": catalogue_text(library)}
    if (root.parent / "docs").is_dir():
        pages[root.parent / "docs" / "what-is-read.md"] = what_is_read(library)
        pages |= {root.parent / "docs" / "ehrs" / name: text for name, text in ehr_pages(library).items()}
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
@click.argument("rule")
@click.option("--content", type=CONTENT, help="Folder of content instead of the one shipped.")
def show(rule: str, content: Path | None) -> None:
    """Print RULE in long form, as the loader reads it: a timing rule is filled by its family."""
    rules = load_library(content).rules
    if rule not in rules:
        stop(USAGE, f"no rule {rule}{nearest(rule, rules)}")
    click.echo(long_form(rules[rule].data), nl=False)


@click.group()
def site() -> None:
    """This site's own values: validate, show, diff, schema."""


def _site_values(file: Path, library: Library) -> SiteValues:
    """Site values of a file. Raises ContentError."""
    from cds_service.advice.needs import all_needs

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ContentError([Fault(str(file), 0, "", "cannot be read as UTF-8 text")]) from None
    return read_site(text, str(file), library, frozenset(all_needs(library)))


@site.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def validate(file: Path, as_json: bool) -> None:
    """Check a site file and name every fault with line, allowed range and nearest name. Exit 78 on faults."""
    library = load_library()
    with _faults_as_json(as_json):
        values = _site_values(file, library)
    if as_json:
        click.echo(json.dumps({"faults": [], "notes": list(values.notes)}))
        return
    for note in values.notes:
        click.echo(note, err=True)
    click.echo(f"{file}: can be used ({values.digest})")


def _rows(library: Library, values: SiteValues) -> list[dict[str, object]]:
    """Every threshold that a site may set, with its default and the value in force."""
    today = datetime.now(UTC).date()
    rows: list[dict[str, object]] = []
    names = library.wording.regions
    owners = [("shared", library.shared_thresholds, frozenset[str]())]
    owners += [(name, item.rule.thresholds, item.rule.waits) for name, item in sorted(library.rules.items())]
    for owner, thresholds, waits in owners:
        for name, limit in limits_of(owner, thresholds, values, today, waits).items():
            allowed = thresholds[name].site_may_set
            rows.append({
                "rule": owner, "threshold": name, "label": limit.label, "unit": limit.unit,
                "default": str(limit.default), "value": str(limit.value),
                "site": values.threshold(owner, name) is not None,
                "allowed": [str(number) for number in allowed] if allowed else None,
                **({"regions": {names[each]: str(value) for each, value in limit.regions.items()}}
                   if limit.regions else {}),
            })  # fmt: skip
    return rows


@site.command("show")
@click.argument("file", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True)
def show_site(file: Path | None, as_json: bool) -> None:
    """Show every threshold with the value in force under FILE (or the defaults)."""
    library = load_library()
    values = _site_values(file, library) if file else SiteValues()
    rows = _rows(library, values)
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    for row in rows:
        allowed = row["allowed"]
        span = f"may be {allowed[0]} to {allowed[1]}" if isinstance(allowed, list) else "fixed"
        mark = f" (site; default {row['default']})" if row["site"] else ""
        texts = row.get("regions", {})
        told = "".join(f"; {each} text {value}" for each, value in texts.items()) if isinstance(texts, dict) else ""
        line = f"{row['rule']}.{row['threshold']} = {row['value']} {row['unit']}{mark}{told}; {span}. {row['label']}"
        click.echo(line)
    click.echo(f"region = {values.region or 'not chosen'}; may be us or eu")
    for key, codes in _codes(values).items():
        click.echo(f"{key} = {codes}")
    for rule, mine in sorted(values.document.rules.items()):
        if mine.show:
            click.echo(f"{rule}: {mine.show} ({mine.reason})")


def _codes(values: SiteValues) -> dict[str, str]:
    """The site's own codes by concept, as a search writes them."""
    return {f"codes.{name}": ", ".join(item.token for item in items) for name, items in sorted(values.codes.items())}


@site.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Show what changes from OLD to NEW. Exit 1 where they differ."""
    library = load_library()
    sides = [_site_values(old, library), _site_values(new, library)]
    before, after = (_flat(library, values) for values in sides)
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if as_json:
        changes = [{"key": key, "old": before.get(key), "new": after.get(key)} for key in changed]
        click.echo(json.dumps(changes, indent=1))
    else:
        was, now = ([f"{key} = {value}" for key, value in side.items() if key in changed] for side in (before, after))
        lines = difflib.unified_diff(was, now, str(old), str(new), lineterm="", n=0)
        click.echo("\n".join(lines) if changed else "no difference")
    if changed:
        stop(FAILED)


def _flat(library: Library, values: SiteValues) -> dict[str, str]:
    flat = {f"{row['rule']}.{row['threshold']}": f"{row['value']} {row['unit']}" for row in _rows(library, values)}
    flat |= {f"{rule}.show": values.visibility(rule) for rule in library.rules}
    flat |= {"region": values.region} if values.region else {}
    flat |= {f"schedule.{key}": str(value) for key, value in values.schedule.items()}
    if values.repetition:
        flat |= {f"repetition.{key}": str(value) for key, value in values.repetition.model_dump().items()}
    flat |= {f"units.{lab}": item.unit for lab, item in values.document.units.items()}
    flat |= {f"inputs.{key}.available": "false" for key in values.document.inputs}
    flat |= _codes(values)
    return flat


@site.command()
def schema() -> None:
    """Print the JSON Schema of the site file."""
    click.echo(json.dumps(site_schema(), indent=2))
