"""The card-writing rules, held on every card that the sample patients, the recorded calls and some scenarios give.

Words of a detail are counted without its "Not checked" and "Note" lines and the development notice: those tell what the
service lacked and grow with it, while the limit of 120 is for what a clinician is asked to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from uuid import UUID
from zlib import crc32

import pytest
from fhir.resources.R4B import get_fhir_model_class
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.content.checks import FORBIDDEN
from tests import test_golden
from tests.conformance.calls import (
    Body,
    answered,
    every_sample_call,
    own,
    walk,
)
from tests.conftest import shipped
from tests.support.some import some
from tests.test_scenarios import FILES, told
from tests.test_text_of_the_ehr import RENDERERS, inert

NOT_COUNTED = ("**Not checked:**", "**Note:**", "*Development profile")
MOST_WORDS = 120
# Alarm is the indicator's part; orders are the clinician's.
MORE_FORBIDDEN = re.compile(r"\b(danger\w*|urgent\w*|immediately|warning|alert|always|never|should|!)|!", re.IGNORECASE)
# Capitals that are names of units, tests and drugs' forms, not shouting.
SHOUTING = re.compile(r"\b[A-Z]{6,}\b")


@pytest.fixture(scope="module")
def answers(app: Flask, content: Content) -> list[tuple[str, Body]]:
    """Answers, each with where it comes from. Scenarios with site values are tried in test_scenarios.py."""
    client = app.test_client()
    found = [(name, answered(client, body)) for name, body in every_sample_call(client)]
    for name in test_golden.CALLS:
        if "without-draft" not in name:
            body = test_golden.recorded(name)
            found.append((f"{name}, as recorded", answered(client, body)))
            found.append((f"{name}, under our keys", answered(client, test_golden.with_our_prefetch(body, client))))
    for rule, file in FILES.items():
        cases = [case for case in file.scenarios if not case.site]
        fired = [case for case in cases if case.expect.outcome == "fired"]
        # Scenarios of one rule differ little in their cards: its first ones, and a sample.
        every = [case for case in cases if case in fired[:3] or crc32(f"{rule}: {case.name}".encode()) % 5 == 0]
        found += [(f"{rule}: {case.name}", told(client, content, rule, case)) for case in every]
    return found


@pytest.fixture(scope="module")
def cards(answers: list[tuple[str, Body]]) -> list[tuple[str, Body]]:
    """Every card that tells a finding."""
    found = [(name, card) for name, answer in answers for card in answer["cards"]]
    told = [(name, card) for name, card in found if own(card)["rule"] != "not_evaluated"]
    assert len(told) > 60
    return told


@pytest.fixture(scope="module")
def open_cards(answers: list[tuple[str, Body]]) -> list[tuple[str, Body]]:
    """Every card that says what could not be checked."""
    found = [(name, card) for name, answer in answers for card in answer["cards"]]
    left = [(name, card) for name, card in found if own(card)["rule"] == "not_evaluated"]
    assert len(left) > 10
    return left


def hold(cards: list[tuple[str, Body]], fault: Callable[[Body], object]) -> None:
    """No card has the fault; all that have are named."""
    faults = [f"{name}: {found!r}" for name, card in cards if (found := fault(card))]
    assert not faults, f"{len(faults)} of {len(cards)} cards:\n" + "\n".join(faults[:20])


def blocks(card: Body) -> list[str]:
    found: list[str] = card["detail"].split("\n\n")
    return found


def tells_a_result(card: Body) -> bool:
    return shipped().library.rules[own(card)["rule"]].rule.tells_a_result


def test_summaries_are_one_line_shorter_than_140_and_end_with_the_evidence(cards: list[tuple[str, Body]]) -> None:
    """Unless they tell a measured value: a low grade behind it would read as doubt about the result."""
    label = re.compile(r"[^\n]+ \(evidence: (high|moderate|low|very low)\)")
    hold(cards, lambda card: bool(label.fullmatch(card["summary"])) is tells_a_result(card) and card["summary"])
    assert {tells_a_result(card) for _, card in cards} == {True, False}
    hold(cards, lambda card: len(card["summary"]) >= 140 and card["summary"])


def test_summaries_are_not_cut(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: "…" in card["summary"] and card["summary"])


def test_summaries_name_a_value_a_date_or_a_drug_of_this_patient(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: not own(card).get("inputs") and "no " not in card["summary"].lower() and card["summary"])


def test_details_have_why_consider_and_evidence_in_this_order(cards: list[tuple[str, Body]]) -> None:
    def wrong(card: Body) -> object:
        places = [card["detail"].find(f"**{head}:**") for head in ("Why", "Consider", "Evidence")]
        return -1 in places or places != sorted(places) or places[0] != 0

    hold(cards, lambda card: wrong(card) and card["detail"])


def test_details_have_at_most_120_words(cards: list[tuple[str, Body]]) -> None:
    def words(card: Body) -> int:
        counted = " ".join(block for block in blocks(card) if not block.startswith(NOT_COUNTED))
        return len([word for word in counted.split() if re.search(r"\w", word)])

    hold(cards, lambda card: words(card) > MOST_WORDS and (words(card), card["summary"]))


def test_lists_have_at_most_five_lines(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: [block for block in blocks(card) if block.count("\n- ") > 5])


def test_evidence_names_certainty_strength_direction_and_source(cards: list[tuple[str, Body]]) -> None:
    line = re.compile(
        r"\*\*Evidence:\*\* (High|Moderate|Low|Very low) certainty, (strong|conditional) recommendation "
        r"(for these options|against giving magnesium)\. \S.+"
    )
    hold(cards, lambda card: not any(line.match(block) for block in blocks(card)) and card["detail"])


def test_the_evidence_of_summary_detail_and_extension_agree(cards: list[tuple[str, Body]]) -> None:
    def wrong(card: Body) -> object:
        code = own(card)["evidence"]["certainty"]["code"]
        if tells_a_result(card):
            label = code.replace("-", " ")
        else:
            label = card["summary"].rsplit("(evidence: ", 1)[1].rstrip(")")
        return code != label.replace(" ", "-") or f"**Evidence:** {label.capitalize()} certainty" not in card["detail"]

    hold(cards, wrong)


def test_no_card_uses_a_forbidden_word(cards: list[tuple[str, Body]]) -> None:
    def found(card: Body) -> list[str]:
        shown = " ".join([card["summary"], *(b for b in blocks(card) if not b.startswith("*Development"))])
        shown = " ".join([shown, *(s["label"] for s in card.get("suggestions", []))])
        return [hit[0] for pattern in (FORBIDDEN, MORE_FORBIDDEN, SHOUTING) for hit in pattern.finditer(shown)]

    hold(cards, lambda card: [(word, card["summary"]) for word in found(card)])


def test_every_card_and_every_suggestion_has_a_uuid(cards: list[tuple[str, Body]]) -> None:
    ids = [card["uuid"] for _, card in cards]
    ids += [item["uuid"] for _, card in cards for item in card.get("suggestions", [])]
    assert len(set(ids)) == len(ids)
    assert all(str(UUID(one)) == one for one in ids)


def test_every_card_has_a_coded_topic_and_its_source_has_a_name(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: not {"code", "system", "display"} <= card["source"]["topic"].keys())
    hold(cards, lambda card: not card["source"]["label"].strip())


def test_links_are_absolute_lead_to_the_evidence_and_name_no_patient(cards: list[tuple[str, Body]]) -> None:
    ours = re.compile(r"https?://[^/?#]+/(evidence/[a-z0-9_]+|plan/[\w.-]+|claims/[A-Z]+-\d+)")

    def wrong(card: Body) -> object:
        urls = [link["url"] for link in card["links"]] + [card["source"]["url"]]
        return [url for url in urls if not ours.fullmatch(url)]

    hold(cards, wrong)
    hold(cards, lambda card: "/evidence/" not in card["source"]["url"])
    hold(cards, lambda card: [link for link in card["links"] if link["type"] != "absolute" or not link["label"]])
    hold(cards, lambda card: own(card)["rule"] not in card["links"][0]["url"])


def test_override_reasons_are_at_most_six_whole_codings_of_our_own(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: not 1 <= len(card.get("overrideReasons", [])) <= 6)
    hold(cards, lambda card: [r for r in card["overrideReasons"] if set(r) != {"code", "system", "display"}])
    hold(cards, lambda card: [r for r in card["overrideReasons"] if r["system"] != "urn:magnesium-cds:override-reason"])


def test_suggestions_stand_with_a_valid_selection_behavior(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: ("suggestions" in card) != ("selectionBehavior" in card))
    hold(cards, lambda card: card.get("selectionBehavior", "any") not in ("any", "at-most-one"))


def test_suggestion_labels_are_actions_of_at_most_five_words(cards: list[tuple[str, Body]]) -> None:
    hold(cards, lambda card: [s["label"] for s in card.get("suggestions", []) if len(s["label"].split()) > 5])


def test_actions_carry_valid_r4_resources_and_none_deletes(cards: list[tuple[str, Body]]) -> None:
    kinds = set()
    for name, card in cards:
        for suggestion in card.get("suggestions", []):
            assert suggestion["actions"], name
            for action in suggestion["actions"]:
                kinds.add(action["type"])
                resource = action["resource"]
                get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert kinds == {"create", "update"}


def test_an_updated_order_has_a_drug_with_code_or_text(cards: list[tuple[str, Body]]) -> None:
    done = [(name, a) for name, card in cards for s in card.get("suggestions", []) for a in s["actions"]]
    updated = [(name, a["resource"]) for name, a in done if a["type"] == "update"]
    for name, resource in some(one for one in updated if "medicationCodeableConcept" in one[1]):
        assert resource["medicationCodeableConcept"].get("text"), name


def test_no_answer_has_system_actions(answers: list[tuple[str, Body]]) -> None:
    assert not [name for name, answer in answers for path, _ in walk(answer) if "systemActions" in path]


def never_cut(card: Body) -> bool:
    """Whether a finding on it stands among the warnings whatever its own urgency."""
    rules = [own(card)["rule"], *(item["rule"] for item in own(card).get("alsoFired", []))]
    return any(shipped().library.rules[name].rule.card.never_cut for name in rules if name != "not_evaluated")


def test_at_most_three_cards_the_most_urgent_first(answers: list[tuple[str, Body]]) -> None:
    order = ["critical", "warning", "info"]
    for name, answer in some(answers):
        ranks = [min(order.index(card["indicator"]), 1 if never_cut(card) else 2) for card in answer["cards"]]
        assert ranks == sorted(ranks) and len(ranks) <= 3, name


def test_every_rule_that_fired_is_on_a_card_or_named(answers: list[tuple[str, Body]], content: Content) -> None:
    fired = [
        (name, answer["cards"], item["rule"])
        for name, answer in answers
        for item in own(answer)["outcomes"]
        if item["outcome"] == "fired"
    ]
    for name, cards, fired_rule in some(fired):
        told = {rule for card in cards for rule in rules_of(card)}
        named = " ".join(card["detail"] for card in cards)
        loaded = content.library.rules[fired_rule].rule
        problems = {content.library.rules[rule].rule.card.problem for rule in told if rule in content.library.rules}
        shown = fired_rule in told or loaded.title in named or loaded.card.problem in problems
        assert shown or "Further findings" in named, (name, fired_rule)


def rules_of(card: Body) -> list[str]:
    return [own(card)["rule"], *(item["rule"] for item in own(card).get("alsoFired", []))]


def test_no_answer_is_empty_unless_every_rule_was_evaluated(answers: list[tuple[str, Body]]) -> None:
    for name, answer in some(one for one in answers if not one[1]["cards"]):
        kinds = {item["outcome"] for item in own(answer)["outcomes"]}
        assert kinds <= {"quiet", "not_applicable"}, name


def test_a_card_on_what_was_not_checked_gives_no_all_clear(open_cards: list[tuple[str, Body]]) -> None:
    hold(open_cards, lambda card: card["indicator"] != "info")
    hold(open_cards, lambda card: not card["summary"].startswith("Magnesium check not complete: "))
    hold(open_cards, lambda card: "no all-clear" not in card["detail"])
    hold(open_cards, lambda card: len(card["summary"]) >= 140)
    hold(open_cards, lambda card: "suggestions" in card)
    hold(open_cards, lambda card: not own(card)["reasons"])


@pytest.mark.parametrize("renderer", RENDERERS)
def test_rendered_details_hold_only_paragraphs_emphasis_and_lists(
    renderer: str, answers: list[tuple[str, Body]], content: Content
) -> None:
    for detail in some({card["detail"] for _, answer in answers for card in answer["cards"]}):
        assert inert(RENDERERS[renderer](detail), content), detail


def test_summaries_and_labels_are_plain_text_of_printable_characters(answers: list[tuple[str, Body]]) -> None:
    for name, card in some((name, card) for name, answer in answers for card in answer["cards"]):
        for text in [card["summary"], *(s["label"] for s in card.get("suggestions", []))]:
            assert text.isprintable() and not re.search(r"<(?! \d)|>(?! \d)|[`|\\\[\]]|\*\*", text), (name, text)


def test_no_card_shows_a_source_of_a_weak_kind(cards: list[tuple[str, Body]], content: Content) -> None:
    """A compendium, a web page or a textbook: by its name or its title, in any text of the card."""
    sources = content.library.references.values()
    weak = {name for item in sources if item.weak for name in (item.name, item.title)}
    weak -= {name for item in sources if not item.weak for name in (item.name, item.title)}
    assert weak
    hold(cards, lambda card: any(name in text for text in shown(card) for name in weak))


def test_a_card_names_the_first_source_of_its_rule_or_says_that_the_primary_text_was_not_read(
    cards: list[tuple[str, Body]], content: Content
) -> None:
    library, words = content.library, content.library.wording

    def wrong(card: Body) -> bool:
        first = library.references[library.rules[own(card)["rule"]].rule.evidence.references[0]]
        named = words.primary_not_read if first.weak else first.dated
        label = words.source_label if first.weak else first.name
        return named.lower() not in card["detail"].lower() or card["source"]["label"] != label

    hold(cards, wrong)


def shown(card: Body) -> Iterator[str]:
    """Every text of a card that somebody reads."""
    parts = {key: value for key, value in card.items() if key != "extension"}
    yield from (value for _, value in walk(parts) if isinstance(value, str))
