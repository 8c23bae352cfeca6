"""Codes and names of the concepts, indexed: what does this code mean to us?

Plain data in (`Concept`, built from files of `cards/terminology/` by `concept`), look-ups out. The fields of a file,
in their order: title, kind; for a drug `names`, `brands`, `not` (phrases that cancel a name inside them),
`rxnorm_ingredients`, `atc`, `member_of`; for a drug class `members`, `atc_prefixes`; for a condition `names`, `snomed`,
`icd10cm`, `icd10cm_prefixes`, `icd10` (WHO; prefixes), `members`; for a lab or observation `loinc` (list of
{code, property, flag}), `input`, `unit`, `molar_mass`, `valence`, `plausible`, `trouble_words`, `values` (coded
answers: yes, no, unknown), `never_used_as`; then `note`, `not_confirmed` and `checked`, which nobody matches by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import cast

from cds_service.content.library import Library
from cds_service.content.shared import scoring
from cds_service.terminology.drugs import Coding, DrugIdentity, DrugIndex
from cds_service.terminology.routes import route_table
from cds_service.terminology.specimen_comments import denials_of
from cds_service.terminology.units import unit_table
from cds_service.terminology.written_dosage import Sigs

__all__ = ["SYSTEMS", "Concept", "LabConcept", "Vocabulary", "broader", "concept", "system_name"]

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


@dataclass(frozen=True, slots=True)
class Concept:
    """One concept as plain data; ids are file stems."""

    id: str
    title: str
    kind: str
    names: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    not_names: tuple[str, ...] = ()
    rxnorm_ingredients: tuple[str, ...] = ()
    atc: tuple[str, ...] = ()
    atc_prefixes: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    snomed: tuple[str, ...] = ()
    icd10cm: tuple[str, ...] = ()
    icd10cm_prefixes: tuple[str, ...] = ()
    icd10: tuple[str, ...] = ()
    loinc: tuple[tuple[str, str, str], ...] = ()
    input: str | None = None
    unit: str = ""
    molar_mass: Decimal | None = None
    valence: int | None = None
    plausible: tuple[Decimal, Decimal] | None = None
    values: tuple[tuple[str, str, str], ...] = ()
    never_used_as: str | None = None
    trouble_words: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class LabConcept:
    """A LOINC code of ours: its concept, the property that this code measures (mass, substance, ...), the canonical
    UCUM unit, molar mass in g/mol and valence for conversion, and the plausible range in the canonical unit.
    `input` is None for a near miss that is known only so that it is never taken for another test. `flag` is
    race_based for an eGFR with a race coefficient."""

    id: str
    title: str
    code: str
    property: str
    unit: str
    input: str | None = None
    molar_mass: Decimal | None = None
    valence: int | None = None
    plausible: tuple[Decimal, Decimal] | None = None
    flag: str = ""


def _texts(entry: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(str(v) for v in cast(Sequence[object], entry.get(key) or ()))


def concept(name: str, entry: Mapping[str, object]) -> Concept:
    """A file as a Concept. `entry` is its YAML mapping; what is missing is empty. KeyError: no title or kind."""
    loinc = cast(Sequence[Mapping[str, object]], entry.get("loinc") or ())
    mass = entry.get("molar_mass")
    span = cast("Sequence[object] | None", entry.get("plausible"))
    trouble = cast(Mapping[str, Sequence[str]], entry.get("trouble_words") or {})
    answers = cast(Mapping[str, Sequence[Mapping[str, object]]], entry.get("values") or {})
    return Concept(
        id=name,
        title=str(entry["title"]),
        kind=str(entry["kind"]),
        not_names=_texts(entry, "not"),
        loinc=tuple((str(r["code"]), str(r.get("property", "")), str(r.get("flag") or "")) for r in loinc),
        input=cast("str | None", entry.get("input")),
        unit=str(entry.get("unit") or ""),
        molar_mass=Decimal(str(mass).split()[0]) if mass is not None else None,
        valence=cast("int | None", entry.get("valence")),
        plausible=(Decimal(str(span[0])), Decimal(str(span[1]))) if span else None,
        values=tuple((m, str(v["system"]), str(v["code"])) for m, rows in answers.items() for v in rows),
        never_used_as=cast("str | None", entry.get("never_used_as")),
        trouble_words=tuple((kind, tuple(words)) for kind, words in trouble.items()),
        **{key: _texts(entry, key) for key in _LISTS},
    )


_LISTS = (
    "names", "brands", "rxnorm_ingredients", "atc", "atc_prefixes", "member_of", "members", "snomed", "icd10cm",
    "icd10cm_prefixes", "icd10",
)  # fmt: skip


def broader(concepts: Iterable[Concept]) -> dict[str, frozenset[str]]:
    """Every concept above each one (`member_of` up, `members` down), without itself. ValueError on a ring."""
    direct: dict[str, set[str]] = {}
    for c in concepts:
        direct.setdefault(c.id, set()).update(c.member_of)
        for member in c.members:
            direct.setdefault(member, set()).add(c.id)
    done: dict[str, frozenset[str]] = {}

    def climb(name: str, path: tuple[str, ...]) -> frozenset[str]:
        if name in path:
            raise ValueError(f"{name} is a member of itself: {' -> '.join((*path, name))}")
        if name not in done:
            found: set[str] = set()
            for parent in direct.get(name, ()):
                found |= {parent} | climb(parent, (*path, name))
            done[name] = frozenset(found)
        return done[name]

    return {name: climb(name, ()) for name in sorted(direct)}


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
        concepts = [
            concept(name, entry.model_dump(by_alias=True, exclude_none=True))
            for name, entry in library.terminology.items()
        ]
        self._keep_apart_prefix = library.wording.keep_apart_phrase.partition("{")[0]
        times_prefix = library.wording.plan.times_phrase.partition("{")[0]
        self._times = re.compile(re.escape(times_prefix) + _CLOCKS) if times_prefix else None
        self._titles = {c.title.lower(): c.id for c in concepts if c.kind in ("drug", "drug_class")}
        self.concepts: dict[str, Concept] = {c.id: c for c in concepts}
        self.broader = broader(self.concepts.values())
        self._snomed: dict[str, frozenset[str]] = {}
        self._exact: dict[str, dict[str, frozenset[str]]] = {"icd10cm": {}, "icd10": {}}
        self._prefix: dict[str, dict[str, frozenset[str]]] = {"icd10cm": {}, "icd10": {}}
        self._labs: dict[str, LabConcept] = {}
        self._observations: dict[str, LabConcept] = {}
        self._answers: dict[tuple[str, str, str], str] = {}
        self._trouble = {c.id: dict(c.trouble_words) for c in self.concepts.values() if c.trouble_words}
        for c in self.concepts.values():
            if c.kind == "condition":
                self._condition(c)
            elif c.kind in ("lab", "observation"):
                self._measured(c)
        self._drugs = DrugIndex(
            self.concepts.values(),
            self.broader,
            library.products,
            library.dose_forms,
            [row.name for row in library.other_ingredients],
        )

    def _condition(self, c: Concept) -> None:
        mine = frozenset({c.id}) | self.broader.get(c.id, frozenset())
        for table, codes in (
            (self._snomed, c.snomed),
            (self._exact["icd10cm"], c.icd10cm),
            (self._prefix["icd10cm"], c.icd10cm_prefixes),
            (self._prefix["icd10"], c.icd10),
        ):
            for code in codes:
                key = code.replace(".", "").upper()
                table[key] = table.get(key, frozenset()) | mine

    def _measured(self, c: Concept) -> None:
        table = self._labs if c.kind == "lab" else self._observations
        for code, measured, flag in c.loinc:
            table[code] = LabConcept(
                c.id, c.title, code, measured, c.unit, c.input, c.molar_mass, c.valence, c.plausible, flag
            )
        for meaning, system, code in c.values:
            self._answers[c.id, system_name(system) or system, code] = meaning

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

    def trouble_words(self, concept_id: str) -> Mapping[str, tuple[str, ...]]:
        """Kind of specimen trouble -> words that tell of it, for a lab; empty where its concept lists none."""
        return self._trouble.get(concept_id, {})

    def loinc_codes(self, input_key: str) -> tuple[str, ...]:
        """The LOINC codes asked for under one prefetch key, sorted."""
        found = (c for c in self.concepts.values() if c.input == input_key)
        return tuple(sorted(code for c in found for code, _, _ in c.loinc))

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
