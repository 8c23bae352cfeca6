"""Site values: what this hospital's administrator set, in one YAML document. Checked whole; immutable once read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from cds_service.content.base import Name, Region, Strict, Text, named
from cds_service.content.yamlfile import ContentError, Document, Fault, parse
from cds_service.spelling import nearest

if TYPE_CHECKING:
    from cds_service.content.concept import Concept
    from cds_service.content.library import Library

SHARED = "shared"
OLD_WORD, RULES = "pages", "rules"
BEFORE_REGION = ("allowance", "upper_level")
_ADDRESS = re.compile(r"(?:urn:[a-z0-9][a-z0-9-]+:|https?://)[^\s|,]+", re.IGNORECASE)


class SiteThreshold(Strict):
    """A threshold's own value, in the unit of the rule, and why."""

    value: Decimal
    reason: Text


class SiteRule(Strict):
    """What this site makes of one rule. `silent`: evaluated, counted, not shown. `hidden`: not tried, which a rule that
    speaks against magnesium cannot be: without its finding, other rules would go on to suggest magnesium."""

    show: Literal["shown", "silent", "hidden"] | None = None
    thresholds: dict[Name, SiteThreshold] = {}
    reason: Text | None = None


class SiteUnit(Strict):
    """The unit in which a laboratory value is shown; the laboratory's own stands beside it."""

    unit: str
    reason: Text


class SiteInput(Strict):
    """An input that this EHR has not got at all, such as medication statements. Not the problem list: rules that speak
    against magnesium would find nothing in it."""

    available: Literal[False]
    reason: Text


class SiteProtocol(Strict):
    """This hospital's own protocol for a problem: linked on cards and evidence pages."""

    label: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$", max_length=500)]


class SiteRepetition(Strict):
    """When the same finding of the same patient is not shown again.

    `not_again_at_signing`: cards of these indicators, where the same user saw the same on order-select minutes before;
    information unless a site says otherwise. `after_override_days`: so long after an override whose reason says that it
    is taken care of. New or worse data are another finding; a critical card comes back after 24 hours at the latest.
    """

    not_again_at_signing: list[Literal["info", "warning"]] = ["info"]
    after_override_days: Annotated[int, Field(ge=0, le=90)] = 0
    reason: Text


class SiteScheduleValue(Strict):
    """A value of tables/schedule.yaml, written as there: "07:30", ["08:00", "20:00"] or 30."""

    value: str | int | list[str]
    reason: Text


class SiteCode(Strict):
    """A code of the site's own, with the address of its code system; without one for a code that is sent bare."""

    system: Text | None = None
    code: Annotated[str, Field(pattern=r"^[^\s|,]+( [^\s|,]+)*$", max_length=64)]

    @property
    def token(self) -> str:
        """As a FHIR search writes it."""
        return f"{self.system or ''}|{self.code}"


class SiteOrderable(Strict):
    """What a suggestion orders, as one EHR of this site calls it."""

    system: Text
    code: Annotated[str, Field(min_length=1, max_length=200)]
    display: Text


class SiteDocument(Strict):
    """The site file. `rules` by rule id (`shared` for thresholds of tables/thresholds.yaml), `units` by lab.

    `codes` by concept: what this site's own codes mean, beside those that the content knows.
    `orderables` by suggestion and client: what its button orders there.
    `protocols` by the problem of a card (of tables/treatment.yaml): where this hospital's own protocol is to be read.
    `region`: whose allowance, whose upper level, and whose hours where the product texts of regions differ.
    """

    site: Text
    rules: dict[Name, SiteRule] = {}
    units: dict[Name, SiteUnit] = {}
    inputs: dict[Name, SiteInput] = {}
    codes: dict[Name, Annotated[list[SiteCode], Field(min_length=1)]] = {}
    orderables: dict[Name, dict[str, SiteOrderable]] = {}
    region: Region | None = None
    schedule: dict[Name, SiteScheduleValue] = {}
    repetition: SiteRepetition | None = None
    protocols: dict[Name, SiteProtocol] = {}


_AS_EVER = SiteRule()
_NOTHING_SET = SiteDocument(site="none")


@dataclass(frozen=True)
class SiteValues:
    """Site values in force. `digest` names exactly this document ("" where there is none)."""

    document: SiteDocument = _NOTHING_SET
    digest: str = ""
    notes: tuple[str, ...] = ()

    def threshold(self, rule: str, name: str) -> Decimal | None:
        """The site's own value of a threshold, or None."""
        value = self.document.rules.get(rule, _AS_EVER).thresholds.get(name)
        return value.value if value else None

    def visibility(self, rule: str) -> Literal["shown", "silent", "hidden"]:
        return self.document.rules.get(rule, _AS_EVER).show or "shown"

    def unit(self, lab: str) -> str | None:
        """The unit to show a lab in, or None for its concept's own."""
        chosen = self.document.units.get(lab)
        return chosen.unit if chosen else None

    @property
    def repetition(self) -> SiteRepetition | None:
        """What this site says of repeats, None for nothing."""
        return self.document.repetition

    @property
    def schedule(self) -> dict[str, Any]:
        """The site's own times of the day, by their names in tables/schedule.yaml."""
        return {name: item.value for name, item in self.document.schedule.items()}

    @property
    def region(self) -> Region | None:
        """The region that this site chose, None where it chose none."""
        return self.document.region

    @property
    def dietary_region(self) -> Region:
        """Whose allowance and upper level are in force; the US ones unless the site chose."""
        return self.document.region or "us"

    @property
    def codes(self) -> Mapping[str, list[SiteCode]]:
        """The site's own codes, by concept."""
        return self.document.codes

    def orderable(self, suggestion: str, client: str) -> SiteOrderable | None:
        """What a suggestion orders at this client, in its own words; None where nobody said."""
        return self.document.orderables.get(suggestion, {}).get(client)

    def protocol(self, problem: str) -> SiteProtocol | None:
        """This hospital's own protocol for the problem of a card, if it names one."""
        return self.document.protocols.get(problem)

    @property
    def not_available(self) -> frozenset[str]:
        return frozenset(self.document.inputs)


NO_SITE = SiteValues()


def read_site(text: str, file: str, library: Library, input_keys: frozenset[str]) -> SiteValues:
    """Site values from a document. Raises ContentError with every fault: file, line, allowed range, nearest name."""
    document, notes = _with_rules(parse(text, file))
    if before := list(_before_region(document)):
        raise ContentError(before)
    try:
        parsed = TypeAdapter(SiteDocument).validate_python(document.data)
    except ValidationError as error:
        from cds_service.content.loading import faults_of

        raise ContentError(faults_of(error, document)) from error
    faults = list(_faults(parsed, document, library, input_keys))
    if faults:
        raise ContentError(faults)
    return SiteValues(parsed, hashlib.sha256(text.encode()).hexdigest()[:12], notes)


def _with_rules(document: Document) -> tuple[Document, tuple[str, ...]]:
    """A document whose `rules` still stand under their old name, with these and a note; any other as it is."""
    data = document.data
    if not isinstance(data, dict) or OLD_WORD not in data or RULES in data:
        return document, ()
    lines = {(RULES, *path[1:]) if path[:1] == (OLD_WORD,) else path: line for path, line in document.lines.items()}
    note = f"{document.file}:{lines[(RULES,)]}: {OLD_WORD} is now called {RULES}: rename it, it is read as that"
    data = {RULES if key == OLD_WORD else key: value for key, value in data.items()}
    return Document(document.file, data, lines), (note,)


def _before_region(document: Document) -> Iterator[Fault]:
    """Two settings that one of another reach took the place of: what it now means is for the site to say."""
    for key in BEFORE_REGION:
        if isinstance(document.data, dict) and key in document.data:
            old = document.data[key]
            region = old.get("region") if isinstance(old, dict) else None
            message = "allowance and upper_level are one setting now, which chooses the hours between doses too: write "
            yield document.fault((key,), f"{message}`region: {region or 'eu'}` in their place")


def _faults(parsed: SiteDocument, document: Document, library: Library, input_keys: frozenset[str]) -> list[Fault]:
    faults: list[Fault] = []
    for rule_id, mine in parsed.rules.items():
        if rule_id == SHARED:
            thresholds = library.shared_thresholds
            if mine.show:
                faults.append(document.fault(("rules", rule_id, "show"), "shared thresholds cannot be hidden"))
        elif rule_id in library.rules:
            thresholds = library.rules[rule_id].rule.thresholds
        else:
            known = [*library.rules, SHARED]
            faults.append(document.fault(("rules", rule_id), f"no rule {rule_id}{nearest(rule_id, known)}"))
            continue
        if mine.show == "hidden" and rule_id in against_magnesium(library):
            message = f"{rule_id} speaks against magnesium and is always evaluated: write silent, its card is not shown"
            faults.append(document.fault(("rules", rule_id, "show"), message))
        elif mine.show in ("silent", "hidden") and not mine.reason:
            faults.append(document.fault(("rules", rule_id, "show"), f"{mine.show} needs a reason"))
        for name, own in mine.thresholds.items():
            path = ("rules", rule_id, "thresholds", name)
            threshold = thresholds.get(name)
            if threshold is None:
                where = "shared thresholds" if rule_id == SHARED else rule_id
                hint = nearest(name, thresholds)
                if not hint and name in library.shared_thresholds:
                    hint = f" (it is a shared one: put it under {SHARED})"
                faults.append(document.fault(path, f"{where} has no threshold {name}{hint}"))
            elif threshold.site_may_set is None:
                faults.append(document.fault(path, "a site may not set this threshold"))
            elif not threshold.site_may_set[0] <= own.value <= threshold.site_may_set[1]:
                low, high = threshold.site_may_set
                message = f"{own.value} {threshold.unit} is outside the allowed range {low} to {high} {threshold.unit}"
                faults.append(document.fault((*path, "value"), message))
    labs = units_of(library)
    for lab, own_unit in parsed.units.items():
        message = unit_fault(lab, own_unit.unit, labs)
        if message:
            faults.append(document.fault(("units", lab, *(["unit"] if lab in labs else [])), message))
    for key, item in parsed.schedule.items():
        usual = library.schedule.thresholds
        message = usual[key].fault_of(item.value) if key in usual else f"the schedule has no {key}{nearest(key, usual)}"
        if message:
            faults.append(document.fault(("schedule", key, "value"), message))
    if not any(fault.key.startswith("schedule.") for fault in faults):
        for key, message in library.schedule.misfits({key: item.value for key, item in parsed.schedule.items()}):
            faults.append(document.fault(("schedule", key), message))
    for key in sorted(parsed.protocols.keys() - library.treatment.keys()):
        message = f"no problem with a protocol {key}{nearest(key, library.treatment)}"
        faults.append(document.fault(("protocols", key), message))
    for key in parsed.inputs:
        if key not in input_keys or key == "patient":
            message = f"no input that can be left out is named {key}{nearest(key, input_keys - {'patient'})}"
            faults.append(document.fault(("inputs", key), message))
        elif key == "conditions" and (resting := against_magnesium_by_problem(library)):
            message = f"{', '.join(resting)} speak against magnesium by a problem on record: that is never left out"
            faults.append(document.fault(("inputs", key), message))
    fit = orderable_suggestions(library)
    for name in parsed.orderables:
        if name not in fit:
            faults.append(
                document.fault(("orderables", name), f"no suggestion orders anything as {name}{nearest(name, fit)}")
            )
    return [*faults, *_code_faults(parsed, document, library)]


def _code_faults(parsed: SiteDocument, document: Document, library: Library) -> Iterator[Fault]:
    """A site's own code means one concept, of a kind that codes are read for, and nothing that the content knows."""
    known: dict[tuple[str, str], str] = {}
    for name, entry in library.terminology.items():
        lists = {"snomed": entry.snomed, "icd10cm": entry.icd10cm, "rxnorm": entry.rxnorm_ingredients, "atc": entry.atc}
        known |= {(system, code): name for system, codes in lists.items() for code in codes}
        known |= {(code.system, code.code): name for code in entry.codes}
    fit = [name for name, entry in library.terminology.items() if _takes_codes(entry)]
    for name, items in parsed.codes.items():
        if name not in fit:
            yield document.fault(("codes", name), f"no test, problem or drug takes codes as {name}{nearest(name, fit)}")
            continue
        for index, item in enumerate(items):
            path = ("codes", name, index)
            if item.system is not None and not _ADDRESS.fullmatch(item.system):
                message = "is no address of a code system: urn:..., http://... or https://..."
                yield document.fault((*path, "system"), message)
            key = library.system_names.of(item.system) or item.system or "", item.code
            if key in known:
                yield document.fault(path, f"{item.code} means {known[key]} already")
            known[key] = name


def _takes_codes(entry: Concept) -> bool:
    kinds = {"condition": True, "lab": entry.input is not None, "drug": bool(entry.rxnorm_ingredients)}
    return kinds.get(entry.kind, False)


def orderable_suggestions(library: Library) -> list[str]:
    """The suggestions that create an order."""
    return [name for name, item in library.suggestions.items() if item.kind == "lab_order"]


def against_magnesium(library: Library) -> list[str]:
    """The ids of the rules that speak against magnesium: no site can do without them."""
    return sorted(name for name, loaded in library.rules.items() if loaded.rule.card.contraindicates_magnesium)


def against_magnesium_by_problem(library: Library) -> list[str]:
    """Those of them that fire by a problem on record. An input that a site leaves out counts as read and empty."""
    return [
        name
        for name in against_magnesium(library)
        if any(
            at[0] == "when" and item.mark.kinds == ("condition",)
            for at, part in library.rules[name].rule.parts()
            for item in named(part, at)
        )
    ]


def units_of(library: Library) -> dict[str, list[str]]:
    """The labs that may be shown in a unit of choice, each with the units to choose from."""
    return {name: entry.site_units for name, entry in library.terminology.items() if entry.site_units}


def unit_fault(lab: str, unit: str, labs: Mapping[str, list[str]]) -> str:
    """What is wrong with the choice of a unit, "" if nothing. `labs`: as `units_of`."""
    if lab not in labs:
        return f"no lab with a choice of units {lab}{nearest(lab, labs)}"
    return "" if unit in labs[lab] else f"{unit} is not one of {', '.join(labs[lab])}"


def site_schema() -> dict[str, Any]:
    """The JSON Schema of the site file."""
    schema = SiteDocument.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Magnesium CDS site values"
    return schema
