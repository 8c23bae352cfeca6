"""Patients that a package brings for its own rules, tried as `magnesium-cds check --cards DIR` does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic import ValidationError

from cds_service.advice.advise import advise
from cds_service.advice.card_text import CardStyle
from cds_service.advice.loaded_content import Content
from cds_service.advice.needs import all_needs, needs_of
from cds_service.content.package import BETWEEN, Package
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues, read_site
from cds_service.content.third_party import SCENARIOS
from cds_service.content.yamlfile import ContentError, Fault, parse
from cds_service.hooks.problems import Problem
from cds_service.hooks.request import chart_of, parse_call
from cds_service.sandbox.expected import differences
from cds_service.sandbox.scenario import Builder, Scenario, ScenarioFile, read_file

STYLE = CardStyle(base_url="http://localhost", dev=True, phrase_in_text=True)
"""As a service without further settings would write its cards."""


def tried(content: Content, package: Package, root: Path, now: datetime) -> tuple[int, list[Fault]]:
    """How many patients of `root`/scenarios were tried, and each in whom a rule of the package does something else than
    its file says. A rule without a file is a fault too, and so is a file without a rule."""
    faults, count, seen = [], 0, set()
    for path in sorted((root / SCENARIOS).glob("*.yaml")):
        file, rule = f"{package.folder}/{SCENARIOS}/{path.name}", f"{package.namespace}{BETWEEN}{path.stem}"
        seen.add(rule)
        try:
            if rule not in content.library.rules:
                raise ContentError([Fault(file, 0, "", f"there is no rule {path.stem} in this package")])
            cases = _read(path, file).scenarios
            for case in cases:
                count += 1
                faults += [Fault(file, 0, case.name, each) for each in _differing(content, rule, case, now)]
        except ContentError as error:
            faults += error.faults
    for rule, loaded in content.library.rules.items():
        if loaded.package == package and loaded.rule.status == "active" and rule not in seen:
            wanted = f"{SCENARIOS}/{rule.partition(BETWEEN)[2]}.yaml"
            faults.append(Fault(loaded.file, 0, "", f"has no {wanted}: write a patient for whom it fires"))
    return count, faults


def _read(path: Path, file: str) -> ScenarioFile:
    """Raises ContentError where it cannot be used."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError([Fault(file, 0, "", "cannot be read")]) from error
    document = parse(text, file)
    try:
        return read_file(yaml.load(text, yaml.CSafeLoader))
    except ValidationError as error:
        faults = []
        for item in error.errors(include_url=False, include_input=False):
            message = item["msg"].removeprefix("Value error, ")
            faults.append(document.fault(tuple(map(_key, item["loc"])), message[0].lower() + message[1:]))
        raise ContentError(faults) from error
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        message = "is no file of scenarios: it needs `scenarios`, a list of patients, each with `expect`"
        raise ContentError([Fault(file, 0, "", message)]) from error


def _key(part: Any) -> str | int:
    return part if isinstance(part, int) else str(part)


def _differing(content: Content, rule: str, case: Scenario, now: datetime) -> Iterator[str]:
    """In what the answer to the scenario's call differs from what it expects."""
    library = content.library
    site = _site(content, case) if case.site else NO_SITE
    rulebook = make_rulebook(library, site, now.date())
    service = next(name for name, item in library.services.items() if item.hook == case.hook)
    try:
        answer = _answer(content, rulebook, service, case, now)
    except KeyError as error:
        yield f"there is no concept {error}: a name of this package has its namespace before it"
    except Problem as problem:
        yield f"the call is refused: {'; '.join(issue.text for issue in problem.issues)}"
    else:
        yield from differences(rule, case.expect, answer, library)


def _site(content: Content, case: Scenario) -> SiteValues:
    text = yaml.safe_dump({"site": "Site of a scenario", **(case.site or {})})
    return read_site(text, f"{case.name}: site", content.library, frozenset(all_needs(content.library)))


def _answer(content: Content, rulebook: Rulebook, service: str, case: Scenario, now: datetime) -> dict[str, Any]:
    needs = needs_of(rulebook, service)
    templates = {key: need.template for key, need in needs.items()}
    body = orjson.dumps(Builder(content.library, now).request(case, templates))
    call = parse_call(body, case.hook)
    vocabulary = content.vocabulary.of_site(rulebook.site)
    chart = chart_of(call, needs.values(), vocabulary, rulebook, now)
    named = call.envelope.context.encounterId is not None
    advice = advise(chart, rulebook, service, units=vocabulary.units, style=STYLE, encounter_named=named)
    return advice.answer()
