"""Sessions of browsers. The cookie holds a random name and nothing else; all that it stands for is in the database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from flask import Flask, Request, Response, current_app, request, session
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.datastructures import CallbackDict

from cds_service.console.access import Person
from cds_service.console.parts import Parts, parts_of_app
from cds_service.store import NewLine, StoreUnavailable

log = structlog.get_logger("magnesium_cds.console")
SEEN_EVERY: Final = timedelta(minutes=1)
CSRF: Final = "csrf_token"
_CHARS: Final = 64  # of a name; what is longer is none of ours


class ConsoleSession(CallbackDict[str, Any], SessionMixin):
    """Values that last from page to page. `name`: the random one; `sent`: whether the browser sent one; `person`: who
    is signed in.

    Nothing is in the database as long as nobody is signed in and nothing is kept: a visitor costs no row.
    """

    def __init__(self, name: str) -> None:
        def changed(_: object) -> None:
            self.modified = True
            self.accessed = True

        super().__init__(None, changed)
        self.name = name
        self.person = Person()
        self.sent = bool(name)
        self.new_cookie = not name
        self.loaded = False
        self.ended = False
        self.modified = False

    def load(self, parts: Parts) -> None:
        """Read what the database holds. Raises StoreUnavailable."""
        self.loaded, now = True, parts.now()
        known = parts.store.session(self.name, now) if self.name else None
        if not self.name:
            self.name, self.new_cookie = _random(), True
        if known is not None:
            self.update(known.data)
            if known.person is not None:
                self.person = Person(known.person, frozenset(known.roles))
        self[CSRF] = self._csrf(parts)
        self.modified = known is not None and now - known.seen_at >= SEEN_EVERY
        if known is not None and known.person is not None and set(known.roles) != set(known.roles_then):
            self._rename(parts)

    def _rename(self, parts: Parts) -> None:
        """Other roles, another name. Where two pages are asked for at once, the second finds it done."""
        name = _random()
        if parts.store.rename_session(self.name, name, parts.now()):
            self.name, self.new_cookie = name, True
            self[CSRF] = self._csrf(parts)

    def begin(self, parts: Parts, person: str, line: NewLine, tries: Sequence[str] = ()) -> bool:
        """Sign a person in under a new name. Nothing is taken over from before. False where the person is gone."""
        before, self.name, self.new_cookie = self.name, _random(), True
        self.clear()
        done = parts.store.begin_session(self.name, person, {}, line, instead_of=before, tries=tries)
        self["person"] = person
        self.person = Person(person) if done else Person()
        self[CSRF] = self._csrf(parts)
        self.modified = False
        return done

    def end(self, parts: Parts, line: NewLine) -> None:
        """Sign out."""
        parts.store.end_session(self.name, line)
        self.clear()
        self.ended, self.modified = True, False

    def kept(self) -> dict[str, Any]:
        """What is to be in the database."""
        return {name: value for name, value in self.items() if name != CSRF}

    def _csrf(self, parts: Parts) -> str:
        """Made from the session's name, so that a form of somebody who is not signed in needs no row either."""
        secret = parts.store.finding_hash(["console form"])
        return hmac.new(secret.encode(), self.name.encode(), hashlib.sha256).hexdigest()


class ConsoleSessions(SessionInterface):
    """Flask's sessions, for the paths of the console alone."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        url = parts.settings.console_base or ""
        self.secure = url.startswith("https://") or not parts.settings.dev
        self.cookie = f"{'__Host-' if self.secure else ''}magnesium-console"

    def open_session(self, app: Flask, request: Request) -> ConsoleSession | None:  # noqa: ARG002
        """The one that the cookie names, not read yet: what the database says is told where it can be answered."""
        if not self._parts.settings.in_console(request.path):
            return None
        name = request.cookies.get(self.cookie, "")
        return ConsoleSession(name if len(name) == _CHARS and name.isalnum() else "")

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002
        """Write down what changed, and give the browser a new name."""
        if not isinstance(session, ConsoleSession) or not session.loaded:
            return
        if session.ended:
            response.delete_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="Lax")
            return
        kept = session.kept()
        if session.modified and (kept or session.person.name):
            try:
                self._parts.store.keep_session(session.name, session.person.name or None, kept, self._parts.now())
            except StoreUnavailable as error:  # the page is made by now: what is lost is a message on the next one
                log.error("session not kept", cause=error.kind)
        if session.new_cookie:
            response.set_cookie(self.cookie, session.name, path="/", secure=self.secure, httponly=True, samesite="Lax")


def current_session() -> ConsoleSession:
    """The session of the request at hand."""
    found = session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(found, ConsoleSession)
    return found


def signed_in() -> bool:
    """Whether the browser at hand is that of somebody signed in, on a page that is not the console's own. Where the
    console has an address of its own, only there: its cookie goes nowhere else."""
    sessions, parts = current_app.session_interface, parts_of_app()
    assert isinstance(sessions, ConsoleSessions)
    name, own = request.cookies.get(sessions.cookie, ""), parts.settings.console_url
    if len(name) != _CHARS or not name.isalnum() or (own and request.host != urlsplit(own).netloc):
        return False
    try:
        known = parts.store.session(name, parts.now())
    except StoreUnavailable as error:
        log.error("session not read", cause=error.kind)
        return False
    return known is not None and known.person is not None and bool(known.roles)


def _random() -> str:
    return secrets.token_hex(_CHARS // 2)
