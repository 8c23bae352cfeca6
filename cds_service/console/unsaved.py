"""What somebody typed and cannot be saved any more comes back to them, to be copied, with what happened."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, url_for

from cds_service.console.pages import page
from cds_service.store import Draft

DOCUMENT = "Site document (YAML)"


def unsaved_page(
    typed: Mapping[str, str], why: list[str], title: str, crumbs: list[tuple[str, str]], to: list[tuple[str, str]]
) -> Response:
    """`typed`: what stood in each field, by its label. `to`: addresses and words of where to go now."""
    shown = [(label, text) for label, text in typed.items() if text]
    return page("unsaved.html", typed=shown, why=why, title=title, to=to, crumbs=[*crumbs, ("", "Not saved")],
                document=DOCUMENT, status=409)  # fmt: skip


def draft_unsaved(draft: Draft, typed: Mapping[str, str], why: list[str]) -> Response:
    """What was typed into a draft."""
    drafts, here = url_for("console.drafts"), url_for("console.draft", number=draft.id)
    return unsaved_page(typed, why, draft.title, [(drafts, "Drafts"), (here, draft.title)],
                        [(drafts, "Drafts"), (here, "This draft")])  # fmt: skip


def closed_page(draft: Draft, typed: Mapping[str, str]) -> Response:
    """The same, where the draft was published or discarded while somebody typed."""
    became = (
        f"published as revision {draft.published_as}" if draft.published_as else f"discarded by {draft.discarded_by}"
    )
    return draft_unsaved(draft, typed, [f"This draft was {became} while you were editing it."])
