"""What must not change, over the scenarios of every rule.

Leaving an input out never turns "not evaluated" into "quiet" and takes no finding from a rule that does not read it;
another unit with the value converted, another order of the resources, and resources that are about something else
change nothing. The full product would take minutes: a fixed sample is tried, chosen by a checksum of the names.
Scenarios with site values are left out, because each needs a service of its own. `-rP` prints the counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from zlib import crc32

import orjson
import pytest
from flask import Flask

from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import inputs_read
from cds_service.sandbox.expected import EXTENSION
from cds_service.sandbox.scenario import LOINC, PATIENT, RXNORM, SNOMED, UCUM, Builder, Scenario
from tests.conftest import NOW, shipped
from tests.support.some import some
from tests.test_scenarios import FILES

Request = dict[str, Any]
Outcomes = dict[str, tuple[str, str]]

LIBRARY = shipped().library
READ = {name: frozenset(inputs_read(loaded.rule, LIBRARY)) for name, loaded in LIBRARY.rules.items()}
CASES = {rule: [case for case in file.scenarios if not case.site] for rule, file in FILES.items()}
RULES = sorted(rule for rule, cases in CASES.items() if cases)
PROBLEMS = "conditions"
# One in so many is tried.
REMOVED_READ, REMOVED_OTHER, CONVERTED, REORDERED, JOINED = 24, 120, 2, 20, 20

# Unit -> the LOINC code that goes with it and how many of it one mmol/L (or one umol/L) is.
UNITS = {
    "serum_magnesium": {
        "mmol/L": ("2601-3", Decimal(1)),
        "meq/L": ("2601-3", Decimal(2)),
        "mg/dL": ("19123-9", Decimal("2.4305")),
    },
    "creatinine": {"umol/L": ("14682-9", Decimal(1)), "mg/dL": ("2160-0", Decimal("0.011312"))},
}
INPUT = {"serum_magnesium": "serum_magnesium", "creatinine": "kidney"}


def chosen(one_in: int, *names: str) -> bool:
    return crc32("/".join(names).encode()) % one_in == 0


def bundles(request: Request) -> list[Request]:
    """Every Bundle of the call."""
    found = [body for body in request["prefetch"].values() if body.get("resourceType") == "Bundle"]
    return found + ([request["context"]["draftOrders"]] if "draftOrders" in request["context"] else [])


class Caller:
    """Makes and posts the calls of scenarios; answers to unchanged ones are kept."""

    def __init__(self, app: Flask, content: Content) -> None:
        self.client = app.test_client()
        self.builder = Builder(content.library, NOW)
        self.services = {item["hook"]: item for item in orjson.loads(self.client.get("/cds-services").data)["services"]}
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}

    def request(self, case: Scenario) -> Request:
        return self.builder.request(case, self.services[case.hook]["prefetch"])

    def post(self, request: Request) -> dict[str, Any] | None:
        """The answer; None where the call was refused for want of what no call can do without."""
        url = f"/cds-services/{self.services[request['hook']]['id']}"
        answer = self.client.post(url, data=orjson.dumps(request), content_type="application/json")
        assert answer.status_code in (200, 412), answer.data
        read: dict[str, Any] = orjson.loads(answer.data)
        return read if answer.status_code == 200 else None

    def unchanged(self, rule: str, case: Scenario) -> dict[str, Any]:
        key = (rule, case.name)
        if key not in self.kept:
            answer = self.post(self.request(case))
            assert answer is not None
            self.kept[key] = answer
        return self.kept[key]


@pytest.fixture(scope="module")
def caller(app: Flask, content: Content) -> Caller:
    return Caller(app, content)


def outcomes(answer: dict[str, Any]) -> Outcomes:
    return {
        item["rule"]: (item["outcome"], item.get("reason", "")) for item in answer["extension"][EXTENSION]["outcomes"]
    }


def kinds(answer: dict[str, Any]) -> dict[str, str]:
    return {rule: kind for rule, (kind, _) in outcomes(answer).items()}


def shown(answer: dict[str, Any], words: Callable[[str], Any]) -> list[Any]:
    """The cards without what is new in every answer."""
    return [
        (
            words(card["summary"]),
            words(card["detail"]),
            card["indicator"],
            sorted(item["label"] for item in card.get("suggestions", [])),
        )
        for card in answer["cards"]
    ]


# Leaving an input out


def removals(rule: str) -> Iterator[tuple[Scenario, str]]:
    """The first firing scenario with every input that the rule reads, and the sample."""
    first = next((case for case in CASES[rule] if case.expect.outcome == "fired"), None)
    for case in CASES[rule]:
        for key in sorted({key for keys in READ.values() for key in keys}):
            one_in = REMOVED_READ if key in READ[rule] else REMOVED_OTHER
            if (case is first and key in READ[rule]) or chosen(one_in, rule, case.name, key):
                yield case, key


def says_so(answer: dict[str, Any]) -> bool:
    """Whether another rule says that problems are missing. Some of them make a result old sooner, and of no other."""
    return any(outcome == "not_evaluated" and PROBLEMS in READ[rule] for rule, (outcome, _) in outcomes(answer).items())


@pytest.mark.parametrize("rule", RULES)
def test_an_input_left_out_hides_nothing(caller: Caller, rule: str) -> None:
    calls = [(case, key, caller.request(case)) for case, key in removals(rule)]
    hidden = []
    for case, key, request in some(one for one in calls if one[2]["prefetch"].pop(one[1], None) is not None):
        after = caller.post(request)  # none where the call was refused, which hides nothing
        for other, (before, reason) in outcomes(caller.unchanged(rule, case)).items():
            now = outcomes(after)[other][0] if after is not None else "refused"
            lost = before == "not_evaluated" and now == "quiet" and not (after and key == PROBLEMS and says_so(after))
            changed = before in ("fired", "quiet") and key not in READ[other] and now not in (before, "refused")
            if lost or changed:
                hidden.append(f"{case.name}, without {key}: {other} was {before} ({reason}), now {now}")
    assert hidden == []


# Another unit


def measured(request: Request, lab: str) -> Iterator[tuple[Request, str]]:
    """Results of a lab whose unit and code agree, with the unit."""
    for entry in request["prefetch"].get(INPUT[lab], {}).get("entry", []):
        resource = entry["resource"]
        unit = resource.get("valueQuantity", {}).get("code")
        if unit in UNITS[lab] and resource["code"]["coding"][0]["code"] == UNITS[lab][unit][0]:
            yield resource, unit


def convert(resource: Request, lab: str, source: str, target: str) -> None:
    """The result and its reference range in another unit, under the code that goes with it."""
    code, factor = UNITS[lab][target]
    ratio = factor / UNITS[lab][source][1]
    resource["code"]["coding"][0]["code"] = code
    quantities = [resource["valueQuantity"]]
    quantities += [limit for item in resource.get("referenceRange", []) for limit in item.values()]
    for quantity in quantities:
        value = Decimal(str(quantity["value"])) * ratio
        quantity |= {"value": float(value), "unit": target, "code": target, "system": UCUM}


def conversions(rule: str) -> Iterator[tuple[Scenario, str, str]]:
    for case in CASES[rule]:
        for lab, units in UNITS.items():
            written = {line.unit for line in case.labs if line.lab == lab and line.value is not None} & set(units)
            for unit in units:
                if written - {unit} and chosen(CONVERTED, rule, case.name, lab, unit):
                    yield case, lab, unit


@pytest.mark.parametrize("rule", [rule for rule in RULES if list(conversions(rule))])
def test_another_unit_with_the_value_converted_changes_no_outcome(caller: Caller, rule: str) -> None:
    for case, lab, target in some(conversions(rule)):
        request = caller.request(case)
        for resource, unit in some((resource, unit) for resource, unit in measured(request, lab) if unit != target):
            convert(resource, lab, unit, target)
        answer = caller.post(request)
        assert answer is not None
        assert kinds(answer) == kinds(caller.unchanged(rule, case)), f"{case.name}, {lab} in {target}"


# Another order


def of_words(text: str) -> list[str]:
    """Names may stand in another order in a sentence that lists them."""
    return sorted(text.replace(",", " ").replace(";", " ").replace(".", " ").split())


def sampled(rule: str, one_in: int, what: str) -> Iterator[Scenario]:
    for case in CASES[rule]:
        if chosen(one_in, rule, case.name, what):
            yield case


@pytest.mark.parametrize("rule", [rule for rule in RULES if list(sampled(rule, REORDERED, "order"))])
def test_the_order_of_resources_changes_nothing(caller: Caller, rule: str) -> None:
    for case in some(sampled(rule, REORDERED, "order")):
        request = caller.request(case)
        for bundle in bundles(request):
            bundle["entry"].reverse()
        answer = caller.post(request)
        before = caller.unchanged(rule, case)
        assert answer is not None
        assert outcomes(answer) == outcomes(before), case.name
        assert shown(answer, lambda text: None) == shown(before, lambda text: None), case.name


# Something else on record


def unrelated(kind: str) -> Request | None:
    """A resource that no rule is about."""
    subject = {"subject": {"reference": f"Patient/{PATIENT}"}}
    if kind == "Condition":
        status = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
        code = {"coding": [{"system": SNOMED, "code": "367498001"}], "text": "Seasonal allergic rhinitis"}
        return {"resourceType": kind, "id": "unrelated-1", "clinicalStatus": status, "code": code, **subject}
    if kind in ("MedicationRequest", "MedicationStatement"):
        drug = {"coding": [{"system": RXNORM, "code": "20610"}], "text": "Cetirizine 10 MG Oral Tablet"}
        made = {"resourceType": kind, "id": "unrelated-2", "status": "active", "medicationCodeableConcept": drug}
        return {**made, **subject} | ({"intent": "order"} if kind == "MedicationRequest" else {})
    if kind == "Observation":
        return {
            "resourceType": kind,
            "id": "unrelated-3",
            "status": "final",
            "code": {"coding": [{"system": LOINC, "code": "2951-2"}], "text": "Sodium"},
            "effectiveDateTime": NOW.isoformat(),
            "valueQuantity": {"value": 139, "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
            **subject,
        }
    return None


@pytest.mark.parametrize("rule", [rule for rule in RULES if list(sampled(rule, JOINED, "unrelated"))])
def test_resources_about_something_else_change_nothing(caller: Caller, rule: str) -> None:
    for case in some(sampled(rule, JOINED, "unrelated")):
        request = caller.request(case)
        for key, template in caller.services[case.hook]["prefetch"].items():
            body = request["prefetch"].get(key, {})
            other = unrelated(template.split("?")[0])
            if other is not None and body.get("resourceType") == "Bundle":
                body["entry"].insert(len(body["entry"]) // 2, {"resource": copy.deepcopy(other)})
        answer = caller.post(request)
        before = caller.unchanged(rule, case)
        assert answer is not None
        assert outcomes(answer) == outcomes(before), case.name
        assert shown(answer, str) == shown(before, str), case.name


def test_the_sample_is_large_enough() -> None:
    total = sum(len(cases) for cases in CASES.values())
    tried = {
        "inputs left out": sum(1 for rule in RULES for _ in removals(rule)),
        "units": sum(1 for rule in RULES for _ in conversions(rule)),
        "orders": sum(1 for rule in RULES for _ in sampled(rule, REORDERED, "order")),
        "something else": sum(1 for rule in RULES for _ in sampled(rule, JOINED, "unrelated")),
    }
    print(f"{total} scenarios of {len(RULES)} rules; tried: {tried}")
    assert tried["inputs left out"] > total / 4
    assert min(tried.values()) > total / 20
