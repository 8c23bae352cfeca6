"""What the pages read, as input keys, and the prefetch templates made from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cds_service.content.checks import thresholds_named
from cds_service.content.library import Library
from cds_service.content.pages import (
    ConditionTest,
    DailyMagnesiumTest,
    IntakeTest,
    KidneyTest,
    LabTest,
    MagnesiumProductsTest,
    MedicationTest,
    NoRecentLabTest,
    Page,
    PregnancyTest,
    ReasonTest,
)
from cds_service.fhir import ENDED, Need

LOINC = "http://loinc.org"
BY_PATIENT = "patient={{context.patientId}}"
ENCOUNTER = "encounter"
INTAKE, SCREENER = "intake", "screener"
PATIENT, CONDITIONS, MEDICATIONS, STATEMENTS = "patient", "conditions", "medications", "medication_statements"
# The newest results are enough; a longer history is asked of nobody.
NEWEST = "_sort=-date&_count=20"


def inputs_read(page: Page, library: Library) -> set[str]:
    """The input keys that a page reads. Age and sex (patient) are read for every call: identity rests on them."""
    keys = {PATIENT}
    if page.separate or page.avoid or page.applies_to.unless_medication:
        keys |= {MEDICATIONS, STATEMENTS}
    if page.applies_to.not_pregnant:
        keys |= pregnancy_inputs(library)
    if page.applies_to.recent_result:
        keys |= _input(library, page.applies_to.recent_result.lab)
    if page.applies_to.unless_condition:
        keys |= {CONDITIONS}
    for test in (*page.when.all, *page.when.any, *page.when.none) if page.when else ():
        match test:
            case LabTest():
                keys |= _input(library, test.lab) | {ENCOUNTER}
                keys |= {MEDICATIONS, STATEMENTS} if test.persists and test.persists.despite else set()
            case NoRecentLabTest():
                keys |= _input(library, test.no_recent_lab)
            case KidneyTest():
                keys |= _input(library, "egfr") | _input(library, "creatinine")
            case ConditionTest():
                keys |= {CONDITIONS}
            case MedicationTest() if test.status == "ended":
                keys |= {ENDED}
            case MedicationTest() if test.taken_for:
                keys |= {MEDICATIONS, STATEMENTS, ENDED}
            case MedicationTest() | DailyMagnesiumTest() | MagnesiumProductsTest():
                keys |= {MEDICATIONS, STATEMENTS}
            case ReasonTest():
                keys |= {CONDITIONS}
            case IntakeTest():
                keys |= {INTAKE, SCREENER} | pregnancy_inputs(library)
            case PregnancyTest():
                keys |= pregnancy_inputs(library)
            case _:
                pass
    return keys


def pregnancy_inputs(library: Library) -> set[str]:
    """Pregnancy is read from observations and from the problem list."""
    return {CONDITIONS} | {page.input for page in library.terminology.values() if page.input == "pregnancy"}


def _input(library: Library, lab: str) -> set[str]:
    key = library.terminology[lab].input
    return {key} if key else set()


def all_needs(library: Library, windows: bool = False) -> dict[str, Need]:
    """Every input key with its template: reads and searches of the widely supported subset only.

    With `windows` results are asked for no further back than any page looks, by `today()`, which CDS Hooks 2.0 clients
    cannot fill.
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
    needs[ENCOUNTER] = Need(ENCOUNTER, "Encounter", "Encounter/{{context.encounterId}}")
    screener = f"QuestionnaireResponse?{BY_PATIENT}&questionnaire={library.screener.canonical}&_sort=-authored&_count=5"
    needs[SCREENER] = Need(SCREENER, "QuestionnaireResponse", screener)
    codes: dict[str, list[str]] = {}
    for page in library.terminology.values():
        if page.input and page.loinc:
            codes.setdefault(page.input, []).extend(f"{LOINC}|{item.code}" for item in page.loinc)
    for key, listed in sorted(codes.items()):
        since = f"&date=ge{{{{today() - {days_read(key, library)} days}}}}" if windows else ""
        template = f"Observation?{BY_PATIENT}&code={','.join(dict.fromkeys(listed))}{since}&{NEWEST}"
        needs[key] = Need(key, "Observation", template)
    return needs


def days_read(key: str, library: Library) -> int:
    """How far back any page, under any value that a site may set, reads an input. A year where none says so."""
    longest = 0
    for loaded in library.pages.values():
        if key in inputs_read(loaded.page, library):
            for path, name in thresholds_named(loaded.page):
                threshold = {**library.shared_thresholds, **loaded.page.thresholds}[name]
                if path[-1] == "within":
                    longest = max(longest, int(max((*threshold.values.values(), *(threshold.site_may_set or ())))))
    return longest or 365


def needs_of(
    pages: Iterable[Page], library: Library, left_out: frozenset[str], windows: bool = False
) -> Mapping[str, Need]:
    """The prefetch of a service: the union of what its pages read, in a fixed order."""
    keys: set[str] = {PATIENT}
    for page in pages:
        keys |= inputs_read(page, library)
    return {key: need for key, need in all_needs(library, windows).items() if key in keys - left_out}
