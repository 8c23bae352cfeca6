"""What EHRs show and carry out, as strict models: each rule with the fact of docs/ehrs/ that it rests on.

A card that breaks a rule counts as not shown, a suggestion that breaks one as not carried out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Broken = Callable[[Json, str], bool]
PREFERENCE = "urn:com.epic.cdshooks.action.code.system.preference-list-item"
EPIC_ORDERS = {PREFERENCE, "urn:com.epic.cdshooks.action.code.system.orderset-item"}
EPIC_DRUGS = {PREFERENCE, "urn:oid:2.16.840.1.113883.6.69", "urn:oid:2.16.840.1.113883.6.88"}
EPIC_TYPE = "com.epic.cdshooks.card.detail.content-type"
HL7 = "http://terminology.hl7.org/CodeSystem/"
REGISTERED = re.compile(r"https?://[^/]+/(evidence|claims)(/[A-Za-z0-9_-]+)?\Z")
MARKDOWN = re.compile(r"\*\*|^[-#|>] |\n|\[[^\]]*\]\(", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """`broken` looks at a card, a suggestion or a whole answer, and at the hook."""

    fact: str
    of: Literal["card", "suggestion", "answer"]
    name: str
    broken: Broken


def actions(suggestion: Json) -> list[Json]:
    found: list[Json] = suggestion.get("actions") or []
    return found


def _codings(resource: Json) -> list[Json]:
    concept = resource.get("code") or resource.get("medicationCodeableConcept") or {}
    found: list[Json] = concept.get("coding", [])
    return found


def _coded_for_epic(action: Json) -> bool:
    resource = action["resource"]
    systems = EPIC_DRUGS if resource["resourceType"] == "MedicationRequest" else EPIC_ORDERS
    return bool(_codings(resource)) and all(item.get("system") in systems for item in _codings(resource))


def _draft_for_epic(action: Json) -> bool:
    resource = action["resource"]
    kinds = [coding for item in resource.get("category", ()) for coding in item["coding"]]
    known = {("inpatient",), ("outpatient",), ("community",)}
    return (resource.get("status"), resource.get("intent")) == ("draft", "proposal") and [
        item for item in kinds if item["system"] == f"{HL7}medicationrequest-category" and (item["code"],) in known
    ] != []


def _one_of_epics(action: Json) -> bool:
    able = {"create": {"MedicationRequest", "ServiceRequest", "Condition"},
            "delete": {"MedicationRequest", "ServiceRequest"}}  # fmt: skip
    return action["resource"]["resourceType"] in able.get(action["type"], set())


def _changes_the_drug(action: Json) -> bool:
    concept = action.get("resource", {}).get("medicationCodeableConcept", {})
    return action["type"] in ("create", "update") and bool(
        concept.get("text") and concept.get("coding") and concept["coding"][0].get("code")
    )


SPECIFICATION = (
    Rule("SPEC", "card", "a summary of fewer than 140 characters",
         lambda c, _: not 0 < len(c.get("summary", "")) < 140),
    Rule("SPEC", "card", "an indicator of three",
         lambda c, _: c.get("indicator") not in ("info", "warning", "critical")),
    Rule("SPEC", "card", "a source with a label", lambda c, _: not c.get("source", {}).get("label")),
    Rule("SPEC", "card", "selectionBehavior beside suggestions, and only there",
         lambda c, _: ("selectionBehavior" in c) != bool(c.get("suggestions"))),
    Rule("SPEC", "card", "links with label, url and type",
         lambda c, _: any(not {"label", "url", "type"} <= link.keys() for link in c.get("links", ()))),
    Rule("SPEC", "suggestion", "a label", lambda s, _: not s.get("label")),
    Rule("SPEC", "suggestion", "actions with type and description",
         lambda s, _: not actions(s) or any(not a.get("type") or not a.get("description") for a in actions(s))),
)  # fmt: skip
EPIC = (
    Rule("E20", "card", "any is the only selectionBehavior", lambda c, _: c.get("selectionBehavior", "any") != "any"),
    Rule("E21", "card", "a topic of letters and digits",
         lambda c, _: not re.fullmatch("[A-Za-z0-9]{1,100}", c["source"].get("topic", {}).get("code", ""))),
    Rule("E22", "card", "a detail of a type that is known",
         lambda c, _: c.get("extension", {}).get(EPIC_TYPE, "text/plain")
         not in ("text/plain", "text/html", "text/markdown; variant=CommonMark")),
    Rule("E23", "card", "a uuid for feedback", lambda c, _: not c.get("uuid")),
    Rule("E24", "card", "reasons with code, system and display",
         lambda c, _: any(not all(map(r.get, ("code", "system", "display"))) for r in c.get("overrideReasons", ()))),
    Rule("E25", "card", "links that need no registered app",
         lambda c, _: any(k["type"] != "absolute" or k["url"][:4] != "http" for k in c.get("links", ()))),
    Rule("E23", "suggestion", "a uuid for feedback", lambda s, _: not s.get("uuid")),
    Rule("E26", "suggestion", "one action", lambda s, _: len(actions(s)) != 1),
    Rule("E26", "suggestion", "a description in plain words that stands alone",
         lambda s, _: any(len(a["description"].split()) < 3 or MARKDOWN.search(a["description"]) for a in actions(s))),
    Rule("E27", "suggestion", "codes of the hospital's own",
         lambda s, _: any(a["type"] == "create" and not _coded_for_epic(a) for a in actions(s))),
    Rule("E28", "suggestion", "an action that exists", lambda s, _: not all(map(_one_of_epics, actions(s)))),
    Rule("E29", "suggestion", "a draft, a proposal, with a category",
         lambda s, _: any(a["type"] == "create" and not _draft_for_epic(a) for a in actions(s))),
    Rule("E30", "answer", "no system action", lambda a, _: bool(a.get("systemActions"))),
)  # fmt: skip
ORACLE = (
    Rule("O4", "card", "links of a list that can be registered",
         lambda c, _: any(not REGISTERED.match(link["url"]) for link in c.get("links", ()))),
    Rule("O7", "card", "nothing but what version 1.0 knows",
         lambda c, _: bool({"overrideReasons"} & c.keys() or "topic" in c["source"])),
    Rule("O7", "card", "one suggestion at most",
         lambda c, _: c.get("selectionBehavior", "at-most-one") != "at-most-one"),
    Rule("O8", "suggestion", "none: nobody knows that it is carried out", lambda s, _: True),
    Rule("O7", "answer", "no systemActions", lambda a, _: "systemActions" in a),
)  # fmt: skip
CRD = (
    Rule("R1", "card", "a topic with code and system",
         lambda c, _: not all(c["source"].get("topic", {}).get(k) for k in ("code", "system"))),
    Rule("R1", "card", "one or any of the suggestions",
         lambda c, _: c.get("selectionBehavior", "any") not in ("any", "at-most-one")),
    Rule("R1", "card", "reasons with code, system and display",
         lambda c, _: any(not all(map(r.get, ("code", "system", "display"))) for r in c.get("overrideReasons", ()))),
    Rule("R2", "answer", "systemActions, a list", lambda a, hook: not isinstance(a.get("systemActions"), list)),
    Rule("R4", "suggestion", "an update of a draft, no delete alone",
         lambda s, _: any(a["type"] != "create" and (a["type"], "id" in a["resource"]) != ("update", True)
                          for a in actions(s))),
    Rule("R5", "suggestion", "a uuid", lambda s, _: not s.get("uuid")),
)  # fmt: skip
SANDBOX = (
    Rule("S7", "card", "no HTML in the detail", lambda c, _: re.search(r"<[a-z/!]", c.get("detail", "")) is not None),
    Rule("S8", "suggestion", "none in Patient View", lambda s, hook: hook == "patient-view"),
    Rule("S8", "suggestion", "an action that changes the drug",
         lambda s, _: not any(map(_changes_the_drug, actions(s)))),
    Rule("S9", "answer", "no system action", lambda a, _: bool(a.get("extension", {}).get("systemActions"))),
)  # fmt: skip
MODELS = {"epic": EPIC, "oracle": ORACLE, "crd": CRD, "sandbox": SANDBOX, "generic": ()}


def rules(preset: str, of: str) -> list[Rule]:
    return [rule for rule in (*SPECIFICATION, *MODELS[preset]) if rule.of == of]


def faults(preset: str, answer: Json, hook: str) -> list[str]:
    """Every rule that is broken, with what breaks it."""
    found = [f"{r.fact} {r.name}" for r in rules(preset, "answer") if r.broken(answer, hook)]
    for card in answer["cards"]:
        found += [f"{r.fact} {r.name}: {card['summary']}" for r in rules(preset, "card") if r.broken(card, hook)]
        for suggestion in card.get("suggestions", ()):
            label = suggestion.get("label")
            found += [f"{r.fact} {r.name}: {label}" for r in rules(preset, "suggestion") if r.broken(suggestion, hook)]
    return found
