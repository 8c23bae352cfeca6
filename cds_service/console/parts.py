"""What the pages of the console need, put together once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import current_app

from cds_service.content.current import CurrentRulebook
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.terminology.index import Vocabulary


@dataclass(frozen=True)
class Parts:
    """`now` gives an aware time; `version` is that of this software; `plan_secret` signs addresses of plans; `clients`
    are the names of those that may call."""

    settings: Settings
    current: CurrentRulebook
    vocabulary: Vocabulary
    store: Store
    now: Callable[[], datetime]
    version: str
    plan_secret: str
    clients: frozenset[str]


def parts_of_app() -> Parts:
    """Those of the app that answers this request."""
    parts: Parts = current_app.extensions["console"]
    return parts
