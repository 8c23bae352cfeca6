"""What a card rests on, machine-readable: rule, version, evidence, and every value used with its resource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from cds_service.advice.phrasing import json_value
from cds_service.content.rulebook import Rulebook
from cds_service.patient import Condition, Intake, Lab, Medication
from cds_service.rules.evaluate import Outcome
from cds_service.rules.verdict import DailyMagnesium, InjectedDose, Kidney, LabHit, OnFile, Pair, Rise, State, Verdict

EXTENSION = "org.magnesium-cds"


def basis(outcomes: Sequence[Outcome], rulebook: Rulebook) -> dict[str, Any]:
    """A card's machine-readable basis: rule and version, evidence with FHIR codes, the values used; the site values
    behind it, with the exceptions of these that hold here."""
    library = rulebook.library
    lead = outcomes[0]
    evidence = lead.written.evidence
    scale = library.evidence
    certainty, strength = scale.certainty[evidence.certainty], scale.strength[evidence.strength]
    inputs = [item for o in outcomes if o.verdict for item in _inputs(o.verdict)]
    found = {
        "rule": lead.rule_id,
        "version": lead.rule.loaded.version,
        "evidence": {
            "certainty": {"system": scale.certainty_system, "code": certainty.code, "display": certainty.display},
            "strength": {"system": scale.strength_system, "code": strength.code, "display": strength.display},
            "direction": evidence.direction,
            "references": [
                {"key": key, "title": library.references[key].title, "kind": library.references[key].kind}
                for key in evidence.references
            ],
        },
        "inputs": list({orjson.dumps(item): item for item in inputs}.values()),
    }
    identified = sorted({item["identifiedBy"] for item in inputs if "identifiedBy" in item})
    if identified:
        found["identifiedBy"] = identified
    if lead.rule.loaded.package:
        found["package"] = lead.rule.loaded.package.told()
    also = [
        {"rule": o.rule_id, "version": o.rule.loaded.version}
        | ({"package": o.rule.loaded.package.told()} if o.rule.loaded.package else {})
        for o in outcomes[1:]
    ]
    if also:
        found["alsoFired"] = also
    if rulebook.site_digest:
        found["site"] = rulebook.site_digest
    if rulebook.site.applied:
        found["siteExceptions"] = list(rulebook.site.applied)
    return found


def _inputs(verdict: Verdict) -> list[dict[str, Any]]:
    """The values used, each with its resource."""
    found: list[dict[str, Any]] = []
    for name, value in verdict.bindings.items():
        match value:
            case LabHit():
                limit = {"limit": json_value(value.limit), "limitFrom": value.limit_from}
                if value.limit is None:
                    del limit["limit"]
                found.append(_lab_input(value.lab) | limit)
                found += [_lab_input(value.earlier)] if value.earlier else []
                found += [_drug_input(item) for item in value.despite]
            case Lab():
                found.append(_lab_input(value))
            case OnFile():
                found += [_lab_input(lab) for lab in value.labs if isinstance(lab, Lab)]
            case Kidney():
                for each in filter(None, (value, value.against)):
                    item = _lab_input(each.lab) | {"eGFR": json_value(each.value)}
                    found.append(item | ({"computed": True} if each.computed else {}))
            case DailyMagnesium():
                found += [_drug_input(item) for item in value.medications]
            case Intake():
                found.append({"fact": "intake", "resource": str(value.source), "value": json_value(value.mg_per_day)})
            case Medication():
                found.append(_drug_input(value))
            case _ if name == "products":
                found += [_drug_input(item) for item in value]
            case _ if name == "pairs":
                for pair in value:
                    assert isinstance(pair, Pair)
                    found += [_drug_input(pair.magnesium), _drug_input(pair.drug)]
            case _ if name == "matched":
                found += [_drug_input(item.fact) for item in value if isinstance(item.fact, Medication)]
                found += [_condition(item.fact) for item in value if isinstance(item.fact, Condition)]
                rises = [item.fact for item in value if isinstance(item.fact, Rise)]
                found += [_lab_input(lab) for rise in rises for lab in (rise.earlier, rise.newest)]
    return found


def _lab_input(lab: Lab) -> dict[str, Any]:
    item: dict[str, Any] = {"fact": lab.concept, "resource": str(lab.source)}
    if lab.reported:
        item |= {"value": json_value(lab.reported.value), "unit": lab.reported.unit}
    if lab.comparator:
        item["comparator"] = lab.comparator
    if lab.time:
        item["time"] = lab.time.isoformat()
    if lab.code:
        item["code"] = lab.code
    return item


def _drug_input(item: Medication) -> dict[str, Any]:
    return {
        "fact": "medication",
        "resource": str(item.source),
        "status": item.status,
        "concepts": sorted(item.drugs),
        "identifiedBy": item.identified_by,
    }


def _condition(item: Condition) -> dict[str, Any]:
    return {"fact": "condition", "resource": str(item.source), "concepts": sorted(item.concepts)}


def _finding(fact: Condition | Medication | Lab | Rise | State) -> str:
    match fact:
        case Medication():
            return str(sorted(fact.drugs))
        case Condition():
            return str(sorted(fact.concepts))
        case Lab():
            return fact.concept
        case Rise():
            return f"{fact.newest.concept}={fact.newest.value}@{fact.newest.time}"
        case _:
            return fact


def finding_text(outcomes: Sequence[Outcome]) -> str:
    """What makes a finding the same finding: its rules and the values behind them; new or worse data differ."""
    parts = []
    for outcome in outcomes:
        verdict = outcome.verdict
        assert verdict is not None
        for name, value in sorted(verdict.bindings.items()):
            match value:
                case LabHit():
                    parts.append(f"{name}={value.lab.value}@{value.lab.time}")
                case Lab():
                    parts.append(f"{name}={value.reported}@{value.time}")
                case OnFile():
                    parts += [f"{lab.concept}={lab.value}@{lab.time}" for lab in value.labs if isinstance(lab, Lab)]
                case Kidney():
                    parts.append(f"{name}={value.value}@{value.lab.time}")
                    parts += [f"{name}={value.against.value}"] if value.against else []
                case DailyMagnesium():
                    parts.append(f"{name}={value.value}..{value.as_element}")
                case InjectedDose():
                    parts.append(f"{name}={value.amount}/{value.minutes}")
                case Medication():
                    parts.append(f"{name}={sorted(value.drugs)}")
                case _ if name == "pairs":
                    parts += [f"{sorted(p.magnesium.drugs)}+{sorted(p.drug.drugs)}" for p in value]
                case _ if name == "matched":
                    parts += [_finding(item.fact) for item in value]
        parts.append(outcome.rule_id)
    return "|".join(parts)
