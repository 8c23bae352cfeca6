"""Torsades, acute severe asthma and eclampsia are treated with magnesium: no card speaks against giving it there.

Every patient of every scenario file for whom magnesium by vein is ordered gets such an emergency as the reason of the
order. What warns of the dose itself, of a level above the range of a running obstetric infusion, or of another product
may still say "against".
"""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.sandbox.expected import EXTENSION
from cds_service.sandbox.scenario import DrugLine, Scenario
from tests.conftest import shipped
from tests.test_scenarios import FILES, told

RULES = {name: loaded.rule for name, loaded in shipped().library.rules.items()}
AGAINST = {name for name, rule in RULES.items() if rule.evidence.direction == "against"}
OF_THE_DOSE = {name for name in AGAINST if name.startswith("injected_magnesium_dose")}
OF_A_RUNNING_INFUSION = {"magnesium_ordered_above_infusion_range", "magnesium_ordered_far_above_infusion_range"}
EMERGENCIES = ["torsades_de_pointes", "acute_asthma", "pre_eclampsia"]


def by_vein(case: Scenario) -> bool:
    """Whether all that is ordered is magnesium by vein."""
    lines = [DrugLine(drug=item) if isinstance(item, str) else item for item in case.drafts]
    return bool(lines) and all(
        line.route == "intravenous" and "magnesium" in (line.drug or "") and line.kind == "order" for line in lines
    )


CASES = [
    pytest.param(rule, case, id=f"{rule}: {case.name}")
    for rule, file in FILES.items()
    for case in file.scenarios
    if case.hook != "patient-view" and not case.site and by_vein(case) and case.expect.outcome == "fired"
]


def for_emergency(case: Scenario, emergency: str) -> Scenario:
    lines = [DrugLine(drug=item) if isinstance(item, str) else item for item in case.drafts]
    drafts = [line.model_copy(update={"reason": emergency}) for line in lines]
    woman = {"sex": "female", "age": 29} if emergency == "pre_eclampsia" else {}
    return case.model_copy(update={"drafts": drafts, **woman})


@pytest.mark.parametrize("emergency", EMERGENCIES)
@pytest.mark.parametrize(("rule", "case"), CASES)
def test_nobody_is_told_to_withhold_the_treatment_of_an_emergency(
    rule: str, case: Scenario, emergency: str, client: FlaskClient, content: Content
) -> None:
    answer: dict[str, Any] = told(client, content, rule, for_emergency(case, emergency))
    fired = {one["rule"] for one in answer["extension"][EXTENSION]["outcomes"] if one["outcome"] == "fired"}
    assert fired & AGAINST <= OF_THE_DOSE | OF_A_RUNNING_INFUSION


def test_there_are_such_patients_and_such_rules() -> None:
    assert len(CASES) > 40
    assert {"magnesium_with_heart_block", "intravenous_magnesium_with_kidney_failure"} <= AGAINST - OF_THE_DOSE
