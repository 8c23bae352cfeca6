"""A visitor of the console: signs in and sends forms as a browser does."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from werkzeug.test import TestResponse

from cds_service.console.accounts import ROLES
from cds_service.store import NewLine, Store
from tests.conftest import NOW

PASSWORD = "nine green apples"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def person(store: Store, name: str, *roles: str) -> str:
    """A person with these roles (none named: all) and the password of the tests."""
    line = NewLine(NOW, "", "person added", name)
    store.add_person(name, roles or ROLES, line)
    store.set_password(name, HASH, line)
    return name


class Visitor:
    """A browser. `path` is below the console's own: "" is the first page, "/rules" another."""

    def __init__(self, app: Flask, path: str = "/console", base: str = "http://localhost") -> None:
        self.app, self.path, self.base = app, path, base
        self.http = app.test_client()
        self.store: Store = app.extensions["advisor"].store

    def get(self, path: str = "", **how: Any) -> TestResponse:
        return self.http.get(self._at(path), base_url=self.base, **how)

    def post(self, path: str, /, *, token: str | None = None, headers: Any = None, **fields: Any) -> TestResponse:
        """A form that was on the page at `path`, or anywhere in this session: with its token and its origin."""
        sent = {"csrf_token": self.token() if token is None else token, **fields}
        told = {"Origin": self.base} if headers is None else headers
        return self.http.post(self._at(path), data=sent, base_url=self.base, headers=told)

    def token(self) -> str:
        """A token that forms of this session carry."""
        page = self.get("/account").text if self.signed_in() else self.get("/sign-in").text
        return html.unescape(re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page)[0])

    def sign_in(self, name: str, password: str = PASSWORD, **more: Any) -> TestResponse:
        return self.post("/sign-in", name=name, password=password, **more)

    def signed_in(self) -> bool:
        return self.get("/account").status_code == 200

    def _at(self, path: str) -> str:
        return path if path.startswith(self.path) else self.path + path


def visitor(app: Flask, name: str = "", roles: Iterable[str] = ()) -> Visitor:
    """Somebody with these roles, signed in; without a name somebody who is not."""
    found = Visitor(app)
    if name:
        if found.store.person(name) is None:
            person(found.store, name, *roles)
        answer = found.sign_in(name)
        assert answer.status_code == 303, answer.text
    return found
