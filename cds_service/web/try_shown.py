"""What the page shows of one call: cards as the client shows them, the exchange, every rule's outcome, the day."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from markupsafe import Markup

from cds_service.advice.card_extension import EXTENSION
from cds_service.hooks.diagnostics import diagnosed
from cds_service.planner import token
from cds_service.planner.model import Plan, PlanContent, PlanRequest, alike, clock
from cds_service.planner.picture import NARROW, WIDE, svg
from cds_service.planner.plan import plan_day
from cds_service.planner.times_in_words import day_words
from cds_service.publish.why import Why, tree
from cds_service.spelling import joined
from cds_service.trust.profile import Profile
from cds_service.web.markdown import shown
from cds_service.web.try_call import Answered, Json, Made

LONGEST_SHOWN: Final = 256 * 1024
"""Bytes of a request that a page repeats; of what is longer it names the size."""
END: Final = "MAGNESIUM_CDS_REQUEST"
SECRET: Final = "fhirAuthorization"  # noqa: S105 - the name of the member
GROUPS: Final = (
    ("fired", "Fired"),
    ("not_evaluated", "Not checked"),
    ("not_applicable", "Not for this patient"),
    ("quiet", "Quiet"),
)


@dataclass(frozen=True, slots=True)
class Day:
    """The day behind a card: its times in words, its picture for a desk and for a phone, and its own page's path."""

    times: list[tuple[str, str]]
    wide: Markup
    narrow: Markup
    path: str


def card_shown(card: Json, profile: Profile) -> Json:
    """A card with what a template needs: detail as HTML, and the words that this client puts on each button."""
    buttons = []
    for suggestion in card.get("suggestions", ()):
        actions = suggestion.get("actions", ())
        described = next((action["description"] for action in actions if action.get("description")), "")
        words = described if profile.button_text == "description" and described else suggestion["label"]
        buttons.append({"uuid": suggestion["uuid"], "words": words, "actions": [a["description"] for a in actions]})
    detail = shown(card.get("detail", ""), profile.markdown)
    told = card.get("extension", {}).get(EXTENSION, {})
    return {**card, "html": detail, "buttons": buttons, "rule": told.get("rule", "")}


def outcomes(made: Made) -> list[tuple[str, str, list[tuple[Why, str]]]]:
    """Every rule's outcome with its tree and its reasons in a line, by kind: what fired first. Kinds with none are left
    out."""
    told = [tree(made.advice, made.rulebook, made.service, each.rule_id) for each in made.advice.evaluation.outcomes]
    hidden = {each.rule_id for each in made.advice.evaluation.outcomes if each.rule.visibility != "shown"}
    found = []
    for kind, title in GROUPS:
        rows = [
            (each, "; ".join([*each.reasons, *(["this site shows no card of it"] if each.rule in hidden else [])]))
            for each in sorted(told, key=lambda one: one.title)
            if each.outcome == kind
        ]
        if rows:
            found.append((kind, title, rows))
    return found


def open_points(made: Made, body: bytes, known_keys: Collection[str]) -> list[str]:
    """What is missing, and what could not be read, in words: of each input, of each entry, of each rule that was not
    evaluated."""
    facts = made.chart.facts
    found = [f"Not checked: {reason}" for reason in made.advice.not_checked()]
    found += [
        f"prefetch {key}: {state.state}{f', of which {state.unreadable} cannot be read' if state.unreadable else ''}"
        for key, state in sorted(facts.inputs.items())
        if state.state not in ("given", "empty", "fetched") or state.unreadable
    ]
    prefetch = json.loads(body).get("prefetch") or {}
    told = diagnosed(dict.fromkeys(prefetch, b""), known_keys, made.chart, True).get("diagnostics", {})
    found += [f"prefetch {key}: nobody asked for this key" for key in told.get("unknownPrefetchKeys", ())]
    named = told.get("notIdentified", {}).get("entries", ())
    found += [f"{entry['resource']}: not identified: {entry['name'] or 'it has no name'}" for entry in named]
    found += [f"{entry['at']}: {entry['fault']}" for entry in told.get("notRead", ())]
    return list(dict.fromkeys(found))


def without_secret(body: bytes) -> tuple[bytes, bool]:
    """A request without the token that it may hold, and whether it held one. Raises ValueError where it is no JSON."""
    document = json.loads(body)
    if not isinstance(document, dict) or SECRET not in document:
        return body, False
    return json.dumps({key: value for key, value in document.items() if key != SECRET}).encode(), True


def pretty(document: Any) -> str:
    """JSON to read."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def curl(address: str, text: str, needs_token: bool) -> str:
    """A command that makes the same call: the request follows it, so that no file is needed. A line of JSON never is
    the word that ends it."""
    token_line = '  -H "Authorization: Bearer $TOKEN" \\\n' if needs_token else ""
    return (
        f"curl -sS '{address}' \\\n  -H 'Content-Type: application/json' \\\n{token_line}"
        f"  --data-binary @- <<'{END}'\n{text}\n{END}\n"
    )


def days(answered: Answered, secret: str, content: PlanContent, now: datetime, seconds: int) -> list[Day]:
    """The days that the cards link to, each once."""
    found = {}
    for card in answered.cards:
        for link in card.get("links", ()):
            path = urlsplit(link["url"]).path
            if path.startswith("/plan/") and path not in found:
                asked = token.read(path.rpartition("/")[2], secret, seconds, content, now.date())
                found[path] = day_of(asked, plan_day(asked), path)
    return list(found.values())


def day_of(request: PlanRequest, plan: Plan, path: str) -> Day:
    """The times, and the picture in both sizes."""
    times = [(day_words(weekdays), joined(map(clock, minutes))) for minutes, weekdays in alike(plan.week).items()]
    return Day(
        [(words, said) for words, said in times if said],
        svg(request, plan, WIDE, inline=True), svg(request, plan, NARROW, inline=True), path,
    )  # fmt: skip


def reason_value(reason: Mapping[str, Any]) -> str:
    """A reason to dismiss as one value of a menu."""
    return json.dumps([reason["code"], reason.get("system")])


def read_reason(value: str) -> dict[str, Any] | None:
    """The coding of such a value; None where none was chosen. Raises ValueError."""
    if not value:
        return None
    code, system = json.loads(value)
    return {"code": code, "system": system} if system else {"code": code}
