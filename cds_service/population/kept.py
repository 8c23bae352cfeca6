"""Kept calls as a cohort: the same advice from facts, without the resources that they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from cds_service.fhir import Chart
from cds_service.patient import Source
from cds_service.population.cases import Case, Cohort, NotRead, Side
from cds_service.population.kept_facts import Kept, read_kept
from cds_service.terminology.index import Vocabulary


class KeptChart(Chart):
    """A chart of facts alone. No resource of it can be found invalid now: those that were went before it was kept."""

    def __init__(self, kept: Kept, vocabulary: Vocabulary) -> None:
        self.facts = kept.facts
        self._vocabulary = vocabulary

    @property
    def patient_id(self) -> str:
        return "kept"

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def drafted_codes(self) -> set[tuple[str, str]]:
        return set()

    @property
    def not_read(self) -> dict[str, str]:
        return {}

    @property
    def sources(self) -> tuple[Source, ...]:
        return ()

    def invalid(self, sources: Iterable[Source]) -> dict[Source, str]:  # noqa: ARG002
        return {}

    def drafts_among(self, sources: Iterable[Source]) -> list[Source]:  # noqa: ARG002
        return []

    def resource(self, source: Source) -> dict[str, Any]:
        """What stands for an order that is not kept: its kind and its stand-in id."""
        return {"resourceType": source.type, "id": source.id, "status": "draft"}

    def without(self, sources: Iterable[Source]) -> Chart:  # noqa: ARG002
        return self


@dataclass(frozen=True)
class KeptCase:
    """One kept call."""

    name: str
    kept: Kept

    @property
    def patient(self) -> str:
        """Whom it was of is not known: each call counts as one chart."""
        return self.name

    @property
    def hook(self) -> str:
        return self.kept.hook

    @property
    def encounter_named(self) -> bool:
        return self.kept.encounter_named

    def chart(self, side: Side) -> Chart:
        """As Case."""
        if self.kept.hook not in side.services:
            raise NotRead("of a hook that is not answered any more")
        return KeptChart(self.kept, side.vocabulary)


def kept_cohort(calls: Callable[[], Iterable[bytes]], today: date) -> Cohort:
    """The kept calls. The inputs that were read are those of the call: a preview that reads others cannot show it."""

    def cases() -> Iterator[Case]:
        for number, raw in enumerate(calls(), 1):
            yield KeptCase(f"kept call {number}", read_kept(raw, today))

    return Cohort("kept calls", cases)
