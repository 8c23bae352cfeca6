"""Two editors met: what both started from, theirs and yours, side by side, and brought together."""

from __future__ import annotations

from flask import Blueprint, Response, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from cds_service.console.access import needs, who
from cds_service.console.asked import whole
from cds_service.console.pages import page
from cds_service.console.parts import Parts
from cds_service.console.site_parts import default_of, in_lines, must_be_here, publishing_of, title_of, value_of
from cds_service.console.unsaved import DOCUMENT, closed_page, draft_unsaved
from cds_service.content.publishing import NotDone, Publishing
from cds_service.content.site_editing import Side, Ways, brought_together, three_ways
from cds_service.content.yamlfile import ContentError
from cds_service.store import Draft


def stale_page(
    publishing: Publishing, draft: Draft, version: int, yours: str, faults: list[str] | None = None
) -> Response:
    """The draft was saved since `version`: `yours` is what was not saved."""
    now = publishing.draft(draft.id)
    return _page(publishing, now, "draft", publishing.earlier(draft.id, version), now.document, yours,
                 {"version": now.version, "from": version}, faults)  # fmt: skip


def conflict_page(publishing: Publishing, draft: Draft, faults: list[str] | None = None) -> Response:
    """A revision was published since the draft began: the draft is `yours`."""
    newest = publishing.newest()
    theirs = publishing.document(publishing.held(newest))
    started = publishing.document(publishing.held(draft.based_on))
    return _page(publishing, draft, "revision", started, theirs, draft.document,
                 {"version": draft.version, "newest": newest}, faults)  # fmt: skip


def _page(
    publishing: Publishing, draft: Draft, met: str, started: str, theirs: str, yours: str, fields: dict[str, int],
    faults: list[str] | None,
) -> Response:  # fmt: skip
    ways = three_ways(started, theirs, yours)
    rows = [(one, title_of(publishing.library, one.piece), _sides(publishing, one)) for one in ways]
    crumbs = [(url_for("console.drafts"), "Drafts"), (url_for("console.draft", number=draft.id), draft.title),
              ("", "Two changes met")]  # fmt: skip
    return page("together.html", draft=draft, met=met, rows=rows, yours=yours, fields=fields, crumbs=crumbs,
                faults=faults or [], clashes=any(one.clash for one in ways), status=409)  # fmt: skip


def _sides(publishing: Publishing, one: Ways) -> list[str]:
    library, day = publishing.library, publishing.now().date()
    sides = (one.started, one.theirs, one.yours)
    return [value_of(one.piece, side, library) or default_of(one.piece, library, day) for side in sides]


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/drafts/NUMBER/together."""

    @blueprint.route("/drafts/<whole:number>/together", methods=["GET", "POST"])
    @needs("editor")
    def together(number: int) -> ResponseReturnValue:
        must_be_here(parts)
        publishing = publishing_of(parts)
        draft = parts.store.draft(number)
        if draft is None:
            abort(404)
        if request.method == "GET":
            if not draft.open or draft.based_on == publishing.newest():
                return redirect(url_for("console.draft", number=number), 303)
            return conflict_page(publishing, draft)
        sent = request.form
        choices: dict[str, Side] = {
            key.removeprefix("take "): "yours" if value == "yours" else "theirs"
            for key, value in sent.items()
            if key.startswith("take ") and value in ("yours", "theirs")
        }
        with_draft = sent.get("met") == "draft"
        version, came_from = sent.get("version", 0, whole), sent.get("from", 0, whole)
        yours = sent.get("yours", "").replace("\r\n", "\n") if with_draft else draft.document
        if not draft.open:
            return closed_page(draft, {DOCUMENT: yours})

        def again(faults: list[str]) -> Response:
            if with_draft:
                return stale_page(publishing, draft, came_from, yours, faults)
            return conflict_page(publishing, draft, faults)

        text = None
        try:
            if with_draft:
                publishing.read(yours)  # it came with the form, so it may be anything
                started, theirs, based_on = publishing.earlier(number, came_from), draft.document, draft.based_on
            else:
                based_on = sent.get("newest", 0, whole)
                started = publishing.document(publishing.held(draft.based_on))
                theirs = publishing.document(publishing.held(based_on))
            text = brought_together(started, theirs, yours, choices)
            if text is None:
                return again(["Choose one side of each value that both changed."])
            saved = draft.text(document=text, based_on=based_on)
            publishing.save(number, version, saved, who().name)
        except ContentError as error:
            if text is None:  # not of both together, but of what was sent
                return draft_unsaved(draft, {DOCUMENT: yours}, in_lines(error.faults))
            return again(in_lines(error.faults))
        except NotDone as error:
            if error.trouble == "closed":
                return closed_page(publishing.draft(number), {DOCUMENT: yours})
            if error.trouble != "stale" and with_draft:
                return draft_unsaved(draft, {DOCUMENT: yours}, [f"{error.text}."])
            if error.trouble != "stale":
                flash(f"{error.text}.", "bad")
                return redirect(url_for("console.drafts"), 303)
            return again(["Somebody edited this draft once more: look at it again."])
        flash("Both are brought together in the draft. Look at what it changes now.", "good")
        return redirect(url_for("console.draft", number=number), 303)
