"""Spoils every rule in every way that its scenarios have to notice, and names what nobody noticed.

`python -m tests.mutate_rules [RULE ...] [--processes N]`; run on demand. A mutant is one rule with one thing changed:
an hour, a salt, a drug of a list, an option, the strength. It is killed when a scenario of that rule's own file fails,
or the list of the rules that speak against magnesium. Everything is done in memory and through HTTP; the exit code is
1 where a mutant survived that is not known to be equivalent.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson
import structlog
import yaml

from cds_service import create_app
from cds_service.advice.needs import all_needs
from cds_service.content.lab_words import LabTest
from cds_service.content.library import Library
from cds_service.content.rule import Rule
from cds_service.content.site import SiteValues, read_site
from cds_service.content.test_words import InfusionTest
from cds_service.content.yamlfile import ContentError
from cds_service.sandbox.expected import outcome_of
from cds_service.sandbox.scenario import Builder, Scenario
from cds_service.settings import Settings
from tests.conftest import NOW, shipped
from tests.test_contraindication_matrix import AGAINST_MAGNESIUM
from tests.test_scenarios import FILES, TEMPLATES, check
from tests.variants import variants

# Mutants that answer as the rule does, for every patient: (rule, kind, change) -> why.
EMERGENCY = "an order by vein in acute asthma is an emergency, of which the rule does not speak"
BENEATH = "the rule on a high level fires for each of these patients too, and says the same beneath"
SEVERE = "emergency_magnesium_with_severely_high_magnesium"
EQUIVALENT = {
    (SEVERE, "options", "drop last"): BENEATH,
    (SEVERE, "reasons", "cut to one"): BENEATH,
    (SEVERE, "reasons", "drop cds_not_applicable"): BENEATH,
    (SEVERE, "suggestions", "drop repeat_serum_magnesium"): BENEATH,
    ("intravenous_magnesium_with_kidney_failure", "lists", "when.any.1.condition add acute_asthma"): EMERGENCY,
    ("intravenous_magnesium_with_unknown_kidney_function", "lists", "when.any.3.condition add acute_asthma"): EMERGENCY,
}
# On a test that hears the laboratory first, its critical flag decides in any case.
HEARD = "the laboratory's flag is heard already"


class Mutant(NamedTuple):
    """`change` says what was done to the rule; `kind` is a row of the table."""

    kind: str
    change: str
    rule: Rule


def changed(rule: Rule, path: str, value: Any) -> Rule:
    """The rule with one value replaced; `path` is dotted, a number stands for a place in a list."""

    def put(part: Any, steps: list[str]) -> Any:
        if not steps:
            return value
        step, rest = steps[0], steps[1:]
        if isinstance(part, list):
            return [put(item, rest) if place == int(step) else item for place, item in enumerate(part)]
        if isinstance(part, dict):
            return {**part, step: put(part[step], rest)}
        return part.model_copy(update={step: put(getattr(part, step), rest)})

    made: Rule = put(rule, path.split("."))
    return made


def why_equivalent(rule: str, kind: str, change: str) -> str | None:
    """Why no patient can tell the mutant from the rule, where that is so."""
    test: Any = shipped().library.rules[rule].rule
    if kind == "flags" and change.endswith(".critical_flag True"):
        for step in change.split()[0].split(".")[:-1]:
            test = test[int(step)] if isinstance(test, list) else getattr(test, step)
        if test.laboratory_first:
            return HEARD
    return EQUIVALENT.get((rule, kind, change))


def mutants(rule: str, library: Library) -> Iterator[Mutant]:
    """Every mutant of a rule."""
    written = library.rules[rule].rule
    yield from _of_evidence(written)
    yield from _of_card(written, library)
    yield from _of_flags(written)
    yield from _of_infusion(written)
    if written.separate:
        yield from _of_hours(written)
    for kind, path, listed, concepts in _lists(written, library):
        yield from _of_list(written, kind, path, listed, concepts)


def _of_evidence(rule: Rule) -> Iterator[Mutant]:
    values = {
        "certainty": ("high", "moderate", "low", "very_low"),
        "strength": ("strong", "conditional"),
        "direction": ("for", "against"),
    }
    for kind, scale in values.items():
        for value in scale:
            if value != getattr(rule.evidence, kind):
                yield Mutant(kind, value, changed(rule, f"evidence.{kind}", value))
    for value in ("critical", "warning", "info"):
        if value != rule.card.indicator:
            yield Mutant("indicator", value, changed(rule, "card.indicator", value))


def _of_card(rule: Rule, library: Library) -> Iterator[Mutant]:
    options = list(rule.card.consider)
    if not options:
        wording = library.wording.separate[rule.separate.interval] if rule.separate else library.wording.avoid
        options = list((_same_hours(rule) and wording.consider_same) or wording.consider)
    for place, what in {0: "drop first", len(options) - 1: "drop last"}.items():
        left = [option for index, option in enumerate(options) if index != place]
        yield Mutant("options", what, changed(rule, "card.consider", left))
    reasons = list(rule.card.override_reasons)
    yield Mutant("reasons", "cut to one", changed(rule, "card.override_reasons", reasons[:1]))
    for name in reasons:
        left = [other for other in reasons if other != name]
        yield Mutant("reasons", f"drop {name}", changed(rule, "card.override_reasons", left))
    for name in rule.card.suggest:
        left = [other for other in rule.card.suggest if other != name]
        yield Mutant("suggestions", f"drop {name}", changed(rule, "card.suggest", left))


def _same_hours(rule: Rule) -> bool:
    if not rule.separate:
        return False
    sides = (rule.separate.drug_then_magnesium, rule.separate.magnesium_then_drug)
    return len({rule.thresholds[side].at(NOW.date()) for side in sides}) == 1


def _of_hours(rule: Rule) -> Iterator[Mutant]:
    assert rule.separate
    for side in ("drug_then_magnesium", "magnesium_then_drug"):
        name = getattr(rule.separate, side)
        for step in (-1, 1):
            values = {day: max(value + step, value * 0) for day, value in rule.thresholds[name].values.items()}
            yield Mutant("hours", f"{side} {step:+d}", changed(rule, f"thresholds.{name}.values", values))


def _of_flags(rule: Rule) -> Iterator[Mutant]:
    paths = ["card.contraindicates_magnesium", "applies_to.not_pregnant"]
    paths += ["separate.fixed_by_label"] if rule.separate else []
    for group in ("all", "any", "none") if rule.when else ():
        for place, test in enumerate(getattr(rule.when, group)):
            if isinstance(test, LabTest):
                path = f"when.{group}.{place}"
                paths += [f"{path}.critical_flag"] + [f"{path}.laboratory_first"] * bool(test.below or test.above)
    for path in paths:
        value: Any = rule
        for step in path.split("."):
            value = value[int(step)] if isinstance(value, list) else getattr(value, step)
        yield Mutant("flags", f"{path} {not value}", changed(rule, path, not value))


def _of_infusion(rule: Rule) -> Iterator[Mutant]:
    """Another kind of infusion, to a mother or to anybody; and no word of it in whom the rule is written for."""
    places = ["applies_to.unless_infusion"] if rule.applies_to.unless_infusion else []
    tests = rule.when.all if rule.when else []
    places += [f"when.all.{place}" for place, test in enumerate(tests) if isinstance(test, InfusionTest)]
    for path in places:
        test: Any = rule
        for step in path.split("."):
            test = test[int(step)] if isinstance(test, list) else getattr(test, step)
        yield Mutant("infusion", f"{path}.obstetric", changed(rule, f"{path}.obstetric", not test.obstetric))
        for value in ("running", "acting", "old_order"):
            if value != test.infusion:
                yield Mutant("infusion", f"{path} {value}", changed(rule, f"{path}.infusion", value))
    if rule.applies_to.unless_infusion:
        yield Mutant("infusion", "dropped", changed(rule, places[0], None))


def _lists(rule: Rule, library: Library) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Each list of concepts: its row of the table, its path, what it holds, and what it could hold."""
    # The variants leave out a drug without a code, so nobody would take it where it is added to a list.
    drugs = [name for name, concept in library.terminology.items() if concept.rxnorm_ingredients]
    conditions = [name for name, concept in library.terminology.items() if concept.kind == "condition"]
    salts = [name for name in library.terminology if name.startswith("magnesium_")]
    yield "lists", "applies_to.unless_medication", rule.applies_to.unless_medication, drugs
    yield "lists", "applies_to.unless_condition", rule.applies_to.unless_condition, conditions
    for word in ("separate", "avoid"):
        if block := getattr(rule, word):
            yield "salts", f"{word}.magnesium", block.magnesium, salts
    if rule.separate:
        yield "lists", "separate.unless_form", rule.separate.unless_form, []
    for group in ("all", "any", "none") if rule.when else ():
        for place, test in enumerate(getattr(rule.when, group)):
            for word, concepts in (("medication", drugs), ("condition", conditions), ("reason", conditions)):
                if listed := getattr(test, word, None):
                    yield "lists", f"when.{group}.{place}.{word}", listed, concepts
            if despite := getattr(getattr(test, "persists", None), "despite", None):
                yield "lists", f"when.{group}.{place}.persists.despite", despite, drugs


def _of_list(rule: Rule, kind: str, path: str, listed: list[str], concepts: list[str]) -> Iterator[Mutant]:
    """Each element dropped, but not the only one of a test; and one concept more."""
    for name in listed:
        if len(listed) > 1 or "unless" in path:
            yield Mutant(kind, f"{path} drop {name}", changed(rule, path, [item for item in listed if item != name]))
    if listed and listed != ["magnesium"] and "unless" not in path:
        added = next((name for name in concepts if name not in listed and "magnesium" not in name), None)
        added = next((name for name in concepts if name not in listed), None) if kind == "salts" else added
        if added:
            yield Mutant(kind, f"{path} add {added}", changed(rule, path, [*listed, added]))


class Service:
    """The service over content that changes under it, asked through HTTP."""

    def __init__(self) -> None:
        content = shipped()
        settings = Settings.model_validate({"data_dir": Path(tempfile.mkdtemp())})
        app = create_app(settings, now=lambda: NOW, content=content)
        self.client, self.current = app.test_client(), app.extensions["advisor"].current
        self.builder = Builder(content.library, NOW)
        self._bodies: dict[tuple[str, str], bytes] = {}

    def take(self, rule: str, written: Rule) -> None:
        """Serve the shipped content with this rule in place of its own."""
        library = shipped().library
        rules = {**library.rules, rule: replace(library.rules[rule], rule=written)}
        self.current.library = replace(library, rules=rules)
        self._no_site = SiteValues()  # a new one, as the service keeps its rules as long as the site values

    def ask(self, rule: str, case: Scenario) -> dict[str, Any]:
        """The answer to a scenario's call."""
        values = self._no_site
        if case.site:
            text = yaml.safe_dump({"site": "Test hospital", **case.site})
            values = read_site(text, "site.yaml", self.current.library, frozenset(all_needs(self.current.library)))
        self.current.take(values)
        if (rule, case.name) not in self._bodies:
            self._bodies[rule, case.name] = orjson.dumps(self.builder.request(case, TEMPLATES))
        path = f"/cds-services/magnesium-{case.hook}"
        response = self.client.post(path, data=self._bodies[rule, case.name], content_type="application/json")
        assert response.status_code == 200, response.status_code
        answer: dict[str, Any] = orjson.loads(response.data)
        return answer

    def notices(self, rule: str, written: Rule) -> bool:
        """Whether a guard of the rule fails on this rule."""
        if written.card.contraindicates_magnesium != (rule in AGAINST_MAGNESIUM):
            return True
        self.take(rule, written)
        first, *later = FILES[rule].scenarios
        try:
            check(rule, first, self.ask(rule, first))
            for case in made_of(rule):
                assert outcome_of(rule, self.ask(rule, case))["outcome"] == case.expect.outcome
            for case in later:
                check(rule, case, self.ask(rule, case))
        except (AssertionError, LookupError, StopIteration, ValueError, ContentError):
            return True
        return False


@cache
def made_of(rule: str) -> list[Scenario]:
    """The variants of a rule's scenarios."""
    return variants(rule, FILES[rule], shipped().library)


@cache
def service() -> Service:
    """One service for each process, that logs nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    return Service()


def tried(rule: str) -> list[tuple[str, str, str, bool]]:
    """Every mutant of a rule: rule, kind, change, and whether it was noticed."""
    library = shipped().library
    if service().notices(rule, library.rules[rule].rule):
        raise SystemExit(f"{rule}: a scenario fails without any mutation")
    return [(rule, kind, change, service().notices(rule, written)) for kind, change, written in mutants(rule, library)]


@click.command()
@click.argument("rules", nargs=-1, metavar="[RULE ...]")
@click.option("--processes", default=2, show_default=True)
def main(rules: tuple[str, ...], processes: int) -> None:
    """Mutate these rules, or all, and print what was killed and what survived."""
    known = sorted(name for name, loaded in shipped().library.rules.items() if loaded.rule.status == "active")
    if unknown := set(rules) - set(known):
        raise click.UsageError(f"no rule is called {', '.join(sorted(unknown))}")
    found = []
    with ProcessPoolExecutor(processes) as pool:
        for made in pool.map(tried, rules or known):
            found += made
            for rule, kind, change, noticed in made:
                if not noticed:
                    why = why_equivalent(rule, kind, change)
                    click.echo(f"{f'equivalent ({why})' if why else 'survived'}: {rule}: {kind}: {change}")
    excused = [mutant for mutant in found if not mutant[3] and why_equivalent(*mutant[:3])]
    survivors = [mutant for mutant in found if not mutant[3] and not why_equivalent(*mutant[:3])]
    killed = Counter(kind for _, kind, _, noticed in found if noticed)
    alive, equal = Counter(mutant[1] for mutant in survivors), Counter(mutant[1] for mutant in excused)
    click.echo(f"{'kind':14}{'killed':>8}{'survived':>10}{'equivalent':>12}")
    for kind in dict.fromkeys(mutant[1] for mutant in found):
        click.echo(f"{kind:14}{killed[kind]:>8}{alive[kind]:>10}{equal[kind]:>12}")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
