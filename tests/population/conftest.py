"""A PostgreSQL server of our own, as the tests of the store have it; and content that is read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cds_service.advice.loaded_content import Content, load_content
from cds_service.population.screening import person
from tests.conftest import shipped
from tests.store.conftest import postgres

__all__ = ["postgres"]


@pytest.fixture(autouse=True)
def content_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ships is not read again for each screening in this process; processes of their own read it themselves."""

    def load(cards: Sequence[Path] = ()) -> Content:
        return load_content(cards=cards) if cards else shipped()

    monkeypatch.setattr(person, "load_content", load)
