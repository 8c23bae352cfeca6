"""The typed form of a page: one YAML file in `cards/`, one rule with its wording, thresholds and evidence.

Every model refuses unknown keys. `KEY_ORDER` is the one order in which a page's keys stand.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Text = Annotated[str, Field(min_length=3)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Indicator = Literal["info", "warning", "critical"]
Certainty = Literal["high", "moderate", "low", "very_low"]


class Strict(BaseModel):
    """Frozen, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Threshold(Strict):
    """A number with its unit. `values` are dated: the newest one not in the future is in force."""

    label: Text
    unit: str
    values: Annotated[dict[date, Decimal], Field(min_length=1)]
    site_may_set: tuple[Decimal, Decimal] | None = None
    reference: Name

    @model_validator(mode="after")
    def _within_range(self) -> Threshold:
        if self.site_may_set:
            low, high = self.site_may_set
            if low > high:
                raise ValueError("site_may_set: the first number is above the second")
            for day, value in self.values.items():
                if not low <= value <= high:
                    raise ValueError(f"the value of {day} is outside site_may_set")
        return self

    def at(self, day: date) -> Decimal:
        """The value in force on `day`; the earliest one where all lie in the future."""
        past = [since for since in self.values if since <= day]
        return self.values[max(past) if past else min(self.values)]


Comparison = Literal["below", "at_most", "above", "at_least"]


class Persists(Strict):
    """Beyond the limit at least the threshold `apart` before the newest result too, with no result within the limit in
    between; or beyond it although one of the drugs of `despite` had then been on the list for that long."""

    apart: Name
    despite: list[Name] = []


class LabTest(Strict):
    """The newest usable result of `lab` against a limit, no older than the threshold `within`.

    With `laboratory_first` the reporting laboratory's own range, then its flag, decide; the page's limit only where
    the laboratory gives neither. With `critical_flag` the laboratory's own LL or HH decides before the limit. With
    `persists` one result is not enough.
    """

    lab: Name
    below: Name | None = None
    at_most: Name | None = None
    above: Name | None = None
    at_least: Name | None = None
    laboratory_first: bool = False
    critical_flag: bool = False
    within: Name
    persists: Persists | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> LabTest:
        if not (self.below or self.at_most or self.above or self.at_least):
            raise ValueError("needs one of below, at_most, above, at_least")
        if self.laboratory_first and not (self.below or self.above):
            raise ValueError("laboratory_first goes with below or above")
        return self


class NoRecentLabTest(Strict):
    """No usable result of `no_recent_lab` within the threshold `within` (days); an unusable recent one is unknown."""

    no_recent_lab: Name
    within: Name


class ConditionTest(Strict):
    """An active condition of any of these concepts is on the problem list."""

    condition: Annotated[list[Name], Field(min_length=1)]


class MedicationTest(Strict):
    """A drug of any of these concepts, active or in the draft orders, by a route.

    `ended`: one that is over, but for no longer than the threshold `ended_within`. With `taken_for` a drug that is
    known to have been taken for less than that threshold does not count; courses closer together than that are one.
    """

    medication: Annotated[list[Name], Field(min_length=1)]
    status: Literal["active", "draft", "any", "ended"] = "any"
    route: Literal["oral", "intravenous", "systemic", "any"] = "systemic"
    ended_within: Name | None = None
    taken_for: Name | None = None

    @model_validator(mode="after")
    def _fitting_times(self) -> MedicationTest:
        if (self.status == "ended") != (self.ended_within is not None):
            raise ValueError("ended_within goes with status: ended, and that with it")
        if self.taken_for and self.status != "active":
            raise ValueError("taken_for goes with status: active")
        return self


class AgeTest(Strict):
    """Age in years against a threshold."""

    age: dict[Literal["at_least", "below"], Name]


class PregnancyTest(Strict):
    """Pregnancy, or lactation, is recorded."""

    pregnant: bool | None = None
    lactating: bool | None = None


class KidneyTest(Strict):
    """Kidney function (eGFR reported, or computed from creatinine) below or at least a threshold; `unknown: true` where
    no eGFR within `within` days is to be had. A bound ("<20") that is surely `below` meets both of a band."""

    kidney: dict[Literal["below", "at_least", "unknown"], Name | bool]
    within: Name


class DailyMagnesiumTest(Strict):
    """Elemental magnesium a day from all oral products, chart and drafts, against a threshold.

    `above` it; or `read_two_ways`: above it by one reading alone of a drafted order whose amount may be a salt's weight
    or magnesium itself, or whatever the sum where an order calls elemental what is the salt's weight in its product.
    """

    daily_magnesium: Annotated[dict[Literal["above", "read_two_ways"], Name], Field(min_length=1, max_length=1)]


class MagnesiumProductsTest(Strict):
    """Different oral magnesium products, chart and drafts together, at least so many."""

    magnesium_products: dict[Literal["at_least"], Name]


class IntakeTest(Strict):
    """Newest documented dietary intake below the recommended allowance for age, sex, pregnancy and lactation."""

    intake: Literal["below_allowance"]
    within: Name


class ReasonTest(Strict):
    """Magnesium is drafted for any of these conditions: its reasonCode, or the only one of `reason` on the list."""

    reason: Annotated[list[Name], Field(min_length=1)]


Test = (
    LabTest
    | NoRecentLabTest
    | ConditionTest
    | MedicationTest
    | AgeTest
    | PregnancyTest
    | KidneyTest
    | DailyMagnesiumTest
    | MagnesiumProductsTest
    | IntakeTest
    | ReasonTest
)
TEST_WORDS: dict[str, type[Strict]] = {
    "lab": LabTest,
    "no_recent_lab": NoRecentLabTest,
    "condition": ConditionTest,
    "medication": MedicationTest,
    "age": AgeTest,
    "pregnant": PregnancyTest,
    "lactating": PregnancyTest,
    "kidney": KidneyTest,
    "daily_magnesium": DailyMagnesiumTest,
    "magnesium_products": MagnesiumProductsTest,
    "intake": IntakeTest,
    "reason": ReasonTest,
}


def _word_of(value: Any) -> str:
    """The test word chooses the model, so that a fault names that word's keys and no other."""
    if isinstance(value, Strict):
        return next(word for word, model in TEST_WORDS.items() if isinstance(value, model))
    if isinstance(value, dict):
        return next((word for word in TEST_WORDS if word in value), "")
    return ""


AnyTest = Annotated[
    Annotated[LabTest, Tag("lab")]
    | Annotated[NoRecentLabTest, Tag("no_recent_lab")]
    | Annotated[ConditionTest, Tag("condition")]
    | Annotated[MedicationTest, Tag("medication")]
    | Annotated[AgeTest, Tag("age")]
    | Annotated[PregnancyTest, Tag("pregnant")]
    | Annotated[PregnancyTest, Tag("lactating")]
    | Annotated[KidneyTest, Tag("kidney")]
    | Annotated[DailyMagnesiumTest, Tag("daily_magnesium")]
    | Annotated[MagnesiumProductsTest, Tag("magnesium_products")]
    | Annotated[IntakeTest, Tag("intake")]
    | Annotated[ReasonTest, Tag("reason")],
    Discriminator(
        _word_of,
        custom_error_type="no_test_word",
        custom_error_message="begins with no test word; known: " + ", ".join(TEST_WORDS),
    ),
]


class When(Strict):
    """All of `all`, any of `any`, none of `none`. No nesting."""

    all: list[AnyTest] = []
    any: list[AnyTest] = []
    none: list[AnyTest] = []

    @model_validator(mode="after")
    def _something(self) -> When:
        if not (self.all or self.any):
            raise ValueError("needs `all` or `any`")
        return self


class RecentResult(Strict):
    """The page is about a recent result of `lab`: where there is none within `within` days it does not apply."""

    lab: Name
    within: Name


class AppliesTo(Strict):
    """Whom the page was written for. Outside of it the page is `not_applicable`, with the reason."""

    age_at_least: Name | None = None
    age_below: Name | None = None
    not_pregnant: bool = False
    recent_result: RecentResult | None = None
    unless_medication: list[Name] = []
    unless_condition: list[Name] = []


class Separate(Strict):
    """Two doses that must be apart. The hours are thresholds of the page; cards and planner read this one block.

    `interval`: `drug_specific` where the hours were read for this drug; `general_rule` where no drug-specific interval
    is established and the hours are a class or product rule. `magnesium`: products that it holds for; empty is all.
    `unless_form`: dose forms of the drug (of `terminology/dose_forms.csv`) that it does not hold for.
    """

    drug: Name
    drug_then_magnesium: Name
    magnesium_then_drug: Name
    interval: Literal["drug_specific", "general_rule"]
    magnesium: list[Name] = []
    unless_form: list[str] = []
    fixed_by_label: bool = False


class Avoid(Strict):
    """Do not combine by mouth at all; no separation of doses makes it acceptable."""

    drug: Name
    magnesium: list[Name] = []


class CardText(Strict):
    """What the clinician reads. `problem` groups findings: one problem, one card; `short` is this finding's line there
    when another page leads, "" where it would say again what every such page says."""

    indicator: Indicator
    topic: Name
    problem: Name
    priority: Annotated[int, Field(ge=1, le=999)]
    summary: Text | None = None
    short: str | None = None
    detail: Text | None = None
    consider: list[Text] = []
    suggest: list[Name] = []
    override_reasons: list[Name] = []
    contraindicates_magnesium: bool = False


class PageEvidence(Strict):
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


class Page(Strict):
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
    evidence: PageEvidence
    claims: list[str] = []
    source_attributes: dict[str, Text] = {}

    @model_validator(mode="after")
    def _one_trigger(self) -> Page:
        if sum(part is not None for part in (self.separate, self.avoid, self.when)) != 1:
            raise ValueError("needs exactly one of when, separate, avoid")
        if self.when is not None and not (self.card.summary and self.card.detail and self.card.consider):
            raise ValueError("card needs summary, detail and consider")
        return self


KEY_ORDER = tuple(Page.model_fields)
