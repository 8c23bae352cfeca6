"""In hospital results age faster, and what a card says about time is the limit that was applied.

Every threshold that another one can stand in for is set to a number of its own; the patients of the scenarios are then
sent from a ward and from home, and no text may print a number that was not applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.advice.loaded_content import Content
from cds_service.content.rule import PLACEHOLDER, Rule
from cds_service.sandbox.expected import outcome_of
from cds_service.sandbox.scenario import Scenario
from tests.conftest import NOW, shipped
from tests.test_scenarios import FILES, post, site_app, site_client

__all__ = ["site_app", "site_client"]

SHARED = shipped().library.shared_thresholds
HOSPITAL = sorted(shipped().library.inpatient_classes)
HOME = [None, "AMB", "HH", "VR"]
VARYING = {name: [case.threshold for case in item.instead] for name, item in SHARED.items() if item.instead}
WARD_ONLY = {name for cases in VARYING.values() for name in cases if "inpatient" in name}


def own_numbers() -> dict[str, int]:
    """A number for each of these thresholds, different from all others and within what a site may set."""
    taken: dict[str, int] = {}
    for name in sorted(
        {*VARYING, *(item for cases in VARYING.values() for item in cases)}, key=lambda name: (_room(name), name)
    ):
        low, high = SHARED[name].site_may_set or (0, 0)
        usual = int(SHARED[name].at(NOW.date()))
        near = sorted(range(max(int(low), 2), int(high) + 1), key=lambda number: abs(number - usual))
        taken[name] = next(number for number in near if number not in taken.values())
    return taken


def _room(name: str) -> int:
    low, high = SHARED[name].site_may_set or (0, 0)
    return int(high - low)


NUMBERS = own_numbers()
SITE = {
    "rules": {
        "shared": {
            "thresholds": {name: {"value": value, "reason": "A number of its own"} for name, value in NUMBERS.items()}
        }
    }
}


def printed(rule: Rule) -> set[str]:
    """The thresholds among these that the texts of a card name."""
    texts = (rule.card.summary, rule.card.short, rule.card.detail, *rule.card.options())
    return {name for text in texts if text for name in PLACEHOLDER.findall(text)} & VARYING.keys()


PRINTING = {name: found for name, loaded in shipped().library.rules.items() if (found := printed(loaded.rule))}


def patients() -> Iterator[tuple[str, Scenario]]:
    for rule in PRINTING:
        for case in FILES[rule].scenarios:
            if case.expect.outcome == "fired" and not case.site:
                yield rule, case


def words(answer: dict[str, Any]) -> str:
    return "\n".join(f"{card['summary']}\n{card['detail']}" for card in answer["cards"])


def says(text: str, name: str) -> bool:
    """Whether a text prints the number of a threshold. How old a result is stands there as 'days old'."""
    return bool(re.search(rf"\b{NUMBERS[name]} days\b(?! old)", text))


@pytest.mark.parametrize("encounter", [*HOSPITAL, *HOME])
def test_no_text_prints_a_limit_that_was_not_applied(
    encounter: str | None, content: Content, site_client: Callable[[dict[str, Any]], FlaskClient]
) -> None:
    client, seen = site_client(SITE), set()
    in_ward = encounter in HOSPITAL
    wrong = VARYING.keys() if in_ward else WARD_ONLY
    for rule, case in patients():
        answer = post(client, content, case.model_copy(update={"encounter": encounter}))
        text = re.sub(r"\*\*Note:\*\*.*", "", words(answer))
        lies = [name for name in wrong if says(text, name)]
        assert not lies, (rule, case.name, lies, text)
        if outcome_of(rule, answer)["outcome"] == "fired":
            seen |= {name for name in PRINTING[rule] if any(says(text, one) for one in (name, *VARYING[name]))}
    assert seen == {name for found in PRINTING.values() for name in found} - ({"danger_warns"} if in_ward else set())


def test_every_number_of_these_is_its_own() -> None:
    assert len(NUMBERS) > 15
    assert len(set(NUMBERS.values())) == len(NUMBERS)


@pytest.mark.parametrize("rule", sorted(shipped().library.rules))
def test_no_text_writes_out_a_limit_that_differs_between_patients(rule: str) -> None:
    written = shipped().library.rules[rule].rule
    used = {item.name for item in written.named() if item.mark.what == "threshold"} & VARYING.keys()
    numbers = {int(SHARED[name].at(NOW.date())) for key in used for name in (key, *VARYING[key])}
    texts = (written.card.summary, written.card.short, written.card.detail, *written.card.options())
    found = [text for text in texts for number in numbers if text and re.search(rf"\b{number} (d|days?|h)\b", text)]
    assert not found


LOW = {"lab": "serum_magnesium", "value": 0.58, "unit": "mmol/L"}


@pytest.mark.parametrize(
    ("days", "encounter", "expected"),
    [
        (3, "IMP", "not_applicable"),
        (1, "IMP", "fired"),
        (3, "EMER", "not_applicable"),
        (3, "AMB", "fired"),
        (3, None, "fired"),
    ],
)
def test_results_age_faster_in_hospital(
    client: FlaskClient, content: Content, days: int, encounter: str | None, expected: str
) -> None:
    case = Scenario.model_validate(
        {
            "name": "a low magnesium of some days ago",
            "kind": "stale",
            "expect": {"outcome": "fired"},
            "encounter": encounter,
            "labs": [LOW | {"taken": f"{days} days ago"}],
        }
    )
    answer = post(client, content, case)
    found = outcome_of("low_serum_magnesium", answer)
    assert found["outcome"] == expected
    if expected == "not_applicable":
        assert "3 days old" in found["reason"]
        assert outcome_of("low_magnesium_not_repeated", answer)["outcome"] == "fired"
        assert "older than 2 days" in words(answer)


@pytest.mark.parametrize(
    ("days", "encounter", "expected"),
    [(7, "IMP", "quiet"), (8, "IMP", "fired"), (8, "AMB", "quiet"), (90, None, "quiet"), (91, None, "fired")],
)
def test_an_order_replaces_a_low_level_of_a_week_in_hospital_and_of_three_months_outside(
    client: FlaskClient, content: Content, days: int, encounter: str | None, expected: str
) -> None:
    case = Scenario.model_validate(
        {
            "name": "magnesium is ordered after a low level",
            "kind": "stale",
            "hook": "order-sign",
            "expect": {"outcome": "fired"},
            "encounter": encounter,
            "drafts": [{"text": "Magnesium Oxide 400 MG Oral Tablet", "rxnorm": "198741", "times": 2}],
            "labs": [LOW | {"taken": f"{days} days ago"}],
        }
    )
    assert outcome_of("magnesium_above_upper_level", post(client, content, case))["outcome"] == expected
