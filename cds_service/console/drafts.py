"""Drafts: what each changes, why and from when; approved, published or discarded here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import DateTimeLocalField, StringField, SubmitField
from wtforms.validators import InputRequired, Length, Optional
from wtforms.widgets import HiddenInput

from cds_service.console.access import needs, who
from cds_service.console.asked import WholeField, whole
from cds_service.console.edit_forms import reason_field, stripped
from cds_service.console.front import FrontCard
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.site_parts import (
    allowed,
    default_of,
    in_lines,
    may_publish,
    must_be_here,
    publishers,
    publishing_of,
    reason_of,
    title_of,
    value_of,
    where_to_change,
    where_values_are,
)
from cds_service.console.together import conflict_page
from cds_service.console.unsaved import closed_page
from cds_service.content.over_time import Difference, differences
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_editing import Piece, pieces_of, written
from cds_service.content.yamlfile import ContentError
from cds_service.store import Draft, same_person

PREVIEW = "console.preview"
"""The page that tries a draft on patients before it is published, where the console has one; it takes `draft`."""
COLUMNS = (
    Column("title", "Draft", "link"),
    Column("authors", "Written by"),
    Column("changed_at", "Last edit", "time"),
    Column("based_on", "From revision", "number"),
    Column("state", "State", "badge"),
)


class NewForm(FlaskForm):
    """A new draft."""

    title = StringField("What is it about?", [InputRequired("Say in a few words what it is about."), Length(3, 200)],
                        filters=[stripped])  # fmt: skip
    submit = SubmitField("Begin a draft")


class DraftForm(FlaskForm):
    """Why, and when."""

    version = WholeField(widget=HiddenInput(), validators=[InputRequired()])
    title = StringField("What is it about?", [InputRequired("Say in a few words what it is about."), Length(3, 200)],
                        filters=[stripped])  # fmt: skip
    reason = reason_field(required=False)
    begins = DateTimeLocalField("In force from", [Optional()], format=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
                                description="UTC. Empty: as soon as it is published.")  # fmt: skip
    ends = DateTimeLocalField("In force until", [Optional()], format=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
                              description="UTC. Empty: until something else is published.")  # fmt: skip
    save = SubmitField("Save")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/drafts and what is below it."""

    @blueprint.post("/drafts/begin")
    @needs("editor")
    def draft_begin() -> ResponseReturnValue:
        must_be_here(parts)
        form = NewForm()
        if form.validate_on_submit() and form.title.data:
            begun = publishing_of(parts).begin(form.title.data, who().name)
            return redirect(url_for("console.draft", number=begun.id), 303)
        return _list(form)

    @blueprint.get("/drafts")
    @blueprint.get("/drafts.<any(csv, json):kind>")
    @needs("viewer")
    def drafts(kind: str = "") -> ResponseReturnValue:
        return _list(NewForm(), kind)

    def _list(form: NewForm, kind: str = "") -> Response:
        here = parts.settings.managed_by == "console"
        rows = [_row(one) for one in parts.store.drafts()] if here else []
        found = table("drafts", COLUMNS, rows)
        if kind:
            return found.file(kind)
        return page("drafts.html", found=found, form=form, may_edit=here and who().may("editor"),
                    where="" if here else where_values_are(parts), status=400 if form.errors else 200)  # fmt: skip

    @blueprint.route("/drafts/<whole:number>", methods=["GET", "POST"])
    @needs("viewer")
    def draft(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        publishing, held = publishing_of(parts), parts.store.draft(number)
        if held is None:
            abort(404)
        form, more = DraftForm(), list[str]()
        if request.method == "POST":
            allowed("editor")
            if not held.open:
                return closed_page(held, _typed(form))
            if form.validate_on_submit() and (answer := _saved(publishing, held, form, more)):
                return answer
        else:
            form.version.data, form.title.data, form.reason.data = held.version, held.title, held.reason
            form.begins.data, form.ends.data = _plain(held.in_force_from), _plain(held.in_force_until)
        return _draft_page(parts, publishing, held, form, more)

    @blueprint.post("/drafts/<whole:number>/undo")
    @needs("editor")
    def draft_undo(number: int) -> ResponseReturnValue:
        """One change of a draft is taken back."""
        must_be_here(parts)
        publishing, held = publishing_of(parts), parts.store.draft(number)
        if held is None or not held.open:
            abort(404)
        pieces, piece = pieces_of(held.document), tuple(request.form.getlist("key"))
        change = next((one for one in _differences(publishing, held) if one.key == piece), None)
        back = change and (change.then if change.stays else change.old)
        if back is not None:
            pieces[piece] = back
        elif change is not None:
            pieces.pop(piece, None)
        text = held.text(document=written(pieces))
        return _tried(number, lambda: publishing.save(number, _version(), text, who().name), "That change is undone.")

    @blueprint.post("/drafts/<whole:number>/approve")
    @needs("approver")
    def draft_approve(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        publishing = publishing_of(parts)
        said = "You approved this draft as it stands. Any edit ends the approval."
        return _tried(number, lambda: publishing.approve(number, _version(), who().name), said)

    @blueprint.post("/drafts/<whole:number>/discard")
    @needs("editor")
    def draft_discard(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        publishing = publishing_of(parts)
        return _tried(number, lambda: publishing.discard(number, _version(), who().name), "The draft is discarded.",
                      url_for("console.drafts"))  # fmt: skip

    @blueprint.route("/drafts/<whole:number>/publish", methods=["GET", "POST"])
    @needs("viewer")
    def draft_publish(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        allowed(*publishers(parts))
        publishing, held = publishing_of(parts), parts.store.draft(number)
        if held is None:
            abort(404)
        if not held.open:
            return redirect(url_for("console.draft", number=number), 303)
        if request.method == "GET":
            crumbs = [(url_for("console.drafts"), "Drafts"), (url_for("console.draft", number=number), held.title),
                      ("", "Publish")]  # fmt: skip
            waits = held.in_force_from is not None and held.in_force_from > publishing.now()
            return page("draft_publish.html", draft=held, waits=waits, rows=_changes(publishing, held), crumbs=crumbs)
        try:
            made = publishing.publish_draft(number, _version(), who().name)
        except NotDone as error:
            if error.trouble == "conflict":
                return conflict_page(publishing, held)
            flash(f"{error.text}.", "bad")
            return redirect(url_for("console.draft", number=number), 303)
        except ContentError as error:
            for line in in_lines(error.faults):
                flash(line, "bad")
            return redirect(url_for("console.draft", number=number), 303)
        waits = made.in_force_from > parts.now()
        told = f"comes into force at {made.in_force_from.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if waits else (
            "is in force on every server within five seconds"
        )  # fmt: skip
        flash(f"Revision {made.number} {told}.", "good")
        return redirect(url_for("console.revision", number=made.number), 303)


def on_front(parts: Parts) -> FrontCard | None:
    """What is worked on."""
    if parts.settings.managed_by == "file":
        return None
    found = parts.store.drafts()
    link, words = url_for("console.drafts"), "Drafts"
    if not found:
        return FrontCard("Drafts", "Nobody is working on values now.", link=link, link_words=words)
    waiting = [one for one in found if parts.settings.second_person and not one.approved and one.reason]
    text = f"open{f', {len(waiting)} without an approval' if waiting else ''}."
    items = tuple(one.title for one in found[:4])
    return FrontCard("Drafts", text, "warn" if waiting else "plain", str(len(found)), link, words, items)


def _version() -> int:
    return request.form.get("version", 0, whole)


def _tried(number: int, work: Any, said: str, then: str = "") -> ResponseReturnValue:
    """Do something with a draft, and say so on its page."""
    there = url_for("console.draft", number=number)
    try:
        work()
    except NotDone as error:
        flash(f"{error.text}.", "bad")
    except ContentError as error:
        for line in in_lines(error.faults):
            flash(line, "bad")
    else:
        flash(said, "good")
        there = then or there
    return redirect(there, 303)


def _saved(publishing: Publishing, held: Draft, form: DraftForm, more: list[str]) -> Response | None:
    begins, ends = form.begins.data, form.ends.data
    text = held.text(
        title=form.title.data, reason=form.reason.data or "",
        in_force_from=begins.replace(tzinfo=UTC) if begins else None,
        in_force_until=ends.replace(tzinfo=UTC) if ends else None,
    )  # fmt: skip
    try:
        publishing.save(held.id, form.version.data or 0, text, who().name)
    except ContentError as error:  # an upgrade made it faulty
        more += in_lines(error.faults)
        return None
    except NotDone as error:
        if error.trouble == "closed" and not (now := publishing.draft(held.id)).open:
            return closed_page(now, _typed(form))
        if error.trouble == "times":
            form.ends.errors = [*form.ends.errors, f"{error.text[0].upper()}{error.text[1:]}."]
        elif error.trouble == "stale":
            more.append("Somebody edited this draft since you opened it. What you typed is below, the draft as it is "
                        "now stands under the changes: save once more to put yours in its place.")  # fmt: skip
            form.version.raw_data, form.version.data = None, held.version
        else:
            more.append(f"{error.text}.")
        return None
    flash("The draft is saved.", "good")
    return Response(status=303, headers={"Location": url_for("console.draft", number=held.id)})


def _typed(form: DraftForm) -> dict[str, str]:
    """What stood in each field, as it was sent."""
    fields = (form.title, form.reason, form.begins, form.ends)
    return {field.label.text: " ".join(map(str, field.raw_data or ())) for field in fields}


def _draft_page(
    parts: Parts, publishing: Publishing, held: Draft, form: DraftForm, more: list[str]
) -> ResponseReturnValue:
    newest = publishing.newest()
    preview = url_for(PREVIEW, draft=held.id) if PREVIEW in current_app.view_functions else ""
    return page(
        "draft.html", draft=held, form=form, more=more, rows=_changes(publishing, held), newest=newest,
        moved=held.open and held.based_on != newest, preview=preview, may_edit=who().may("editor"),
        may_publish=may_publish(parts), second_person=parts.settings.second_person,
        wrote=any(same_person(who().name, author) for author in held.authors),
        crumbs=[(url_for("console.drafts"), "Drafts"), ("", held.title)], status=400 if more or form.errors else 200,
    )  # fmt: skip


def _changes(publishing: Publishing, held: Draft) -> list[dict[str, Any]]:
    """What a draft changes, piece by piece."""
    library, day, rows = publishing.library, publishing.now().date(), list[dict[str, Any]]()
    for one in _differences(publishing, held):
        words = [
            value_of(one.key, value, library) or default_of(one.key, library, day)
            for value in (one.old, one.new, one.then)
        ]
        old, new = one.told(words, held.in_force_until)
        rows.append({
            "piece": list(one.key), "title": title_of(library, one.key), "old": old, "new": new, "stays": one.stays,
            "reason": reason_of(one.new), "change": where_to_change(one.key, held),
        })  # fmt: skip
    return rows


def _differences(publishing: Publishing, held: Draft) -> list[Difference[Piece]]:
    before = [(pieces_of(publishing.document(number)), ends) for number, ends in publishing.held_in_turn(held.based_on)]
    return differences(before, pieces_of(held.document), held.in_force_until)


def _row(one: Draft) -> dict[str, Any]:
    state = ("approved", "good") if one.approved else ("open", "plain")
    return {
        "title": one.title, "title_url": url_for("console.draft", number=one.id), "authors": list(one.authors),
        "changed_at": one.changed_at, "based_on": one.based_on, "state": state[0], "state_kind": state[1],
    }  # fmt: skip


def _plain(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC).replace(tzinfo=None) if at else None
