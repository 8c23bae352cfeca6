"""What a scenario says of an answer, and in what the answer differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cds_service.content.library import Library
from cds_service.sandbox.scenario_file import Evidence, Expect

EXTENSION = "org.magnesium-cds"
# FHIR's words for ours, and ours in the card's line of evidence.
STRENGTH_CODES = {"strong": "strong", "conditional": "weak"}
DIRECTION_WORDS = {"for": "for these options", "against": "against giving magnesium"}
Answer = Mapping[str, Any]


def outcome_of(rule: str, answer: Answer) -> dict[str, Any]:
    """The outcome of one rule in an answer; {} where it was not tried."""
    return next((item for item in answer["extension"][EXTENSION]["outcomes"] if item["rule"] == rule), {})


def leader(card: Mapping[str, Any]) -> str:
    """The rule whose card it is."""
    return str(card["extension"][EXTENSION]["rule"])


def rules_of(card: Mapping[str, Any]) -> list[str]:
    """The rules that a card tells, the leading one first."""
    own = card["extension"][EXTENSION]
    return [leader(card), *(item["rule"] for item in own.get("alsoFired", []))]


def offers(answer: Answer) -> Iterator[dict[str, Any]]:
    """What proposes to give magnesium: any action but a laboratory order, and a link to a planned day."""
    for card in answer["cards"]:
        actions = [action for suggestion in card.get("suggestions", []) for action in suggestion["actions"]]
        yield from (item for item in actions if item["resource"]["resourceType"] != "ServiceRequest")
        yield from (link for link in card.get("links", []) if "/plan/" in link["url"])


def differences(rule: str, expect: Expect, answer: Answer, library: Library) -> list[str]:
    """In what an answer differs from what a scenario of `rule` expects; empty where it does not."""
    return list(_differences(rule, expect, answer, library))


def _differences(rule: str, expect: Expect, answer: Answer, library: Library) -> Iterator[str]:
    found = outcome_of(rule, answer)
    if found.get("outcome") != expect.outcome:
        why = f" ({found['reason']})" if found.get("reason") else ""
        yield f"the outcome is {found.get('outcome', 'missing: this hook does not try it')}{why}, not {expect.outcome}"
        return
    if expect.reason and expect.reason not in found.get("reason", ""):
        yield f"the reason is {found.get('reason', '')!r}, without {expect.reason!r}"
    for other, kind in expect.others.items():
        if (told := outcome_of(other, answer).get("outcome")) != kind:
            yield f"the outcome of {other} is {told}, not {kind}"
    if expect.cards is not None and len(answer["cards"]) != expect.cards:
        yield f"there are {len(answer['cards'])} cards, not {expect.cards}"
    if not expect.offers_magnesium and any(offers(answer)):
        yield "magnesium is offered"
    leads = [card for card in answer["cards"] if leader(card) == rule]
    beneath = [card for card in answer["cards"] if rule in rules_of(card)[1:]]
    where = "silent" if expect.outcome != "fired" else expect.shown
    if [bool(leads), bool(beneath)] != [where == "leads", where == "beneath"]:
        told_by = [rules_of(card) for card in answer["cards"]]
        yield f"the rule is not told where it should be ({where}): the cards are of {told_by}"
        return
    if where in ("leads", "beneath"):
        if len(cards := leads or beneath) != 1:
            yield f"{len(cards)} cards tell it"
        if where == "beneath" and leader(cards[0]) != expect.under:
            yield f"it stands beneath {leader(cards[0])}, not {expect.under}"
        yield from _of_card(cards[0], expect, library)
    elif expect.outcome == "fired":
        last = answer["cards"][-1]["detail"] if answer["cards"] else ""
        if (library.rules[rule].rule.title in last) != (where == "named"):
            yield f"its title {'does not stand' if where == 'named' else 'stands'} on the last card"


def _of_card(card: Mapping[str, Any], expect: Expect, library: Library) -> Iterator[str]:
    """What a scenario says of the card that tells the finding."""
    summary, detail = card["summary"], card["detail"]
    for text in _texts(expect.summary):
        if text not in summary:
            yield f"the summary is {summary!r}, without {text!r}"
    for text in _texts(expect.detail):
        if text not in detail:
            yield f"the detail has no {text!r}: {detail!r}"
    for text in _texts(expect.absent):
        if text in f"{summary}\n{detail}":
            yield f"the card says {text!r}"
    if expect.indicator and card["indicator"] != expect.indicator:
        yield f"the indicator is {card['indicator']}, not {expect.indicator}"
    if expect.evidence:
        yield from _of_evidence(card, expect.evidence, library)
    block = detail.partition("**Consider:**\n")[2].partition("\n\n")[0]
    told = {
        "options": [line.removeprefix("- ") for line in block.splitlines()],
        "suggestions": [item["label"] for item in card.get("suggestions", [])],
        "reasons": [item["code"] for item in card.get("overrideReasons", [])],
    }
    for name, wanted in (("options", expect.options), ("suggestions", expect.suggestions), ("reasons", expect.reasons)):
        if wanted is not None and told[name] != wanted:
            yield f"the {name} are {told[name]}, not {wanted}"


def _of_evidence(card: Mapping[str, Any], said: Evidence, library: Library) -> Iterator[str]:
    """Its code, its line in the detail, and its word at the end of the summary, which no laboratory value has."""
    coded, certainty = card["extension"][EXTENSION]["evidence"], said.certainty.replace("_", " ")
    codes = [coded["certainty"]["code"], coded["strength"]["code"], coded["direction"]]
    wanted = [said.certainty.replace("_", "-"), STRENGTH_CODES[said.strength], said.direction]
    if codes != wanted:
        yield f"the evidence is coded {codes}, not {wanted}"
    line = f"{certainty.capitalize()} certainty, {said.strength} recommendation {DIRECTION_WORDS[said.direction]}."
    if f"**Evidence:** {line}" not in card["detail"]:
        yield f"the detail has no {line!r}: {card['detail']!r}"
    known = library.rules.get(leader(card))
    graded = known is not None and not known.rule.tells_a_result
    if known is not None and card["summary"].endswith(f"(evidence: {certainty})") is not graded:
        yield f"the summary {'does not end' if graded else 'ends'} with its evidence: {card['summary']!r}"


def _texts(said: list[str] | str) -> list[str]:
    return [said] if isinstance(said, str) else said
