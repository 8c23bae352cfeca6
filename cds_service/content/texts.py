"""The typed form of `wording.yaml`: every sentence of a card that is not a rule's own."""

from __future__ import annotations

from typing import Literal

from cds_service.content.base import Name, Region, Strict, Text
from cds_service.content.shared import Read, SourceKind


class TimingText(Strict):
    """Default card wording of `separate` and `avoid` rules."""

    summary: Text
    summary_same: Text
    detail: Text
    detail_same: Text
    consider: list[Text]
    consider_same: list[Text] = []


class PlanText(Strict):
    """Wording of a plan on a card; `alternatives` by the planner's kinds, in its order of preference."""

    why: Text
    also: Text
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
    """`wording.yaml`: every sentence of a card that is not a rule's own."""

    source_label: Text
    packages: dict[Literal["source_label", "line", "note"], Text]
    primary_not_read: Text
    regions: dict[Region, str]
    source_kinds: dict[SourceKind, Text]
    read: dict[Read, Text]
    headings: dict[Literal["why", "consider", "evidence", "note", "not_proposed", "not_checked", "by_hand"], Text]
    separate: dict[Literal["drug_specific", "general_rule"], TimingText]
    avoid: TimingText
    plan: PlanText
    reasons: dict[Name, Text]
    inputs: dict[Name, Text]
    not_proposed: dict[Literal["finding", "hidden", "giving"], Text]
    not_evaluated: dict[Literal["summary", "summary_many", "detail", "line"], Text]
    notes: dict[Name, Text]
    infusion: dict[Name, Text]
    replacing: dict[Literal["level", "reason"], Text]
    overflow: Text
    evidence_line: Text
    evidence_suffix: Text
    allowances: dict[Region, dict[Literal["RDA", "AI"], Text]]
    units: dict[str, str]
    ages: dict[Literal["today", "days", "one_day"], Text]
    persists: dict[Literal["earlier", "despite"], Text]
    since: Text
    last_kidney: Text
    states: dict[Literal["in_hospital", "risen"], Text]
    injected: dict[Name, Text]
    topics: dict[Name, Text]
    parts: dict[Name, Text]
    option_prefix: str
    small_words: frozenset[str]
    keep_apart_phrase: Text
    link_label: Text
    changed_value: Text
    claim_link_label: Text
    dev_notice: Text
