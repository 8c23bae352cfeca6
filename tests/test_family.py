"""The scenarios that drugs share: cds_service/sandbox/scenario_family.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cds_service.sandbox.scenario import ScenarioFile, read_file
from cds_service.sandbox.scenario_family import Family, expand, shapes
from tests.test_scenarios import FILES, WHOLE

DRUG: dict[str, Any] = {"drug": "alendronic_acid", "after": 0.5, "before": 4}
GIVEN = {"sex": "male", "expect": {"indicator": "info", "summary": "keep apart"}}


def made(**more: Any) -> ScenarioFile:
    return read_file({"given": GIVEN, "family": DRUG | more, "scenarios": [WHOLE]})


def test_a_scenario_of_a_shape_is_named_and_timed_by_the_drug() -> None:
    cases = {case.name: case for case in made().scenarios}
    apart = cases["magnesium oxide at 08:30, exactly half an hour after alendronic acid at 08:00, is apart"]
    assert apart.model_dump(include={"drugs", "drafts"}, exclude_defaults=True) == {
        "drugs": [{"drug": "alendronic_acid", "at": ["08:00"]}],
        "drafts": [{"drug": "magnesium_oxide", "at": ["08:30"]}],
    }
    assert "a night worker's magnesium oxide at 22:30 and alendronic acid at 02:30 are apart across midnight" in cases
    assert (
        "a night worker's alendronic acid at 22:30 and magnesium oxide at 22:45 are too close across midnight" in cases
    )


def test_each_product_of_a_list_is_a_patient_of_their_own() -> None:
    before = {case.name for case in made().scenarios}
    after = {case.name for case in made(names=["Fosamax 70 MG Oral Tablet", "Binosto"]).scenarios}
    assert after - before == {
        "Fosamax 70 MG Oral Tablet, without a code, holds alendronic acid",
        "Binosto, without a code, holds alendronic acid",
    }


@pytest.mark.parametrize("name", ["no_such_shape", "exactly_after"])
def test_a_shape_that_cannot_be_chosen_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"also: no such shape to choose: {name}"):
        made(also=[name])


def test_a_word_that_no_shape_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="tablets"):
        made(tablets=["Binosto"])


def test_no_two_scenarios_of_a_rule_have_one_name() -> None:
    for rule, file in FILES.items():
        names = [case.name for case in file.scenarios]
        assert len(names) == len(set(names)), rule


def test_every_shape_and_every_list_is_used() -> None:
    families = [file.family for file in FILES.values() if file.family]
    for name, shape in shapes().items():
        assert any(not shape.also or name in family.also for family in families), name
        assert any(not shape.each or getattr(family, shape.each) for family in families), name
    lists = {name for name in Family.model_fields if isinstance(getattr(Family(**DRUG), name), list)} - {"also"}
    assert lists == {shape.each for shape in shapes().values() if shape.each}
    assert len(expand(Family(**DRUG), "male")) == sum(
        not shape.also and (not shape.each or bool(getattr(Family(**DRUG), shape.each))) for shape in shapes().values()
    )
