"""An order of magnesium for somebody whose kidney function is not known.

Rules on kidneys are then not applicable, because rules of their own say so. Here every patient of every scenario file
for whom magnesium is ordered is asked about twice: with kidneys that have failed, and without any kidney result. Where
the first answer warns of the kidneys, the second one says that they are not known, or that severe kidney disease is on
record, or it is one of the cases that a clinical review ruled to be quiet.
"""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.content.rulebook import make_rulebook
from cds_service.content.site import NO_SITE, read_site
from cds_service.rules.prepared import tells_that_none_is_there
from cds_service.sandbox.expected import EXTENSION
from cds_service.sandbox.scenario import ConditionLine, DrugLine, LabLine, Scenario
from tests.conftest import NOW, shipped
from tests.test_scenarios import FILES, told

LIBRARY = shipped().library
RULES = {name: loaded.rule for name, loaded in LIBRARY.rules.items()}
KIDNEY = {"egfr", "creatinine"}
FAILED = LabLine(lab="egfr", value=10, unit="mL/min/{1.73_m2}", taken="2 hours ago")
# Who has to be told, whatever is ordered: the list of the review, written down apart from the rules.
NEPHROTOXIC = {
    "digoxin", "loop_diuretics", "thiazide_diuretics", "potassium_sparing_diuretics", "aminoglycosides",
    "calcineurin_inhibitors", "cisplatin", "amphotericin_b", "foscarnet",
}  # fmt: skip


CASES = [
    pytest.param(rule, case, id=f"{rule}: {case.name}")
    for rule, file in FILES.items()
    if rule in RULES and RULES[rule].card.topic in ("safety", "deficiency")
    for case in file.scenarios
    if case.hook != "patient-view"
    and not (case.site or case.without or case.failed or case.raw)
    and any("magnesium" in str(line) for line in case.drafts)
]


def about_kidneys(name: str) -> bool:
    when = RULES[name].when
    return when is not None and any("kidney" in test.model_fields_set for test in (*when.all, *when.any))


def fired(answer: dict[str, Any]) -> set[str]:
    return {item["rule"] for item in answer["extension"][EXTENSION]["outcomes"] if item["outcome"] == "fired"}


def with_kidneys(case: Scenario, *labs: LabLine) -> Scenario:
    return case.model_copy(
        update={"labs": [*(line for line in case.labs if line.lab and line.lab not in KIDNEY), *labs]}
    )


def ruled_quiet(case: Scenario, answer: dict[str, Any]) -> bool:
    """What the review ruled: a low level replaced by mouth without kidney disease (A3.1), an emergency by vein, and any
    order below 65 outside hospital without one of the listed risks (B5), by vein for adults alone."""
    by_vein = any("intravenous" in str(line) for line in case.drafts)
    problems = [line if isinstance(line, str) else str(line) for line in case.conditions if active(line)]
    text = f"{problems} {case.drafts}".lower()
    if by_vein and any(word in text for word in ("torsade", "asthma", "i47.21", "j45", "j46")):
        return True
    listed = any(word in str(problems) for word in ("kidney", "ckd", "dialysis", "N17", "N18"))
    low = any(line.lab == "serum_magnesium" and (line.value or 9) < 0.9 for line in case.labs) or "hypomagnes" in text
    if not by_vein and low and not listed:
        return True
    lines = [DrugLine(drug=line) if isinstance(line, str) else line for line in (*case.drugs, *case.drafts)]
    drugs = {line.drug for line in lines if line.status in (None, "active") and line.route != "ophthalmic"}
    classes = {above for drug in drugs if drug in LIBRARY.terminology for above in (drug, *broader(drug))}
    young = case.age is not None and (18 if by_vein else 0) <= case.age < 65
    return young and not (listed or case.encounter or classes & NEPHROTOXIC or fired(answer) & {"high_daily_magnesium"})


def active(line: ConditionLine | str) -> bool:
    return isinstance(line, str) or (line.clinical == "active" and line.verification in ("confirmed", "provisional"))


def broader(drug: str) -> set[str]:
    up = {*LIBRARY.terminology[drug].member_of}
    return up | {name for name, entry in LIBRARY.terminology.items() if drug in entry.members}


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_what_kidneys_would_have_warned_of_is_said_to_be_unknown(
    rule: str, case: Scenario, client: FlaskClient, content: Content
) -> None:
    failed = fired(told(client, content, rule, with_kidneys(case, FAILED)))
    concerned = any(about_kidneys(name) for name in failed)
    answer = told(client, content, rule, with_kidneys(case))
    said = {name for name in fired(answer) if RULES[name].card.problem == "kidney"}
    outcomes = answer["extension"][EXTENSION]["outcomes"]
    said |= {one["rule"] for one in outcomes if one["outcome"] == "not_evaluated" and "unknown_kidney" in one["rule"]}
    assert not concerned or said or ruled_quiet(case, answer), sorted(failed)


def test_there_are_such_patients() -> None:
    assert len(CASES) > 200


def test_the_rules_say_themselves_that_no_kidney_result_is_there() -> None:
    book = make_rulebook(LIBRARY, NO_SITE, NOW.date())
    assert tells_that_none_is_there(book, "magnesium-order-sign") == {"egfr"}
    assert tells_that_none_is_there(book, "magnesium-patient-view") == frozenset()


def test_where_a_site_hides_one_of_these_rules_the_others_say_that_they_could_not_be_tried() -> None:
    hidden = "rules: {magnesium_with_unknown_kidney_function: {show: hidden, reason: Ours}}"
    site = read_site(f"site: Test\n{hidden}\n", "site.yaml", LIBRARY, frozenset())
    book = make_rulebook(LIBRARY, site, NOW.date())
    assert tells_that_none_is_there(book, "magnesium-order-sign") == frozenset()
