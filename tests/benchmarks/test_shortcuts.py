"""What makes calls fast changes no answer."""

import copy
import random
from datetime import UTC, datetime

import orjson
import pytest

from cds_service.advice.needs import all_needs
from cds_service.content.current import CurrentRulebook
from cds_service.content.direction_words import Token, tokens_of, words_of
from cds_service.fhir import read_chart, validation
from cds_service.rules.evaluate import evaluate
from cds_service.rules.prepared import Prepared
from tests.benchmarks.bodies import resources

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
RESOURCES = [row for rows in resources("typical", NOW).values() for row in rows]
RESOURCES = [orjson.loads(orjson.dumps(row).replace(b"@@@@@@@@", b"00000007")) for row in RESOURCES]


def broken(resource, number):
    """The resource with one fault, of a kind that the number chooses; None if it has no place for it."""
    made = copy.deepcopy(resource)
    kind = number % 6
    if kind == 0:
        made["unknownElement"] = {"text": "x"}
    elif kind == 1:
        made.pop("subject", None)
    elif kind == 2 and "code" in made:
        made["code"]["coding"][0]["code"] = {"not": "text"}
    elif kind == 3 and "valueQuantity" in made:
        made["valueString"] = "a second value"
    elif kind == 4 and "category" in made:
        made["category"].append(None)
    elif kind == 5 and "dosageInstruction" in made:
        made["dosageInstruction"][0]["timing"]["repeat"]["frequency"] = "often"
    else:
        return None
    return None if made == resource else made


def verdict(resource, monkeypatch=None):
    """The places of the faults; with `monkeypatch`, without what is remembered of elements."""
    if monkeypatch is not None:
        monkeypatch.setattr(validation, "_elements", validation._Elements())
    return validation._check(copy.deepcopy(resource), r5=False)


def test_remembered_elements_hide_no_fault(monkeypatch):
    for resource in RESOURCES:
        assert verdict(resource) == ""
    known = validation._elements
    checked = 0
    for number, resource in enumerate(RESOURCES * 6):
        made = broken(resource, number // len(RESOURCES))
        if made is None:
            continue
        alone = verdict(made, monkeypatch)
        monkeypatch.setattr(validation, "_elements", known)
        assert verdict(made) == alone
        checked += alone != ""
    assert checked > 100


def test_an_element_of_another_place_is_not_known():
    condition = next(r for r in RESOURCES if r["resourceType"] == "Condition")
    assert verdict(condition) == ""
    # A list of concepts is right in `category` and wrong in `code`.
    assert verdict({**condition, "code": condition["category"]}) != ""


@pytest.mark.parametrize("left_out", [(), ("medications",), ("conditions",), ("serum_magnesium", "kidney")])
@pytest.mark.parametrize("service", ["magnesium-patient-view", "magnesium-order-select"])
def test_rules_decided_beforehand_have_the_outcome_of_trying_them(content, service, left_out, monkeypatch):
    needs = list(all_needs(content.library).values())
    rulebook = CurrentRulebook(content.library, None, frozenset(need.key for need in needs)).on(NOW.date())
    facts = read_chart(
        patient_id="person-00000007",
        needs=needs,
        prefetch={
            key: orjson.dumps(
                rows[0] if key == "patient" else {"resourceType": "Bundle", "entry": [{"resource": r} for r in rows]}
            ).replace(b"@@@@@@@@", b"00000007")
            for key, rows in resources("typical", NOW).items()
            if key not in left_out
        },
        draft_orders=None,
        selections=[],
        vocabulary=content.vocabulary,
        now=NOW,
        server=None,
    ).facts
    quick = evaluate(facts, rulebook, service).outcomes
    monkeypatch.setattr(Prepared, "cannot_fire", lambda self, context: False)
    assert evaluate(facts, rulebook, service).outcomes == quick
    assert sum(outcome.kind == "quiet" for outcome in quick) > 10 or left_out


def test_ascii_text_has_the_words_that_it_would_have_beside_another_letter():
    chars = random.Random(16)
    for _ in range(5000):
        text = "".join(chr(chars.randrange(128)) for _ in range(chars.randrange(14)))
        assert tokens_of(text + " \u00e9") == [*tokens_of(text + " "), Token("word", "e")]
        letters = "".join(chars.choice("aBcXyZ") for _ in range(chars.randrange(1, 9)))
        assert words_of(letters) == tuple(token.text for token in tokens_of(letters))
