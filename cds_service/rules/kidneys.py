"""Kidney function of one patient, from the eGFR that was reported and the one that creatinine gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Literal, Protocol

from cds_service.content.rulebook import Rulebook
from cds_service.patient import Lab, PatientFacts
from cds_service.rules.verdict import Kidney, Reason


class Results(Protocol):
    """What is asked of a call's `Context`, which holds the kidney function that is found here."""

    @property
    def facts(self) -> PatientFacts: ...
    @property
    def rulebook(self) -> Rulebook: ...
    def labs_of(self, concept: str) -> tuple[Lab, ...]: ...
    def newest_gap(self, concept: str, labs: Sequence[Lab]) -> Reason | None: ...


def kidney_of(results: Results) -> Kidney | Reason:
    """The newest eGFR, reported or computed from creatinine, or both where the two of one moment contradict each other.
    A Reason where there is none."""
    reported, created = results.labs_of("egfr"), results.labs_of("creatinine")
    gap = results.newest_gap("egfr", (*reported, *created))
    if gap:
        return gap
    newest = (*reported[:1], *created[:1])
    best = Kidney(reported[0].value, reported[0], False) if reported and reported[0].value is not None else None
    for lab in created[:1]:
        if lab.value is None:
            continue
        if best and not _newer(lab, best.lab):
            # The laboratory's own figure goes before ours for the same specimen, unless they contradict each other.
            possible = _possible(lab.value, results) if _of_one_time(best.lab, lab) else frozenset()
            other = _computed(possible, lab) if possible else None
            if other and _contradict(best, other, results.rulebook.library.egfr.accuracy.within):
                best = replace(best, against=other)
            continue
        if lab.comparator:
            return Reason("comparator", lab.concept)
        possible = _possible(lab.value, results)
        if not possible:
            return Reason("no_kidney_result" if results.facts.person.ages else "age_unknown")
        best = _computed(possible, lab)
    # An older result never passes for the latest one, which cannot be used.
    late = next((lab for lab in newest if lab.problem and (best is None or _newer(lab, best.lab))), None)
    if late:
        return Reason("unusable_result", "egfr", problem=late.problem)
    return best or Reason("no_kidney_result", "egfr")


def _computed(possible: frozenset[Decimal], creatinine: Lab) -> Kidney:
    return Kidney(min(possible), creatinine, True, max(possible) if len(possible) > 1 else None)


def _contradict(reported: Kidney, computed: Kidney, spread: Decimal) -> bool:
    """Whether the two are further apart than two estimates of one kidney, each off by no more than `spread`. A bound is
    as far away as it has to be, and where sex or age leave the eGFR open, so is that."""
    apart = (1 + spread) / (1 - spread)
    (_, sign), (low, other), (high, _) = reported.ends[0], computed.ends[0], computed.ends[-1]
    above = not sign.startswith("<") and not other.startswith(">") and reported.value > high * apart
    below = not sign.startswith(">") and not other.startswith("<") and reported.value * apart < low
    return above or below


def _possible(creatinine: Decimal, results: Results) -> frozenset[Decimal]:
    """CKD-EPI 2021 from creatinine in its concept's unit: one value, or those of either sex and every age where they
    are not exactly known. None of a patient who may be no adult."""
    person, equation = results.facts.person, results.rulebook.library.egfr
    if any(age < equation.adult_age for age in person.ages):
        return frozenset()
    sexes: tuple[Literal["female", "male"], ...] = (person.sex,) if person.sex else ("female", "male")
    return frozenset(_egfr(creatinine, sex, age, results) for sex in sexes for age in person.ages)


def _egfr(creatinine: Decimal, sex: Literal["female", "male"], age: int, results: Results) -> Decimal:
    equation = results.rulebook.library.egfr
    ratio = creatinine * equation.creatinine_factor / equation.kappa[sex]
    below = min(ratio, Decimal(1)) ** equation.alpha[sex]
    above = max(ratio, Decimal(1)) ** equation.max_exponent
    value = equation.factor * below * above * equation.age_base**age
    if sex == "female":
        value *= equation.female_factor
    return value.quantize(Decimal(1))


def _of_one_time(one: Lab, other: Lab) -> bool:
    """Whether neither is surely the older: of a day alone and a time in it, either may be."""
    return not _newer(one, other) and not _newer(other, one)


def _newer(one: Lab, other: Lab) -> bool:
    """Whether one result is surely the newer. A date alone does not tell within its day; no time may be the latest."""
    if one.time is None or other.time is None:
        return one.time is None
    if one.time_is_date_only or other.time_is_date_only:
        return one.time.date() > other.time.date()
    return one.time > other.time
