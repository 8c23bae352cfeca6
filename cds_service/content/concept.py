"""The typed form of one concept: its codes, names and units."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cds_service.content.base import Name, Strict, Text

MAGNESIUM = "magnesium"
"""The concept of all magnesium products."""
BODY_WEIGHT = "body_weight"
INJECTED_SALT = "magnesium_sulfate"
"""The salt in whose grams injected magnesium is ordered, and counted here."""
SERUM_MAGNESIUM = "serum_magnesium"


class Checked(Strict):
    """Where the codes were read, and when."""

    source: Text
    date: date


class MeasuredCode(Strict):
    """A code of a test or observation, its system (a short name of `terminology/code_systems.yaml`) and the property
    that it measures: `either` is mass or substance, as the unit says. `flag` race_based: the code holds a race
    coefficient, which the card discloses."""

    system: Name
    code: str
    property: Literal[
        "mass", "substance", "either", "rate", "time", "fraction", "ratio", "mass_per_day", "status", "other"
    ]
    flag: Literal["race_based"] | None = None


class LabOrderCode(Strict):
    """The test that a suggestion orders."""

    code: str
    display: Text


def _grams_per_mole(value: Any) -> Any:
    return value.removesuffix(" g/mol") if isinstance(value, str) and value.endswith(" g/mol") else value


class CodedAnswer(Strict):
    """A coded answer to an observation."""

    system: Text
    code: Text


class Concept(Strict):
    """One concept. The file stem is its id; `member_of` names broader concepts, `members` narrower ones.

    Drugs: `not` are phrases that cancel a name inside them; `counter_ion_of` names acids beside which a metal is no
    drug, `beside_a_salt` the words for that metal, of which the short ones mean it before a salt only.
    Conditions: `icd10` (of the WHO) and `icd9cm` are read as prefixes; `names` are whole texts that mean it where
    no code of a known system says what does.
    `short`: what people say, for the first line of a card; else the title.
    `proper_name`: the title begins with a name and keeps its capital within a sentence.
    Labs: `unit` is canonical UCUM, `site_units` what a site or a client may choose, `sent_in` what else laboratories
    report it in, `decimals` the precision of comparison and display in `unit`; `stated_unit_wins`: a unit that
    contradicts the code is believed where in the code's own unit the value would not be `plausible`;
    from `unit_doubtful_from` on a card of a high value says that its unit may be a wrong one;
    `laboratory` is false of what another department measures, such as an ECG;
    `trouble_effect` is what trouble with the specimen does, by the kinds of `tables/specimen_comments.yaml`.
    """

    title: Text
    short: Text | None = None
    proper_name: bool = False
    kind: Literal["drug", "drug_class", "condition", "lab", "observation"]
    names: list[str] = []
    brands: list[str] = []
    not_: Annotated[list[str], Field(alias="not")] = []
    counter_ion_of: list[str] = []
    beside_a_salt: list[str] = []
    rxnorm_ingredients: list[str] = []
    atc: list[str] = []
    atc_prefixes: list[str] = []
    member_of: list[Name] = []
    members: list[Name] = []
    snomed: list[str] = []
    icd10cm: list[str] = []
    icd10cm_prefixes: list[str] = []
    icd10: list[str] = []
    icd9cm: list[str] = []
    codes: list[MeasuredCode] = []
    input: Name | None = None
    unit: str | None = None
    site_units: list[str] = []
    laboratory: bool = True
    sent_in: list[str] = []
    decimals: int = 2
    molar_mass: Annotated[Decimal | None, BeforeValidator(_grams_per_mole)] = None
    valence: int | None = None
    plausible: tuple[Decimal, Decimal] | None = None
    unit_doubtful_from: Decimal | None = None
    stated_unit_wins: bool = False
    trouble_effect: dict[Name, Literal["falsely_high", "falsely_low", "either"]] = {}
    order: LabOrderCode | None = None
    values: dict[Literal["yes", "no", "unknown"], list[CodedAnswer]] | None = None
    never_used_as: str | None = None
    note: Text | None = None
    not_confirmed: list[Name] = []
    checked: Checked


class DrugLine(Strict):
    """A drug of which only its name and codes are needed. `names` are those besides its id."""

    title: Text | None = None
    names: list[str] = []
    brands: list[str] = []
    rxnorm_ingredients: list[str] = []
    atc: list[str] = []


class DrugList(Strict):
    """Drugs in short form, by id: a line each."""

    checked: Checked
    drugs: dict[Name, DrugLine]

    def concepts(self) -> dict[str, Concept]:
        """The same as a file for each would say it."""
        made = {}
        for name, line in self.drugs.items():
            said = name.replace("_", " ")
            row = {"title": said.capitalize(), **line.model_dump(exclude_none=True), "names": [said, *line.names]}
            made[name] = Concept.model_validate({**row, "kind": "drug", "checked": self.checked})
        return made


def broader(concepts: Mapping[str, Concept]) -> dict[str, frozenset[str]]:
    """Every concept above each one (`member_of` up, `members` down). One that is above itself stands in a ring."""
    direct = {name: {*entry.member_of} for name, entry in concepts.items()}
    for name, entry in concepts.items():
        for member in entry.members:
            direct.get(member, set()).add(name)
    above: dict[str, frozenset[str]] = {}
    for name, waiting in direct.items():
        found: set[str] = set()
        while waiting := waiting - found:
            found |= waiting
            waiting = set().union(*(direct.get(one, ()) for one in waiting))
        above[name] = frozenset(found)
    return above
