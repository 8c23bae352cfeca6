"""Codes and names of the concepts, indexed: what does this code mean to us?

The files of `cards/terminology/` come in as they were loaded (`Concept`); look-ups come out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from cds_service.content.concept import Concept
from cds_service.content.library import Library
from cds_service.content.shared import scoring
from cds_service.terminology.drugs import Coding, DrugIdentity, DrugIndex
from cds_service.terminology.routes import route_table
from cds_service.terminology.specimen_comments import denials_of
from cds_service.terminology.units import unit_table
from cds_service.terminology.written_dosage import Sigs

SYSTEMS = {
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "http://www.whocc.no/atc": "atc",
    "urn:oid:2.16.840.1.113883.6.73": "atc",
    "http://snomed.info/sct": "snomed",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10cm",
    "urn:oid:2.16.840.1.113883.6.90": "icd10cm",
    "http://hl7.org/fhir/sid/icd-10": "icd10",
    "urn:oid:2.16.840.1.113883.6.3": "icd10",
    "http://loinc.org": "loinc",
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
}
"""Code systems read, by the URIs under which they are sent, with our short names for them."""


def system_name(system: str | None) -> str | None:
    """Our short name of a code system URI; None if it is not one of ours. `https` and a final slash are forgiven."""
    if not system:
        return None
    found = SYSTEMS.get(system)
    if found is None:
        plain = system.strip().rstrip("/").lower()
        found = SYSTEMS.get("http://" + plain[8:] if plain.startswith("https://") else plain)
    return found


MAX_PHRASES = 20
_CLOCKS = r"\d\d:\d\d(?:(?:, | and )\d\d:\d\d){0,5}\Z"


class LabConcept(NamedTuple):
    """A LOINC code of ours: its concept, and the property that this code measures (mass, substance, ...). A concept
    without `input` is a near miss, known only so that it is never taken for another test. `flag` is race_based for an
    eGFR with a race coefficient."""

    id: str
    entry: Concept
    code: str
    property: str
    flag: str


class Vocabulary:
    """The index of all content by which a chart is read; `fhir` reads no file. Built once per load of content;
    read-only afterwards, so threads may share it.

    `holds`: how long an answer about pregnancy or lactation counts. `denials`: specimen trouble as a comment denies it.
    """

    def __init__(self, library: Library) -> None:
        self.units = unit_table(library.units)
        self.routes = route_table(library.routes)
        self.sigs = Sigs(library.sig_phrases, self.units)
        self.denials = denials_of(library.specimen_comments)
        self.scoring = scoring(library.screener, library.foods)
        states = library.patient_states
        self.holds = {
            "pregnancy": timedelta(days=states.pregnancy.answer_holds_days),
            "lactation": timedelta(days=states.lactation.answer_holds_days),
        }
        self._keep_apart_prefix = library.wording.keep_apart_phrase.partition("{")[0]
        times_prefix = library.wording.plan.times_phrase.partition("{")[0]
        self._times = re.compile(re.escape(times_prefix) + _CLOCKS) if times_prefix else None
        self.concepts, self.broader = library.terminology, library.broader
        drugs = ("drug", "drug_class")
        self._titles = {entry.title.lower(): name for name, entry in self.concepts.items() if entry.kind in drugs}
        self._snomed: dict[str, frozenset[str]] = {}
        self._exact: dict[str, dict[str, frozenset[str]]] = {"icd10cm": {}, "icd10": {}}
        self._prefix: dict[str, dict[str, frozenset[str]]] = {"icd10cm": {}, "icd10": {}}
        self._labs: dict[str, LabConcept] = {}
        self._observations: dict[str, LabConcept] = {}
        self._answers: dict[tuple[str, str, str], str] = {}
        for name, entry in self.concepts.items():
            if entry.kind == "condition":
                self._condition(name, entry)
            elif entry.kind in ("lab", "observation"):
                self._measured(name, entry)
        # Most results of a chart have none of these codes.
        self.measured_codes = frozenset(self._labs.keys() | self._observations.keys())
        self._drugs = DrugIndex(
            self.concepts,
            self.broader,
            library.products,
            library.dose_forms,
            [row.name for row in library.other_ingredients],
        )

    def _condition(self, name: str, entry: Concept) -> None:
        mine = self.broader[name] | {name}
        for table, codes in (
            (self._snomed, entry.snomed),
            (self._exact["icd10cm"], entry.icd10cm),
            (self._prefix["icd10cm"], entry.icd10cm_prefixes),
            (self._prefix["icd10"], entry.icd10),
        ):
            for code in codes:
                key = code.replace(".", "").upper()
                table[key] = table.get(key, frozenset()) | mine

    def _measured(self, name: str, entry: Concept) -> None:
        table = self._labs if entry.kind == "lab" else self._observations
        for row in entry.loinc:
            table[row.code] = LabConcept(name, entry, row.code, row.property, row.flag or "")
        for meaning, answers in (entry.values or {}).items():
            for answer in answers:
                self._answers[name, system_name(answer.system) or answer.system, answer.code] = meaning

    def condition_concepts(self, system: str | None, code: str | None) -> frozenset[str]:
        """Concept ids, groups included, that a condition code belongs to; empty if none. ICD codes match with or
        without their dot."""
        name = system_name(system)
        if not code or name not in ("snomed", "icd10cm", "icd10"):
            return frozenset()
        key = code.strip().upper()
        if name == "snomed":
            return self._snomed.get(key, frozenset())
        key = key.replace(".", "")[:8]
        found = self._exact[name].get(key, frozenset())
        prefixes = self._prefix[name]
        for n in range(3, len(key) + 1):
            found |= prefixes.get(key[:n], frozenset())
        return found

    def lab_concept(self, system: str | None, code: str | None) -> LabConcept | None:
        """The laboratory test that a LOINC code means, None if it is not one of ours."""
        return self._labs.get(code.strip()) if code and system_name(system) == "loinc" else None

    def observation_concept(self, system: str | None, code: str | None) -> LabConcept | None:
        """The same for observations that are not laboratory tests (pregnancy, intake)."""
        return self._observations.get(code.strip()) if code and system_name(system) == "loinc" else None

    def answer(self, concept_id: str, system: str | None, code: str | None) -> str | None:
        """What a coded answer to an observation means ("yes", "no", "unknown"); None if its file does not list it."""
        return self._answers.get((concept_id, system_name(system) or system or "", code)) if code else None

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
        return self._drugs.identify([(system_name(s), c, d) for s, c, d in codings], text)
