"""What the pages about this site's own values share: the layer that publishes, who may do what, and pieces in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue

from cds_service.console.access import who
from cds_service.console.accounts import Role
from cds_service.console.errors import NotAllowed, error_page
from cds_service.console.parts import Parts
from cds_service.content.library import SHARED, Library
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_document import SiteException
from cds_service.content.site_editing import RULES, SHOW, Piece, dumped
from cds_service.content.site_in_words import calls_in_words
from cds_service.content.site_limits import threshold_of, thresholds_of
from cds_service.content.yamlfile import ContentError, Fault
from cds_service.store import Draft

_WHOLE = {
    "site": "Name of this site",
    "region": "Whose product texts and dietary values",
    "repetition": "When a card is not repeated",
}


def publishing_of(parts: Parts) -> Publishing:
    """The layer that drafts and publishes, over this console's database."""
    current = parts.current
    return Publishing(parts.store, current.library, current.input_keys, parts.settings.second_person, parts.now)


def must_be_here(parts: Parts) -> None:
    """Answers with a page that says where, where a file rules."""
    if parts.settings.managed_by == "file":
        abort(error_page(403, "Values are set on the server", where_values_are(parts)))


def where_values_are(parts: Parts) -> str:
    """Where to set values, where a file rules."""
    file = parts.settings.site
    place = f"the file {file.name}" if file else "a site file, of which there is none yet"
    return (
        f"This site's own values come from {place}, on the server: edit it there, and they are in force within five "
        'seconds. To set them here, put managed_by = "console" into the settings, and the file in force once: '
        "magnesium-cds site apply FILE."
    )


def allowed(*roles: Role) -> None:
    """The person at hand has one of these roles. Raises NotAllowed."""
    if not any(who().may(role) for role in roles):
        raise NotAllowed(roles[0])


def publishers(parts: Parts) -> tuple[Role, ...]:
    """Who may publish: an approver, and an editor where nobody else has to look at it."""
    return ("approver",) if parts.settings.second_person else ("approver", "editor")


def may_publish(parts: Parts) -> bool:
    return any(who().may(role) for role in publishers(parts))


def done(work: Callable[[], ResponseReturnValue], back: Callable[[], ResponseReturnValue]) -> ResponseReturnValue:
    """What `work` answers; where it cannot be done, `back` with the reason on top."""
    try:
        return work()
    except NotDone as error:
        flash(f"{error.text}.", "bad")
        return back()
    except ContentError as error:
        for line in in_lines(error.faults):
            flash(line, "bad")
        return back()


def in_lines(faults: Iterable[Fault]) -> list[str]:
    """Faults of a document, each with its line and its key."""
    return [f"{f'Line {fault.line}: ' if fault.line else ''}{fault.key + ': ' if fault.key else ''}{fault.message}."
            for fault in faults]  # fmt: skip


# Pieces in words.


def title_of(library: Library, piece: Piece) -> str:
    """What a piece is called on a page."""
    match piece:
        case ("rules", owner, "thresholds", name):
            label = threshold_of(library, (owner, name)).label
            return label if owner == SHARED else f"{label} ({library.rules[owner].rule.title})"
        case ("rules", rule, "show"):
            return f"Whether this is shown: {library.rules[rule].rule.title}"
        case ("exceptions", name):
            return f"Values for some calls: {name}"
        case ("units", lab):
            return f"Unit in which {library.title(lab)} is shown"
        case ("schedule", name):
            return library.schedule.thresholds[name].label
        case ("inputs", key):
            return f"Not kept in this EHR: {key.replace('_', ' ')}"
        case ("codes", concept):
            return f"Own codes of {library.title(concept)}"
        case ("orderables", suggestion, client):
            return f"What {suggestion.replace('_', ' ')} orders at {client}"
        case ("protocols", problem):
            return f"Own protocol: {library.treatment[problem].title}"
    return _WHOLE.get(piece[0], ".".join(piece))


def value_of(piece: Piece, value: Any, library: Library) -> str:
    """A piece's value in words, "" where it is not set."""
    if value is None:
        return ""
    match piece:
        case ("rules", owner, "thresholds", name):
            return f"{value['value']} {value.get('unit') or threshold_of(library, (owner, name)).unit}"
        case ("rules", _, "show"):
            return str(value.get(SHOW, "shown"))
        case ("units", _):
            return str(value["unit"])
        case ("schedule", _):
            told = value["value"]
            return ", ".join(told) if isinstance(told, list) else str(told)
        case ("exceptions", _):
            return calls_in_words(SiteException.model_validate(value))
    return value if isinstance(value, str) else dumped(value).strip()


def key_in_words(library: Library, key: str) -> str:
    """What a key of a difference names, as a page calls it."""
    if key.startswith("exceptions."):
        *name, owner, last = key.removeprefix("exceptions.").split(".")
        inside = key_in_words(library, f"{owner}.{last}")
        return (
            f"{inside}, {'.'.join(name)}"
            if name and inside != f"{owner}.{last}"
            else f"Values for some calls: {key[11:]}"
        )
    owner, _, last = key.partition(".")
    if owner in library.rules and last == SHOW:
        return title_of(library, (RULES, owner, SHOW))
    if last in (thresholds_of(library, owner) or {}):
        return title_of(library, (RULES, owner, "thresholds", last))
    if owner == "units" and last in library.terminology:
        return title_of(library, (owner, last))
    if owner == "schedule" and last in library.schedule.thresholds:
        return title_of(library, (owner, last))
    return _WHOLE.get(key, key.replace("_", " "))


def changes_in_words(library: Library, found: Iterable[Mapping[str, str | None]]) -> list[str]:
    """A line for each difference."""
    return [
        f"{key_in_words(library, str(one['key']))}: {one['old'] or 'not set'} → {one['new'] or 'not set'}"
        for one in found
    ]


def default_of(piece: Piece, library: Library, day: date) -> str:
    """What holds where a piece is not set."""
    match piece:
        case ("rules", owner, "thresholds", name):
            threshold = threshold_of(library, (owner, name))
            return f"{threshold.at(day)} {threshold.unit} (default)"
        case ("rules", _, "show"):
            return "shown (default)"
        case ("schedule", name):
            told = library.schedule.thresholds[name].at(day)
            return f"{', '.join(told) if isinstance(told, list) else told} (default)"
    return "not set"


def reason_of(value: Any) -> str:
    """Why a piece was set, where it says so."""
    return str(value.get("reason") or "") if isinstance(value, Mapping) else ""


def where_to_change(piece: Piece, draft: Draft | None = None) -> str:
    """The address of the form for a piece; that of the text where there is no form."""
    if piece[0] in (RULES, "region", "repetition", "units", "schedule"):
        return url_for("console.change", key=".".join(piece), draft=draft.id if draft else None)
    return url_for("console.draft_text", number=draft.id) if draft else url_for("console.drafts")
