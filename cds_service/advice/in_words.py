"""Facts as a clinician reads them: numbers with units, dates, ages, names. No text of the EHR passes through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cds_service.advice.foods_in_words import foods
from cds_service.advice.injected_in_words import injected_words
from cds_service.advice.phrasing import fill, lowered, number
from cds_service.content.concept import MAGNESIUM
from cds_service.content.library import Library
from cds_service.content.rulebook import ActiveRule, Limit, Rulebook
from cds_service.fhir import UnitTable
from cds_service.patient import Condition, Intake, Lab, Medication
from cds_service.planner.model import hours
from cds_service.rules.context import Context
from cds_service.rules.verdict import DailyMagnesium, InjectedDose, Kidney, LabHit, Match, OnFile, Reason, Rise, Verdict
from cds_service.spelling import joined

MAX_NAMES = 3
MAX_QUOTED = 6  # names of the chart for what nobody here could identify
SIGNS = {"<": "< ", "<=": "≤ ", ">": "> ", ">=": "≥ "}


def quantity(library: Library, value: Decimal, unit: str, decimals: int | None = None) -> str:
    """Number and UCUM unit as people write them: '0.58 mmol/L', '1 day' and not '1 days', '2' of what is counted."""
    words = library.wording.units
    one = words.get(f"1 {unit}") if value == 1 else None
    return f"{number(value, decimals)} {one or words.get(unit, unit)}".rstrip()


@dataclass(frozen=True)
class Display:
    """Wording of one call: its library, its rulebook (site units), its context, the table of units and the units of the
    caller's screen."""

    rulebook: Rulebook
    context: Context
    table: UnitTable
    units: Mapping[str, str] = field(default_factory=dict)
    _placeholders: dict[tuple[str, int], tuple[Verdict, dict[str, str]]] = field(default_factory=dict, repr=False)
    _reasons: dict[Reason, str] = field(default_factory=dict, repr=False)

    @property
    def library(self) -> Library:
        return self.rulebook.library

    def unit_word(self, unit: str) -> str:
        """The UCUM unit as people write it."""
        return self.library.wording.units.get(unit, unit)

    def quantity(self, value: Decimal, unit: str, decimals: int | None = None) -> str:
        """The same, in the words of this call."""
        return quantity(self.library, value, unit, decimals)

    def when(self, moment: datetime | None) -> str:
        """The day, in ISO form: read the same everywhere; "" where it is not known."""
        return moment.date().isoformat() if moment else ""

    def age(self, moment: datetime | None) -> str:
        """'today' or '12 d ago'; "" where it is not known."""
        if moment is None:
            return ""
        days = (self.context.facts.now.date() - moment.date()).days
        words = self.library.wording.ages
        return words["today"] if days <= 0 else words["one_day" if days == 1 else "days"].format(days=days)

    # Laboratory values: the caller's unit, else the site's, else the one that the laboratory used; the other in
    # brackets where asked.

    def _in_unit(self, concept: str, value: Decimal, unit: str) -> Decimal:
        entry = self.library.terminology[concept]
        return self.table.convert(value, entry.unit or "", unit, molar_mass=entry.molar_mass, valence=entry.valence)

    def _chosen_unit(self, concept: str) -> str | None:
        return self.units.get(concept) or self.rulebook.site.unit(concept)

    def _unit_of(self, lab: Lab) -> str:
        return self._chosen_unit(lab.concept) or (lab.reported.unit if lab.reported else lab.unit)

    def _decimals(self, concept: str, unit: str) -> int:
        """Of the concept, in its unit; in a unit with smaller numbers as many more, so that nothing is rounded away."""
        step = self._in_unit(concept, Decimal(1), unit)
        return self.library.terminology[concept].decimals + max(0, -step.adjusted())

    def lab_value(self, lab: Lab, both: bool = False) -> str:
        """The value, with comparator; with `both`, the laboratory's own or our unit in brackets where they differ."""
        if lab.value is None:
            return "no usable value"
        canonical = self.library.terminology[lab.concept].unit or lab.unit
        shown = self._unit_of(lab)
        first = self._one(lab, shown)
        other = lab.reported.unit if lab.reported and lab.reported.unit != shown else canonical
        return f"{first} ({self._one(lab, other)})" if both and other != shown else first

    def _one(self, lab: Lab, unit: str) -> str:
        sign = SIGNS.get(lab.comparator or "", "")
        if lab.reported and lab.reported.unit == unit:
            return sign + self.quantity(lab.reported.value, unit)
        assert lab.value is not None
        value = self._in_unit(lab.concept, lab.value, unit)
        return sign + self.quantity(value, unit, self._decimals(lab.concept, unit))

    def kidney_value(self, found: Kidney) -> str:
        """eGFR, with the comparator of a reported one; a range where sex or age leave it open, or two results do."""
        unit, (*lower, (value, sign)) = self.library.unit("egfr"), found.ends
        told = SIGNS.get(sign, "") + self.quantity(value, unit, 0)
        return " to ".join([*(SIGNS.get(sign, "") + number(value, 0) for value, sign in lower), told])

    def _kidney(self, found: Kidney) -> dict[str, str]:
        told = {"value": self.kidney_value(found), "age": self.age(found.lab.time), "date": self.when(found.lab.time)}
        last = fill(self.library.wording.last_kidney, told)
        return {"kidney.last": last, **{f"kidney.{part}": text for part, text in told.items()}}

    def lab_limit(self, hit: LabHit) -> str:
        """The limit in the unit that the value is shown in."""
        if hit.limit is None:
            return self.library.wording.notes["laboratory_flag"]
        return self.lab_amount(hit.lab, hit.limit)

    def lab_amount(self, lab: Lab, value: Decimal) -> str:
        """A number in the lab's canonical unit, in the unit and precision that the lab's own value is shown in."""
        unit = self._unit_of(lab)
        shown = self._in_unit(lab.concept, value, unit)
        return self.quantity(shown, unit, self._decimals(lab.concept, unit))

    def limit(self, limit: Limit) -> str:
        """'0.70 mmol/L'; hours with minutes where they are no whole number: '30 min'."""
        return hours(round(limit.value * 60)) if limit.unit == "h" else self.quantity(limit.value, limit.unit)

    # Names: always ours.

    def medication(self, medication: Medication) -> str:
        """The drug's name, with strength where one ingredient gives it."""
        names = self.medication_names(medication)
        strengths = [item.strength for item in medication.components if item.strength and item.per == "unit"]
        if len(names) == 1 and len(strengths) == 1 and strengths[0]:
            return f"{names[0]} {self.quantity(strengths[0].value, strengths[0].unit)}"
        return joined(names)

    def title(self, concept: str) -> str:
        """A concept's title as it stands within a sentence."""
        entry = self.library.terminology[concept]
        return entry.title if entry.proper_name else lowered(entry.title)

    def spoken(self, concept: str) -> str:
        """What people call it, within a sentence."""
        return self.library.terminology[concept].short or self.title(concept)

    def infusion(self, item: Medication) -> str:
        """'magnesium sulfate is being given', or when it was ordered or given last."""
        day = item.at.date() if item.status in ("given", "ended") and item.at else item.since
        word = "runs" if item.runs else item.status if day or item.status == "draft" else "undated"
        drug = lowered(joined(self.medication_names(item)))
        return fill(self.library.wording.infusion[word], {"drug": drug, "date": day.isoformat() if day else ""})

    def match(self, match: Match) -> str:
        """What a test found, as it stands within a sentence; of a medicine the drugs that the test means, with the day
        since when, where that is known."""
        if isinstance(match.fact, str):
            return self.library.wording.states[match.fact]
        if isinstance(match.fact, Lab):
            return self.lab(match.fact)
        if isinstance(match.fact, Rise):
            return self.rise(match.fact)
        if isinstance(match.fact, Condition):
            return joined(map(self.spoken, self._narrowest(match.concepts)))
        above, titles = self.library.broader, self.library.drug_titles
        meant = [drug for drug in match.fact.drugs & titles.keys() if match.concepts & {drug, *above[drug]}]
        name = joined(map(self.title, sorted(meant))) or lowered(joined(self.medication_names(match.fact)))
        if match.since is None:
            return name
        return fill(self.library.wording.since, {"drug": name, "date": match.since.isoformat()})

    def few(self, names: list[str], most: int = MAX_NAMES) -> str:
        """At most three names, or as many as are said; how many more there are."""
        unique = list(dict.fromkeys(names))
        if len(unique) <= most:
            return joined(unique)
        return f"{', '.join(unique[:most])} and {len(unique) - most} more"

    def medication_names(self, medication: Medication) -> list[str]:
        """Its single drugs; the narrowest class where it names nothing narrower."""
        titles = self.library.drug_titles
        names = [titles[drug] for drug in sorted(medication.drugs) if drug in titles]
        return names or [self.library.title(drug) for drug in self._narrowest(medication.drugs)]

    def _narrowest(self, concepts: frozenset[str]) -> list[str]:
        return sorted(concepts.difference(*(self.library.broader[concept] for concept in concepts)))

    # Placeholders and reasons.

    def placeholders(self, rule: ActiveRule, verdict: Verdict) -> dict[str, str]:
        """Every placeholder that this finding fills. Several texts of a card ask for them, so they are filled once."""
        key = rule.id, id(verdict)
        if key not in self._placeholders:
            self._placeholders[key] = verdict, self._fill_placeholders(rule, verdict)
        return self._placeholders[key][1]

    def _fill_placeholders(self, rule: ActiveRule, verdict: Verdict) -> dict[str, str]:
        filled: dict[str, str] = _Limits(self, rule, verdict)
        for name, value in verdict.bindings.items():
            match value:
                case LabHit():
                    filled |= self._lab(name, value)
                case Lab():
                    filled |= self._written(name, value)
                case OnFile():
                    filled[name] = joined(self._on_file(value))
                case Kidney():
                    filled |= self._kidney(value)
                case DailyMagnesium():
                    filled["daily_magnesium.value"] = self.quantity(value.value, "mg", 0)
                case InjectedDose():
                    filled |= injected_words(value, self.library, self.title)
                case Limit():
                    filled[name] = self.limit(value)
                case Intake() if value.mg_per_day is not None and value.time is not None:
                    filled["intake.value"] = self._intake(value)
                    filled["intake.age"] = self.age(value.time)
                    filled["allowance.name"] = self._allowance_name()
                    gap = verdict.bindings.get("gap", Decimal(0))
                    filled["foods"] = foods(self.library, self.context, gap, self.unit_word("mg"))
                case Medication() if name == "infusion":
                    filled[name] = self.infusion(value)
                case Medication():
                    filled[name] = lowered(self.medication(value))
                    filled["replacing"] = self.replacing(value)
                case date():
                    filled[name] = value.isoformat()
                case Decimal():
                    filled[name] = self.quantity(value, self.library.intakes.unit, 0)
                case _ if name == "matched":
                    filled[name] = self.few([self.match(item) for item in value])
                case _ if name == "products":
                    filled[name] = self.few([lowered(self.medication(item)) for item in value])
                case _ if name == "reason":
                    filled[name] = joined(map(self.title, value))
                case _ if name in ("drug", "salt"):
                    filled[name] = self.title(value)
        separate = rule.loaded.rule.separate
        if separate:
            before, after = rule.limits[separate.drug_then_magnesium], rule.limits[separate.magnesium_then_drug]
            longer = max(before, after, key=lambda limit: limit.value)
            filled |= {"hours_before": self.limit(before), "hours_after": self.limit(after)}
            filled["hours_apart"] = self.limit(longer)
        return filled

    def regions(self, limit: Limit) -> str:
        """Whose text a limit is of and what the other region's says; empty where both say the same."""
        others = [each for each, value in limit.regions.items() if value != limit.value]
        if limit.region is None or not others:
            return ""
        words = self.library.wording
        return fill(words.notes["region_of_site" if self.rulebook.site.region else "region"], {
            "label": lowered(limit.label),
            "value": self.limit(limit),
            "region": words.regions[limit.region],
            "other_region": words.regions[others[0]],
            "other": self.quantity(limit.regions[others[0]], limit.unit),
        })  # fmt: skip

    def replacing(self, order: Medication) -> str:
        """'replacing 0.55 mmol/L (1 d ago)' of an order of magnesium; empty where it replaces nothing that is known."""
        low, words = self.context.low_level, self.library.wording.replacing
        if order.status != "draft" or MAGNESIUM not in order.drugs:
            return ""
        if low and low.lab.time:
            return fill(words["level"], {"value": self.lab_value(low.lab), "age": self.age(low.lab.time)})
        return words["reason"] if self.context.purpose(order) == "replacement" else ""

    def _allowance_name(self) -> str:
        row = self.context.allowance
        names = self.library.wording.allowances[self.rulebook.site.dietary_region]
        return names[row.kind] if row and row.kind != "EAR" else ""

    def _intake(self, intake: Intake) -> str:
        unit = self.library.intakes.unit
        if intake.low is not None and intake.high is not None:
            return f"{number(intake.low, 0)} to {self.quantity(intake.high, unit, 0)}"
        assert intake.mg_per_day is not None
        return self.quantity(intake.mg_per_day, unit, 0)

    def _lab(self, name: str, hit: LabHit) -> dict[str, str]:
        return {
            f"{name}.value": self.lab_value(hit.lab, both=self._chosen_unit(hit.lab.concept) is not None),
            f"{name}.age": self.age(hit.lab.time),
            f"{name}.date": self.when(hit.lab.time),
            f"{name}.limit": self.lab_limit(hit),
            f"{name}.persists": self._persists(hit),
        }

    def _written(self, name: str, lab: Lab) -> dict[str, str]:
        """A result that cannot be used, as the laboratory wrote it."""
        assert lab.reported is not None
        written = self.quantity(lab.reported.value, lab.reported.unit)
        return {f"{name}.written": written, f"{name}.age": self.age(lab.time), f"{name}.date": self.when(lab.time)}

    def _on_file(self, value: OnFile) -> list[str]:
        """'QTc 470 ms (today)' for each result there is; where there is none of the first lab, why."""
        first = [self.reason(value.labs[0])] if isinstance(value.labs[0], Reason) else []
        found = [lab for lab in value.labs if isinstance(lab, Lab)]
        return first + [f"{self.lab(lab)} ({self.age(lab.time)})" for lab in found if lab.time]

    def lab(self, lab: Lab) -> str:
        """'potassium 3.0 mmol/L'."""
        return f"{self.title(lab.concept)} {self.lab_value(lab)}"

    def rise(self, rise: Rise) -> str:
        """'creatinine rose from 80 to 150 µmol/L in 2 days'; the first unit is left out where it is the same."""
        assert rise.earlier.time and rise.newest.time
        low, high = self.lab_value(rise.earlier), self.lab_value(rise.newest)
        if self._unit_of(rise.earlier) == self._unit_of(rise.newest):
            low = low.removesuffix(f" {self.unit_word(self._unit_of(rise.newest))}")
        apart, day = rise.newest.time - rise.earlier.time, timedelta(days=1)
        unit, length = ("d", day) if apart >= 2 * day else ("h", timedelta(hours=1))
        time = self.quantity(Decimal(round(apart / length)), unit)
        return fill(self.library.wording.states["risen"], {"low": low, "high": high, "time": time})

    def _persists(self, hit: LabHit) -> str:
        """'after 3.2 mmol/L on 2026-11-16 and with potassium chloride'; empty where the rule does not ask."""
        words, parts = self.library.wording.persists, []
        if hit.earlier and hit.earlier.time:
            values = {"value": self.lab_value(hit.earlier), "date": self.when(hit.earlier.time)}
            parts.append(fill(words["earlier"], values))
        if hit.despite:
            names = self.few([lowered(joined(self.medication_names(item))) for item in hit.despite])
            parts.append(fill(words["despite"], {"drugs": names}))
        return joined(parts)

    def reason(self, reason: Reason) -> str:
        """Why something was not checked, in a short phrase."""
        if reason not in self._reasons:
            self._reasons[reason] = self._word(reason)
        return self._reasons[reason]

    def reasons(self, listed: Iterable[Reason]) -> list[str]:
        """Each reason's words, once."""
        return list(dict.fromkeys(map(self.reason, listed)))

    def _word(self, reason: Reason) -> str:
        template = self.library.wording.reasons[reason.code]
        return fill(template, {
            "what": self._what(reason.what),
            "days": str(reason.days) if reason.days is not None else "",
            "date": self.when(reason.time),
            "problem": reason.problem,
            "results": joined(map(self.lab, reason.labs)),
            "names": self.few([f"'{name}'" for name in reason.names], MAX_QUOTED),
        })  # fmt: skip

    def _what(self, name: str) -> str:
        if name in self.library.terminology:
            return self.title(name)
        return self.library.wording.inputs.get(name, name.replace("_", " "))


class _Limits(dict[str, str]):
    """Placeholders, the rule's limits among them: these are only written out where a text names them. That of a lab,
    `{serum_magnesium.upper_limit}`, stands in the unit of its result."""

    def __init__(self, display: Display, rule: ActiveRule, verdict: Verdict) -> None:
        super().__init__()
        self._display, self._limits, self._bound = display, display.context.limits(rule.limits), verdict.bindings

    def get(self, name: str, default: Any = None) -> Any:
        lab, _, limit = name.rpartition(".")
        if name not in self and limit in self._limits:
            hit = self._bound.get(lab)
            if isinstance(hit, LabHit):
                self[name] = self._display.lab_amount(hit.lab, self._limits[limit].value)
            elif not lab:
                self[name] = self._display.limit(self._limits[limit])
        return super().get(name, default)
