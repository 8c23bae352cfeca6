"""Keeping the facts of real calls, where a hospital has switched that on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from cds_service.advice.advise import Advice
from cds_service.advice.loaded_content import Content
from cds_service.settings import Settings
from cds_service.store import StoreUnavailable
from cds_service.store.facts import FACTS_FILE, FactsStore

log = structlog.get_logger("magnesium_cds.facts")

Keep = Callable[[Advice, str, bool, datetime], None]
"""Advice that was given, of which hook, whether the call named an encounter, and when. Never waits, never raises."""


def open_facts(settings: Settings, folder: Path | None) -> FactsStore | None:
    """The database of kept facts; None where they are off. Raises StoreError."""
    if not settings.keep_facts:
        if folder is not None and (folder / FACTS_FILE).exists():
            log.warning("kept facts are still there")
        return None
    found = FactsStore.open(
        settings.facts_database, data_dir=folder, keep=settings.keep_facts, days=settings.keep_facts_days
    )
    try:
        found.purge(datetime.now(UTC).date())
    except StoreUnavailable:
        log.warning("kept facts not purged")
    return found


def keeping(facts: FactsStore, content: Content) -> Keep:
    """Has each call kept, in the writing thread."""
    from cds_service.population.kept_facts import keeper_of  # here, since few services keep facts

    keeper = keeper_of(content)

    def keep(advice: Advice, hook: str, encounter_named: bool, now: datetime) -> None:
        known = advice.evaluation.context.facts
        cards = [item.card["uuid"] for item in advice.shown]
        facts.keep(lambda: keeper.kept(known, hook, encounter_named), cards, now.date())

    return keep
