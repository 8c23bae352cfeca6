"""What a scenario file may say: patients in a few lines of YAML, and what is expected of the rule.

A scenario names concepts of `cards/terminology/`. Keys: name, kind, hook, sex, age, pregnant, encounter (its HL7 class,
such as IMP), conditions, drugs, drafts, selected, labs, intake, raw, without, failed, site, expect. `given` in a file
holds what all its scenarios share; its `expect` is what every card says that the rule leads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cds_service.sandbox.scenario_family import Family, expand

KINDS = ("fires", "at_the_limit", "no_data", "stale", "other_coding", "near_miss", "contraindication", "site_value")
Resource = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConditionLine(_Strict):
    """`condition` is a concept; or codes outright; `text` alone is one in words. `recorded`: when it was listed."""

    condition: str | None = None
    snomed: str | None = None
    icd10cm: str | None = None
    text: str = ""
    clinical: str = "active"
    verification: str = "confirmed"
    recorded: str | None = None


class DrugLine(_Strict):
    """`drug` is a concept (sent with its ingredient code and title); `text` alone is a name without code. `since`, like
    '3 days ago', is when it was ordered, or for a statement when it was begun. What is `given` goes on since then, or
    was given then or until `until`, by its status."""

    drug: str | None = None
    text: str | None = None
    rxnorm: str | None = None
    atc: str | None = None
    route: str | None = "oral"
    amount: float | None = 1
    unit: str = "{tablet}"
    times: int | None = 1
    period: float = 1
    period_unit: str = "d"
    at: list[str] = []
    when: list[str] = []
    days: list[str] = []
    as_needed: bool = False
    sig: str | None = None
    status: str | None = None
    kind: Literal["order", "statement", "given"] = "order"
    reason: str | ConditionLine | None = None
    kept_apart: str | None = None
    ends: str | None = None
    since: str | None = None
    until: str | None = None


class LabLine(_Strict):
    """`lab` is a concept; `loinc` another code. `taken` is like '3 days ago', '' for no time."""

    lab: str | None = None
    loinc: str | None = None
    value: int | float | None = None
    unit: str | None = None
    unit_code: str | None = None
    comparator: str | None = None
    taken: str = "1 day ago"
    low: float | None = None
    high: float | None = None
    flag: str | None = None
    status: str = "final"
    note: str | None = None
    text: str | None = None


class Evidence(_Strict):
    """What a card says of its evidence."""

    certainty: Literal["high", "moderate", "low", "very_low"]
    strength: Literal["strong", "conditional"]
    direction: Literal["for", "against"]


class Expect(_Strict):
    """Of the rule that the file is named after; `others` of other rules.

    `shown` says where a rule that fired is told: it `leads` its card, stands `beneath` the rule `under` on that one's
    card, is `named` in a line because there are too many cards, or is `silent`. All words are those of the card that
    tells it. `options` and `reasons` (codes) are whole lists, in order. With `offers_magnesium: false` no card of the
    answer changes an order or plans times for magnesium.
    """

    outcome: Literal["fired", "quiet", "not_evaluated", "not_applicable"]
    reason: str | None = None
    shown: Literal["leads", "beneath", "named", "silent"] = "leads"
    under: str | None = None
    indicator: str | None = None
    summary: list[str] | str = []
    detail: list[str] | str = []
    absent: list[str] | str = []
    evidence: Evidence | None = None
    options: list[str] | None = None
    suggestions: list[str] | None = None
    reasons: list[str] | None = None
    offers_magnesium: bool = True
    others: dict[str, str] = {}
    cards: int | None = None

    def missing(self, *, first: bool) -> list[str]:
        """What a rule that fired has to say of its card, and does not. The first scenario of a file says all of it."""
        needed = {"leads": ["indicator", "summary"], "beneath": ["indicator", "under"]}.get(self.shown, [])
        lacking = [name for name in needed if not getattr(self, name)]
        whole = ["evidence", "options", "suggestions", "reasons"] if first else []
        return lacking + [name for name in whole if getattr(self, name) is None]


class Scenario(_Strict):
    """One patient and what the rule says of them.

    `fires_for` guards lists. Under `drugs`, `drafts` or `conditions` it holds every concept that makes the rule fire
    when it stands first in that list; under `reason`, as the reason of the first draft. A class stands for each of its
    members. All other concepts of the kind together do not make it fire: the tests make these patients.
    """

    name: Annotated[str, Field(min_length=10)]
    kind: Literal[
        "fires", "at_the_limit", "no_data", "stale", "other_coding", "near_miss", "contraindication", "site_value",
        "quiet",
    ]  # fmt: skip
    hook: Literal["patient-view", "order-select", "order-sign"] = "patient-view"
    sex: Literal["female", "male"] | None = "female"
    age: int | float | None = 58
    pregnant: bool | None = None
    deceased: bool = False
    encounter: str | None = None
    conditions: list[str | ConditionLine] = []
    drugs: list[str | DrugLine] = []
    drafts: list[str | DrugLine] = []
    selected: list[int] | None = None
    labs: list[LabLine] = []
    intake: dict[str, Any] | None = None
    raw: list[Resource] = []
    without: list[str] = []
    failed: list[str] = []
    site: dict[str, Any] | None = None
    fires_for: dict[Literal["drugs", "drafts", "conditions", "reason"], Annotated[list[str], Field(min_length=1)]] = {}
    expect: Expect


class ScenarioFile(_Strict):
    """`not_here` names kinds that make no sense for the rule, each with the reason.

    `family` fills the shapes of scenario_family.py; the scenarios made of them stand behind those of the file.
    `in_pregnancy` is the outcome for the first scenario's patient, were she pregnant.
    """

    given: dict[str, Any] = {}
    not_here: dict[str, Annotated[str, Field(min_length=10)]] = {}
    in_pregnancy: Literal["fired", "not_evaluated", "not_applicable"] = "fired"
    family: Family | None = None
    scenarios: Annotated[list[Scenario], Field(min_length=1)]

    @model_validator(mode="after")
    def _says_what_cards_say(self) -> ScenarioFile:
        if self.scenarios[0].expect.outcome != "fired" or self.scenarios[0].expect.shown != "leads":
            raise ValueError("in the first scenario the rule fires and leads its card")
        for index, case in enumerate(self.scenarios):
            missing = case.expect.missing(first=index == 0) if case.expect.outcome == "fired" else []
            if missing:
                raise ValueError(f"{case.name}: expect lacks {', '.join(missing)}")
        return self


def read_file(data: dict[str, Any]) -> ScenarioFile:
    """The file with the scenarios of its family, `given` filled into every scenario, and its `expect` into those in
    which the rule leads a card."""
    given = dict(data.get("given", {}))
    said = given.pop("expect", {})
    family = expand(Family.model_validate(data["family"]), given.get("sex", "female")) if "family" in data else []
    filled = [{**given, **item} for item in [*data.get("scenarios", []), *family]]
    for item in filled:
        if item["expect"].get("outcome") == "fired" and item["expect"].get("shown", "leads") == "leads":
            item["expect"] = {**said, **item["expect"]}
    return ScenarioFile.model_validate({**data, "scenarios": filled})
