"""The docs at /docs/, in profile dev: the site where one was built, else the same pages, plainly."""

from __future__ import annotations

import mimetypes
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Response, redirect, render_template
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from cds_service.publish.docs_site import MARK, pages_folder, site
from cds_service.web.pages import CSP, HEADERS, html_response

if TYPE_CHECKING:
    from markdown_it.token import Token

COMMENT = re.compile(r"^ *<!--.*?-->\n", re.MULTILINE | re.DOTALL)
NO_PAGES = "The pages of the docs are not in this package. They lie in `docs/` of the sources."


def docs_blueprint() -> Blueprint:
    """GET /docs/ and what is below it. A page has one address, built or not: /docs/set.html is docs/set.md."""
    blueprint = Blueprint("docs", __name__)

    @blueprint.get("/docs")
    def front() -> Response:
        return redirect("/docs/")  # type: ignore[return-value]

    @blueprint.get("/docs/")
    def first() -> Response:
        return below("index.html")

    @blueprint.get("/docs/<path:page>")
    def below(page: str) -> Response:
        built = site()
        if built is None:
            return _plain(page)
        if page == MARK:
            raise NotFound
        return _file(built.folder, page, built.policy)

    return blueprint


def _file(folder: Path, name: str, policy: str) -> Response:
    found = safe_join(str(folder), name)
    if found is None or not Path(found).is_file():
        raise NotFound
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(Path(found).read_bytes(), mimetype=kind, headers=HEADERS | {"Content-Security-Policy": policy})


def _plain(name: str) -> Response:
    folder = pages_folder()
    if folder is None:
        return html_response(render_template("docs_page.html", dev=True, title="Docs", body="", missing=NO_PAGES))
    if name.endswith((".png", ".json")):
        return _file(folder, name, CSP)
    found = safe_join(str(folder), f"{name.removesuffix('.html')}.md")
    if not name.endswith(".html") or found is None or not Path(found).is_file():
        raise NotFound
    text = Path(found).read_text("utf-8")
    title = text.partition("\n")[0].lstrip("# ")
    return html_response(render_template("docs_page.html", dev=True, title=title, body=in_html(text, name), missing=""))


def in_html(text: str, name: str) -> str:
    """A page of Markdown as HTML: headings have the anchors that links name, and links lead to pages that there are.

    No HTML of the page itself is passed on.
    """
    from markdown_it import MarkdownIt  # no call of a hook waits for it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(COMMENT.sub("", text))
    seen: dict[str, int] = {}
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            slug = re.sub(r"[^\w\- ]", "", after.content.lower()).replace(" ", "-")
            seen[slug] = seen.get(slug, -1) + 1
            token.attrSet("id", slug if not seen[slug] else f"{slug}-{seen[slug]}")
        if token.type in ("fence", "table_open"):
            token.attrSet("tabindex", "0")  # so that what is wide can be read without a mouse
        if token.children:
            token.children = list(_links(token.children, posixpath.dirname(name)))
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _links(tokens: list[Token], folder: str) -> Iterator[Token]:
    """Links to other pages get their addresses here; of links out of the docs only the words are left."""
    dropped = False
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            outside = posixpath.normpath(posixpath.join(folder, target.partition("#")[0] or ".")).startswith("..")
            if dropped := outside and "://" not in target:
                continue
            if "://" not in target:
                token.attrSet("href", re.sub(r"\.md(?=#|$)", ".html", target))
        if token.type == "link_close" and dropped:
            dropped = False
            continue
        yield token
