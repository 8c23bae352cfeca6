"""Services on each kind of database in turn, and what they counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cds_service.store import Store
from tests.store.conftest import database, postgres, shared_postgres, store  # noqa: F401 - fixtures

Make = Callable[..., Flask]


def store_of(app: Flask) -> Store:
    found: Store = app.extensions["advisor"].store
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def workers(request: pytest.FixtureRequest, make_app: Make, tmp_path: Path) -> Callable[..., Flask]:
    """Apps on one database, of each kind in turn, as the workers of one service are."""
    url = request.getfixturevalue("postgres")() if request.param == "postgresql" else None

    def another(**settings: Any) -> Flask:
        return make_app(**{"data_dir": tmp_path, "database": url, **settings})

    return another
