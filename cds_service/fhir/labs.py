"""Observations to laboratory results, newest first by concept.

A result that cannot be used stays in the list with a `problem`, so that an older one never passes for the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, DecimalException

import orjson
from msgspec import Raw, structs

from cds_service.fhir.building import Building, has_subject
from cds_service.fhir.dates import Moment, read_moment
from cds_service.fhir.elements import NOTHING, Concept, Observation, ObservationComponent, QuantityView, ReferenceRange
from cds_service.fhir.inputs import Item, when_taken
from cds_service.fhir.numbers import number
from cds_service.fhir.specimens import ABOUT_OTHER, OTHER_MATERIAL, refused, specimen_of, troubles
from cds_service.patient import IMPLAUSIBLE, Interpretation, Lab, Quantity
from cds_service.terminology.index import LabConcept, Vocabulary
from cds_service.terminology.units import EXACT, Unit, UnitProblem, UnitTable, convert

USED = {"final": 0, "corrected": 0, "amended": 0, "preliminary": 1}
NOT_USED = frozenset({"entered-in-error", "cancelled", "registered"})
_COMPARATORS = frozenset({"<", "<=", ">=", ">"})
_FLAGS: dict[str, Interpretation] = {"LL": "LL", "L": "L", "N": "N", "H": "H", "HH": "HH"}
_FLAG_SYSTEMS = (
    "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
    "http://hl7.org/fhir/v3/ObservationInterpretation",
    "http://terminology.hl7.org/CodeSystem/v2-0078",
)
_TORN = "codes of two tests"
_MEASURED = {"mass": ("mass",), "substance": ("substance", "charge"), "either": ("mass", "substance", "charge")}
_CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
_LABORATORY = "laboratory"
_NO_LABORATORY = frozenset({"activity", "exam", "imaging", "social-history", "survey", "therapy", "vital-signs"})
_RANGE_TYPES = "http://terminology.hl7.org/CodeSystem/referencerange-meaning"
# A clock of the EHR may be ahead of ours by this much; a day without a time zone may already have begun elsewhere.
_CLOCK_AHEAD = timedelta(minutes=15)
_EARLIEST_ZONE = timedelta(hours=14)


@dataclass(slots=True)
class ReadValue:
    """What one quantity says. `value` is in the concept's unit and None where there is a `problem`."""

    moment: Moment | None
    problem: str = ""
    value: Decimal | None = None
    comparator: str | None = None
    reported: Quantity | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    unread_unit: str = ""


@dataclass(slots=True)
class _Result:
    """A result with what decides which one is the latest."""

    lab: Lab
    concept: LabConcept
    moment: Moment | None
    issued: datetime | None
    rank: int

    def rounding(self, units: UnitTable) -> Decimal:
        """Half of the last reported digit of a usable value, in the unit of the concept."""
        reported = self.lab.reported
        if reported is None:
            return Decimal(0)
        half = Decimal((0, (5,), int(reported.value.as_tuple().exponent) - 1))
        return abs(_canonical(half, units.units[reported.unit], self.concept, units))


def read_labs(building: Building) -> dict[str, tuple[Lab, ...]]:
    """Every usable or unusable result of a test that some concept has, by concept, newest first.

    Fills `building.observed` with the other observations that we know.
    """
    by_concept: dict[str, list[_Result]] = {}
    ours, told = building.vocabulary.measured_codes, building.vocabulary.tells_test
    of_others: set[tuple[str | None, str | None]] = set()  # codes met in this chart that certainly mean no test of ours
    for item, view in building.of(Observation):
        if item.draft or view.status in NOT_USED:
            continue
        if view.code is None:
            building.lost(item)
            continue
        codings = view.code.coding
        if codings and len(codings) == 1 and not view.component:
            # Most results of a chart are of tests that nobody here asks for, and each test is there many times.
            (coding,) = codings
            name = coding.system, coding.code
            if name in of_others:
                continue
            if not _may_be(ours, view.code) and told(*name):
                of_others.add(name)
                continue
        wanted = _concept(building, view.code, item) if view.component or _may_be(ours, view.code) else None
        for part in view.component or ():
            if part.code is not None and _may_be(ours, part.code):
                _concept(building, part.code, _alone(item, view, part))
        if wanted is None:
            _keep_unread(building, item, view)
            if not view.component:
                continue
        for result in _results(building, item, view, wanted):
            by_concept.setdefault(result.lab.concept, []).append(result)
    units = building.vocabulary.units
    return {concept: _ordered(results, units) for concept, results in by_concept.items()}


def _alone(item: Item, view: Observation, part: ObservationComponent) -> Item:
    """A component as the observation that it would be alone."""
    said = {name: getattr(part, name) for name in part.__struct_fields__ if name in view.__struct_fields__}
    return replace(item, view=structs.replace(view, component=None, **said))


def _keep_unread(building: Building, item: Item, view: Observation) -> None:
    """What a result measures under no code of ours: its own code, or those of its components."""
    no_such = none_of(view.category, building.vocabulary)
    keys = tuple(key for key in (item.key, *item.also) if key not in no_such)
    if not keys:
        return
    item = replace(item, key=keys[0], also=keys[1:])
    parts = [part.code for part in view.component if _concept(building, part.code) is None] if view.component else None
    for code in [view.code] if parts is None else parts:
        building.not_identified(item, code, when_taken(view))


def none_of(category: Raw, vocabulary: Vocabulary) -> frozenset[str]:
    """The inputs that a result is certainly none of, whatever its code, as its categories say: where a laboratory made
    it, and where none did."""
    said = orjson.loads(bytes(category) or b"null")
    codings = [
        coding if isinstance(coding, dict) else {}
        for each in (said if isinstance(said, list) else [said])
        if isinstance(each, dict) and isinstance(each.get("coding"), list)
        for coding in each["coding"]
    ]
    codes = [each.get("code") if each.get("system") == _CATEGORIES else None for each in codings]
    if codes and all(code == _LABORATORY for code in codes):
        return vocabulary.other_inputs
    known = bool(codes) and all(isinstance(code, str) and code in _NO_LABORATORY for code in codes)
    return vocabulary.laboratory_inputs if known else frozenset()


def _may_be(ours: frozenset[str], code: Concept) -> bool:
    """Whether any of the codes, whatever its system, is one of ours."""
    return any(coding.code is not None and coding.code.strip() in ours for coding in code.coding or ())


def _results(building: Building, item: Item, view: Observation, wanted: LabConcept | None) -> Iterable[_Result]:
    parts = [(c, part) for part in view.component or () if (c := _concept(building, part.code))]
    if (wanted or parts) and not has_subject(view):
        building.lost(item)
        return
    if wanted is not None and not (parts and view.valueQuantity is None):
        yield _result(building, item, view, wanted, view)
    for concept, part in parts:
        yield _result(building, item, view, concept, part)


def _concept(building: Building, code: Concept | None, item: Item | None = None) -> LabConcept | None:
    """The test meant. Codes of two of our tests on one result mean none: neither can be trusted."""
    found: LabConcept | None = None
    near_miss = False
    for coding in code.coding or () if code else ():
        concept = building.vocabulary.measured(coding.system, coding.code)
        if concept is None:
            continue
        if concept.entry.kind == "observation":
            if item is not None:
                building.observed.setdefault(concept.id, []).append((item, concept))
            continue
        if concept.entry.input is None:
            near_miss = True
        elif found is None:
            found = concept
        elif found.id != concept.id:
            return found._replace(property=_TORN)
        elif found.property != concept.property:
            found = found._replace(property="")
    return found._replace(property=_TORN) if found is not None and near_miss else found


def read_value(
    view: Observation,
    part: Observation | ObservationComponent,
    concept: LabConcept,
    now: datetime,
    units: UnitTable,
) -> ReadValue:
    """Time and value of a result or of one of its components, in the unit of the concept."""
    moment = read_moment(when_taken(view), now.tzinfo)
    read = ReadValue(moment, time_problem(moment, now))
    try:
        unit, amount = _amount(concept, part, units)
        read.reported = Quantity(amount, unit.code)
        value = _canonical(amount, unit, concept, units)
        _check_plausible(value, concept, part)
        read.low, read.high = _own_range(part.referenceRange or (), unit, concept, units)
    except UnitProblem as error:
        read.problem = read.problem or str(error)
        if read.reported is None and part.valueQuantity:
            read.unread_unit = part.valueQuantity.unit or part.valueQuantity.code or ""
    if not read.problem:
        read.value = value
        read.comparator = part.valueQuantity.comparator if part.valueQuantity else None
    return read


def _result(
    building: Building, item: Item, view: Observation, concept: LabConcept, part: Observation | ObservationComponent
) -> _Result:
    read = read_value(view, part, concept, building.now, building.vocabulary.units)
    specimen = specimen_of(building, view) if view.specimen else None
    problem = refused(building, view, part, specimen) or read.problem
    if not problem and view.status not in USED:
        problem = "its status is not known"
    issued = read_moment(view.issued, building.now.tzinfo)
    return _Result(
        Lab(
            source=item.source,
            concept=concept.id,
            time=read.moment.latest if read.moment else None,
            time_is_date_only=read.moment.date_only if read.moment else False,
            value=None if problem else read.value,
            comparator=read.comparator,
            unit=concept.entry.unit or "",
            reported=read.reported,
            low=read.low,
            high=read.high,
            interpretation=_interpretation(part.interpretation),
            trouble=troubles(building, view, part, specimen),
            status=view.status or "",
            code=concept.code,
            problem=problem,
            unread_unit=read.unread_unit,
        ),
        concept,
        read.moment,
        issued.at if issued and not issued.vague else None,
        USED.get(view.status or "", 1),
    )


def time_problem(moment: Moment | None, now: datetime) -> str:
    """Why a time cannot be used, "" where it can."""
    if moment is None:
        return "time missing or not readable"
    if moment.vague:
        return "time is only a month or a year"
    if moment.at > now + (_EARLIEST_ZONE if moment.date_only else _CLOCK_AHEAD):
        return "time lies in the future"
    return ""


def _amount(concept: LabConcept, part: Observation | ObservationComponent, units: UnitTable) -> tuple[Unit, Decimal]:
    """The unit and the number as reported. Raises UnitProblem."""
    if concept.property == _TORN:
        raise UnitProblem("codes of two different tests")
    if part.dataAbsentReason is not None:
        raise UnitProblem("no value: the laboratory says that it is absent")
    quantity = part.valueQuantity
    if quantity is None:
        others = (part.valueString, part.valueBoolean, part.valueInteger, part.valueRange)
        if part.valueCodeableConcept is not None or any(other is not NOTHING for other in others):
            raise UnitProblem("value is not a quantity")
        raise UnitProblem("no value")
    amount = number(quantity.value)
    if amount is None:
        raise UnitProblem("no value" if bytes(quantity.value) in (b"", b"null") else "value not readable")
    if quantity.comparator is not None and quantity.comparator not in _COMPARATORS:
        raise UnitProblem("comparator not known")
    unit = units.of(quantity, concept.sent)
    measured = _MEASURED.get(concept.property)
    if measured is not None and unit.kind not in measured and not _only_as_stated(amount, measured, concept, units):
        raise UnitProblem("unit does not fit the code of the test")
    return unit, amount


def _only_as_stated(amount: Decimal, measured: Sequence[str], concept: LabConcept, units: UnitTable) -> bool:
    """Whether the unit is believed and not the code: in every unit of the code this number is impossible."""
    plausible = concept.entry.plausible
    if not concept.entry.stated_unit_wins or plausible is None:
        return False
    of_code = {unit for unit in concept.sent.values() if unit.kind in measured}
    return not any(plausible[0] <= _canonical(amount, unit, concept, units) <= plausible[1] for unit in of_code)


def _canonical(amount: Decimal, unit: Unit, concept: LabConcept, units: UnitTable) -> Decimal:
    target = units.find(concept.entry.unit or "")
    if target is None:
        raise UnitProblem("unit not known")
    return convert(amount, unit, target, molar_mass=concept.entry.molar_mass, valence=concept.entry.valence)


def _check_plausible(value: Decimal, concept: LabConcept, part: Observation | ObservationComponent) -> None:
    if concept.entry.plausible is None:
        return
    low, high = concept.entry.plausible
    comparator = (part.valueQuantity.comparator if part.valueQuantity else None) or ""
    # "below 0.3" may well be plausible although 0.3 itself is the lowest that is measured.
    if (value < low and not comparator.startswith("<")) or (value > high and not comparator.startswith(">")):
        raise UnitProblem(IMPLAUSIBLE)


def _own_range(
    ranges: Sequence[ReferenceRange], unit: Unit, concept: LabConcept, units: UnitTable
) -> tuple[Decimal | None, Decimal | None]:
    """The laboratory's own normal range. Ranges for some other group of people, and therapeutic ones, are not it."""
    if not ranges:
        return None, None
    normal = [r for r in ranges if not r.appliesTo and not r.age and _is_normal(r.type) and (r.low or r.high)]
    if len(normal) != 1:
        return None, None
    try:
        low, high = (_limit(q, unit, concept, units) for q in (normal[0].low, normal[0].high))
    except UnitProblem:
        return None, None
    return (None, None) if low is not None and high is not None and low > high else (low, high)


def _is_normal(meaning: Concept | None) -> bool:
    codings = meaning.coding or () if meaning else ()
    return meaning is None or any(c.code == "normal" and c.system in (_RANGE_TYPES, None) for c in codings)


def _limit(quantity: QuantityView | None, unit: Unit, concept: LabConcept, units: UnitTable) -> Decimal | None:
    if quantity is None:
        return None
    amount = number(quantity.value)
    if amount is None or quantity.comparator:
        raise UnitProblem("value not readable")
    # A range is given in the unit of its result where it names none.
    own = units.of(quantity, concept.sent) if quantity.unit or quantity.code else unit
    return _canonical(amount, own, concept, units)


def _interpretation(concepts: Sequence[Concept] | None) -> Interpretation | None:
    if concepts is None:
        return None
    found = {
        _FLAGS[coding.code]
        for concept in concepts
        for coding in concept.coding or ()
        if coding.code in _FLAGS and coding.system in _FLAG_SYSTEMS
    }
    return found.pop() if len(found) == 1 else None


def _ordered(results: list[_Result], units: UnitTable) -> tuple[Lab, ...]:
    """Newest first: by time, of a month or a year its end; then what is of the patient's serum, then by when it was
    issued, then final before preliminary."""
    results.sort(key=_rank, reverse=True)
    # A result without a usable time may be the latest of all: it goes first, so that it is seen.
    results.sort(key=lambda r: r.lab.time is not None)
    # One that is about somebody else hides none of the patient's own.
    results.sort(key=lambda r: r.lab.problem == ABOUT_OTHER)
    newest = results[0]
    if any(_rivals(newest, other, units) for other in results[1:]):
        lab = replace(newest.lab, value=None, comparator=None, problem="two different results at the same time")
        return (lab, *(r.lab for r in results[1:]))
    return tuple(r.lab for r in results)


def _rank(result: _Result) -> tuple[float, bool, float, int]:
    time, issued, of_serum = result.lab.time, result.issued, result.lab.problem != OTHER_MATERIAL
    return time.timestamp() if time else 0.0, of_serum, issued.timestamp() if issued else 0.0, -result.rank


def _rivals(newest: _Result, other: _Result, units: UnitTable) -> bool:
    """Another result that may be the latest just as well, and says something else."""
    a, b = newest.lab, other.lab
    if newest.moment is None or other.moment is None or a.problem or b.problem in (ABOUT_OTHER, OTHER_MATERIAL):
        return False
    if a.time != b.time and not newest.moment.may_share_a_day(other.moment):
        return False
    if newest.issued and other.issued and newest.issued != other.issued:
        return False
    if newest.rank < other.rank:
        return False
    return a.comparator != b.comparator or _differ(newest, other, units)


def _differ(a: _Result, b: _Result, units: UnitTable) -> bool:
    if a.lab.value is None or b.lab.value is None:
        return a.lab.value is not b.lab.value
    try:
        # One specimen reported in two units differs by rounding alone.
        return abs(EXACT.subtract(a.lab.value, b.lab.value)) > a.rounding(units) + b.rounding(units)
    except (DecimalException, UnitProblem):
        return True
