"""All that stands in `cards/`, typed, and which file holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from cds_service.content import screener as intake_screener
from cds_service.content import shared, tables
from cds_service.content.base import UNIT_OF_THE_LAB, EncounterKind, Name, Text, named
from cds_service.content.canaries import Canary
from cds_service.content.concept import Concept, broader
from cds_service.content.directions import CommonDirections, DirectionWords
from cds_service.content.package import Package
from cds_service.content.products import Form, OtherIngredient, OtherName, Product
from cds_service.content.rule import Rule, Threshold
from cds_service.content.texts import Wording
from cds_service.content.word_fields import PurposeName
from cds_service.patient import Route

SHARED = "shared"
"""The owner of the thresholds of tables/thresholds.yaml, which every rule has."""
RULE_FOLDERS = ("deficiency", "intake", "timing", "safety", "conditions")
Changes = Annotated[list[shared.Change], Field(min_length=1)]
NOT_CONTENT = frozenset({"README.md", "__init__.py"})


@dataclass(frozen=True)
class LoadedRule:
    """A rule with its id (file stem), its folder, and `version`: date of review and digest of `data`, its long form.

    `package`: whose it is, where it is not ours. Its title then ends with the publisher's name.
    """

    id: str
    folder: str
    file: str
    rule: Rule
    version: str
    data: Mapping[str, Any] = field(repr=False)
    package: Package | None = None


@dataclass(frozen=True)
class Library:
    """All content: every file below the folder, and what `packages` of others add. `digest` names exactly these bytes.

    Rules and terminology are folders; `listed` are the drugs of which one file holds a line each. Of each other field
    the type names its file, or its folder of files by their stems: the loader reads that file as that type.
    """

    rules: Mapping[str, LoadedRule]
    terminology: Mapping[str, Concept]
    listed: frozenset[str]
    threshold_table: Annotated[shared.SharedThresholds, "tables/thresholds.yaml"]
    system_table: Annotated[tables.CodeSystems, "terminology/code_systems.yaml"]
    unit_table: Annotated[tables.UnitRows, "terminology/units.yaml"]
    route_table: Annotated[tables.RouteRows, "terminology/routes.yaml"]
    references: Annotated[dict[Name, shared.Reference], "references.yaml"]
    evidence: Annotated[shared.EvidenceScale, "evidence.yaml"]
    services: Annotated[dict[str, shared.Service], "services.yaml"]
    source_attributes: Annotated[dict[Name, shared.SourceAttribute], "source_attributes.yaml"]
    override_reasons: Annotated[dict[Name, shared.OverrideReason], "override_reasons.yaml"]
    suggestions: Annotated[dict[Name, shared.Suggestion], "suggestions.yaml"]
    wording: Annotated[Wording, "wording.yaml"]
    claims: Annotated[dict[str, shared.Claim], "claims.yaml"]
    coverage: Annotated[dict[Name, shared.Coverage], "coverage.yaml"]
    changes: Annotated[dict[Name, Changes], "changes.yaml"]
    other_sources: Annotated[dict[str, Text], "tables/thresholds_without_primary_source.yaml"]
    intakes: Annotated[shared.DietaryReference, "tables/dietary_reference_intakes.yaml"]
    foods: Annotated[dict[Name, shared.Food], "tables/foods.yaml"]
    salts: Annotated[dict[Name, shared.Salt], "tables/salts.yaml"]
    screener: Annotated[intake_screener.Screener, "tables/intake_screener.yaml"]
    schedule: Annotated[tables.ScheduleTable, "tables/schedule.yaml"]
    egfr: Annotated[shared.EgfrEquation, "tables/ckd_epi_2021.yaml"]
    named_products: Annotated[dict[Name, tables.NamedProduct], "tables/named_products.yaml"]
    injections: Annotated[tables.InjectionWords, "tables/injections.yaml"]
    directions: Annotated[CommonDirections, "tables/directions.yaml"]
    canaries: Annotated[dict[Name, Canary], "canaries.yaml"]
    languages: Annotated[dict[str, DirectionWords], "tables/directions/"]
    name_words: Annotated[tables.NameWords, "tables/name_words.yaml"]
    timing_codes: Annotated[tables.TimingCodes, "tables/timing_codes.yaml"]
    specimen_comments: Annotated[tables.SpecimenComments, "tables/specimen_comments.yaml"]
    infusion_words: Annotated[tables.InfusionWords, "tables/infusion_words.yaml"]
    treatment: Annotated[dict[Name, shared.Treatment], "tables/treatment.yaml"]
    patient_states: Annotated[tables.PatientStates, "tables/patient_states.yaml"]
    purposes: Annotated[dict[PurposeName, tables.Purpose], "tables/purposes.yaml"]
    search_outcomes: Annotated[tables.SearchOutcomes, "tables/search_outcomes.yaml"]
    dose_forms: Annotated[list[Form], "terminology/dose_forms.csv"]
    products: Annotated[list[Product], "terminology/rxnorm_products.csv"]
    other_ingredients: Annotated[list[OtherIngredient], "terminology/other_ingredients.csv"]
    other_names: Annotated[list[OtherName], "terminology/other_names.csv"]
    digest: str
    packages: tuple[Package, ...] = ()

    @property
    def shared_thresholds(self) -> Mapping[str, Threshold]:
        return self.threshold_table.thresholds

    @property
    def inpatient_classes(self) -> list[str]:
        """Classes of encounters in which results age as in hospital."""
        table, kinds = self.threshold_table.encounter_classes, get_args(EncounterKind)
        return [code for kind in kinds if kind != "outpatient" for code in table.get(kind, ())]

    def encounter_kind(self, code: str | None) -> EncounterKind | None:
        """The kind of encounter that a class of HL7's ActCode is; None where it is of none."""
        return next((kind for kind, codes in self.threshold_table.encounter_classes.items() if code in codes), None)

    @property
    def code_systems(self) -> Mapping[str, tables.CodeSystem]:
        return self.system_table.systems

    @property
    def units(self) -> Mapping[str, tables.UnitRow]:
        return self.unit_table.units

    @property
    def routes(self) -> Mapping[Route, tables.RouteRow]:
        return self.route_table.routes

    @cached_property
    def observed_inputs(self) -> frozenset[str]:
        """Inputs of results and other observations."""
        return frozenset(entry.input for entry in self._observed if entry.input)

    @cached_property
    def laboratory_inputs(self) -> frozenset[str]:
        """Those of results that laboratories alone make."""
        others = {entry.input for entry in self._observed if entry.kind != "lab" or not entry.laboratory}
        return self.observed_inputs - others

    @cached_property
    def other_inputs(self) -> frozenset[str]:
        """Those of observations that no laboratory makes."""
        return self.observed_inputs - {each.input for each in self._observed if each.kind == "lab" and each.laboratory}

    @property
    def _observed(self) -> list[Concept]:
        return [entry for entry in self.terminology.values() if entry.input and entry.codes]

    @cached_property
    def system_names(self) -> tables.SystemNames:
        """Our short names of code systems by their addresses."""
        return tables.SystemNames(self.code_systems)

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

    @cached_property
    def labs_limited(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """The labs whose results a threshold limits, by its owner (a rule or `shared`) and its name: the tests of the
        rules name both, and its unit is that lab's."""
        found: dict[tuple[str, str], set[str]] = {}
        for loaded in self.rules.values():
            for _, part in loaded.rule.parts():
                held = list(named(part))
                lab = next((item.name for item in held if item.mark.what == "lab"), "")
                for item in held if lab else ():
                    if item.mark.what == "threshold" and item.mark.unit in (UNIT_OF_THE_LAB, self.unit(lab)):
                        owner = loaded.id if item.name in loaded.rule.thresholds else SHARED
                        found.setdefault((owner, item.name), set()).add(lab)
        return {key: frozenset(labs) for key, labs in found.items()}

    def source(self, reference: str, year: bool = True) -> str:
        """What a card says that a rule or a number rests on. A source of a weak kind is not named: it was read in the
        place of the primary text."""
        found = self.references[reference]
        return self.wording.primary_not_read if found.weak else found.dated if year else found.name

    def title(self, concept: str) -> str:
        """What we call a concept on a card."""
        return self.terminology[concept].title

    def unit(self, concept: str) -> str:
        """The canonical UCUM unit of a lab; empty where the lab is missing, which a check of its own says."""
        return (concept in self.terminology and self.terminology[concept].unit) or ""


def default_root() -> Path:
    """The folder of the content that ships with the package."""
    return Path(str(files("cds_service.cards")))
