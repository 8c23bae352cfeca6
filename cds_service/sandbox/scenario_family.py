"""The patients that many rules share, written once.

`family_separate.yaml` among them holds shapes: scenarios with braces. A rule's own file fills them in its block
`family`, and each shape becomes a scenario of that rule with a name of its own. What the braces may hold is said at
`Family` and `_words`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

FILE = "family_separate.yaml"
Line = str | dict[str, Any]  # A drug as a scenario names it: a concept, or text and codes.


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SiteHours(_Strict):
    """`hours` that a site asks for; `summary` is what the card then says."""

    hours: int
    summary: str = ""


class Family(_Strict):
    """What one drug fills into the shapes: hours that its rule must keep, said a second time, and lists of products.

    `after` is hours from the drug to magnesium, `before` hours from magnesium to the drug. Each list belongs to the
    shape that names it under `each`. `also` names further shapes. `other` is any other drug, with its RxNorm code.
    """

    drug: str
    after: float
    before: float
    salt: str = "magnesium_oxide"
    other: str = "gabapentin"
    other_code: str = "25480"
    in_use: list[Line] = []
    signed_with: list[Line] = []
    codes: list[str] = []
    names: list[str] = []
    atc: list[str] = []
    magnesium_names: list[str] = []
    any_salt: list[str] = ["Magnesium 200 mg tablet"]
    some_salts: list[str] = []
    other_salt_drafted: list[Line] = []
    other_salt_taken: list[Line] = []
    not_by_mouth: list[str] = []
    not_the_drug: list[str] = []
    own_rules: list[str] = []
    not_magnesium: list[Line] = []
    site_after: list[SiteHours] = []
    site_before: list[SiteHours] = []
    site_kept_after: list[SiteHours] = []
    site_kept_before: list[SiteHours] = []
    also: list[str] = []


class Shape(BaseModel):
    """A scenario with braces. Everything but `each` and `also` goes into the scenario."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=10)]
    each: str | None = None
    also: bool = False


@cache
def shapes() -> dict[str, Shape]:
    text = files("cds_service.scenarios").joinpath(FILE).read_text("utf-8")
    data = yaml.load(text, yaml.CSafeLoader)
    return {name: Shape.model_validate(shape) for name, shape in data["shapes"].items()}


def expand(family: Family, sex: str) -> list[dict[str, Any]]:
    """The scenarios of a drug, as its file would hold them; `sex` is that of the file's patient.

    A shape under `also` that is not there, or is made for every drug anyway, raises ValueError.
    """
    optional = {name for name, shape in shapes().items() if shape.also}
    if unknown := sorted(set(family.also) - optional):
        raise ValueError(f"also: no such shape to choose: {', '.join(unknown)}")
    made = []
    for name, shape in shapes().items():
        if shape.also and name not in family.also:
            continue
        for item in getattr(family, shape.each) if shape.each else [None]:
            body = shape.model_dump(exclude={"each", "also"}, exclude_unset=True)
            made.append(_filled(body, _words(family, sex, item)))
    return made


def _words(family: Family, sex: str, item: Line | SiteHours | None) -> dict[str, Any]:
    """What stands for each word in braces. Clock times are those of a drug at 08:00 or of magnesium at 05:00."""
    quarter = 0.25
    words: dict[str, Any] = {
        "drug": family.drug,
        "drug_name": _label(family.drug),
        "drug_title": _label(family.drug).capitalize(),
        "salt": family.salt,
        "salt_name": _label(family.salt),
        "other": family.other,
        "other_code": family.other_code,
        "person": "woman" if sex == "female" else "man",
        "hours_after": _hours(family.after),
        "hours_before": _hours(family.before),
        "h_after": f"{family.after:g}",
        "h_before": f"{family.before:g}",
        "after": _clock(8 + family.after),
        "after_short": _clock(8 + family.after - quarter),
        "before": _clock(5 + family.before),
        "before_short": _clock(5 + family.before - quarter),
        "night_before": _clock(22.5 + family.before),
        "night_after_short": _clock(22.5 + family.after - quarter),
    }
    if isinstance(item, SiteHours):
        return words | {
            "site_hours": _hours(item.hours),
            "site_h": item.hours,
            "site_value": {"value": item.hours, "reason": "Local guideline"},
            "site_summary": item.summary,
            "site_after": _clock(8 + item.hours),
            "site_before": _clock(5 + item.hours),
        }
    return words if item is None else words | {"item": item, "label": _label(item)}


def _filled(value: Any, words: dict[str, Any]) -> Any:
    """A text that is one word in braces becomes what stands for it, of any type; others take it in as text."""
    if isinstance(value, dict):
        return {_filled(key, words): _filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    if not isinstance(value, str):
        return value
    whole = value.removeprefix("{").removesuffix("}")
    return words[whole] if value == f"{{{whole}}}" and whole in words else value.format_map(words)


def _label(line: Line) -> str:
    """A drug in the name of a scenario."""
    if isinstance(line, str):
        return line.replace("_", " ")
    return str(line.get("text") or line.get("drug", "").replace("_", " ") or f"RxNorm code {line['rxnorm']}")


def _hours(hours: float) -> str:
    return {0.5: "half an hour", 1: "1 hour"}.get(hours, f"{hours:g} hours")


def _clock(hours: float) -> str:
    """Hours of the day, past midnight too, as a clock shows them."""
    minutes = round(hours * 60) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
