"""Who may see and do what: roles, the person at hand, and the audit line of each change.

Each view says whom it is for, with `needs` or `open_to_all`; one that says nothing keeps the service from starting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from flask import g, request

from cds_service.console.accounts import Role
from cds_service.console.parts import Parts, parts_of_app
from cds_service.store import AuditLine, NewLine

MARK: Final = "console_needs"
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Person:
    """Who is signed in; without a name nobody is."""

    name: str = ""
    roles: frozenset[str] = frozenset()

    def may(self, role: Role) -> bool:
        """Whether this person has the role. Everybody who has any may view; no other role holds another."""
        return bool(self.roles) if role == "viewer" else role in self.roles


def needs(role: Role) -> Callable[[View], View]:
    """The view is for people with this role. Order with the route does not matter."""

    def mark(view: View) -> View:
        setattr(view, MARK, role)
        return view

    return mark


def open_to_all(view: View) -> View:
    """The view is for who is not signed in, too."""
    setattr(view, MARK, "")
    return view


def who() -> Person:
    """The person at hand. Outside of the console, and before sign-in, a person without name and roles."""
    person: Person = g.get("console_person", Person())
    return person


def line(action: str, target: str = "", **details: Any) -> NewLine:
    """An audit line of the person at hand, to be written with a change in one transaction (`write_line`)."""
    return NewLine(parts_of_app().now(), who().name, action, target, details)


def audit(action: str, target: str = "", **details: Any) -> AuditLine:
    """Write down what the person at hand did. On disk when this returns.

    `action`: a few small words in the past, as "revision published". `details`: strings, numbers, truth, None, lists of
    them. Raises StoreUnavailable, which becomes a page that says so.
    """
    return parts_of_app().store.audit(line(action, target, **details))


def from_elsewhere(parts: Parts) -> bool:
    """Whether the browser says that the page from which this POST comes is not ours; one that says nothing is not."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        return True
    ours = {_origin(parts.settings.console_base)} if parts.settings.console_base else set()
    if parts.settings.dev:
        ours.add(_origin(request.host_url))
    return request.headers.get("Origin") not in ours


def _origin(url: str) -> str:
    told = urlsplit(url)
    return f"{told.scheme}://{told.netloc}"


def local_path(path: str | None) -> str | None:
    """The path where it leads to a page of the console, None for any other: nobody is sent elsewhere."""
    settings = parts_of_app().settings
    plain = path is not None and all(" " < char < "\x7f" and char != "\\" for char in path)
    if path is None or not plain or not path.startswith("/") or path.startswith("//"):
        return None
    told = urlsplit(path)
    clean = ".." not in told.path.split("/") and "//" not in told.path and "%" not in told.path
    return path if clean and not told.netloc and settings.in_console(told.path) else None
