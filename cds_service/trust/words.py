"""Small checks of text that comes from outside."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

_FORBIDDEN: Final = '\\ @?#%*<>"{}|^`'


def printable(text: str) -> bool:
    """No control character, no half of a surrogate pair: it can be stored and compared everywhere."""
    return text.isprintable()


def base_fault(url: str, *, https_only: bool = True) -> str:
    """What is wrong with an http(s) base URL, "" if nothing. It must be written the one way it is compared."""
    if not url.isascii() or not url.isprintable() or any(mark in url for mark in _FORBIDDEN):
        return "holds a character that a base URL cannot have (credentials, query, escapes and spaces are refused)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http(s) URL"
    if parts.scheme == "http" and https_only:
        return "must be https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    named = host if port is None else f"{host}:{port}"
    if port in (80, 443) and (parts.scheme, port) in (("http", 80), ("https", 443)):
        return f"names the default port: leave out :{port}"
    if f"{parts.scheme}://{named}{parts.path}" != url:
        return f"must be written {parts.scheme}://{named}{parts.path}"
    steps = parts.path.split("/")
    if "." in steps or ".." in steps or "" in steps[1:-1] or url.endswith("/"):
        return "has a path with empty steps, dots or a slash at its end"
    return ""


def origin_fault(origin: str, *, https_only: bool = True) -> str:
    """What is wrong with a browser origin such as https://ehr.example:8443, "" if nothing."""
    fault = base_fault(origin, https_only=https_only)
    return fault or ("must have no path" if urlsplit(origin).path else "")
