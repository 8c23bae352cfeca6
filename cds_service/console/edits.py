"""Changing one value, or the whole document as text; each change goes into a draft."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectChoice, SubmitField, TextAreaField
from wtforms.validators import InputRequired, Length
from wtforms.widgets import HiddenInput

from cds_service.console.access import needs, who
from cds_service.console.asked import WholeField, whole
from cds_service.console.edit_forms import NEW, PieceForm, form_of
from cds_service.console.pages import page
from cds_service.console.parts import Parts
from cds_service.console.site_parts import must_be_here, publishing_of, title_of
from cds_service.console.together import stale_page
from cds_service.console.unsaved import DOCUMENT, closed_page, draft_unsaved
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_editing import Piece, pieces_of, written
from cds_service.content.yamlfile import MAX_BYTES, ContentError, Fault
from cds_service.store import Draft


class TextForm(FlaskForm):
    """The whole document."""

    version = WholeField(widget=HiddenInput(), validators=[InputRequired()])
    document = TextAreaField(DOCUMENT, [InputRequired("The document is empty."), Length(max=MAX_BYTES)])
    submit = SubmitField("Check and save")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/change/KEY and /drafts/NUMBER/text."""

    @blueprint.route("/change/<key>", methods=["GET", "POST"])
    @needs("editor")
    def change(key: str) -> ResponseReturnValue:
        must_be_here(parts)
        piece: Piece = tuple(key.split("."))
        library, publishing = parts.current.library, publishing_of(parts)
        kind = form_of(piece, library)
        if kind is None:
            abort(404)
        drafts = parts.store.drafts()
        asked = request.args.get("draft", "")
        held = next((one for one in drafts if str(one.id) == asked), None)
        document = held.document if held else publishing.document(publishing.held(publishing.newest()))
        form = kind()
        named = [SelectChoice(f"{one.id}:{one.version}", one.title) for one in drafts]
        form.draft.choices = [SelectChoice(NEW, "a new draft"), *named]
        if not form.is_submitted():
            form.draft.data = f"{held.id}:{held.version}" if held else NEW
        now = pieces_of(document).get(piece)
        form.fill(piece, now, library)
        faults: list[str] = []
        # A draft that was edited since its name was shown here has another version, and is no choice any more.
        chosen = form.draft.data or NEW
        if form.is_submitted() and chosen not in [choice.value for choice in form.draft.choices]:
            form.draft.choices.append(SelectChoice(chosen, "the draft that somebody edited meanwhile"))
        if form.is_submitted() and form.default.data and form.draft.validate(form):
            return _put(parts, publishing, form, piece, None, faults) or _shown(form, piece, now, faults)
        if form.validate_on_submit():
            return _put(parts, publishing, form, piece, form.value(), faults) or _shown(form, piece, now, faults)
        return _shown(form, piece, now, faults)

    @blueprint.get("/change")
    @needs("editor")
    def rule_show() -> ResponseReturnValue:
        """From a list of rules to the form for one of them."""
        return redirect(url_for("console.change", key=f"rules.{request.args.get('rule', '')}.show"), 303)

    def _shown(form: PieceForm, piece: Piece, now: Any, faults: list[str]) -> ResponseReturnValue:
        title = title_of(parts.current.library, piece)
        crumbs = [(url_for("console.values"), "Values in force"), ("", title)]
        status = 400 if faults or form.errors else 200
        return page("change.html", form=form, title=title, now=now, faults=faults, crumbs=crumbs, status=status)

    @blueprint.route("/drafts/<whole:number>/text", methods=["GET", "POST"])
    @needs("editor")
    def draft_text(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        publishing = publishing_of(parts)
        draft = parts.store.draft(number)
        form, faults = TextForm(), list[Fault]()
        if draft is None or (not draft.open and not form.is_submitted()):
            abort(404)
        if not draft.open:
            return closed_page(draft, {DOCUMENT: form.document.data or ""})
        if not form.is_submitted():
            form.document.data, form.version.data = draft.document, draft.version
        elif form.validate() and form.document.data is not None and form.version.data is not None:
            text = form.document.data.replace("\r\n", "\n")
            try:
                publishing.save(number, form.version.data, draft.text(document=text), who().name)
            except ContentError as error:
                faults = list(error.faults)
            except NotDone as error:
                if error.trouble == "stale":
                    return stale_page(publishing, draft, form.version.data, text)
                if error.trouble == "closed":
                    return closed_page(publishing.draft(number), {DOCUMENT: text})
                return draft_unsaved(draft, {DOCUMENT: text}, [f"{error.text}."])
            else:
                flash("The draft is saved.", "good")
                return redirect(url_for("console.draft", number=number), 303)
        lines = (form.document.data or "").splitlines()
        told = [(fault, lines[fault.line - 1] if 0 < fault.line <= len(lines) else "") for fault in faults]
        crumbs = [(url_for("console.drafts"), "Drafts"), (url_for("console.draft", number=number), draft.title),
                  ("", "As text")]  # fmt: skip
        return page("draft_text.html", form=form, draft=draft, faults=told, crumbs=crumbs,
                    status=400 if faults or form.errors else 200)  # fmt: skip


def _put(
    parts: Parts, publishing: Publishing, form: PieceForm, piece: Piece, value: Any, faults: list[str]
) -> ResponseReturnValue | None:
    """Put a piece into the chosen draft; None with `faults` where it cannot stand there."""
    chosen = form.draft.data or NEW
    draft: Draft | None = None
    version = 0
    if chosen != NEW:
        number, _, told = chosen.partition(":")
        try:
            version, draft = whole(told), parts.store.draft(whole(number))
        except ValueError:
            draft = None
        if draft is None or not draft.open:
            faults.append("That draft is published or discarded: choose another one.")
            return None
    try:
        start = publishing.earlier(draft.id, version) if draft else publishing.document(
            publishing.held(publishing.newest())
        )  # fmt: skip
        pieces = pieces_of(start)
        if value is None:
            pieces.pop(piece, None)
        else:
            pieces[piece] = value
        text = written(pieces)
        if draft is None:
            reason = value.get("reason", "") if isinstance(value, dict) else ""
            draft = publishing.begin(title_of(parts.current.library, piece)[:200], who().name, text, reason)
        else:
            draft = publishing.save(draft.id, version, draft.text(document=text), who().name)
    except ContentError as error:
        for fault in error.faults:
            _place(form, piece, fault, faults)
        return None
    except NotDone as error:
        if error.trouble == "stale" and draft is not None:
            return stale_page(publishing, draft, version, text)
        faults.append(f"{error.text}.")
        return None
    flash("The change is in the draft. It is in force once the draft is published.", "good")
    return redirect(url_for("console.draft", number=draft.id), 303)


def _place(form: PieceForm, piece: Piece, fault: Fault, faults: list[str]) -> None:
    """A fault stands at its field, or on top."""
    fields = {"value": ("number", "told"), "unit": ("unit",), "show": ("show",), "reason": ("reason",)}
    key = fault.key.split(".")
    if fault.key.startswith(".".join(piece[:-1])) and len(key) >= len(piece):
        for name in fields.get(key[-1], ("number", "told")):
            if name in form:
                form[name].errors = [*form[name].errors, f"{fault.message}."]
                return
    faults.append(f"{fault.key}: {fault.message}.")
