"""Timing rules in the short form of their family: a file says what is the rule's own, `families.yaml` the rest.

`fill` puts both together to the long form that every other rule is written in, and keeps where each part came from,
so that a fault in the long form is told at the file, key and line that somebody can mend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cds_service.content.base import Name, Region, Strict, Text
from cds_service.content.rule import Indicator, Reviewed, RuleEvidence
from cds_service.content.yamlfile import ContentError, Document, Fault, KeyPath
from cds_service.spelling import nearest

FAMILIES = "families.yaml"
_SIDES: dict[Literal["after_drug", "before_drug"], str] = {
    "after_drug": "drug_then_magnesium",
    "before_drug": "magnesium_then_drug",
}
FamilyName = Literal["separate", "avoid"]
"""A family is called by the block of the long form that its rules fill."""
_IN_BRACES = re.compile(r"\{(\w+)\}")


class Dated(Strict):
    """Hours, which hold from the family's `since`; once they change, `values` has every number with its date."""

    hours: Decimal | None = None
    values: dict[date, Decimal] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.hours is None) == (not self.values):
            raise ValueError("needs either hours or values")
        return self

    @property
    def newest(self) -> Decimal | None:
        return self.values[max(self.values)] if self.values else self.hours


class RegionalWait(Dated):
    """The same as the product texts of one region have it."""

    reference: Name


class Wait(Dated):
    """Hours from one dose to the next. A number alone stands for `hours`. The other keys are given where this side
    differs; `regions` where the texts of one region ask for another wait."""

    label: Text | None = None
    site_may_set: tuple[Decimal, Decimal] | None = None
    regions: dict[Region, RegionalWait] = {}
    reference: Name | None = None

    @property
    def all_newest(self) -> list[Decimal]:
        """The numbers that may be in force, of every region."""
        return [number for each in (self, *self.regions.values()) if (number := each.newest) is not None]


def _number_alone(value: Any) -> Any:
    return value if isinstance(value, dict | Wait) else {"hours": value}


class Hours(Strict):
    """Hours from the drug to the next magnesium (`after_drug`), and from magnesium to the next drug (`before_drug`)."""

    after_drug: Annotated[Wait, BeforeValidator(_number_alone)]
    before_drug: Annotated[Wait, BeforeValidator(_number_alone)]
    interval: Literal["drug_specific", "general_rule"]
    reference: Name


class ShortRule(Strict):
    """A timing rule in short form; its keys stand in this order.

    `called`: the drug in title and labels; the title of its concept if left out. `magnesium` may name lists of the
    family, and `limits` hold {names} of its sentences. `reasons` names a list of override reasons. The options of the
    card are `first_option` (if left out the family's, if "" none) and `consider`.
    """

    family: str
    drug: Name
    called: Text | None = None
    title: Text | None = None
    reviewed: Reviewed | None = None
    hours: Hours | None = None
    magnesium: list[Name] | None = None
    unless_form: list[str] | None = None
    fixed_by_label: bool | None = None
    urgency: Indicator
    priority: int | None = None
    reasons: Name | None = None
    problem: Name | None = None
    why: Text
    limits: Text
    summary: Text | None = None
    detail: Text | None = None
    first_option: str | None = None
    consider: list[Text] = []
    evidence: dict[str, Any]
    claims: list[str] | None = None


class Urgency(Strict):
    """The priority of a card of this urgency, and the name of its list of override reasons."""

    priority: int
    reasons: Name


class SharedHours(Strict):
    """What thresholds share. `since` dates the hours; `site_may_set` has the range for each number of them."""

    since: date
    unit: str
    label: dict[Literal["after_drug", "before_drug"], Text]
    site_may_set: dict[Decimal, tuple[Decimal, Decimal]]

    @model_validator(mode="after")
    def _within_range(self) -> SharedHours:
        for hours, (low, high) in self.site_may_set.items():
            if not low <= hours <= high:
                raise ValueError(f"site_may_set: {hours} is outside its own range")
        return self


class Family(Strict):
    """What timing rules share. Its title, labels and limits may hold {drug_name} and {Drug_name}, the drug as the rule
    calls it. A family without `hours` is of drugs that no distance helps."""

    title: Text
    services: list[str]
    status: str
    reviewed: Reviewed
    hours: SharedHours | None = None
    magnesium: dict[Name, list[Name]] = {}
    topic: Name
    urgency: dict[Indicator, Urgency]
    first_option: str = ""
    suggest: list[Name] = []
    reasons: Annotated[dict[Name, list[Name]], Field(min_length=1)]
    direction: Literal["for", "against"]
    limits: dict[Name, Text] = {}

    @model_validator(mode="after")
    def _names_exist(self) -> Family:
        for item in self.urgency.values():
            if item.reasons not in self.reasons:
                raise ValueError(f"urgency: no reasons named {item.reasons}{nearest(item.reasons, self.reasons)}")
        labels = self.hours.label.values() if self.hours else ()
        for text in (self.title, *labels, *self.limits.values()):
            if unknown := set(_IN_BRACES.findall(text)) - {"drug_name", "Drug_name"}:
                raise ValueError(f"{min(unknown)} is not filled in: {text.strip()}")
        return self


@dataclass(frozen=True, slots=True)
class Filled(Document):
    """A rule in long form. `origins`: the document and the key that a part came from, of it or of a part around it."""

    origins: Mapping[KeyPath, tuple[Document, KeyPath]]

    def fault(self, path: KeyPath, message: str) -> Fault:
        """A fault where the part at `path` was written."""
        known = path
        while known not in self.origins:
            known = known[:-1]
        document, at = self.origins[known]
        return document.fault((*at, *path[len(known) :]), message)


@dataclass(frozen=True, slots=True)
class _Part:
    """A value of the long form, and where it was written."""

    value: Any
    document: Document
    at: KeyPath


def fill(rule_id: str, document: Document, rule: ShortRule, family: Family, shared: Document, title: str) -> Filled:
    """The rule in long form. `shared` is the document of the families, `title` that of the drug's concept. Raises
    ContentError where the rule names what its family does not have."""
    drug = rule.called or f"{title[:1].lower()}{title[1:]}"
    _check_names(document, rule, family)

    def own(*at: str) -> _Part | None:
        return _part(document, at)

    def given(*at: Any) -> _Part | None:
        part = _part(shared, (rule.family, *at))
        return part and _Part(_with_drug(part.value, drug), part.document, part.at)

    def threshold(side: Literal["after_drug", "before_drug"]) -> dict[str, Any]:
        wait: Wait = getattr(rule.hours, side)

        def values(*at: str) -> _Part | None:
            dated, number = own(*at, "values"), own(*at, "hours") or own(*at)
            if dated or number is None or family.hours is None:
                return dated
            return _Part({family.hours.since: number.value}, document, number.at)

        ranges = [part for hours in wait.all_newest if (part := given("hours", "site_may_set", hours))]
        span = ranges[0] if len(ranges) == 1 else ranges and replace(ranges[0], value=_around(ranges))
        at = ("hours", side, "regions")
        return {
            "label": own("hours", side, "label") or given("hours", "label", side),
            "unit": given("hours", "unit"),
            "values": values("hours", side),
            "site_may_set": own("hours", side, "site_may_set") or span,
            "regions": {
                region: {"values": values(*at, region), "reference": own(*at, region, "reference")}
                for region in wait.regions
            },
            "reference": own("hours", side, "reference") or own("hours", "reference"),
        }

    sides = _SIDES if rule.hours else {}
    sentences = {name: _with_drug(text, drug).strip() for name, text in family.limits.items()}
    first = given("first_option") if rule.first_option is None else own("first_option")
    evidence = dict.fromkeys([*RuleEvidence.model_fields, *rule.evidence])
    long = {
        "title": own("title") or given("title"),
        "services": given("services"),
        "status": given("status"),
        "reviewed": own("reviewed") or given("reviewed"),
        "why": own("why"),
        "known_limits": _Part(_IN_BRACES.sub(lambda found: sentences[found[1]], rule.limits), document, ("limits",)),
        "thresholds": {name: threshold(side) for side, name in sides.items()},
        rule.family: {
            "drug": own("drug"),
            **{name: _Part(name, document, ("hours", side)) for side, name in sides.items()},
            "interval": own("hours", "interval"),
            "magnesium": [
                _Part(salt, document, ("magnesium", index))
                for index, name in enumerate(rule.magnesium or ())
                for salt in family.magnesium.get(name, [name])
            ],
            "unless_form": own("unless_form"),
            "fixed_by_label": own("fixed_by_label"),
        },
        "card": {
            "indicator": own("urgency"),
            "topic": given("topic"),
            "problem": own("problem") or _Part(rule_id, document, ()),
            "priority": own("priority") or given("urgency", rule.urgency, "priority"),
            "summary": own("summary"),
            "detail": own("detail"),
            "consider": [
                *([first] if first and first.value else ()),
                *(_Part(text, document, ("consider", index)) for index, text in enumerate(rule.consider)),
            ],
            "suggest": given("suggest"),
            "override_reasons": given("reasons", rule.reasons or family.urgency[rule.urgency].reasons),
        },
        "evidence": {key: own("evidence", key) or (given(key) if key == "direction" else None) for key in evidence},
        "claims": own("claims"),
    }
    origins: dict[KeyPath, tuple[Document, KeyPath]] = {(): (document, ()), ("evidence",): (document, ("evidence",))}
    origins |= {("thresholds", name): (document, ("hours", side)) for side, name in sides.items()}
    lines: dict[KeyPath, int] = {}
    return Filled(document.file, _unpacked(long, (), lines, origins), lines, origins)


def _around(ranges: Sequence[_Part]) -> list[Decimal]:
    """One range around all of them."""
    return [min(part.value[0] for part in ranges), max(part.value[1] for part in ranges)]


def _check_names(document: Document, rule: ShortRule, family: Family) -> None:
    """Raises ContentError where the rule names what its family does not have."""
    faults = []
    named: list[tuple[str, str, Mapping[Any, Any]]] = [("urgency", rule.urgency, family.urgency)]
    named += [("reasons", rule.reasons, family.reasons)] if rule.reasons else []
    named += [("limits", name, family.limits) for name in _IN_BRACES.findall(rule.limits)]
    for key, name, known in named:
        if name not in known:
            message = f"the family {rule.family} has no {key} named {name}{nearest(name, known)}"
            faults.append(document.fault((key,), message))
    if (rule.hours is None) != (family.hours is None):
        message = f"the family {rule.family} {'needs' if family.hours else 'has no'} hours"
        faults.append(document.fault(("hours",), message))
    ranges = family.hours.site_may_set if family.hours else {}
    for side in _SIDES if rule.hours and family.hours else ():
        wait: Wait = getattr(rule.hours, side)
        for newest in wait.all_newest if wait.site_may_set is None else ():
            if newest not in ranges:
                message = f"the family {rule.family} has no site_may_set for {newest} hours; give it here"
                faults.append(document.fault(("hours", side), message))
    if faults:
        raise ContentError(faults)


def _part(document: Document, at: Sequence[Any]) -> _Part | None:
    """What stands in a document under these keys; None where nothing does."""
    value = document.data
    for key in at:
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else _Part(value, document, tuple(map(str, at)))


def _with_drug(value: Any, drug: str) -> Any:
    """A text of the family with the drug's name in it; any other value as it is."""
    if not isinstance(value, str):
        return value
    return value.replace("{drug_name}", drug).replace("{Drug_name}", f"{drug[:1].upper()}{drug[1:]}")


def _unpacked(
    value: Any, path: KeyPath, lines: dict[KeyPath, int], origins: dict[KeyPath, tuple[Document, KeyPath]]
) -> Any:
    """The plain data, without what is empty; `lines` gets every key, `origins` where each part was written."""
    if isinstance(value, _Part):
        origins[path] = value.document, value.at
        value = value.value
    lines[path] = origins[path][0].fault(origins[path][1], "").line if path in origins else 0
    if isinstance(value, dict):
        inner = {key: _unpacked(item, (*path, str(key)), lines, origins) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None and item not in ({}, [])}
    if isinstance(value, list):
        return [_unpacked(item, (*path, index), lines, origins) for index, item in enumerate(value)]
    return value
