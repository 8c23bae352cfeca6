"""The test words about results of a laboratory."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from cds_service.content.base import Part
from cds_service.content.word_fields import (
    PREGNANCY_INPUTS,
    Count,
    Days,
    DaysBack,
    LabLimit,
    LabName,
    Persists,
    limits_of,
)


class LabTest(Part):
    """The newest usable result of `lab` against a limit, no older than the threshold `within`.

    With `laboratory_first` the reporting laboratory's own range, then its flag, decide; the rule's limit only where
    the laboratory gives neither. With `critical_flag` the laboratory's own LL or HH decides before the limit. With
    `persists` one result is not enough. With `where_measured` a lab that a complete search shows not to have been
    measured so recently is not beyond its limit: the rule does not wait for it.
    `up_to`: one beyond the limit that is older than this is left to other rules.
    """

    lab: LabName
    below: LabLimit | None = None
    at_most: LabLimit | None = None
    above: LabLimit | None = None
    at_least: LabLimit | None = None
    laboratory_first: bool = False
    critical_flag: bool = False
    where_measured: bool = False
    within: DaysBack
    up_to: DaysBack | None = None
    persists: Persists | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> LabTest:
        if not limits_of(self):
            raise ValueError("needs one of below, at_most, above, at_least")
        if self.laboratory_first and not (self.below or self.above):
            raise ValueError("laboratory_first goes with below or above")
        return self

    @property
    def reads(self) -> frozenset[str]:
        return super().reads | (PREGNANCY_INPUTS if self.laboratory_first else frozenset())

    @property
    def pregnancy_matters(self) -> bool:
        """Some limits are not made for pregnancy."""
        return self.laboratory_first

    @property
    def offers(self) -> frozenset[str]:
        parts = ("value", "age", "date", "limit", *(("persists",) if self.persists else ()))
        beside = {"matched"} if self.where_measured else set[str]()
        return frozenset(f"{self.lab}.{part}" for part in parts) | beside


class NoRecentLabTest(Part):
    """No usable result of `no_recent_lab` within the threshold `within` (days); an unusable recent one is unknown."""

    no_recent_lab: LabName
    within: DaysBack


class ImplausibleTest(Part):
    """The newest result of `implausible`, no older than the threshold `within` (days), has a readable unit and is
    beyond what the concept holds for `plausible`: the card shows it as it is written. With `critical_flag` only where
    the laboratory flags it LL or HH."""

    implausible: LabName
    critical_flag: bool = False
    within: DaysBack

    @property
    def offers(self) -> frozenset[str]:
        return frozenset(f"{self.implausible}.{part}" for part in ("written", "age", "date"))


class RisenTest(Part):
    """A lab rose so much as counts: to the newest usable result from an earlier one, by the threshold `by` (unit of
    the lab) within `by_within` (days), or to `times` it within `times_within` (days). A newest result older than that
    tells nothing about now."""

    fills: ClassVar = frozenset({"matched"})

    risen: LabName
    by: LabLimit
    by_within: Days
    times: Count
    times_within: DaysBack


class OnFileTest(Part):
    """Always true: the card shows the newest result of each lab of `on_file` within the threshold `within` (days), or
    says that there is none, or why it is not known. A rule does not depend on it."""

    fills: ClassVar = frozenset({"on_file"})

    on_file: Annotated[list[LabName], Field(min_length=1)]
    within: DaysBack
