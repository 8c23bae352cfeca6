"""No card proposes to give or to change magnesium while another one says that magnesium may do harm.

Every rule that is about a magnesium product is met with every rule that contraindicates magnesium, in one patient made
from a firing scenario of each. Run with `-rP` to read how many pairs were met.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.content.base import named
from cds_service.content.rule import Rule
from cds_service.sandbox.expected import EXTENSION
from cds_service.sandbox.scenario import Builder, LabLine, Scenario
from tests.conftest import NOW, shipped
from tests.support.some import some
from tests.test_scenarios import FILES

RULES = {name: loaded.rule for name, loaded in shipped().library.rules.items() if loaded.rule.status == "active"}
ORDER, CHART = "order", "chart"
HOOKS = {ORDER: ("order-select", "order-sign"), CHART: ("patient-view",)}
# What one patient has once: kidney function is one fact, measured either way.
SAME = {"creatinine": "egfr"}

NO_SUCH_KIDNEY = "no kidney has both functions, or one that is known and unknown"
BANDS = (
    "magnesium_with_kidney_failure",
    "magnesium_with_low_kidney_function",
    "magnesium_with_reduced_kidney_function",
    "magnesium_with_unknown_kidney_function",
    "intravenous_magnesium_with_unknown_kidney_function",
)
# Pairs that no patient can have, with the reason.
IMPOSSIBLE = {frozenset(pair): NO_SUCH_KIDNEY for pair in combinations(BANDS, 2)}
# Where severe kidney disease is on record, its own rules speak.
ON_RECORD = (
    "calcitriol_dialysis_avoid",
    "intravenous_magnesium_with_kidney_failure",
    "magnesium_with_dialysis",
    "magnesium_with_stage_4_kidney_disease",
)
DOXERCALCIFEROL = "doxercalciferol_with_magnesium_on_dialysis"
IMPOSSIBLE |= {
    frozenset(pair): "severe kidney disease on record is no unknown"
    for pair in product(BANDS[3:], (*ON_RECORD, DOXERCALCIFEROL))
}
# One newest level: recent or old, of everybody, of somebody on an infusion, or of a mother on one.
OF_EVERYBODY = ("high_serum_magnesium", "severely_high_serum_magnesium")
ON_AN_INFUSION = ("high_magnesium_during_infusion", "severely_high_magnesium_during_infusion")
OF_A_MOTHER = (
    "magnesium_above_infusion_range",
    "magnesium_far_above_infusion_range",
    "high_magnesium_with_old_infusion_order",
)
LOW = ("low_magnesium_with_low_kidney_function", "low_magnesium_with_replacement_risk")
ORDERED_BY_EVERYBODY = (
    "magnesium_ordered_with_high_magnesium",
    "magnesium_ordered_with_severely_high_magnesium",
    "emergency_magnesium_with_high_magnesium",
    "emergency_magnesium_with_severely_high_magnesium",
)
ORDERED_FOR_A_MOTHER = ("magnesium_ordered_above_infusion_range", "magnesium_ordered_far_above_infusion_range")
LEVELS = (
    (LOW, (*OF_EVERYBODY, *ON_AN_INFUSION, *OF_A_MOTHER, "high_magnesium_in_use")),
    (OF_EVERYBODY, ON_AN_INFUSION, OF_A_MOTHER, ("high_magnesium_not_repeated",)),
    (("high_magnesium_in_use",), OF_A_MOTHER, ("high_magnesium_not_repeated",)),
    (ORDERED_BY_EVERYBODY, ORDERED_FOR_A_MOTHER, ("magnesium_ordered_after_high_magnesium",)),
)
IMPOSSIBLE |= {
    frozenset(pair): "one newest level, for one of the rules"
    for groups in LEVELS
    for one, other in combinations(groups, 2)
    for pair in product(one, other)
}
IMPOSSIBLE |= {
    frozenset(("obstetric_infusion_with_high_creatinine", rule)): "the level of a mother on an infusion is judged apart"
    for rule in (*OF_EVERYBODY, *ON_AN_INFUSION, "high_magnesium_in_use")
}
IMPOSSIBLE |= {
    frozenset(("laxative_dose_in_older_people", rule)): "no mother is that old" for rule in ORDERED_FOR_A_MOTHER
}
for _dialysis in ("magnesium_with_dialysis", "calcitriol_dialysis_avoid", DOXERCALCIFEROL):
    _pair = frozenset(("magnesium_with_unknown_kidney_function", _dialysis))
    IMPOSSIBLE[_pair] = "on dialysis nobody asks for creatinine"
# One newest level: recent or old, and with pre-eclampsia held against a limit of its own.
LEVELS = ("magnesium_ordered_with_high_magnesium", "magnesium_ordered_with_severely_high_magnesium")
OTHER_LEVELS = ("magnesium_ordered_above_infusion_range", "magnesium_ordered_after_high_magnesium")
IMPOSSIBLE |= {frozenset(pair): "one newest level, for one of the rules" for pair in product(LEVELS, OTHER_LEVELS)}
IMPOSSIBLE |= {frozenset(OTHER_LEVELS): "one newest level, for one of the rules"}
# On the chart: a low level that was replaced, or a high one; and a severely high one of today, or of long ago.
REPLACED = ("magnesium_replaced_not_measured_again", "magnesium_infused_not_measured_again")
SEVERE_TODAY, SEVERE_LONG_AGO = "severely_high_magnesium_while_magnesium_is_taken", "severely_high_magnesium_long_ago"
OLD_HIGH = ("high_magnesium_not_repeated", "severely_high_magnesium_not_repeated", SEVERE_LONG_AGO)
TREATED = (*ON_AN_INFUSION, *OF_A_MOTHER)
ONE_LEVEL = [
    *product(REPLACED, (*OLD_HIGH, SEVERE_TODAY, "high_magnesium_in_use", *OF_EVERYBODY, *TREATED)),
    *product([SEVERE_TODAY], (*OLD_HIGH, *LOW, *TREATED, "obstetric_infusion_with_high_creatinine")),
    *product([SEVERE_LONG_AGO], (*TREATED, *OF_EVERYBODY, "high_magnesium_in_use")),
    *product(["severely_high_magnesium_not_repeated"], (*OF_A_MOTHER, *LOW)),
]
IMPOSSIBLE |= {frozenset(pair): "one newest level, for one of the rules" for pair in ONE_LEVEL}
IMPOSSIBLE |= {
    frozenset(("obstetric_infusion_with_high_creatinine", rule)): "no creatinine is both of today and not known"
    for rule in ("magnesium_in_use_with_acute_kidney_injury", "magnesium_with_acute_kidney_injury")
}
BESIDE_DIGOXIN = "magnesium_replaced_beside_digoxin_or_qt_drug"
HIGH = (*ORDERED_BY_EVERYBODY, *ORDERED_FOR_A_MOTHER, "magnesium_ordered_after_high_magnesium")
KIDNEYS = (*BANDS[:2], *ON_RECORD[1:])
IMPOSSIBLE |= {frozenset((BESIDE_DIGOXIN, rule)): "one newest level" for rule in HIGH}
IMPOSSIBLE |= {
    frozenset((ON_RECORD[1], rule)): "an infusion for pre-eclampsia is not argued against for the kidneys"
    for rule in (*ORDERED_FOR_A_MOTHER, "obstetric_infusion_with_high_creatinine")
}
IMPOSSIBLE |= {frozenset((BESIDE_DIGOXIN, rule)): "a low level is replaced, not argued against" for rule in KIDNEYS}

# What an order is for decides which of two rules speaks.
MYASTHENIA_BY_VEIN = "intravenous_magnesium_with_myasthenia_gravis"
ONE_PURPOSE = [
    *product(
        [MYASTHENIA_BY_VEIN], ("emergency_magnesium_with_myasthenia_gravis", "obstetric_infusion_with_high_creatinine")
    ),
    *product([MYASTHENIA_BY_VEIN], ORDERED_FOR_A_MOTHER),
    *product([MYASTHENIA_BY_VEIN], ("emergency_magnesium_with_heart_block", *ORDERED_BY_EVERYBODY[2:])),
]
IMPOSSIBLE |= {frozenset(pair): "one order is either for an emergency or not" for pair in ONE_PURPOSE}

REPLACED_UNKNOWN = "magnesium_replaced_with_unknown_kidney_function"
IMPOSSIBLE |= {frozenset((REPLACED_UNKNOWN, rule)): "one newest level" for rule in HIGH}
IMPOSSIBLE |= {frozenset((REPLACED_UNKNOWN, rule)): NO_SUCH_KIDNEY for rule in (*KIDNEYS, "magnesium_with_dialysis")}
IMPOSSIBLE |= {
    frozenset((REPLACED_UNKNOWN, "calcitriol_dialysis_avoid")): "severe kidney disease on record is no unknown",
    frozenset((REPLACED_UNKNOWN, DOXERCALCIFEROL)): "severe kidney disease on record is no unknown",
    frozenset((REPLACED_UNKNOWN, "magnesium_with_acute_kidney_injury")): "another rule asks in acute kidney injury",
    frozenset(
        ("emergency_magnesium_with_myasthenia_gravis", "intravenous_magnesium_with_kidney_failure")
    ): "one order is either for an emergency or not",
}

# A newest level that is not plausible is neither low nor high.
PLAUSIBLE = (
    *(*LOW, *OF_EVERYBODY, *ON_AN_INFUSION, *OF_A_MOTHER, *OLD_HIGH, *HIGH, *REPLACED),
    *("high_magnesium_in_use", SEVERE_TODAY, BESIDE_DIGOXIN, REPLACED_UNKNOWN),
)
IMPOSSIBLE |= {frozenset(("magnesium_result_not_plausible", rule)): "one newest level" for rule in PLAUSIBLE}

UNKNOWN_KIDNEYS = ("magnesium_with_unknown_kidney_function", "intravenous_magnesium_with_unknown_kidney_function")
ACUTE_INJURY = ("magnesium_with_acute_kidney_injury", "intravenous_magnesium_with_acute_kidney_injury")
IMPOSSIBLE |= {
    frozenset(pair): "in acute kidney injury another rule asks for creatinine"
    for pair in product(UNKNOWN_KIDNEYS, ACUTE_INJURY)
}
RISING = (
    "magnesium_with_rising_creatinine",
    "intravenous_magnesium_with_rising_creatinine",
    "magnesium_in_use_with_rising_creatinine",
)
IMPOSSIBLE |= {
    frozenset(pair): "on dialysis a rise of creatinine says nothing"
    for pair in product(("calcitriol_dialysis_avoid", DOXERCALCIFEROL, "magnesium_with_dialysis"), RISING)
}


# The rules that speak against giving magnesium at all, with the reason. Beside them no card offers it or a time for it.
AGAINST_MAGNESIUM = {
    "calcitriol_dialysis_avoid": "on dialysis magnesium cannot leave, and texts of calcitriol warn of it",
    "emergency_magnesium_with_high_magnesium": "the level is high already, though the order treats an emergency",
    "emergency_magnesium_with_severely_high_magnesium": "the level is severely high already",
    "doxercalciferol_with_magnesium_on_dialysis": "on dialysis magnesium cannot leave, and the label warns of it",
    "high_magnesium_not_repeated": "the last level was high and nobody has looked since",
    "high_magnesium_during_infusion": "the level is high already, though an infusion explains it",
    "high_magnesium_in_use": "the level is high already",
    "high_magnesium_with_old_infusion_order": "the level is high, and whether an infusion explains it is not known",
    "high_serum_magnesium": "the level is high already",
    "intravenous_magnesium_with_kidney_failure": "without kidneys magnesium builds up, and nothing explains the order",
    "intravenous_magnesium_with_myasthenia_gravis": "magnesium by vein can bring on a myasthenic crisis",
    "low_magnesium_with_low_kidney_function": "the level is low, but kidneys that clear slowly make a dose too much",
    "low_magnesium_with_replacement_risk": "the level is low, but a problem on record makes replacing it risky",
    "magnesium_in_use_with_acute_kidney_injury": "kidneys that may have failed let the magnesium in use build up",
    "magnesium_in_use_with_low_kidney_function": "kidneys that clear slowly let the magnesium in use build up",
    "magnesium_in_use_with_severe_kidney_disease": "severe kidney disease lets the magnesium in use build up",
    "magnesium_above_infusion_range": "the level is above the range of the infusion",
    "magnesium_far_above_infusion_range": "the level is far above the range of the infusion",
    "magnesium_ordered_above_infusion_range": "the level is above the range of the infusion",
    "magnesium_ordered_far_above_infusion_range": "the level is far above the range of the infusion",
    "magnesium_ordered_after_high_magnesium": "the last level was high and nobody has looked since",
    "magnesium_ordered_with_high_magnesium": "the level is high already",
    "magnesium_ordered_with_severely_high_magnesium": "the level is severely high already",
    "magnesium_with_acute_kidney_injury": "kidneys that may have failed let magnesium build up",
    "magnesium_with_bowel_obstruction": "labels forbid magnesium by mouth where the bowel is obstructed",
    "magnesium_with_dialysis": "without kidneys magnesium builds up",
    "magnesium_with_heart_block": "magnesium slows conduction in a heart that conducts badly",
    "magnesium_with_kidney_failure": "without kidneys magnesium builds up",
    "magnesium_with_low_kidney_function": "kidneys that clear slowly let magnesium build up",
    "magnesium_with_stage_4_kidney_disease": "stage 4 on record is severe kidney disease",
    "magnesium_with_rising_creatinine": "kidneys that are failing let magnesium build up",
    "oral_magnesium_with_myasthenia_gravis": "magnesium by vein can bring on a crisis; by mouth harm is inferred",
    "severely_high_magnesium_during_infusion": "the level is severely high already, though an infusion explains it",
    "magnesium_result_not_plausible": "the level may be anything, and the laboratory has to be asked first",
    "severely_high_magnesium_long_ago": "the last level was severely high and nobody has looked since",
    "severely_high_magnesium_not_repeated": "the last level was severely high and nobody has looked since",
    "severely_high_magnesium_while_magnesium_is_taken": "the level is severely high already",
    "severely_high_serum_magnesium": "the level is severely high already",
}


def touches_magnesium(rule: Rule) -> bool:
    """Whether the rule is about a magnesium product, or offers to change its order."""
    parts = [*rule.needed, *(rule.when.any if rule.when else ())]
    drugs = {item.name for part in parts for item in named(part) if item.mark.what == "drug"}
    return any(drug.startswith("magnesium") for drug in drugs) or any("magnesium" in part.offers for part in parts)


def kinds(rule: Rule) -> set[str]:
    return {CHART if service.endswith("patient-view") else ORDER for service in rule.services}


FORBIDDING = sorted(AGAINST_MAGNESIUM)
TOUCHING = sorted(name for name, rule in RULES.items() if touches_magnesium(rule))
PAIRS = {
    (forbidding, kind): [name for name in TOUCHING if name != forbidding and kind in kinds(RULES[name])]
    for forbidding in FORBIDDING
    for kind in sorted(kinds(RULES[forbidding]))
}


def firing(rule: str, kind: str) -> list[Scenario]:
    """Scenarios in which the rule fires with all its inputs there and no site values, the first ones first."""
    return [
        case
        for case in FILES[rule].scenarios
        if case.expect.outcome == "fired"
        and case.hook in HOOKS[kind]
        and not (case.site or case.without or case.failed or case.selected)
    ]


def merged(first: Scenario, second: Scenario, person: Scenario, measured: Scenario) -> Scenario:
    """One patient with the records of both; where both have the same test, the result of `measured` stands."""

    def lab(line: LabLine) -> str | None:
        return SAME.get(line.lab or "", line.lab) or line.loinc

    other = first if measured is second else second
    taken = {lab(line) for line in measured.labs}
    return second.model_copy(
        update={
            "sex": person.sex,
            "age": person.age,
            "pregnant": person.pregnant,
            "encounter": second.encounter or first.encounter,
            "conditions": [*first.conditions, *(c for c in second.conditions if c not in first.conditions)],
            "drugs": [*first.drugs, *(d for d in second.drugs if d not in first.drugs)],
            "drafts": [*first.drafts, *(d for d in second.drafts if d not in first.drafts)],
            "labs": [*(line for line in other.labs if lab(line) not in taken), *measured.labs],
            "intake": second.intake or first.intake,
            "raw": [*first.raw, *second.raw],
        }
    )


@pytest.fixture(scope="module")
def call(app: Any, content: Content) -> Any:
    """Posts a scenario's call and gives the answer."""
    client: FlaskClient = app.test_client()
    services = {item["hook"]: item for item in orjson.loads(client.get("/cds-services").data)["services"]}
    builder = Builder(content.library, NOW)

    def post(case: Scenario) -> dict[str, Any]:
        service = services[case.hook]
        body = orjson.dumps(builder.request(case, service["prefetch"]))
        answer = client.post(f"/cds-services/{service['id']}", data=body, content_type="application/json")
        assert answer.status_code == 200, answer.data
        read: dict[str, Any] = orjson.loads(answer.data)
        return read

    return post


def fired(answer: dict[str, Any]) -> set[str]:
    return {item["rule"] for item in answer["extension"][EXTENSION]["outcomes"] if item["outcome"] == "fired"}


def both(call: Any, touching: str, forbidding: str, kind: str) -> dict[str, Any] | None:
    """The answer for a patient in whom both rules fire, or None where none of the combinations tried gives one."""
    for second, first in product(firing(forbidding, kind)[:4], firing(touching, kind)[:4]):
        for person, measured in product((first, second), (second, first)):
            answer: dict[str, Any] = call(merged(first, second, person, measured))
            if {touching, forbidding} <= fired(answer):
                return answer
    return None


def actions(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for card in answer["cards"]:
        for suggestion in card.get("suggestions", []):
            yield from suggestion["actions"]
    yield from answer.get("systemActions", [])


def test_these_rules_and_no_others_speak_against_magnesium() -> None:
    assert {name for name, rule in RULES.items() if rule.card.contraindicates_magnesium} == set(AGAINST_MAGNESIUM)


@pytest.mark.parametrize("rule", FORBIDDING)
def test_each_of_them_has_a_patient_with_a_drug_to_keep_apart_who_is_offered_no_magnesium(rule: str) -> None:
    assert any(
        case.expect.outcome == "fired" and not case.expect.offers_magnesium and timing & case.expect.others.items()
        for case in FILES[rule].scenarios
        for timing in [{(name, "fired") for name, item in RULES.items() if item.separate}]
    )


@pytest.mark.parametrize(("forbidding", "kind"), PAIRS, ids=lambda value: str(value))
def test_no_card_gives_or_changes_magnesium_where_it_may_do_harm(call: Any, forbidding: str, kind: str) -> None:
    met, impossible = [], []
    for touching in PAIRS[forbidding, kind]:
        if frozenset((touching, forbidding)) in IMPOSSIBLE:
            impossible.append(f"{touching} ({IMPOSSIBLE[frozenset((touching, forbidding))]})")
            continue
        answer = both(call, touching, forbidding, kind)
        assert answer is not None, f"no patient was found in whom {touching} and {forbidding} both fire"
        for action in actions(answer):
            assert action["type"] == "create", (touching, forbidding, action)
            assert action["resource"]["resourceType"] == "ServiceRequest", (touching, forbidding, action)
        met.append(touching)
    print(f"{forbidding} ({kind}): {len(met)} pairs met, {len(impossible)} impossible", *impossible, sep="; ")
    assert met


def test_without_the_contraindication_the_same_rules_do_offer_a_change(call: Any) -> None:
    """The counterpart: silence above is not for want of suggestions."""
    offering = [name for name in TOUCHING if "keep_apart" in RULES[name].card.suggest]
    silent = [
        name
        for name in offering
        if not any(action["type"] == "update" for case in firing(name, ORDER)[:3] for action in actions(call(case)))
    ]
    assert offering
    assert silent == []


@pytest.mark.parametrize("forbidding", [name for name in FORBIDDING if CHART in kinds(RULES[name])])
def test_no_option_speaks_of_replacement_as_such_where_it_may_do_harm(call: Any, forbidding: str) -> None:
    for case in some(firing(forbidding, CHART)[:4]):
        assert "whether replacement is needed" not in " ".join(card["detail"] for card in call(case)["cards"]), (
            case.name
        )
