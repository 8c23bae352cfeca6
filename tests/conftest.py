"""What all tests share: one content, one clock, and the service as an HTTP client."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog
from flask import Flask
from flask.testing import FlaskClient
from structlog.stdlib import ProcessorFormatter

from cds_service import create_app
from cds_service.advice.loaded_content import Content, load_content
from cds_service.rules import faults
from cds_service.rules.faults import Fault
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.terminology.index import Vocabulary

# A shell that starts the tests in the background has Ctrl-C ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden`: write what tests/test_golden.py expects from the answers given now; such a run fails."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.expected.json, then fail")


@pytest.fixture(autouse=True, scope="module")
def _what_is_there_is_not_gone_through_again() -> None:
    """The collector of garbage looks at what a module makes, and never again at the content and what modules before
    left: the same as in the service."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _log_of_this_test_alone() -> Iterator[None]:
    """A command that sets up the log of its process sets up none of the tests that follow."""
    root, configure = logging.getLogger(), structlog.configure
    level = root.level
    with patch("structlog.configure", lambda **words: configure(**words | {"cache_logger_on_first_use": False})):
        yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:] = [each for each in root.handlers if not isinstance(each.formatter, ProcessorFormatter)]
        root.setLevel(level)


KEY = "a key that only the tests have, of more than 32 characters"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SHARED = Path(__file__).resolve().parents[2] / "shared"
PATIENCE = 30.0  # seconds that a test waits for the store: a busy machine is no fault of the service


@cache
def shipped() -> Content:
    """The shipped content, loaded once."""
    return load_content()


@pytest.fixture(scope="session")
def content() -> Content:
    return shipped()


@pytest.fixture(scope="session")
def vocabulary(content: Content) -> Vocabulary:
    """The index of its codes and names."""
    return content.vocabulary


@pytest.fixture(scope="session")
def make_app(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Flask]]:
    """Apps at the tests' fixed time; keyword arguments are settings."""
    stores: list[Store] = []  # of apps their stores alone are kept: an app goes when its tests are done

    def make(now: Callable[[], datetime] = lambda: NOW, **settings: object) -> Flask:
        values = {"data_dir": tmp_path_factory.mktemp("data"), **settings}
        if values.get("profile") == "production":
            values = {"key": KEY, **values}
        app = create_app(Settings.model_validate(values), now=now, content=content)
        app.testing = True
        store: Store = app.extensions["advisor"].store
        store.shown_wait = store.feedback_wait = PATIENCE
        stores.append(store)
        return app

    yield make
    for store in stores:
        store.close()


@pytest.fixture(scope="session")
def app(make_app: Callable[..., Flask]) -> Flask:
    """The service with default settings."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Requests to the service."""
    return app.test_client()


@pytest.fixture(autouse=True)
def logs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is run within the tests sets up no log of its own, which would last."""
    monkeypatch.setattr("cds_service.logs.configure", lambda _: None)


@pytest.fixture(autouse=True)
def rule_faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fault]]:
    """Faults of ours that rules met: the service answers in spite of them, so here they fail every test."""
    met: list[Fault] = []
    make = faults.fault_of

    def fault_of(error: BaseException) -> Fault:
        met.append(make(error))
        return met[-1]

    monkeypatch.setattr(faults, "fault_of", fault_of)
    yield met
    assert "expected_faults" in request.fixturenames or not met, met


@pytest.fixture
def expected_faults(rule_faults: list[Fault]) -> list[Fault]:
    """The same, for a test that means them to happen."""
    return rule_faults
