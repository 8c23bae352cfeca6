"""The patients that a scenario file stands for without writing them out."""

from __future__ import annotations

from typing import Any

from cds_service.content.library import Library
from cds_service.sandbox.scenario import DrugLine, Expect, Scenario, ScenarioFile

MANY = 150  # fewer than a request may draft at once


def variants(rule: str, file: ScenarioFile, library: Library) -> list[Scenario]:
    """What the rule's file says without writing it out.

    Its first scenario in pregnancy; each scenario that has `fires_for`, once for each concept there, and once with all
    others of the kind, which are quiet.

    Others of a list without magnesium salts leave magnesium out.
    """
    first = file.scenarios[0]
    expect = Expect(outcome=file.in_pregnancy)
    change = {"name": "the first one in pregnancy", "sex": "female", "pregnant": True, "expect": expect}
    made = [first.model_copy(update=change)]
    broader = _all_broader(library)
    # These end the rule, so they stand among no others.
    never = {"pregnancy", *library.rules[rule].rule.applies_to.unless_condition}
    for case, place, named in ((one, *item) for one in file.scenarios for item in one.fires_for.items()):
        kind = "condition" if place in ("conditions", "reason") else "drug"
        known = {name for name, concept in library.terminology.items() if concept.kind == kind} - never
        wanted = {name for name in known if broader[name] & set(named)}
        made += [_with(case, place, [name], f"{name} first in {place}: {case.name}") for name in sorted(wanted)]
        salts = all(name.startswith("magnesium_") for name in named)
        others = {
            name for name in known - wanted if name != "magnesium" and (salts or not name.startswith("magnesium_"))
        }
        taken = set().union(*(_codes(name, library) for name in wanted))
        coded = sorted(name for name in others if (codes := _codes(name, library)) and not codes & taken)
        for start in range(0, len(coded), MANY):
            few = coded[start : start + MANY]
            made.append(_with(case, place, few, f"all others in {place}, {few[0]} to {few[-1]}: {case.name}", "quiet"))
    return made


def _all_broader(library: Library) -> dict[str, set[str]]:
    """Of each concept itself and all that it belongs to."""
    above = {name: {*entry.member_of} for name, entry in library.terminology.items()}
    for name, entry in library.terminology.items():
        for member in entry.members:
            above[member].add(name)

    def broader(name: str) -> set[str]:
        return {name}.union(*map(broader, above[name]))

    return {name: broader(name) for name in above}


def _codes(name: str, library: Library) -> set[str]:
    """The concept's own codes, without those of its members. Two conditions may share one."""
    entry = library.terminology[name]
    return {*entry.rxnorm_ingredients, *entry.snomed, *entry.icd10cm}


def _with(case: Scenario, place: str, concepts: list[str], name: str, outcome: str = "fired") -> Scenario:
    """The scenario with these concepts in place of the one that stands first in a list."""
    change: dict[str, Any] = {"name": name, "expect": Expect.model_validate({"outcome": outcome})}
    kept, *rest = getattr(case, "drafts" if place == "reason" else place)
    line = DrugLine(drug=kept) if isinstance(kept, str) else kept
    if place == "reason":
        # A draft with each of the reasons: an order may have only one here.
        return case.model_copy(update=change | {"drafts": [line.model_copy(update={"reason": c}) for c in concepts]})
    lines: list[Any] = concepts
    if place != "conditions":
        blank = {"text": None, "rxnorm": None, "atc": None}
        lines = [line.model_copy(update={**blank, "drug": concept}) for concept in concepts]
    return case.model_copy(update=change | {place: [*lines, *rest]})
