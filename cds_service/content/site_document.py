"""The form of the site document: what this hospital's administrator may set, key by key."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cds_service.content.base import EncounterKind, Name, Region, Strict, Text

Visibility = Literal["shown", "silent", "hidden"]


class SiteThreshold(Strict):
    """A threshold's own value, and why; in the unit of the rule, or in another `unit` in which that lab is reported."""

    value: Decimal
    unit: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    reason: Text


class SiteRule(Strict):
    """What this site makes of one rule. `silent`: evaluated, counted, not shown. `hidden`: not tried, which a rule that
    speaks against magnesium cannot be: without its finding, other rules would go on to suggest magnesium."""

    show: Visibility | None = None
    thresholds: dict[Name, SiteThreshold] = {}
    reason: Text | None = None


class SiteUnit(Strict):
    """The unit in which a laboratory value is shown; the laboratory's own stands beside it."""

    unit: str
    reason: Text


class SiteInput(Strict):
    """An input that this EHR has not got at all, such as medication statements. Not the problem list: rules that speak
    against magnesium would find nothing in it."""

    available: Literal[False]
    reason: Text


class SiteProtocol(Strict):
    """This hospital's own protocol for a problem: linked on cards and evidence pages."""

    label: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$", max_length=500)]


class SiteRepetition(Strict):
    """When the same finding of the same patient is not shown again.

    `not_again_at_signing`: cards of these indicators, where the same user saw the same on order-select minutes before;
    information unless a site says otherwise. `after_override_days`: so long after an override whose reason says that it
    is taken care of. New or worse data are another finding; a critical card comes back after 24 hours at the latest.
    """

    not_again_at_signing: list[Literal["info", "warning"]] = ["info"]
    after_override_days: Annotated[int, Field(ge=0, le=90)] = 0
    reason: Text


class SiteScheduleValue(Strict):
    """A value of tables/schedule.yaml, written as there: "07:30", ["08:00", "20:00"] or 30."""

    value: str | int | list[str]
    reason: Text


class SiteCode(Strict):
    """A code of the site's own, with the address of its code system; without one for a code that is sent bare."""

    system: Text | None = None
    code: Annotated[str, Field(pattern=r"^[^\s|,]+( [^\s|,]+)*$", max_length=64)]

    @property
    def token(self) -> str:
        """As a FHIR search writes it."""
        return f"{self.system or ''}|{self.code}"


class SiteOrderable(Strict):
    """What a suggestion orders, as one EHR of this site calls it."""

    system: Text
    code: Annotated[str, Field(min_length=1, max_length=200)]
    display: Text


class SiteException(Strict):
    """Other values for the calls of one client, of one kind of encounter, or both; everything else holds as ever.

    One that names both comes before those that name one. A call whose encounter is not known, or of no kind that is
    named here, gets the values without exceptions for encounters.
    """

    name: Annotated[str, Field(min_length=3, max_length=80)]
    client: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    encounter: EncounterKind | None = None
    rules: Annotated[dict[Name, SiteRule], Field(min_length=1)]
    reason: Text

    @model_validator(mode="after")
    def _for_somebody(self) -> SiteException:
        if self.client is None and self.encounter is None:
            raise ValueError("needs client or encounter, or both: what holds for all stands under rules")
        return self


class SiteDocument(Strict):
    """The site file. `rules` by rule id (`shared` for thresholds of tables/thresholds.yaml), `units` by lab.

    `exceptions`: other values for one client or one kind of encounter.

    `codes` by concept: what this site's own codes mean, beside those that the content knows.
    `encounters` by kind: what this site's own classes of encounters mean, beside those of HL7's ActCode.
    `orderables` by suggestion and client: what its button orders there.
    `protocols` by the problem of a card (of tables/treatment.yaml): where this hospital's own protocol is to be read.
    `region`: whose allowance, whose upper level, and whose hours where the product texts of regions differ.
    """

    site: Text
    rules: dict[Name, SiteRule] = {}
    units: dict[Name, SiteUnit] = {}
    inputs: dict[Name, SiteInput] = {}
    codes: dict[Name, Annotated[list[SiteCode], Field(min_length=1)]] = {}
    encounters: dict[EncounterKind, Annotated[list[SiteCode], Field(min_length=1)]] = {}
    orderables: dict[Name, dict[str, SiteOrderable]] = {}
    region: Region | None = None
    schedule: dict[Name, SiteScheduleValue] = {}
    repetition: SiteRepetition | None = None
    protocols: dict[Name, SiteProtocol] = {}
    exceptions: list[SiteException] = []


def site_schema() -> dict[str, Any]:
    """The JSON Schema of the site file."""
    schema = SiteDocument.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Magnesium CDS site values"
    return schema
