"""`cards/` loaded whole and checked whole: every fault at once, with file, key and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from cds_service.content.concept import ConceptFile, broader
from cds_service.content.directions import CommonDirections, DirectionWords
from cds_service.content.products import Form, OtherIngredient, OtherName, Product
from cds_service.content.rule import Rule, Threshold
from cds_service.content.shared import (
    Claim,
    Coverage,
    DietaryReference,
    EgfrEquation,
    EvidenceScale,
    Food,
    OverrideReason,
    Reference,
    Salt,
    Screener,
    Service,
    SourceAttribute,
    Suggestion,
)
from cds_service.content.tables import (
    CodeSystem,
    NameWords,
    PatientStates,
    RouteRow,
    ScheduleTable,
    SearchOutcomes,
    SpecimenComments,
    SystemNames,
    TimingCodes,
    UnitRow,
)
from cds_service.content.texts import Wording
from cds_service.patient import Route

RULE_FOLDERS = ("deficiency", "intake", "timing", "safety", "conditions")
NOT_CONTENT = frozenset({"README.md", "__init__.py"})


@dataclass(frozen=True)
class LoadedRule:
    """A rule with its id (file stem), its folder, and `version`: date of review and digest of `data`, its long form."""

    id: str
    folder: str
    file: str
    rule: Rule
    version: str
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Library:
    """All content, typed: every file below the folder. `digest` names exactly these bytes."""

    rules: Mapping[str, LoadedRule]
    terminology: Mapping[str, ConceptFile]
    references: Mapping[str, Reference]
    evidence: EvidenceScale
    services: Mapping[str, Service]
    source_attributes: Mapping[str, SourceAttribute]
    override_reasons: Mapping[str, OverrideReason]
    suggestions: Mapping[str, Suggestion]
    wording: Wording
    claims: Mapping[str, Claim]
    coverage: Mapping[str, Coverage]
    intakes: DietaryReference
    foods: Mapping[str, Food]
    salts: Mapping[str, Salt]
    screener: Screener
    schedule: ScheduleTable
    egfr: EgfrEquation
    shared_thresholds: Mapping[str, Threshold]
    inpatient_classes: frozenset[str]
    code_systems: Mapping[str, CodeSystem]
    units: Mapping[str, UnitRow]
    routes: Mapping[Route, RouteRow]
    directions: CommonDirections
    languages: Mapping[str, DirectionWords]
    name_words: NameWords
    timing_codes: TimingCodes
    specimen_comments: SpecimenComments
    patient_states: PatientStates
    search_outcomes: SearchOutcomes
    dose_forms: Sequence[Form]
    products: Sequence[Product]
    other_ingredients: Sequence[OtherIngredient]
    other_names: Sequence[OtherName]
    digest: str

    @cached_property
    def system_names(self) -> SystemNames:
        """Our short names of code systems by their addresses."""
        return SystemNames(self.code_systems)

    @cached_property
    def broader(self) -> Mapping[str, frozenset[str]]:
        """Every concept above each one, without end: a salt's magnesium, a drug's class, a condition's group."""
        return broader(self.terminology)

    @cached_property
    def drug_titles(self) -> Mapping[str, str]:
        """Titles of single drugs by concept id, without umbrella concepts such as a class."""
        umbrellas = frozenset[str]().union(*self.broader.values())
        return {
            concept: entry.title
            for concept, entry in self.terminology.items()
            if entry.kind == "drug" and concept not in umbrellas
        }

    def title(self, concept: str) -> str:
        """What we call a concept on a card."""
        return self.terminology[concept].title

    def unit(self, concept: str) -> str:
        """The canonical UCUM unit of a lab."""
        return self.terminology[concept].unit or ""


def default_root() -> Path:
    """The folder of the content that ships with the package."""
    return Path(str(files("cds_service.cards")))
