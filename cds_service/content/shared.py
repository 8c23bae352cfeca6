"""The typed form of the content that pages share: references, evidence scale, services, wording, tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from cds_service.content.base import Name, Strict, Text
from cds_service.content.pages import Certainty, Threshold

Region = Literal["us", "eu"]
"""Whose dietary reference values: the United States', or those of the European Union's authority."""

Status = Literal["verified", "background", "not_found", "policy", "arithmetic"]


class Reference(Strict):
    """A source, once. `status`: verified (an excerpt was read), background (known, not read), not_found (looked for and
    not found: never shown), policy (this product's own choice), arithmetic (computed). `checked` says how and when."""

    title: Text
    publisher: Text | None = None
    year: int | None = None
    identifier: str | None = None
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    status: Status
    checked: Text
    checked_on: date

    @property
    def citable(self) -> bool:
        """Whether it may be shown as a source on a card."""
        return self.status in ("verified", "policy", "arithmetic")


class Coded(Strict):
    """A code with the words that we show for it."""

    code: str
    display: Text


class CertaintyLevel(Coded):
    """A GRADE level: our label, what it means, and its code in `certainty_system`."""

    label: Text
    meaning: Text


class EvidenceScale(Strict):
    """`evidence.yaml`: the grading scale, its FHIR codes and the words shown for it."""

    certainty_system: str
    certainty_extension: str
    certainty: dict[Certainty, CertaintyLevel]
    strength_system: str
    strength_extension: str
    strength: dict[Literal["strong", "conditional"], Coded]
    direction: dict[Literal["for", "against"], Text]
    reference: Name


class SourceAttribute(Strict):
    """One of the 13 source attributes of 45 CFR 170.315(b)(11)(iv)(A); `default` holds for pages that do not differ."""

    number: int
    name: Text
    default: Text


class Service(Strict):
    """One CDS service: one id, one hook (a real client loses services that share an id)."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    hook_version: str
    title: Text
    description: Text
    usage_requirements: Text


class OverrideReason(Strict):
    """A reason to override a card: HL7's own code, or one of ours with our system.

    `snoozes`: it says that somebody takes care of the finding, so that a site may have it silenced for a while.
    """

    system: str
    code: str
    display: Text
    snoozes: bool = False


class LabOrder(Strict):
    """A suggestion that creates a ServiceRequest for a laboratory test."""

    kind: Literal["lab_order"]
    label: Text
    description: Text
    lab: Name
    reason: Text


class KeepApart(Strict):
    """A suggestion that updates the draft with an instruction to keep two doses apart. `instruction` may hold {drug},
    {hours_before}, {hours_after}."""

    kind: Literal["keep_apart"]
    label: Text
    description: Text
    instruction: Text
    instruction_same: Text


Suggestion = Annotated[LabOrder | KeepApart, Field(discriminator="kind")]


class TimingText(Strict):
    """Default card wording of `separate` and `avoid` pages."""

    summary: Text
    summary_same: Text
    detail: Text
    detail_same: Text
    consider: list[Text]
    consider_same: list[Text] = []


class PlanText(Strict):
    """Wording of a plan on a card; `alternatives` by the planner's kinds, in its order of preference."""

    why: Text
    interval: Text
    interval_short: Text
    more_intervals: Text
    fits: Text
    fits_some: Text
    fits_few: Text
    none: Text
    none_many: Text
    none_day: Text
    and_more: Text
    several: Text
    option: Text
    option_picture: Text
    option_one: Text
    option_many: Text
    option_some: Text
    dose: Text
    dose_assumed: Text
    assumed: Text
    unreadable: Text
    as_needed: Text
    not_planned: dict[Literal["two_products", "doses_unknown", "no_times", "too_large", "fault"], Text]
    head_time: Text
    head_drug: Text
    instruction: Text
    instruction_days: Text
    update_label: Text
    update: Text
    fewer_label: Text
    fewer_label_one: Text
    fewer: Text
    fewer_one: Text
    times_phrase: Text
    link_label: Text
    alternatives: dict[Literal["fewer_doses", "move_dose", "wait_until", "no_magnesium_now"], Text]


class Wording(Strict):
    """`wording.yaml`: every sentence of a card that is not a page's own."""

    source_label: Text
    headings: dict[Literal["why", "consider", "evidence", "note", "not_checked"], Text]
    separate: dict[Literal["drug_specific", "general_rule"], TimingText]
    avoid: TimingText
    plan: PlanText
    reasons: dict[Name, Text]
    inputs: dict[Name, Text]
    not_evaluated: dict[Literal["summary", "summary_many", "detail", "line"], Text]
    notes: dict[Name, Text]
    overflow: Text
    evidence_line: Text
    evidence_suffix: Text
    allowances: dict[Region, dict[Literal["RDA", "AI"], Text]]
    units: dict[str, str]
    ages: dict[Literal["today", "days", "one_day"], Text]
    persists: dict[Literal["earlier", "despite"], Text]
    since: Text
    topics: dict[Name, Text]
    option_prefix: str
    keep_apart_phrase: Text
    link_label: Text
    claim_link_label: Text
    dev_notice: Text


class Allowance(Strict):
    """Magnesium allowance of one life stage, mg/d of elemental magnesium; age in years, `age_to` exclusive.

    `kind`: recommended allowance, adequate intake (where no requirement could be derived) or average requirement.
    """

    age_from: Decimal
    age_to: Decimal | None = None
    male: Decimal
    female: Decimal
    pregnancy: Decimal | None = None
    lactation: Decimal | None = None
    kind: Literal["RDA", "AI", "EAR"]


class UpperLevel(Strict):
    """Upper level for magnesium from supplements and medicines (not food), mg/d."""

    age_from: Decimal
    age_to: Decimal | None = None
    value: Decimal


class DietaryReference(Strict):
    """`tables/dietary_reference_intakes.yaml`, by region; a site chooses whose allowance and whose upper level hold."""

    unit: str
    allowance: dict[Region, list[Allowance]]
    average_requirement: dict[Region, list[Allowance]]
    upper_level: dict[Region, list[UpperLevel]]
    references: dict[Literal["allowance", "average_requirement", "upper_level"], dict[Region, list[Name]]]


class Food(Strict):
    """Magnesium in a stated serving of a food, mg."""

    name: Text
    serving: Text
    magnesium: Decimal
    kidney_caution: bool = False
    reference: Name


class Salt(Strict):
    """Elemental magnesium in a salt: fraction of its mass. `formula` names the hydrate.

    `labelled_as`: what a product's strength means. `either`: products of this salt are sold under both, so a strength
    without more words gives no elemental amount.
    """

    formula: str
    labelled_as: Literal["salt", "either"] = "salt"
    elemental_fraction: Annotated[Decimal, Field(gt=0, lt=1)]
    reference: Name


class EgfrEquation(Strict):
    """CKD-EPI 2021 creatinine equation, race-free; result in mL/min/{1.73_m2}.

    `creatinine_factor` turns a creatinine in its terminology page's unit into `creatinine_unit`, the equation's.
    """

    creatinine_unit: str
    creatinine_factor: Decimal
    factor: Decimal
    kappa: dict[Literal["female", "male"], Decimal]
    alpha: dict[Literal["female", "male"], Decimal]
    max_exponent: Decimal
    age_base: Decimal
    female_factor: Decimal
    adult_age: int
    reference: Name


class SharedThresholds(Strict):
    """`tables/thresholds.yaml`: numbers that several pages read, such as how old a result may be.

    `inpatient_classes`: HL7 v3 ActCode encounter classes in which results age as in hospital.
    """

    thresholds: dict[Name, Threshold]
    inpatient_classes: list[str]
