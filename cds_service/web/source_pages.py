"""Sources over HTTP: the list of all that were checked, and a page for each with what rests on it."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, render_template, request

from cds_service.content.library import Library
from cds_service.hooks.html import html_response
from cds_service.publish.finding import matching, plain
from cds_service.publish.sources_used import Used, sources_used
from cds_service.web.answers import MAX_QUERY, csv_answer, forms, json_answer, known

COLUMNS = ("id", "name", "kind", "title", "year", "identifier", "url", "read", "checkedOn", "rules", "thresholds",
           "claims")  # fmt: skip


def add_sources(blueprint: Blueprint, library: Library) -> None:
    """GET /sources (searched by ?q=) and /sources/<key>, as .json too, the list as .csv."""

    @cache
    def used() -> tuple[dict[str, Used], dict[str, str]]:
        held = dict(sources_used(library))
        fields = ("title", "issuer", "year", "identifier")
        words = {
            key: plain(" ".join([key, one.source.name, *(str(getattr(one.source, each) or "") for each in fields)]))
            for key, one in held.items()
        }
        return held, words

    def asked() -> str:
        return request.args.get("q", "")[:MAX_QUERY].strip()

    def found() -> list[Used]:
        held, words = used()
        return [held[key] for key in matching(words, asked())]

    @blueprint.get("/sources")
    def sources() -> Response:
        query = {"q": asked()} if asked() else {}
        text = render_template(
            "sources.html", library=library, query=asked(), sources=found(), of=len(used()[0]),
            forms=forms(".sources_json", ".sources_csv", **query),
        )  # fmt: skip
        return html_response(text)

    @blueprint.get("/sources.json")
    def sources_json() -> Response:
        return json_answer({"sources": [one.row() for one in found()]})

    @blueprint.get("/sources.csv")
    def sources_csv() -> Response:
        return csv_answer("sources", COLUMNS, (one.row() for one in found()))

    @blueprint.get("/sources/<source_key>")
    def one_source(source_key: str) -> Response:
        one = known(used()[0], source_key, "source")
        text = render_template(
            "one_source.html", library=library, used=one, forms=forms(".one_source_json", source_key=source_key)
        )
        return html_response(text)

    @blueprint.get("/sources/<source_key>.json")
    def one_source_json(source_key: str) -> Response:
        return json_answer(known(used()[0], source_key, "source").as_json())
