"""A rule's trigger in plain words, so that a clinician can review the logic without reading YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from cds_service.advice.in_words import quantity
from cds_service.advice.needs import cases_of
from cds_service.advice.phrasing import number
from cds_service.content import lab_words, test_words
from cds_service.content.library import Library, LoadedRule
from cds_service.content.rule import AppliesTo, Instead, Rule
from cds_service.content.rulebook import Rulebook
from cds_service.content.test_words import Test
from cds_service.content.word_fields import UPPER_LEVEL, limits_of
from cds_service.publish.changes import changes_of

INJECTED = {
    "dose": "in one dose", "quick_dose": "in one dose", "dose_by_weight": "for each kilogram in one dose",
    "rate": "each hour", "day": "in 24 hours", "two_days": "in 48 hours",
}  # fmt: skip
DOSES_MEET = "oral magnesium and the drug are both there, and their doses are not apart"
COMPARISONS = {"below": "below", "at_most": "at or below", "above": "above", "at_least": "at or above"}


def in_words(rule: Rule, library: Library, limits: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Headed lists: what all, any or none of must hold, and whom the rule is for.

    `limits` are the thresholds in force, by name, with their units.
    """
    label = dict(limits)
    parts: list[tuple[str, list[str]]] = []
    if scopes := scopes_of(rule.applies_to, label, library):
        parts.append(("Written for", [words for words, _, _ in scopes]))
    if rule.separate:
        drug = library.title(rule.separate.drug)
        parts.append(("Fires when", [
            f"oral magnesium and oral {drug} are both ordered, at least one of them being ordered now "
            "(or, when a chart is opened, both active)",
            "the orders do not already keep the doses apart by clock times or by an instruction",
            *(f"the form of {drug} is not: {form}" for form in rule.separate.unless_form),
        ]))  # fmt: skip
    if rule.avoid:
        parts.append(("Fires when", [f"oral magnesium and oral {library.title(rule.avoid.drug)} are both ordered"]))
    if rule.when:
        either = f"At least {label[rule.when.at_least]} of" if rule.when.at_least else "Any of"
        for head, tests in (("All of", rule.when.all), (either, rule.when.any), ("None of", rule.when.none)):
            if tests:
                parts.append((head, [test_in_words(test, label, library) for test in tests]))
    return parts


def steps_in_words(loaded: LoadedRule, rulebook: Rulebook) -> tuple[str, ...]:
    """What a rule tries, in its order: each of `all`, `any` as one, `none` as one."""
    when, library, label = loaded.rule.when, rulebook.library, in_force(loaded, rulebook)
    if when is None:
        return (DOSES_MEET,)
    needed, either, none = (
        [test_in_words(test, label, library) for test in tests] for tests in (when.all, when.any, when.none)
    )
    some = f"at least {label[when.at_least]} of" if when.at_least else "any of"
    return (*needed, *(f"{some}: {'; '.join(each)}" for some, each in ((some, either), ("none of", none)) if each))


def scopes_of(scope: AppliesTo, label: Mapping[str, str], library: Library) -> list[tuple[str, Test, bool]]:
    """Whom a rule is written for: each part in words, the test that tries it, and what that must not contradict."""
    scopes: list[tuple[str, Test, bool]] = []
    if scope.age_at_least:
        at_least = test_words.AgeTest(age={"at_least": scope.age_at_least})
        scopes.append((f"age {label[scope.age_at_least]} or more", at_least, True))
    if scope.age_below:
        scopes.append((f"age below {label[scope.age_below]}", test_words.AgeTest(age={"below": scope.age_below}), True))
    if recent := scope.recent_result:
        words = f"a {library.title(recent.lab)} result within {label[recent.within]}"
        scopes.append((words, lab_words.NoRecentLabTest(no_recent_lab=recent.lab, within=recent.within), False))
    if scope.not_pregnant:
        scopes.append(("not in a recorded pregnancy", test_words.PregnancyTest(pregnant=True), False))
    drugs = [test_words.MedicationTest(medication=[name], route="any") for name in scope.unless_medication]
    scopes += [(f"not with {library.title(test.medication[0])}", test, False) for test in drugs]
    problems = [test_words.ConditionTest(condition=[name]) for name in scope.unless_condition]
    scopes += [(f"not with {library.title(test.condition[0])}", test, False) for test in problems]
    if test := scope.unless_infusion:
        scopes.append((f"not while {test_in_words(test, label, library)}", test, False))
    return scopes


def test_in_words(test: Test, label: Mapping[str, str], library: Library) -> str:
    """One test as a sentence."""

    def titles(names: list[str]) -> str:
        return " or ".join(library.title(name) for name in names)

    match test:
        case lab_words.LabTest():
            limits = [f"{COMPARISONS[word]} {label[name]}" for word, name in limits_of(test).items()]
            first = " (the laboratory's own range or flag first)" if test.laboratory_first else ""
            first += " (or the laboratory's own critical flag)" if test.critical_flag else ""
            first += ", where it was measured" if test.where_measured else ""
            oldest = label[test.within]
            words = f"newest {library.title(test.lab)} {' and '.join(limits)}{first}, no older than {oldest}"
            words += f"; one beyond it no older than {label[test.up_to]}" if test.up_to else ""
            if test.persists:
                apart = label[test.persists.apart]
                words += f", and an earlier one at least {apart} before it too, with all between"
                if test.persists.despite:
                    words += f"; or while {titles(test.persists.despite)} has been on the list for {apart}"
            return words
        case lab_words.NoRecentLabTest():
            return f"no {library.title(test.no_recent_lab)} result within {label[test.within]}"
        case lab_words.ImplausibleTest():
            flagged = " and the laboratory flags it as critical" if test.critical_flag else ""
            return f"newest {library.title(test.implausible)} is not plausible{flagged}, within {label[test.within]}"
        case lab_words.RisenTest():
            soon, week = label[test.by_within], label[test.times_within]
            by, times = label[test.by], label[test.times]
            return f"{library.title(test.risen)} rose by {by} within {soon}, or to {times} times it within {week}"
        case lab_words.OnFileTest():
            return f"(shown, whatever it is) the newest {titles(test.on_file)} within {label[test.within]}"
        case test_words.InHospitalTest():
            return "a hospital stay or an emergency is going on"
        case test_words.ConditionTest():
            return f"an active condition: {titles(test.condition)}"
        case test_words.MedicationTest():
            if test.ended_within:
                status = f"ended no more than {label[test.ended_within]} ago"
                status += f", not before the newest {library.title(test.after_result)}" if test.after_result else ""
            else:
                status = {"any": "active or being ordered", "active": "active", "draft": "being ordered"}[test.status]
            status += f", not known to be taken for less than {label[test.taken_for]}" if test.taken_for else ""
            status += f", in one product with {titles(test.beside)}" if test.beside else ""
            status += f", form: {' or '.join(test.form)}" if test.form else ""
            status += f", but not {titles(test.but)}" if test.but else ""
            many = f"at least {label[test.at_least]} different drugs" if test.at_least else "a drug"
            purpose = f", for: {', '.join(test.ordered_for)}" if test.ordered_for else ""
            return f"{many} ({status}, route: {test.route}{purpose}): {titles(test.medication)}"
        case test_words.InfusionTest():
            words = "magnesium is being given by injection or infusion, or is on a continuous order"
            if test.infusion == "acting":
                words += f", or was given within {label['injected_dose_acts']}"
            if test.infusion == "old_order":
                words = f"magnesium is on a continuous order of more than {label['infusion_order_holds']} ago"
            if test.obstetric:
                ages = f"{label['obstetric_age_from']} to {label['obstetric_age_to']}"
                words += f", to a woman of {ages} who is pregnant or gave birth within {label['birth_holds']}"
            return words
        case test_words.AgeTest():
            return " and ".join(f"age {word.replace('_', ' ')} {label[name]}" for word, name in test.age.items())
        case test_words.PregnancyTest():
            return "recorded pregnancy" if test.pregnant else "pregnancy recorded as absent"
        case test_words.LactationTest():
            return "recorded lactation" if test.lactating else "lactation recorded as absent"
        case test_words.KidneyTest():
            if test.kidney.unknown:
                return f"no eGFR, reported or computed, within {label[test.within]}"
            limits = [f"{COMPARISONS[word]} {label[name]}" for word, name in limits_of(test.kidney).items()]
            return f"eGFR (reported, or computed by CKD-EPI 2021) {' and '.join(limits)}, within {label[test.within]}"
        case test_words.DailyMagnesiumTest():
            ((word, name),) = test.daily_magnesium.items()
            limit = "the upper level for the age" if name == UPPER_LEVEL else label[name]
            day = f"elemental magnesium a day from all oral products above {limit}"
            if word == "above":
                return f"{day}, but for a single dose" if test.repeated else day
            return (
                f"{day} by one reading alone of an order that may mean a salt's weight or magnesium itself, "
                "or an order that calls elemental what is the salt's weight in its product"
            )
        case test_words.MagnesiumProductsTest():
            return f"different oral magnesium products, at least {label[test.magnesium_products['at_least']]}"
        case test_words.InjectedMagnesiumTest():
            kind, limit = test.injected_magnesium.named
            text = f"magnesium sulfate that is being ordered by injection, {INJECTED[kind]} above {label[limit]}"
            if test.minutes:
                less = {"rate": "for longer than", "dose": "in a time that is not said, or within"}.get(kind, "within")
                text += f", {less} {label[test.minutes]}"
            if test.obstetric:
                above = label[test.obstetric.named[1]]
                text += f"; above {above} in a pregnancy or with {titles(test.obstetric_conditions)}"
            return text
        case test_words.IntakeTest():
            return f"documented dietary magnesium below the site's allowance (US or EU), within {label[test.within]}"
        case test_words.ReasonTest():
            return f"magnesium is being ordered for, as the order says: {titles(test.reason)}"
        case _:
            assert_never(test)


def rule_view(loaded: LoadedRule, rulebook: Rulebook) -> dict[str, Any]:
    """Everything that the web page of one rule shows."""
    library, written = rulebook.library, loaded.rule
    rule = rulebook.rules.get(loaded.id)
    limits = [
        {"limit": limit, "value": quantity(library, limit.value, limit.unit),
         "default": number(limit.default) if limit.default is not None else "",
         "regions": {library.wording.regions[region]: number(value) for region, value in limit.regions.items()},
         "threshold": written.thresholds.get(limit.name) or library.shared_thresholds.get(limit.name),
         "reference": library.references[limit.reference]}
        for limit in (rule.limits.values() if rule else ())
        if limit.name in written.thresholds or limit.name in used_shared(loaded, library)
    ]  # fmt: skip
    attributes = [
        (item, written.source_attributes.get(name, item.default))
        for name, item in sorted(library.source_attributes.items(), key=lambda pair: pair[1].number)
    ]
    return {
        "loaded": loaded,
        "rule": written,
        "limits": limits,
        "logic": in_words(written, library, in_force(loaded, rulebook)),
        "references": [library.references[name] for name in written.evidence.references],
        "attributes": attributes,
        "treatment": library.treatment.get(written.card.problem),
        "protocol": rulebook.site.protocol(written.card.problem),
        "claims": {name: library.claims[name] for name in written.claims},
        "changes": changes_of(library, loaded.id),
    }


def in_force(loaded: LoadedRule, rulebook: Rulebook) -> dict[str, str]:
    """Thresholds of a rule with their units, as they hold today; a retired rule has its own values."""
    library = rulebook.library
    rule = rulebook.rules.get(loaded.id)
    thresholds = {**library.shared_thresholds, **loaded.rule.thresholds}
    plain = {
        name: quantity(library, rule.limits[name].value if rule else item.at(rulebook.day), item.unit)
        for name, item in thresholds.items()
    }
    return {
        name: "; ".join([plain[name], *(_case_in_words(case, plain, library) for case in thresholds[name].instead)])
        for name in plain
    }


def _case_in_words(case: Instead, limits: Mapping[str, str], library: Library) -> str:
    """'2 days in hospital'."""

    def titles(names: list[str]) -> str:
        return " or ".join(library.title(name) for name in names)

    parts = ["in hospital"] if case.in_hospital else []
    parts += [f"with {titles(case.condition)} on record"] if case.condition else []
    parts += [f"with {titles(case.not_since)} on record and no later result"] if case.not_since else []
    parts += [f"with injected {titles(case.injected)}"] if case.injected else []
    parts += [f"with an eGFR below {limits[case.kidney_below]}"] if case.kidney_below else []
    parts += [f"from {limits[case.age_at_least]}"] if case.age_at_least else []
    return f"{limits[case.threshold]} {' '.join(parts)}"


def used_shared(loaded: LoadedRule, library: Library) -> set[str]:
    """Names of the thresholds that the rule's trigger uses, for this patient or that."""
    names = {item.name for item in loaded.rule.named() if item.mark.what == "threshold"}
    return names | {case.threshold for case in cases_of(loaded.rule, library)}


def evidence_of(loaded: LoadedRule, rulebook: Rulebook) -> dict[str, Any]:
    """What the rule's web page shows, machine-readable: the 13 source attributes among it."""
    view, rule, library = rule_view(loaded, rulebook), loaded.rule, rulebook.library
    return {
        "rule": loaded.id,
        "version": loaded.version,
        "title": rule.title,
        **({"package": loaded.package.told()} if loaded.package else {}),
        "status": rule.status,
        "reviewed": rule.reviewed.model_dump(mode="json"),
        "why": rule.why.strip(),
        "knownLimits": rule.known_limits.strip(),
        "evidence": rule.evidence.model_dump(mode="json", exclude_none=True),
        "references": [
            {"key": key, **library.references[key].model_dump(mode="json", exclude_none=True)}
            for key in rule.evidence.references
        ],
        "logic": [{"part": head, "lines": lines} for head, lines in view["logic"]],
        "thresholds": [
            {"name": row["limit"].name, "label": row["limit"].label, "value": str(row["limit"].value),
             "unit": row["limit"].unit, "site": row["limit"].site, "reference": row["limit"].reference,
             **({"region": row["limit"].region,
                 "regions": {region: str(value) for region, value in row["limit"].regions.items()}}
                if row["limit"].regions else {})}
            for row in view["limits"]
        ],
        "sourceAttributes": [
            {"number": item.number, "name": item.name, "value": value} for item, value in view["attributes"]
        ],
        "treatment": view["treatment"].model_dump(mode="json") if view["treatment"] else None,
        "protocol": view["protocol"].model_dump(mode="json") if view["protocol"] else None,
        "claims": rule.claims,
        "changes": [{"date": entry.day.isoformat(), "what": entry.what} for entry in view["changes"]],
    }  # fmt: skip
