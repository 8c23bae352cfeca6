"""The service with its console, and visitors of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.console.support import Visitor, visitor


@pytest.fixture
def console(make_app: Callable[..., Flask]) -> Flask:
    """The service with a console of its own database; what hospitals set is managed there."""
    return make_app(console=True, managed_by="console")


@pytest.fixture
def anna(console: Flask) -> Visitor:
    """A person with all roles, signed in."""
    return visitor(console, "anna")
