"""What a page asks of this very service: a call like any other, marked as a trial, and what its answer was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from flask import Flask, request

from cds_service.advice.advise import Advice
from cds_service.advice.card_extension import EXTENSION
from cds_service.content.rulebook import Rulebook
from cds_service.fhir import Chart
from cds_service.hooks.trial import NOBODY, TRIAL, Trial
from cds_service.trust.gatekeeper import Caller
from cds_service.trust.profile import PRESETS, Profile, preset

GENERIC: Final = "generic"
_PASSED_ON: Final = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """What an answer was made of."""

    chart: Chart
    advice: Advice
    rulebook: Rulebook
    service: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back: HTTP status, the body as JSON ({} where there is none), and what it was made of, where it was."""

    status: int
    body: Json
    made: Made | None = None

    @property
    def cards(self) -> list[Json]:
        return list(self.body.get("cards", ()))

    @property
    def told(self) -> Json:
        """The extension of ours."""
        told: Json = self.body.get("extension", {}).get(EXTENSION, {})
        return told

    @property
    def issues(self) -> list[tuple[str, str]]:
        """Of a refusal: the place ("" where none is named), and what is wrong there."""
        issues = self.body.get("issue", ()) if self.status >= 400 else ()
        return [(", ".join(issue.get("expression", ())), issue["details"]["text"]) for issue in issues]


def caller_of(name: str) -> Caller:
    """Who tries it: nobody, with the screen of this preset, and no FHIR server to be read."""
    return Caller(NOBODY.id, (), Profile.model_validate({"preset": name}))


def call(app: Flask, service: str, body: bytes, as_preset: str) -> Answered:
    """Call a service of ours with this body, as an EHR of a preset would."""
    seen: list[Made] = []
    trial = Trial(caller_of(as_preset), lambda *made: seen.append(Made(*made)))
    status, told = _post(app, f"/cds-services/{service}", body, trial)
    return Answered(status, told, seen[-1] if seen else None)


def send_feedback(app: Flask, service: str, item: Mapping[str, Any], as_preset: str) -> Answered:
    """Send what somebody did with a card to this service, where it is judged as any other and not stored."""
    body = orjson.dumps({"feedback": [item]})
    return Answered(*_post(app, f"/cds-services/{service}/feedback", body, Trial(caller_of(as_preset))))


def _post(app: Flask, path: str, body: bytes, trial: Trial) -> tuple[int, Json]:
    """A call of its own, which shares nothing with the one at hand but where that came from."""
    environ = {name: request.environ[name] for name in _PASSED_ON if name in request.environ}
    with app.app_context():
        answer = app.test_client(use_cookies=False).post(
            path, data=body, content_type="application/json", base_url=request.host_url,
            environ_overrides={**environ, TRIAL: trial},
        )  # fmt: skip
    found = answer.get_json(silent=True, force=True)
    return answer.status_code, found if isinstance(found, dict) else {}


def differences(
    app: Flask, service: str, body: bytes, own: Answered, own_preset: str
) -> list[tuple[str, str, list[str]]]:
    """Each preset with its title, and in words what its answer has less, or other, than that of a client of which
    nothing is known."""
    answers = {name: own if name == own_preset else call(app, service, body, name) for name in PRESETS}
    whole = answers[GENERIC]
    return [(name, preset(name).title, _differs(whole, answers[name])) for name in PRESETS]


_COUNTED: Final = {
    "suggestions": "buttons, the rest told in words",
    "overrideReasons": "reasons to dismiss",
    "links": "links",
}


def _differs(whole: Answered, other: Answered) -> list[str]:
    if other.status != whole.status:
        return ["not tried: too many calls now" if other.status == 503 else f"answered with status {other.status}"]
    found: list[str] = []
    if len(other.cards) != len(whole.cards):
        found.append(f"{len(other.cards)} of {len(whole.cards)} cards")
    for key, words in _COUNTED.items():
        before, after = (sum(len(card.get(key, ())) for card in each.cards) for each in (whole, other))
        if after != before:
            found.append(f"{after} of {before} {words}")
    pairs = list(zip(whole.cards, other.cards, strict=False))
    if any(a["indicator"] != b["indicator"] for a, b in pairs):
        found.append("another indicator: " + ", ".join(dict.fromkeys(b["indicator"] for _, b in pairs)))
    behaviours = [(a.get("selectionBehavior"), b.get("selectionBehavior")) for a, b in pairs if "suggestions" in b]
    if any(a != b for a, b in behaviours):
        found.append("buttons: " + ", ".join(dict.fromkeys(str(b) for _, b in behaviours)))
    topics = [(a["source"].get("topic", {}).get("code"), b["source"].get("topic", {}).get("code")) for a, b in pairs]
    if any(a != b for a, b in topics):
        found.append("a topic for each rule" if any(b for _, b in topics) else "no topic")
    if _categories(other) - _categories(whole):
        found.append("orders carry a category of this EHR")
    if "systemActions" in other.body and "systemActions" not in whole.body:
        found.append("an empty list of systemActions")
    return found


def _categories(answered: Answered) -> set[str]:
    return {
        str(action["resource"]["category"])
        for card in answered.cards
        for suggestion in card.get("suggestions", ())
        for action in suggestion.get("actions", ())
        if "category" in action.get("resource", {})
    }
