"""The typed form of a rule: one YAML file in `cards/` with its wording, thresholds and evidence.

Every model refuses unknown keys. `KEY_ORDER` is the one order in which a rule's keys stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cds_service.content.base import Asked, Name, Named, Part, Region, Strict, Text, in_force, named
from cds_service.content.lab_words import ImplausibleTest, LabTest
from cds_service.content.test_words import InfusionTest, Test
from cds_service.content.word_fields import (
    PREGNANCY_INPUTS,
    ConditionName,
    Count,
    DaysBack,
    DrugName,
    FormName,
    Hours,
    LabName,
    Years,
)
from cds_service.content.yamlfile import KeyPath

Indicator = Literal["info", "warning", "critical"]
Certainty = Literal["high", "moderate", "low", "very_low"]


class HoldsFor(Strict):
    """The patients whom a limit of a laboratory result was made for: from the age of the threshold `age_at_least` on,
    of one sex, and not in pregnancy. Anybody else is judged by the laboratory's own range or flag, or by the threshold
    `otherwise`, which counts for them only where the result lies beyond it. A result past `never_past`, the limit of
    the other side, is on this side for nobody."""

    age_at_least: Name | None = None
    sex: Literal["female", "male"] | None = None
    not_pregnant: bool = False
    otherwise: Name | None = None
    never_past: Name | None = None


class Instead(Strict):
    """Whom another threshold holds for instead, `threshold`: everything that is given here has to be so.

    `injected`: one of these drugs is given or ordered by injection. `not_since`: one of these problems is on the list,
    and the newest kidney result is not known to be from after the day on which it was recorded. `kidney_below`: the
    newest eGFR is below that threshold.
    """

    threshold: Name
    in_hospital: bool = False
    condition: list[ConditionName] = []
    not_since: list[ConditionName] = []
    injected: list[DrugName] = []
    kidney_below: Name | None = None
    age_at_least: Name | None = None


class RegionalValue(Strict):
    """The value that the product texts of a region give, and where it was read."""

    values: Annotated[dict[date, Decimal], Field(min_length=1)]
    reference: Name


class Threshold(Strict):
    """A number with its unit. `values` are dated: the newest one not in the future is in force. Of `instead`, which
    only shared thresholds have, the first that fits a patient decides for everything that reads or says this one.
    `regions` has the value of one region, where its texts differ; `values` are then the other region's."""

    label: Text
    unit: str
    values: Annotated[dict[date, Decimal], Field(min_length=1)]
    site_may_set: tuple[Decimal, Decimal] | None = None
    holds_for: HoldsFor | None = None
    instead: list[Instead] = []
    regions: Annotated[dict[Region, RegionalValue], Field(max_length=1)] = {}
    reference: Name

    @model_validator(mode="after")
    def _within_range(self) -> Threshold:
        if self.site_may_set:
            low, high = self.site_may_set
            if low > high:
                raise ValueError("site_may_set: the first number is above the second")
            for day, value in self.dated:
                if not low <= value <= high:
                    raise ValueError(f"the value of {day} is outside site_may_set")
        return self

    @property
    def dated(self) -> list[tuple[date, Decimal]]:
        """All its values, of whatever region, each with the day from which it holds."""
        regional = (each for item in self.regions.values() for each in item.values.items())
        return [*self.values.items(), *regional]

    def sources(self, at: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
        """The references of its values, each with the keys that lead to it; `at` leads to the threshold."""
        yield (*at, "reference"), self.reference
        for region, other in self.regions.items():
            yield (*at, "regions", region, "reference"), other.reference

    def at(self, day: date) -> Decimal:
        return in_force(self.values, day)

    def by_region(self, day: date) -> dict[Region, tuple[Decimal, str]]:
        """Each region's value and its source; empty where there is one for all."""
        own = (self.at(day), self.reference)
        found: dict[Region, tuple[Decimal, str]] = {}
        for region, other in self.regions.items():
            elsewhere: Region = "us" if region == "eu" else "eu"
            found = {elsewhere: own, region: (in_force(other.values, day), other.reference)}
        return found


class HowMany(Part):
    """How many of the tests of `any` have to hold."""

    at_least: Count


class When(Strict):
    """All of `all`, any of `any` (with `at_least`, so many of them), none of `none`. No nesting."""

    all: list[Test] = []
    any: list[Test] = []
    at_least: Count | None = None
    none: list[Test] = []

    @model_validator(mode="after")
    def _something(self) -> When:
        if not (self.all or self.any):
            raise ValueError("needs `all` or `any`")
        if self.at_least and not self.any:
            raise ValueError("at_least goes with `any`")
        return self

    @property
    def offers(self) -> frozenset[str]:
        """Placeholders that are filled whenever it holds. Any of `any` may be the one that is true: of those only what
        every one fills is there."""
        either = frozenset.intersection(*(test.offers for test in self.any)) if self.any else frozenset[str]()
        return either.union(*(test.offers for test in self.all))


class RecentResult(Strict):
    """The rule is about a recent result of `lab`: where there is none within `within` days it does not apply."""

    lab: LabName
    within: DaysBack


class AppliesTo(Part):
    """Whom the rule was written for. Outside of it the rule is `not_applicable`, with the reason. Where it is not known
    whether magnesium is being given, `unless_infusion` does not hold the rule back, and its card says so."""

    age_at_least: Years | None = None
    age_below: Years | None = None
    not_pregnant: bool = False
    recent_result: RecentResult | None = None
    unless_medication: list[DrugName] = []
    unless_condition: list[ConditionName] = []
    unless_infusion: InfusionTest | None = None

    @property
    def reads(self) -> frozenset[str]:
        infusion = self.unless_infusion.reads if self.unless_infusion else frozenset[str]()
        return super().reads | infusion | (PREGNANCY_INPUTS if self.not_pregnant else frozenset())


class Timing(Part):
    """An oral drug and oral magnesium. `magnesium`: products that it holds for; empty is all."""

    fills: ClassVar[frozenset[str]] = frozenset({"drug", "magnesium"})

    drug: DrugName
    magnesium: list[DrugName] = []

    @property
    def asks_for(self) -> Asked:
        return Asked(frozenset({self.drug}), "any", "oral")


class Separate(Timing):
    """Two doses that must be apart. The hours are thresholds of the rule; cards and planner read this one block.

    `interval`: `drug_specific` where the hours were read for this drug; `general_rule` where no drug-specific interval
    is established and the hours are a class or product rule. `unless_form`: dose forms of the drug (of
    `terminology/dose_forms.csv`) that it does not hold for.
    """

    fills: ClassVar = frozenset({"drug", "magnesium", "hours_before", "hours_after", "hours_apart"})

    drug_then_magnesium: Hours
    magnesium_then_drug: Hours
    interval: Literal["drug_specific", "general_rule"]
    unless_form: list[FormName] = []
    fixed_by_label: bool = False


class Avoid(Timing):
    """Do not combine by mouth at all; no separation of doses makes it acceptable."""


class Giving(Strict):
    """An option that presumes that magnesium is given. Told only where no other finding speaks against that."""

    giving: Text


class CardText(Strict):
    """What the clinician reads. `problem` groups findings: one problem, one card; `short` is this finding's line there
    when another rule leads, "" where it would say again what every such rule says. `joins`: a problem on whose card,
    where it is a warning or critical, this finding stands as a line, and not on a card of its own. `never_cut`: its
    card stands among the warnings, whatever its own urgency, and is shown even where there are too many."""

    indicator: Indicator
    topic: Name
    problem: Name
    joins: Name | None = None
    priority: Annotated[int, Field(ge=1, le=999)]
    summary: Text | None = None
    short: str | None = None
    detail: Text | None = None
    consider: list[Text | Giving] = []
    suggest: list[Name] = []
    override_reasons: list[Name] = []
    contraindicates_magnesium: bool = False
    never_cut: bool = False

    def options(self, giving: bool = True) -> list[str]:
        """The texts of `consider`; without `giving` those alone that presume no magnesium."""
        return [item.giving if isinstance(item, Giving) else item
                for item in self.consider if giving or not isinstance(item, Giving)]  # fmt: skip


class RuleEvidence(Strict):
    """GRADE certainty, strength, direction; references are keys of `references.yaml`, first the card's source."""

    certainty: Certainty
    strength: Literal["strong", "conditional"]
    direction: Literal["for", "against"]
    basis: Text | None = None
    guideline_grade: Text | None = None
    references: Annotated[list[Name], Field(min_length=1)]


class Reviewed(Strict):
    """The last clinical review; one that has not happened is written as pending."""

    by: Text
    date: date


class Rule(Strict):
    """One rule. See the README for how to add one."""

    title: Text
    services: Annotated[list[str], Field(min_length=1)]
    status: Literal["draft", "active", "retired"]
    reviewed: Reviewed
    why: Text
    known_limits: Text
    applies_to: AppliesTo = AppliesTo()
    thresholds: dict[Name, Threshold] = {}
    separate: Separate | None = None
    avoid: Avoid | None = None
    when: When | None = None
    card: CardText
    evidence: RuleEvidence
    claims: list[str] = []
    source_attributes: dict[str, Text] = {}

    @model_validator(mode="after")
    def _one_trigger(self) -> Rule:
        if sum(part is not None for part in (self.separate, self.avoid, self.when)) != 1:
            raise ValueError("needs exactly one of when, separate, avoid")
        if self.when is not None and not (self.card.summary and self.card.detail and self.card.options(giving=False)):
            raise ValueError("card needs summary, detail and consider, with an option that does not presume giving")
        return self

    @property
    def timing(self) -> Separate | Avoid | None:
        """The block of a rule about doses that meet."""
        return self.separate or self.avoid

    @property
    def waits(self) -> frozenset[str]:
        """The thresholds that say how long two doses are apart."""
        block = self.separate
        return frozenset({block.drug_then_magnesium, block.magnesium_then_drug}) if block else frozenset()

    @property
    def offers(self) -> frozenset[str]:
        """The placeholders that are always filled when the rule fires, besides those of its thresholds."""
        trigger = self.timing or self.when
        return trigger.offers if trigger else frozenset()

    @property
    def tells_a_result(self) -> bool:
        """Whether the first line of the card tells a laboratory value."""
        tests, summary = self.when.all if self.when else [], self.card.summary or ""
        told = [f"{{{test.lab}.value}}" for test in tests if isinstance(test, LabTest)]
        told += [f"{{{test.implausible}.written}}" for test in tests if isinstance(test, ImplausibleTest)]
        return any(placeholder in summary for placeholder in told)

    @property
    def needed(self) -> Sequence[Part]:
        """The parts all of which must hold for the rule to fire."""
        return [self.timing] if self.timing else self.when.all if self.when else []

    def parts(self) -> Iterator[tuple[KeyPath, Part]]:
        """Everything that decides when the rule fires, each with the keys that lead to it."""
        yield ("applies_to",), self.applies_to
        if self.timing:
            yield ("separate" if self.separate else "avoid",), self.timing
        for key in ("all", "any", "none") if self.when else ():
            yield from ((("when", key, index), test) for index, test in enumerate(getattr(self.when, key)))
        if self.when and self.when.at_least:
            yield ("when",), HowMany(at_least=self.when.at_least)

    def named(self) -> Iterator[Named]:
        """Every name that decides when the rule fires, with its place in the rule."""
        for at, part in self.parts():
            yield from named(part, at)


KEY_ORDER = tuple(Rule.model_fields)
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""In the wording of a rule: a fixed name, no expression."""
