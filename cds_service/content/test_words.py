"""The test words: each word of `when` is one model, whose field types say what its fields name.

A new word is a model here or in `lab_words.py`, its line in `_Words`, a case where it is tried (`rules/trying.py`) and
one where they are said (`publish/rule_in_words.py`). What a rule reads, needs and may say follows from the types.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from cds_service.content.base import Asked, Names, Part
from cds_service.content.concept import BODY_WEIGHT, MAGNESIUM, SERUM_MAGNESIUM
from cds_service.content.lab_words import ImplausibleTest, LabTest, NoRecentLabTest, OnFileTest, RisenTest
from cds_service.content.word_fields import (
    DRUG,
    LAB,
    OBSTETRIC,
    PREGNANCY_INPUTS,
    ConditionName,
    Count,
    DailyAmount,
    Days,
    DaysBack,
    DrugName,
    FormName,
    InjectedLimits,
    KidneyLimits,
    LabName,
    Minutes,
    PurposeName,
    ReasonName,
    Years,
)
from cds_service.patient import CONDITIONS, ENCOUNTER, ENDED, GIVEN, INTAKE, SCREENER


class InHospitalTest(Part):
    """The encounter that is going on is a hospital stay or an emergency (classes of `tables/thresholds.yaml`)."""

    also_reads: ClassVar = frozenset({ENCOUNTER})
    fills: ClassVar = frozenset({"matched"})

    in_hospital: Literal[True]


class ConditionTest(Part):
    """An active condition of any of these concepts is on the problem list."""

    fills: ClassVar = frozenset({"matched"})

    condition: Annotated[list[ConditionName], Field(min_length=1)]

    @property
    def asks_for(self) -> Asked:
        return Asked(frozenset(self.condition), None)


class MedicationTest(Part):
    """A drug of any of these concepts, active or in the draft orders, by a route.

    `ended`: one that is over, but for no longer than the threshold `ended_within`, and not before the newest result of
    the lab `after_result`. With `taken_for` a drug that is
    known to have been taken for less than that threshold does not count; courses closer together than that are one.
    With `at_least`: so many different ones of them.
    `beside`: a product that holds one of these too; `form`: in one of these; `but`: none that belongs to these.
    With `ordered_for` a magnesium order counts only if it is for one of these purposes.
    """

    medication: Annotated[list[DrugName], Field(min_length=1)]
    status: Literal["active", "draft", "any", "ended"] = "any"
    route: Literal["oral", "intravenous", "systemic", "any"] = "systemic"
    ended_within: Days | None = None
    after_result: LabName | None = None
    taken_for: Days | None = None
    at_least: Count | None = None
    beside: list[DrugName] = []
    form: list[FormName] = []
    but: list[DrugName] = []
    ordered_for: list[PurposeName | Literal["other"]] = []

    @model_validator(mode="after")
    def _fitting_purpose(self) -> MedicationTest:
        if self.ordered_for and (self.status, self.medication) != ("draft", [MAGNESIUM]):
            raise ValueError("ordered_for goes with medication: [magnesium] and status: draft")
        return self

    @model_validator(mode="after")
    def _fitting_times(self) -> MedicationTest:
        if (self.status == "ended") != (self.ended_within is not None):
            raise ValueError("ended_within goes with status: ended, and that with it")
        if self.after_result and self.status != "ended":
            raise ValueError("after_result goes with status: ended")
        if self.taken_for and self.status != "active":
            raise ValueError("taken_for goes with status: active")
        if self.at_least and (self.taken_for or self.ended_within):
            raise ValueError("at_least goes without taken_for and ended_within")
        return self

    @property
    def reads(self) -> frozenset[str]:
        if self.status == "ended":
            return frozenset({ENDED})
        purpose = {CONDITIONS, ENCOUNTER} | PREGNANCY_INPUTS if self.ordered_for else frozenset()
        return super().reads | ({ENDED} if self.taken_for else frozenset()) | purpose

    @property
    def also_names(self) -> tuple[tuple[Names, str], ...]:  # type: ignore[override]
        """A low level on file makes an order a replacement."""
        return ((LAB, SERUM_MAGNESIUM),) if self.ordered_for else ()

    @property
    def offers(self) -> frozenset[str]:
        if self.status == "ended":
            return frozenset({"matched", "ended"})
        named_magnesium = {name.startswith(MAGNESIUM) for name in self.medication}
        # Of magnesium beside other drugs either may be the one that is found.
        if len(named_magnesium) > 1:
            return frozenset()
        found = {"magnesium" if True in named_magnesium else "matched"}
        found |= {"products"} if True in named_magnesium and self.status == "active" else set()
        return frozenset(found | ({"replacing"} if self.ordered_for == ["replacement"] else set()))

    @property
    def asks_for(self) -> Asked:
        return Asked(frozenset(self.medication), self.status, self.route)


class InfusionTest(Part):
    """Magnesium by injection or infusion. `running`: it is being given, or a continuous order is active; on order
    hooks, a continuous order is drafted. `acting`: it runs, or was given last within `injected_dose_acts`.
    `old_order`: that it runs is told only by a continuous order that is older than `infusion_order_holds`.

    `obstetric`: only in a woman who is pregnant or gave birth not long ago, or whose order says so; a drafted one need
    not be continuous then.
    """

    fills: ClassVar = frozenset({"infusion"})

    infusion: Literal["running", "acting", "old_order"]
    obstetric: bool = False

    @property
    def also_names(self) -> tuple[tuple[Names, str], ...]:  # type: ignore[override]
        used = [(DRUG, MAGNESIUM), (Names("threshold", unit="d"), "infusion_order_holds")]
        used += [(Names("threshold", unit="h"), "injected_dose_acts")] if self.infusion == "acting" else []
        used += OBSTETRIC if self.obstetric else []
        return tuple(used)

    @property
    def reads(self) -> frozenset[str]:
        return super().reads | {GIVEN, ENDED} | (PREGNANCY_INPUTS if self.obstetric else frozenset())


class AgeTest(Part):
    """Age in years against a threshold."""

    age: Annotated[dict[Literal["at_least", "below"], Years], Field(min_length=1)]


class PregnancyTest(Part):
    """Pregnancy is recorded, or recorded as absent."""

    also_reads: ClassVar = PREGNANCY_INPUTS

    pregnant: bool


class LactationTest(Part):
    """Lactation is recorded, or recorded as absent."""

    also_reads: ClassVar = PREGNANCY_INPUTS

    lactating: bool


class KidneyTest(Part):
    """Kidney function (eGFR reported, or computed from creatinine) below or at least a threshold; `unknown: true` where
    no eGFR within `within` days is to be had: `{kidney.last}` then tells an older one, if there is any. A bound
    ("<20") that is surely `below` meets both of a band."""

    measures: ClassVar[str] = "egfr"
    also_names: ClassVar = ((LAB, measures), (LAB, "creatinine"))

    kidney: KidneyLimits
    within: DaysBack

    @property
    def offers(self) -> frozenset[str]:
        parts = ("last",) if self.kidney.unknown else ("value", "age", "date")
        return frozenset(f"kidney.{part}" for part in parts)


class DailyMagnesiumTest(Part):
    """Elemental magnesium a day from all oral products, chart and drafts, against a threshold.

    `above` it; or `read_two_ways`: above it by one reading alone of a drafted order whose amount may be a salt's weight
    or magnesium itself, or whatever the sum where an order calls elemental what is the salt's weight in its product.
    `repeated`: not where all that is ordered is a single dose.
    """

    also_names: ClassVar = ((DRUG, MAGNESIUM),)

    daily_magnesium: Annotated[dict[Literal["above", "read_two_ways"], DailyAmount], Field(min_length=1, max_length=1)]
    repeated: bool = False

    @property
    def offers(self) -> frozenset[str]:
        if "above" in self.daily_magnesium:
            return frozenset({"daily_magnesium.value", "daily_magnesium.limit"})
        parts = ("as_salt", "as_element", "limit")
        return frozenset({"doubtful", "salt", *(f"daily_magnesium.{part}" for part in parts)})


class MagnesiumProductsTest(Part):
    """Different oral magnesium products, chart and drafts together, at least so many."""

    also_names: ClassVar = ((DRUG, MAGNESIUM),)
    fills: ClassVar = frozenset({"products"})

    magnesium_products: Annotated[dict[Literal["at_least"], Count], Field(min_length=1)]


class InjectedMagnesiumTest(Part):
    """Magnesium drafted by injection, above a limit: a dose within `minutes`, a rate for longer. `obstetric` holds in a
    pregnancy, or with a problem or reason of `obstetric_conditions`. A weight on the chart counts `weight_within`."""

    also_reads: ClassVar = PREGNANCY_INPUTS
    fills: ClassVar = frozenset({"injected", "injected.limit", "injected.of_the", "injected.same"})

    injected_magnesium: InjectedLimits
    minutes: Minutes | None = None
    obstetric: InjectedLimits | None = None
    obstetric_conditions: list[ConditionName] = []
    weight_within: DaysBack | None = None

    @property
    def also_names(self) -> tuple[tuple[Names, str], ...]:  # type: ignore[override]
        """A dose by weight needs the weight."""
        return ((DRUG, MAGNESIUM), *(((LAB, BODY_WEIGHT),) if self.weight_within else ()))

    @model_validator(mode="after")
    def _fitting(self) -> InjectedMagnesiumTest:
        if (self.injected_magnesium.dose_by_weight is None) != (self.weight_within is None):
            raise ValueError("weight_within goes with dose_by_weight")
        if (self.injected_magnesium.named[0] in ("day", "two_days")) == (self.minutes is not None):
            raise ValueError("minutes goes with a dose or a rate")
        return self


class IntakeTest(Part):
    """Newest documented dietary intake below the recommended allowance for age, sex, pregnancy and lactation."""

    also_reads: ClassVar = frozenset({INTAKE, SCREENER}) | PREGNANCY_INPUTS
    fills: ClassVar = frozenset({"intake.value", "intake.age", "allowance", "allowance.name", "gap", "foods"})

    intake: Literal["below_allowance"]
    within: DaysBack

    @property
    def pregnancy_matters(self) -> bool:
        return True


class ReasonTest(Part):
    """Oral magnesium is drafted for any of these conditions, as the order says itself, and replaces no low level."""

    fills: ClassVar = frozenset({"reason", "magnesium"})

    reason: Annotated[list[ReasonName], Field(min_length=1)]


_Words = (
    Annotated[LabTest, Tag("LabTest")]
    | Annotated[NoRecentLabTest, Tag("NoRecentLabTest")]
    | Annotated[ImplausibleTest, Tag("ImplausibleTest")]
    | Annotated[RisenTest, Tag("RisenTest")]
    | Annotated[OnFileTest, Tag("OnFileTest")]
    | Annotated[InHospitalTest, Tag("InHospitalTest")]
    | Annotated[ConditionTest, Tag("ConditionTest")]
    | Annotated[MedicationTest, Tag("MedicationTest")]
    | Annotated[InfusionTest, Tag("InfusionTest")]
    | Annotated[AgeTest, Tag("AgeTest")]
    | Annotated[PregnancyTest, Tag("PregnancyTest")]
    | Annotated[LactationTest, Tag("LactationTest")]
    | Annotated[KidneyTest, Tag("KidneyTest")]
    | Annotated[DailyMagnesiumTest, Tag("DailyMagnesiumTest")]
    | Annotated[MagnesiumProductsTest, Tag("MagnesiumProductsTest")]
    | Annotated[InjectedMagnesiumTest, Tag("InjectedMagnesiumTest")]
    | Annotated[IntakeTest, Tag("IntakeTest")]
    | Annotated[ReasonTest, Tag("ReasonTest")]
)
# A word is the first field of its model.
TEST_WORDS: dict[str, type[Part]] = {
    next(iter(model.model_fields)): model for model, _ in map(get_args, get_args(_Words))
}


def _model_of(value: Any) -> str:
    """The test word chooses the model, so that a fault names that word's keys and no other."""
    if isinstance(value, Part):
        return type(value).__name__
    words = TEST_WORDS.items() if isinstance(value, dict) else ()
    return next((model.__name__ for word, model in words if word in value), "")


Test = Annotated[
    _Words,
    Discriminator(
        _model_of,
        custom_error_type="no_test_word",
        custom_error_message="begins with no test word; known: " + ", ".join(TEST_WORDS),
    ),
]
