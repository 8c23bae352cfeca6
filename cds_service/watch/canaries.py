"""Patients whose cards are known, asked of the running service as an EHR would ask: what came is held against what the
rulebook in force has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cds_service.advice.card_extension import EXTENSION
from cds_service.content.canaries import Canary
from cds_service.content.rulebook import Rulebook
from cds_service.sandbox.asking import hook_request

Ask = Callable[[str, dict[str, Any]], tuple[int, Mapping[str, Any]]]
"""Calls a service (its id) with a request: HTTP status and answer."""


@dataclass(frozen=True, slots=True)
class Result:
    """Of one canary: what is not as it should be, in words; nothing where all is."""

    name: str
    title: str
    wrong: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        return not self.wrong


def run(rulebook: Rulebook, templates: Mapping[str, Mapping[str, str]], ask: Ask, now: datetime) -> list[Result]:
    """Every canary once. `templates`: the prefetch of each service, by its id."""
    return [_run(canary, name, rulebook, templates, ask, now) for name, canary in rulebook.library.canaries.items()]


def _run(
    canary: Canary, name: str, rulebook: Rulebook, templates: Mapping[str, Mapping[str, str]], ask: Ask, now: datetime
) -> Result:
    services = rulebook.library.services
    service = next((id_ for id_ in templates if id_ in services and services[id_].hook == canary.hook), None)
    if service is None:
        return Result(name, canary.title, (f"no service answers {canary.hook}",))
    # What this site's EHR has not got it does not send.
    sent = {key: text for key, text in templates[service].items() if key not in rulebook.not_available}
    status, answer = ask(service, hook_request(canary, canary.hook, sent, now))
    if status != 200:
        return Result(name, canary.title, (f"answered with HTTP status {status}",))
    told = answer.get("extension", {}).get(EXTENSION, {}).get("outcomes", [])
    states = {str(each["rule"]): str(each["outcome"]) for each in told}
    return Result(name, canary.title, tuple(_wrong(canary, rulebook, states, answer.get("cards", []))))


def _wrong(canary: Canary, rulebook: Rulebook, states: Mapping[str, str], cards: list[Any]) -> list[str]:
    """What a rule that this site has hidden, or that has not got its data here, would say is not asked for."""
    found, told = [], False
    for rule in canary.fires:
        known = rulebook.rules.get(rule)
        state = states.get(rule, "not tried")
        excused = (known is not None and known.visibility == "hidden" and state == "not tried") or (
            bool(rulebook.not_available) and state == "not_applicable"
        )
        if state != "fired" and not excused:
            found.append(f"{rule} did not fire ({state})")
        told = told or (state == "fired" and known is not None and known.visibility == "shown")
    if told and not cards:
        found.append("rules fired and no card was shown")
    if not canary.fires:
        found += [f"{rule} fired" for rule, state in states.items() if state == "fired"]
        if not rulebook.not_available:
            found += [f"{rule} was not evaluated" for rule, state in states.items() if state == "not_evaluated"]
            found += ["a card was shown"] if cards else []
    return found
