"""The typed form of `claims.yaml` (what popular articles claim) and `coverage.yaml` (known interactions)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cds_service.content.base import Name, Strict, Text
from cds_service.content.pages import Certainty

Topic = Literal[
    "physiology",
    "neuropathy",
    "diabetes",
    "diet",
    "dosing",
    "ms",
    "symptoms",
    "interactions",
    "forms",
    "joint_bone",
]
Verdict = Literal["supported", "partly_supported", "unsupported", "contradicted", "unverifiable_citation"]


class Claim(Strict):
    """One claim of a popular article, in our words, and what is known instead.

    `references` may hold keys of any status: the web page shows the check status of each, and one that was
    not read or not found is never shown as a source. `sources_note` says what was not read about a source, or
    which study was looked for. `shown`: a card may link to the claim; `reason` says why not.
    """

    topic: Topic
    claim: Text
    verdict: Verdict
    certainty: Certainty
    statement: Text
    references: list[Name] = Field(min_length=1)
    sources_note: Text | None = None
    pages: list[Name] = Field(default_factory=list)
    shown: bool
    reason: Text | None = None

    @model_validator(mode="after")
    def _reason_when_not_shown(self) -> Claim:
        if not self.shown and self.reason is None:
            raise ValueError("a claim that is not shown needs a reason")
        if self.pages and not self.shown:
            raise ValueError("pages use it, so it is shown")
        return self

    @property
    def doubtful(self) -> bool:
        """Whether the claim is anything but supported as it stands."""
        return self.verdict != "supported"


class Coverage(Strict):
    """One known interaction of magnesium: the pages that hold it, or why there is none."""

    pages: list[Name] = Field(default_factory=list)
    not_a_page: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Coverage:
        if bool(self.pages) == (self.not_a_page is not None):
            raise ValueError("needs either pages or not_a_page")
        return self
