"""What the rules read, as input keys, and the prefetch templates made from that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from cds_service.content.base import named
from cds_service.content.library import Library
from cds_service.content.rule import Instead, Rule
from cds_service.content.rulebook import Rulebook
from cds_service.content.site import NO_SITE, SiteValues
from cds_service.fhir import Need
from cds_service.patient import CONDITIONS, ENCOUNTER, ENDED, GIVEN, MEDICATIONS, PATIENT, SCREENER, STATEMENTS

BY_PATIENT = "patient={{context.patientId}}"
# The newest results are enough; a longer history is asked of nobody.
NEWEST = "_sort=-date&_count=20"
A_YEAR = 365


def inputs_read(rule: Rule, library: Library) -> set[str]:
    """The input keys that a rule reads. Age and sex (patient) are read for every call: identity rests on them."""
    keys = {PATIENT}.union(*(part.reads for _, part in rule.parts()))
    labs = (library.terminology[item.name] for item in rule.named() if item.mark.what == "lab")
    for case in cases_of(rule, library):
        keys |= {ENCOUNTER} if case.in_hospital else set()
        keys |= frozenset[str]().union(*(item.mark.reads for item in named(case)))
    return keys | {lab.input for lab in labs if lab.input}


def cases_of(rule: Rule, library: Library) -> list[Instead]:
    """Whom other thresholds hold for instead of those that the rule names."""
    names = {item.name for item in rule.named() if item.mark.what == "threshold"}
    return [
        case for name, threshold in library.shared_thresholds.items() if name in names for case in threshold.instead
    ]


def all_needs(library: Library, windows: bool = False, site: SiteValues = NO_SITE) -> dict[str, Need]:
    """Every input key with its template: reads and searches of the widely supported subset only.

    With `windows` results are asked for no further back than any rule looks, by `today()`, which CDS Hooks 2.0 clients
    cannot fill. They are searched by the codes of `site` too.
    """
    needs = {
        PATIENT: Need(PATIENT, "Patient", "Patient/{{context.patientId}}"),
        CONDITIONS: Need(CONDITIONS, "Condition", f"Condition?{BY_PATIENT}&_count=500"),
        MEDICATIONS: Need(MEDICATIONS, "MedicationRequest", f"MedicationRequest?{BY_PATIENT}&status=active&_count=200"),
        STATEMENTS: Need(
            STATEMENTS, "MedicationStatement", f"MedicationStatement?{BY_PATIENT}&status=active&_count=200"
        ),
    }
    ended = f"MedicationRequest?{BY_PATIENT}&status=completed,stopped&_sort=-authoredon&_count=100"
    needs[ENDED] = Need(ENDED, "MedicationRequest", ended)
    given = f"{BY_PATIENT}&status=in-progress,completed,stopped&_sort=-effective-time&_count=50"
    needs[GIVEN] = Need(GIVEN, "MedicationAdministration", f"MedicationAdministration?{given}", in_encounter=True)
    needs[ENCOUNTER] = Need(ENCOUNTER, "Encounter", "Encounter/{{context.encounterId}}")
    screener = f"QuestionnaireResponse?{BY_PATIENT}&questionnaire={library.screener.canonical}&_sort=-authored&_count=5"
    needs[SCREENER] = Need(SCREENER, "QuestionnaireResponse", screener)
    codes: dict[str, list[str]] = {}
    for name, entry in library.terminology.items():
        if entry.input and entry.codes:
            searched = (f"{library.code_systems[item.system].uris[0]}|{item.code}" for item in entry.codes)
            codes.setdefault(entry.input, []).extend(searched)
            codes[entry.input] += [item.token for item in site.codes.get(name, ())]
    days = days_read(library) if windows else {}
    for key, listed in sorted(codes.items()):
        since = f"&date=ge{{{{today() - {days.get(key, A_YEAR)} days}}}}" if windows else ""
        template = f"Observation?{BY_PATIENT}&code={','.join(dict.fromkeys(listed))}{since}&{NEWEST}"
        needs[key] = Need(key, "Observation", template, laboratory=key in library.laboratory_inputs)
    return needs


def days_read(library: Library) -> dict[str, int]:
    """How far back any rule, under any value that a site may set, reads each input, where one says so."""
    longest: dict[str, int] = {}
    for loaded in library.rules.values():
        thresholds = {**library.shared_thresholds, **loaded.rule.thresholds}
        back = {item.name for item in loaded.rule.named() if item.mark.looks_back}
        back |= {case.threshold for name in back for case in thresholds[name].instead}
        days = [
            int(max((*(value for _, value in thresholds[name].dated), *(thresholds[name].site_may_set or ()))))
            for name in back
        ]
        for key in inputs_read(loaded.rule, library) if days else ():
            longest[key] = max(longest.get(key, 0), *days)
    return longest


@lru_cache(maxsize=16)
def needs_of(rulebook: Rulebook, service: str, windows: bool = False) -> Mapping[str, Need]:
    """The prefetch of a service: the union of what its rules read, in a fixed order."""
    library, site = rulebook.library, rulebook.site
    keys = {PATIENT}.union(*(inputs_read(rule.loaded.rule, library) for rule in rulebook.ever_tried(service)))
    wanted = keys - site.not_available
    return {key: need for key, need in all_needs(library, windows, site).items() if key in wanted}
