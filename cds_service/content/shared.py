"""The typed form of the content that rules share: references, evidence scale, services, wording, tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cds_service.content.base import EncounterKind, Name, Region, Strict, Text
from cds_service.content.rule import Certainty, Threshold

SourceKind = Literal[
    "us_label", "smpc", "leaflet", "guideline", "systematic_review", "trial", "cohort",
    "regulator", "laboratory", "standard", "review",
    "compendium", "web", "textbook",
    "policy", "arithmetic", "local_policy",
]  # fmt: skip
PRIMARY: tuple[SourceKind, ...] = (
    "us_label", "smpc", "leaflet", "guideline", "systematic_review", "trial", "cohort",
    "regulator", "laboratory",
)  # fmt: skip
"""Kinds whose text is the first to say it. A regulator's own text and a laboratory's own ranges and critical limits are
that of what they set themselves. A review tells what others found; a policy is our own choice."""
WEAK: tuple[SourceKind, ...] = ("compendium", "web", "textbook")
"""Kinds that a card does not show as a source, and that no threshold rests on."""
Read = Literal["whole", "section", "passage", "excerpt", "abstract", "none", "not_found"]


class Reference(Strict):
    """A source, once. `kind`: what it is; policy is this product's own choice, arithmetic is computed,
    local_policy is what the publisher of a package chose.

    `read`: how much of it was read (`none`: known, not read; `not_found`: looked for in vain); `checked` says how and
    where, on `checked_on`. `short` is its name on a card, `version` the edition or date of the text, `section` where in
    the text the passage stands.
    """

    kind: SourceKind
    title: Text
    short: Text | None = None
    issuer: Text | None = None
    year: int | None = None
    version: Text | None = None
    section: Text | None = None
    identifier: str | None = None
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    read: Read | None = None
    checked: Text
    checked_on: date

    @model_validator(mode="after")
    def _says_what_was_read(self) -> Reference:
        if (self.read is None) != (self.kind in ("policy", "arithmetic", "local_policy")):
            raise ValueError("needs read, unless it is policy or arithmetic, which nobody reads")
        return self

    @property
    def citable(self) -> bool:
        """Whether somebody read it, or nobody need: it may be shown as a source."""
        return self.read not in ("none", "not_found")

    @property
    def name(self) -> str:
        """What a card calls it."""
        return self.short or self.issuer or self.title

    @property
    def weak(self) -> bool:
        return self.kind in WEAK

    @property
    def dated(self) -> str:
        """Its name and its year."""
        year = str(self.year or "")
        return self.name if year in self.name else f"{self.name}, {year}"


class Change(Strict):
    """Of `changes.yaml`: what changed in a rule, in words, and the version of the rule since; or why it is gone."""

    date: date
    version: str | None = None
    what: Text | None = None
    retired: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Change:
        if (self.version is None or self.what is None) == (self.retired is None):
            raise ValueError("needs either version and what, or retired")
        return self

    @property
    def words(self) -> str:
        return self.what or self.retired or ""


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
    references: Annotated[list[Name], Field(min_length=1)]


class SourceAttribute(Strict):
    """One of the 13 source attributes of 45 CFR 170.315(b)(11)(iv)(A); `default` holds for rules that do not differ."""

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


class Hl7Reason(Strict):
    """A code of HL7's reasons for not following advice."""

    system: str
    code: str
    display: Text


class OverrideReason(Strict):
    """A reason to override a card, under a code of ours that no other has; `hl7` is the nearest of HL7's.

    `snoozes`: it says that somebody takes care of the finding, so that a site may have it silenced for a while.
    """

    system: str
    code: str
    display: Text
    hl7: Hl7Reason
    snoozes: bool = False


class LabOrder(Strict):
    """A suggestion that creates a ServiceRequest for a laboratory test. Its reason is the finding, by its title."""

    kind: Literal["lab_order"]
    label: Text
    description: Text
    lab: Name


class KeepApart(Strict):
    """A suggestion that updates the draft with an instruction to keep two doses apart. `instruction` may hold {drug},
    {hours_before}, {hours_after}."""

    kind: Literal["keep_apart"]
    label: Text
    description: Text
    instruction: Text
    instruction_same: Text


Suggestion = Annotated[LabOrder | KeepApart, Field(discriminator="kind")]


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
    """`tables/dietary_reference_intakes.yaml`, by region; a site chooses whose allowance and whose upper level hold.

    `small_serving`: of a food, mg; one is named however little is missing in a day.
    """

    unit: str
    small_serving: Decimal
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
    without more words gives no elemental amount. `element_up_to`: tablets and capsules of up to so many mg are labelled
    by magnesium itself. Where a volume is named, a strength is the salt's weight.
    """

    formula: str
    labelled_as: Literal["salt", "either"] = "salt"
    element_up_to: Annotated[Decimal | None, Field(gt=0)] = None
    elemental_fraction: Annotated[Decimal, Field(gt=0, lt=1)]
    reference: Name


class Accuracy(Strict):
    """`within`: by what part of the measured rate an estimate may be off, to either side."""

    within: Annotated[Decimal, Field(gt=0, lt=1)]
    reference: Name


class EgfrEquation(Strict):
    """CKD-EPI 2021 creatinine equation, race-free; result in mL/min/{1.73_m2}.

    `creatinine_factor` turns a creatinine in its concept's unit into `creatinine_unit`, the equation's.
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
    accuracy: Accuracy
    reference: Name


class SharedThresholds(Strict):
    """`tables/thresholds.yaml`: numbers that several rules read, such as how old a result may be.

    `encounter_classes`: the HL7 v3 ActCode classes of each kind of encounter. In an inpatient's and in an emergency
    results age as in hospital.
    """

    thresholds: dict[Name, Threshold]
    encounter_classes: dict[EncounterKind, list[str]]


class TreatmentPoint(Strict):
    """What sources say of one step, in our words."""

    text: Text
    references: Annotated[list[Name], Field(min_length=1)]


class Treatment(Strict):
    """`tables/treatment.yaml`: what is known about treating the problem of a card, for its evidence pages."""

    title: Text
    points: Annotated[list[TreatmentPoint], Field(min_length=1)]


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
    rules: list[Name] = Field(default_factory=list)
    shown: bool
    reason: Text | None = None

    @model_validator(mode="after")
    def _reason_when_not_shown(self) -> Claim:
        if not self.shown and self.reason is None:
            raise ValueError("a claim that is not shown needs a reason")
        if self.rules and not self.shown:
            raise ValueError("rules use it, so it is shown")
        return self

    @property
    def doubtful(self) -> bool:
        """Whether the claim is anything but supported as it stands."""
        return self.verdict != "supported"


class Coverage(Strict):
    """One known interaction of magnesium: the rules that hold it, or why there is none."""

    rules: list[Name] = Field(default_factory=list)
    not_a_rule: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Coverage:
        if bool(self.rules) == (self.not_a_rule is not None):
            raise ValueError("needs either rules or not_a_rule")
        return self
