"""How a web page is answered, and who asked for one: browsers do, EHRs get JSON unless they say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Response, request

CSP: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_JSON: Final = ("application/fhir+json", "application/json")


def html_response(text: str, more: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """A web page with a strict policy: nothing from or to elsewhere, no script, no framing. `more`: more headers."""
    headers = {**HEADERS, "Content-Security-Policy": CSP, **(more or {})}
    return Response(text, status, content_type="text/html; charset=utf-8", headers=headers)


def asks_for_html() -> bool:
    """Whether the caller likes a web page better than JSON. Who says nothing, or takes anything, gets JSON."""
    accepted = request.accept_mimetypes
    return accepted["text/html"] > max(accepted[kind] for kind in _JSON)
