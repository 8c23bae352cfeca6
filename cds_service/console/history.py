"""What was in force when, set by whom and why; any two compared; taken back with one click."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SubmitField
from wtforms.validators import InputRequired
from wtforms.widgets import HiddenInput

from cds_service.console.access import needs, who
from cds_service.console.asked import WholeField, asked_number
from cds_service.console.edit_forms import reason_field
from cds_service.console.front import FrontCard
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.site_parts import (
    allowed,
    changes_in_words,
    in_lines,
    key_in_words,
    may_publish,
    must_be_here,
    publishers,
    publishing_of,
    where_values_are,
)
from cds_service.content.library import Library
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.yamlfile import ContentError
from cds_service.store import Revision

COLUMNS = (
    Column("number", "Revision", "link"),
    Column("state", "State", "badge"),
    Column("from", "From", "time"),
    Column("until", "Until", "time"),
    Column("author", "Set by"),
    Column("approved_by", "Approved by"),
    Column("reason", "Reason"),
    Column("changes", "What it changed"),
)
KINDS = {"in force": "good", "waiting": "warn", "past": "plain", "withdrawn": "plain"}
NOTHING = "Nothing set: the values as they ship"


class RollbackForm(FlaskForm):
    """Why, and the newest revision that was looked at: 0 before the first."""

    based_on = WholeField(widget=HiddenInput(), validators=[InputRequired()])
    reason = reason_field()
    submit = SubmitField("Put these values in force again")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/history and what is below it."""

    @blueprint.get("/history")
    @blueprint.get("/history.<any(csv, json):kind>")
    @needs("viewer")
    def history(kind: str = "") -> Response:
        here = parts.settings.managed_by == "console"
        rows = (
            [_row(parts.current.library, item, state) for item, state in publishing_of(parts).states()] if here else []
        )
        found = table("history", COLUMNS, rows)
        if kind:
            return found.file(kind)
        numbers = [row["number"] for row in rows]
        return page("history.html", found=found, numbers=numbers, where="" if here else where_values_are(parts))

    @blueprint.get("/history/<whole:number>")
    @needs("viewer")
    def revision(number: int) -> Response:
        must_be_here(parts)
        item, state = _found(parts, number)
        before = publishing_of(parts).held(number - 1) if state == "in force" else number
        return page(
            "revision.html", item=item, state=state, kind=KINDS[state], before=before,
            changes=changes_in_words(parts.current.library, item.changes),
            may_publish=may_publish(parts),
            crumbs=[(url_for("console.history"), "History"), ("", f"Revision {number}")],
        )  # fmt: skip

    @blueprint.get("/history/<whole:number>.yaml")
    @needs("viewer")
    def revision_document(number: int) -> Response:
        must_be_here(parts)
        item, _ = _found(parts, number)
        name = f'attachment; filename="site-revision-{number}.yaml"'
        return Response(item.document, content_type="application/yaml", headers={"Content-Disposition": name})

    @blueprint.get("/history/compare")
    @needs("viewer")
    def compare() -> Response:
        must_be_here(parts)
        publishing = publishing_of(parts)
        old, new = (asked_number(name, 0) for name in ("old", "new"))
        known = [0, *sorted(item.number for item in parts.store.revisions())]
        if old not in known or new not in known:
            abort(404)
        try:
            found = publishing.changes(publishing.values(old), publishing.values(new))
        except ContentError as error:
            return page("compare.html", old=old, new=new, known=known, rows=None, faults=in_lines(error.faults))
        library = parts.current.library
        rows = [
            {
                "key": key_in_words(library, str(one["key"])),
                "old": one["old"] or "not set",
                "new": one["new"] or "not set",
            }
            for one in found
        ]
        columns = (("key", "Value"), ("old", _name(old)), ("new", _name(new)))
        crumbs = [(url_for("console.history"), "History"), ("", "Compare")]
        return page("compare.html", old=old, new=new, known=known, rows=table("compare", columns, rows), faults=[],
                    crumbs=crumbs)  # fmt: skip

    @blueprint.route("/history/<whole:number>/roll-back", methods=["GET", "POST"])
    @needs("viewer")
    def roll_back(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        second = parts.settings.second_person
        allowed("editor") if second else allowed(*publishers(parts))
        publishing, form, faults = publishing_of(parts), RollbackForm(), list[str]()
        if number:
            _found(parts, number)
        if second:
            form.submit.label.text = "Make a draft of these values"
        status = 400
        try:
            if form.validate_on_submit() and form.reason.data:
                return _rolled_back(publishing, number, form.reason.data, form.based_on.data or 0, second)
        except ContentError as error:
            faults = in_lines(error.faults)
        except NotDone as error:
            faults = [f"{error.text}."]
            if error.trouble == "conflict":
                faults, status = [f"{error.text}: what would change now stands below."], 409
        # What is shown, and what is sent with the form, are of one revision: the newest of now.
        newest, found, ends = publishing.newest(), list[str](), None
        form.based_on.raw_data, form.based_on.data = None, newest
        try:
            proposal = publishing.rolled_back(number, who().name, "", based_on=newest)
            looked, ends = publishing.look(proposal), proposal.ends
            found = changes_in_words(publishing.library, looked.changes)
        except ContentError as error:
            faults = faults or in_lines(error.faults)
        back = url_for("console.revision", number=number) if number else url_for("console.history")
        crumbs = [(url_for("console.history"), "History"), *([(back, f"Revision {number}")] if number else []),
                  ("", "Roll back")]  # fmt: skip
        return page("roll_back.html", number=number, changes=found, form=form, faults=faults, second=second, back=back,
                    ends=ends, values=_values(number), crumbs=crumbs,
                    status=status if faults or form.errors else 200)  # fmt: skip

    def _rolled_back(
        publishing: Publishing, number: int, reason: str, based_on: int, second: bool
    ) -> ResponseReturnValue:
        """Put the values in force, or into a draft. Raises NotDone, also where a revision came since `based_on`."""
        proposal = publishing.rolled_back(number, who().name, reason, based_on=based_on)
        if not second:
            made = publishing.publish(proposal)
            told = "It is in force everywhere within five seconds."
            flash(f"Revision {made.number} has {_values(number)}. {told}", "good")
            return redirect(url_for("console.revision", number=made.number), 303)
        if (newest := publishing.newest()) != based_on:
            raise NotDone("conflict", f"revision {newest} was published since {based_on}")
        begun = publishing.begin(
            f"Back to {_values(number)}", who().name, proposal.document, reason, based_on, proposal.ends
        )
        flash("The draft holds these values. Somebody else has to approve it.", "good")
        return redirect(url_for("console.draft", number=begun.id), 303)

    @blueprint.post("/history/<whole:number>/withdraw")
    @needs("viewer")
    def withdraw(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        allowed(*publishers(parts))
        try:
            publishing_of(parts).withdraw(number, who().name)
            flash(f"Revision {number} is withdrawn: it never comes into force.", "good")
        except NotDone as error:
            flash(f"{error.text}.", "bad")
        return redirect(url_for("console.revision", number=number), 303)


def on_front(parts: Parts) -> FrontCard | None:
    """What was set last."""
    if parts.settings.managed_by == "file":
        return None
    found = publishing_of(parts).states()
    link, words = url_for("console.history"), "History"
    waiting = [item for item, state in found if state == "waiting"]
    current = next((item for item, state in found if state == "in force"), None)
    items = tuple(
        f"Revision {one.number} comes into force on {one.in_force_from:%Y-%m-%d %H:%M} UTC" for one in waiting
    )
    if current is None:
        return FrontCard("Set here", "Nothing is set here: the values are those that ship.", link=link,
                         link_words=words, items=items)  # fmt: skip
    text = f"Revision {current.number}, by {current.author}: {current.reason}"
    return FrontCard("Set here", text, "warn" if waiting else "plain", "", link, words, items)


def _found(parts: Parts, number: int) -> tuple[Revision, str]:
    found = next((pair for pair in publishing_of(parts).states() if pair[0].number == number), None)
    if found is None:
        abort(404)
    return found


def _row(library: Library, item: Revision, state: str) -> dict[str, Any]:
    return {
        "number": item.number, "number_url": url_for("console.revision", number=item.number), "state": state,
        "state_kind": KINDS[state], "from": item.in_force_from, "until": item.in_force_until, "author": item.author,
        "approved_by": item.approved_by or "", "reason": item.reason,
        "changes": "; ".join(changes_in_words(library, item.changes)),
    }  # fmt: skip


def _name(number: int) -> str:
    return f"Revision {number}" if number else NOTHING


def _values(number: int) -> str:
    return f"the values of revision {number}" if number else "the values as they ship"
