"""An answer in the caller's dialect: what its screen can show, and what it can carry out. The advice stays the same:
what has no button is told in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cds_service.advice.advise import Advice
from cds_service.advice.card_text import Shown
from cds_service.advice.phrasing import sentence
from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook
from cds_service.content.shared import OverrideReason
from cds_service.content.site_checks import unit_fault, units_of
from cds_service.spelling import nearest
from cds_service.trust.clients import Client
from cds_service.trust.profile import Code, Profile, topic_code

Markdown = Literal["gfm", "basic", "none"]
Json = dict[str, Any]
CRD = "davinci-crd"
_ROW = re.compile(r"^\| (.*) \|$")
_RULE = re.compile(r"^\|[-|]+\|$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one client wants the answers of one hook. `client`: its name, by which the site values know its orders."""

    profile: Profile
    client: str
    hook: str
    rulebook: Rulebook

    def answer(self, advice: Advice) -> Json:
        """The whole answer."""
        inpatient = advice.evaluation.context.inpatient
        body = advice.answer()
        body["cards"] = [self._card(shown, inpatient) for shown in advice.shown]
        if self.profile.system_actions == "empty":
            body["systemActions"] = []
        return body

    def _card(self, shown: Shown, inpatient: bool) -> Json:
        card, profile = dict(shown.card), self.profile
        card["indicator"] = profile.indicators.get(card["indicator"], card["indicator"])
        card["source"] = self._source(card["source"], shown.rules[0])
        kept, told = [], []
        for suggestion in card.get("suggestions", ()):
            made = self._suggestion(suggestion, shown.suggested[suggestion["uuid"]], inpatient)
            if made is None:
                told.append(_in_words(suggestion))
            else:
                kept.append(made)
        if kept:
            card["suggestions"] = kept
            alone = "at-most-one" if len(kept) == 1 else card["selectionBehavior"]
            card["selectionBehavior"] = alone if profile.selection_behavior == "own" else profile.selection_behavior
        else:
            card = {key: value for key, value in card.items() if key not in ("suggestions", "selectionBehavior")}
        if told:
            lines = "\n".join(f"- {text}" for text in dict.fromkeys(told))
            card["detail"] += f"\n\n**{self.rulebook.library.wording.headings['by_hand']}:**\n{lines}"
        if "overrideReasons" in card:
            card["overrideReasons"] = [self._reason(item) for item in card["overrideReasons"]]
            if not profile.override_reasons:
                del card["overrideReasons"]
        if profile.markdown != "gfm":
            card["detail"] = _plainer(card["detail"], profile.markdown)
        if profile.links == "none":
            card.pop("links", None)
        if profile.detail_extension and (kind := profile.detail_types.get(profile.markdown)):
            card["extension"] = {**card["extension"], profile.detail_extension: kind}
        return card

    def _source(self, source: Json, rule: str) -> Json:
        if self.profile.topics == "group":
            return source
        if self.profile.topics == "none":
            return {key: value for key, value in source.items() if key != "topic"}
        loaded = self.rulebook.library.rules.get(rule)
        topic = source["topic"] | {"code": topic_code(rule)} | ({"display": loaded.rule.title} if loaded else {})
        return source | {"topic": topic}

    def _suggestion(self, suggestion: Json, name: str, inpatient: bool) -> Json | None:
        """As the client can carry it out; None where it cannot."""
        profile, actions = self.profile, []
        if self.hook not in profile.suggestion_hooks:
            return None
        if profile.actions_per_suggestion and len(suggestion["actions"]) > profile.actions_per_suggestion:
            return None
        for action in suggestion["actions"]:
            resource = dict(action["resource"])
            if not profile.may(action["type"], resource["resourceType"]):
                return None
            if action["type"] == "create":
                order = self.rulebook.site.orderable(name, self.client)
                if order is not None:
                    resource["code"] = {"coding": [_coding(order)], "text": order.display}
                elif profile.order_codes == "site":
                    return None
                if profile.order_category:
                    category = profile.order_category["inpatient" if inpatient else "other"]
                    resource["category"] = [{"coding": [_coding(category)], "text": category.display}]
            text = action.get("description") or suggestion["label"] if profile.button_text == "description" else None
            actions.append(action | {"resource": resource} | ({"description": text} if text else {}))
        return suggestion | {"actions": actions}

    def _reason(self, reason: Json) -> Json:
        name = _reason_name(self.rulebook.library, reason["code"], reason["system"])
        own = self.profile.override_codes.get(name)
        return reason if own is None else _coding(own) | {"display": own.display or reason["display"]}


def _coding(code: Code | Any) -> Json:
    return {"system": code.system, "code": code.code, "display": code.display}


def _in_words(suggestion: Json) -> str:
    """What a button would do. An order's label says all; a change of an order stands in its description."""
    changes = any(action["type"] != "create" for action in suggestion["actions"])
    return suggestion["actions"][0]["description"] if changes else sentence(suggestion["label"])


def _reason_name(library: Library, code: str, system: str | None) -> str:
    return next((n for n, r in library.override_reasons.items() if (r.code, r.system) == (code, system)), "")


def our_reason(
    profile: Profile, reasons: Mapping[str, OverrideReason], code: str, system: str | None
) -> tuple[str, str | None]:
    """Our code and system for a reason that comes back in the client's own code; any other as it is."""
    for name, own in profile.override_codes.items():
        if own.code == code and system in (None, own.system):
            return reasons[name].code, reasons[name].system
    return code, system


def crd_discovery(profile: Profile, library: Library, most: int) -> Json:
    """What a client of Da Vinci CRD may configure, for the extension of a service. Safety cannot be switched off."""
    if profile.crd_version is None:
        return {}
    options: list[Json] = [
        {"code": name, "type": "boolean", "name": title, "description": f"Cards on: {title}.", "default": True}
        for name, title in library.wording.topics.items()
        if name not in ("safety", "not_evaluated")
    ]
    words = "Most cards in one answer. The others are named on the last one."
    options.append(
        {"code": "max-cards", "type": "integer", "name": "Most cards", "description": words, "default": most}
    )
    return {f"{CRD}.version": [profile.crd_version], f"{CRD}.configuration-options": options}


def crd_asked(profile: Profile, extension: Mapping[str, Any] | None) -> tuple[int | None, frozenset[str]]:
    """The most cards, and the topics without cards, that a call of such a client asks for."""
    asked = (extension or {}).get(f"{CRD}.configuration") if profile.crd_version else None
    if not isinstance(asked, dict):
        return None, frozenset()
    most = asked.get("max-cards")
    off = {name for name, value in asked.items() if value is False and name != "safety"}
    return (most if type(most) is int and 1 <= most <= 20 else None), frozenset(off)


def profile_faults(clients: Iterable[Client], library: Library) -> list[str]:
    """What is wrong with what clients ask for, in plain words: units, and codes for reasons that are none of ours."""
    labs, faults = units_of(library), []
    for client in clients:
        where = f"client {client.name}: profile"
        for lab, unit in client.profile.units.items():
            if fault := unit_fault(lab, unit, labs):
                faults.append(f"{where}.units: {fault}")
        for name in client.profile.override_codes:
            if name not in library.override_reasons:
                hint = nearest(name, library.override_reasons)
                faults.append(f"{where}.override_codes: there is no reason {name}{hint}")
    return faults


def _plainer(detail: str, markdown: Markdown) -> str:
    """`basic` knows bold and lists but no tables; `none` is plain text that reads well on its own."""
    lines: list[str] = []
    for line in detail.split("\n"):
        if _RULE.match(line):
            lines.pop()  # the table's head says what the rows show anyway
            continue
        row = _ROW.match(line)
        lines.append("- " + ": ".join(row[1].split(" | ")) if row else line)
    text = "\n".join(lines)
    return text if markdown == "basic" else text.replace("**", "").replace("*", "")
