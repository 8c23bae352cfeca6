"""The store that the settings name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cds_service.settings import Settings
from cds_service.store.records import Retention
from cds_service.store.store import Store


def open_store(settings: Settings, folder: Path | None = None, *, adopt: bool = False, renew: bool = False) -> Store:
    """Opened, made or brought up to date. `folder` stands in for a data folder that the settings do not name; `adopt`
    and `renew` as `Store.open`. Raises StoreError."""
    days = settings.keep_cards_days, settings.keep_unmatched_days, settings.keep_counts_days
    return Store.open(
        settings.database, data_dir=settings.data_dir or folder, key=settings.key, key_file=settings.key_file,
        adopt=adopt, renew=renew, keep=Retention(*map(_days, days)), keep_comments=settings.keep_comments,
    )  # fmt: skip


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None
