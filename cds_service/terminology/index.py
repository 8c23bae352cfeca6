"""Codes and names of the concepts, indexed: what does this code mean to us?

The files of `cards/terminology/` come in as they were loaded (`Concept`); look-ups come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar

from cds_service.content.concept import MAGNESIUM, Concept
from cds_service.content.library import Library
from cds_service.content.screener import scoring
from cds_service.content.site import SiteValues
from cds_service.patient import Component, Quantity
from cds_service.spelling import tokens
from cds_service.terminology.directions import Sigs
from cds_service.terminology.drugs import Coding, DrugIdentity, DrugIndex
from cds_service.terminology.injections import InjectionReader
from cds_service.terminology.names import unpack
from cds_service.terminology.routes import route_table
from cds_service.terminology.specimen_comments import SpecimenReader
from cds_service.terminology.strengths import masses
from cds_service.terminology.units import Unit, unit_table

MAX_PHRASES = 20
_MOST_CODES = 8192
_LONGEST_CODE = 100  # characters, with its system: what is longer is a text, of which nothing is kept
V = TypeVar("V")
_DOUBT = re.compile(r"^\W|[?;:+=~!*]|(?<!\w)[-\u2013\u2212](?!\w)")
_PAIR = re.compile(r"(?<![\d.,/])(\d{1,4}(?:\.\d)?) ?/ ?(\d{1,4}(?:\.\d)?)(?![\d.,/])", re.ASCII)
_CLOCKS = r"\d\d:\d\d(?:(?:, | and )\d\d:\d\d){0,5}\Z"


class LabConcept(NamedTuple):
    """A code of ours: its concept, and the property that this code measures (mass, substance, ...). A concept without
    `input` is a near miss, known only so that it is never taken for another test. `flag` is race_based for an eGFR
    with a race coefficient. `sent`: the units of this test as a chart may spell them, by `folded` text."""

    id: str
    entry: Concept
    code: str
    property: str
    flag: str
    sent: Mapping[str, Unit]


class Vocabulary:
    """The index of all content by which a chart is read; `fhir` reads no file. Built once per load of content;
    read-only afterwards, so threads may share it.

    `system_name`: our short name of a code system by its address. `holds`: how long an answer about pregnancy or
    lactation counts.
    """

    def __init__(self, library: Library) -> None:
        self.units = unit_table(library.units, library.system_names.of)
        self.routes = route_table(library.routes)
        named = ((name, row.holds) for row in library.named_products.values() for name in row.names)
        self._salts = library.salts
        self._named = {tokens(name): unpack(holds, "") for name, holds in named}
        self.injections = InjectionReader(library.injections)
        self.sigs = Sigs(library.directions, library.languages, library.timing_codes.codes)
        self.specimens = SpecimenReader(library.specimen_comments)
        self.search_outcomes = library.search_outcomes
        words = library.infusion_words
        self._continuous, self._obstetric = _phrases(words.continuous), _phrases(words.obstetric)
        self.scoring = scoring(library.screener, library.foods)
        states = library.patient_states
        self._classes = library.threshold_table.encounter_classes
        self._encounters: dict[tuple[str, str], str] = {}
        self.holds = {
            "pregnancy": timedelta(days=states.pregnancy.answer_holds_days),
            "lactation": timedelta(days=states.lactation.answer_holds_days),
        }
        self.adherence = states.adherence
        self._not_taken = {row.system: frozenset(row.codes) for row in states.not_taken}
        self._keep_apart_prefix = library.wording.keep_apart_phrase.partition("{")[0]
        times_prefix = library.wording.plan.times_phrase.partition("{")[0]
        self._times = re.compile(re.escape(times_prefix) + _CLOCKS) if times_prefix else None
        self.concepts, self.broader = library.terminology, library.broader
        self.observed_inputs, self.other_inputs = library.observed_inputs, library.other_inputs
        self.laboratory_inputs = library.laboratory_inputs
        drugs = ("drug", "drug_class")
        self._titles = {entry.title.lower(): name for name, entry in self.concepts.items() if entry.kind in drugs}
        self._systems = library.code_systems
        self.system_name = library.system_names.of
        self._exact: dict[str, dict[str, frozenset[str]]] = {"snomed": {}, "icd10cm": {}}
        self._prefix: dict[str, dict[str, frozenset[str]]] = {"icd10cm": {}, "icd10": {}, "icd9cm": {}}
        self._said: dict[tuple[str, ...], frozenset[str]] = {}
        self._tests: dict[tuple[str, str], LabConcept] = {}
        self._own: dict[tuple[str, str], str] = {}
        # What charts name again and again: codes of the form of their system, and the problems that they mean.
        self._formed: dict[tuple[str, str], str] = {}
        self._problems: dict[tuple[str, str], frozenset[str]] = {}
        self._of_site: tuple[str, Vocabulary] = "", self
        self._answers: dict[tuple[str, str, str], str] = {}
        for name, entry in self.concepts.items():
            if entry.kind == "condition":
                self._condition(name, entry)
            elif entry.kind in ("lab", "observation"):
                self._measured(name, entry)
        # Most results of a chart have none of these codes.
        self.measured_codes = frozenset(code for _, code in self._tests)
        self._test_systems = {system for system, _ in self._tests}
        self._drugs = DrugIndex(
            self.concepts,
            self.broader,
            library.name_words,
            library.products,
            library.dose_forms,
            [row.name for row in library.other_ingredients],
            library.other_names,
        )

    def _condition(self, name: str, entry: Concept) -> None:
        mine = self.broader[name] | {name}
        for table, codes in (
            (self._exact["snomed"], entry.snomed),
            (self._exact["icd10cm"], entry.icd10cm),
            (self._prefix["icd10cm"], entry.icd10cm_prefixes),
            (self._prefix["icd10"], entry.icd10),
            (self._prefix["icd9cm"], entry.icd9cm),
        ):
            for code in codes:
                key = _plain(code)
                table[key] = table.get(key, frozenset()) | mine
        for text in entry.names:
            self._said[tokens(text)] = self._said.get(tokens(text), frozenset()) | mine

    def _measured(self, name: str, entry: Concept) -> None:
        sent = self.units.sent(filter(None, (entry.unit, *entry.site_units, *entry.sent_in)))
        for row in entry.codes:
            key = row.system, row.code
            self._tests[key] = LabConcept(name, entry, row.code, row.property, row.flag or "", sent)
        for meaning, answers in (entry.values or {}).items():
            for answer in answers:
                self._answers[name, self.system_name(answer.system) or answer.system, answer.code] = meaning

    def of_site(self, site: SiteValues) -> Vocabulary:
        """The same with the codes of this site's own."""
        if not site.codes and not site.encounters:
            return self
        digest, found = self._of_site
        if digest != site.digest:
            found = copy(self)
            found._own = {
                (self.system_name(item.system) or item.system or "", item.code): name
                for name, items in site.codes.items()
                for item in items
            }
            found._encounters = {
                (item.system or "", item.code): self._classes[kind][0]
                for kind, items in site.encounters.items()
                for item in items
            }
            found._tests = self._tests | {
                key: LabConcept(name, entry, key[1], "either" if entry.molar_mass else "", "", self._sent_of(name))
                for key, name in found._own.items()
                if (entry := self.concepts[name]).kind == "lab"
            }
            found.measured_codes = frozenset(code for _, code in found._tests)
            self._of_site = site.digest, found
        return found

    def encounter_class(self, system: str | None, code: str) -> str | None:
        """The class of HL7's in whose place a class of this site's own stands."""
        return self._encounters.get((system or "", code))

    def _sent_of(self, name: str) -> Mapping[str, Unit]:
        return next(test.sent for test in self._tests.values() if test.id == name)

    def condition_concepts(self, system: str | None, code: str | None) -> frozenset[str]:
        """Concept ids, groups included, that a condition code belongs to; empty if none. ICD codes match with or
        without their dot."""
        if not code:
            return frozenset()
        if self._own and (own := self._own.get((self.system_name(system) or system or "", code.strip()))) is not None:
            return self.broader[own] | {own}
        name = self._has_form(system, code)
        found = self._problems.get((name or "", code))
        if found is None:
            found = self._problems_of(name, code)
            if name is not None:
                _keep(self._problems, (name, code), found)
        return found

    def _problems_of(self, name: str | None, code: str) -> frozenset[str]:
        row = self._systems[name] if name else None
        bare = row.bare(code) if row else code.strip()
        key = bare.upper() if name == "snomed" else _plain(bare)[:8]
        if row is not None and row.who:
            name, key = "icd10", key[:3] if key[:4] in map(_plain, row.but) else key
        found = self._exact.get(name or "", {}).get(key, frozenset())
        prefixes = self._prefix.get(name or "", {})
        for n in range(3, len(key) + 1 if prefixes else 0):
            found |= prefixes.get(key[:n], frozenset())
        return found

    def tells_problem(self, system: str | None, code: str | None) -> bool:
        """Whether a code says which problem it is, ours or another, so that no text needs to."""
        name = self._has_form(system, code)
        return name is not None and (name in self._exact or name in self._prefix or self._systems[name].who)

    def tells_test(self, system: str | None, code: str | None) -> bool:
        """The same of a test or another observation."""
        return self._has_form(system, code) in self._test_systems

    def _has_form(self, system: str | None, code: str | None) -> str | None:
        """Our short name of a code's system; None where the code has not the form of its codes: it is the site's own,
        sent under that system."""
        if not code:
            return None
        name = self._formed.get((system or "", code))
        if name is None and (name := self.system_name(system)) is not None:
            row = self._systems[name]
            form = self._systems["icd10"] if row.who else row
            if not form.holds(row.bare(code)):
                return None
            _keep(self._formed, (system or "", code), name)
        return name

    def condition_called(self, text: str) -> frozenset[str]:
        """The same of a problem in words, by a short list of whole texts. A text in doubt is none of them."""
        return frozenset() if _DOUBT.search(text.strip()) else self._said.get(tokens(text), frozenset())

    def lab_concept(self, system: str | None, code: str | None) -> LabConcept | None:
        """The laboratory test that a code means, None if it is not one of ours."""
        found = self.measured(system, code)
        return found if found is not None and found.entry.kind == "lab" else None

    def measured(self, system: str | None, code: str | None) -> LabConcept | None:
        """The same, and of observations that are no laboratory tests (pregnancy, intake)."""
        return self._tests.get((self.system_name(system) or system or "", code.strip())) if code else None

    def answer(self, concept_id: str, system: str | None, code: str | None) -> str | None:
        """What a coded answer to an observation means ("yes", "no", "unknown"); None if its file does not list it."""
        return self._answers.get((concept_id, self.system_name(system) or system or "", code)) if code else None

    def says_not_taken(self, system: str | None, code: str | None) -> bool:
        """Whether this code says that a medicine is not taken; R5 may leave its own system out."""
        name = self.system_name(system) or system
        rows = self._not_taken.items()
        return any(code in codes and (name is None or name == (self.system_name(own) or own)) for own, codes in rows)

    def says_continuous(self, texts: Iterable[str]) -> bool:
        """Whether words of an order say that it goes on, by the closed list of `cards/tables/infusion_words.yaml`."""
        return any(self._continuous.search(_words(text)) for text in texts)

    def says_obstetric(self, texts: Iterable[str]) -> bool:
        """Whether words of an order say that it is for a mother or her unborn child, by the same list."""
        return any(self._obstetric.search(_words(text)) for text in texts)

    def kept_apart(self, text: str) -> tuple[str, frozenset[str]]:
        """A drug's text without our own closing phrases and times, and the drug concepts that they name.

        They are cut off before names are matched, since they name other drugs. Text of which the end is not wholly ours
        is left as it is.
        """
        found: frozenset[str] = frozenset()
        for _ in range(MAX_PHRASES):
            head, mark, tail = text.rpartition(self._keep_apart_prefix) if self._keep_apart_prefix else ("", "", "")
            name = self._titles.get(tail.strip().lower())
            if not mark or not head or name is None:
                break
            text, found = head, found | {name}
            if self._times and (times := self._times.search(text)) and times.start():
                text = text[: times.start()]  # our clock times stand before our closing phrases and nowhere else
        return text, found

    def drug(self, codings: Sequence[Coding], text: str | None) -> DrugIdentity:
        """Which drug it is. `codings`: (system URI, code, display); `text`: the EHR's own name for it, untrusted."""
        return self._drugs.identify([self._coding(*coding) for coding in codings], text)

    def product_called(self, name: str, drugs: frozenset[str]) -> tuple[Component, ...]:
        """What a product of magnesium holds whose name alone says it: "535/64", the weight of a salt and of its
        magnesium, before what our table knows of the name; nothing where the text gives another amount."""
        if pair := _PAIR.search(name):
            weight, element = map(Decimal, pair.groups())
            exact = (weight * row.elemental_fraction for salt, row in self._salts.items() if salt in drugs)
            fits = any(abs(each - element) < 1 for each in exact)  # labels round to whole milligrams
            return (Component(MAGNESIUM, Quantity(element, "mg"), salt_weight=Quantity(weight, "mg")),) if fits else ()
        words = tokens(name)
        places = ((words[i:j], j - i) for i in range(len(words)) for j in range(i + 1, min(i + 6, len(words)) + 1))
        held = ((size, self._named[part]) for part, size in places if part in self._named)
        _, found = max(held, key=lambda item: item[0], default=(0, ()))
        said = masses(name)
        return found if not said or any(part.strength in said for part in found) else ()

    def _coding(self, system: str | None, code: str | None, display: str | None) -> Coding:
        """With our short name of its system. A code of the site's own stands for the ingredient that it means."""
        name = self.system_name(system)
        own = self._own.get((name or system or "", code.strip())) if code and self._own else None
        if own is not None and (codes := self.concepts[own].rxnorm_ingredients):
            return "rxnorm", codes[0], display
        return self._has_form(system, code), code, display


def _keep(known: dict[tuple[str, str], V], code: tuple[str, str], meaning: V) -> None:
    if len(known) >= _MOST_CODES:
        known.clear()
    if len(code[0]) + len(code[1]) <= _LONGEST_CODE:
        known[code] = meaning


def _words(text: str) -> str:
    return f" {' '.join(tokens(text))} "


def _phrases(listed: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(_words(phrase)) for phrase in listed))


def _plain(code: str) -> str:
    """A code of ICD without its dot, in upper case."""
    return code.replace(".", "").upper()
