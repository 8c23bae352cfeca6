"""PatientFacts: what is true of one patient in one call.

Frozen and typed; knows no FHIR, no clock and no clinical content. `fhir` builds it, `rules` reads it.
Text that came from the EHR is kept only in fields named `name` and `text`; it is untrusted and is made inert
before it reaches a card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Literal

# What is read of a patient: the keys of `PatientFacts.inputs` that are no laboratory's. A prefetch has the same keys.
PATIENT, CONDITIONS, PREGNANCY, ENCOUNTER = "patient", "conditions", "pregnancy", "encounter"
MEDICATIONS, STATEMENTS = "medications", "medication_statements"
ENDED = "ended_medications"
"""Orders that are over."""
GIVEN = "medication_administrations"
"""What is being given, and what was given."""
INTAKE, SCREENER = "intake", "screener"


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """The FHIR resource that a fact came from, e.g. Source("Observation", "mg-1")."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


KeyState = Literal["given", "empty", "fetched", "incomplete", "absent", "failed", "not_available"]
"""given: in the prefetch. empty: searched and none there (null or an empty searchset). fetched: read from the FHIR
server. incomplete: some entries are missing. absent: not sent and could not be fetched. failed: an OperationOutcome,
an unreadable body or a refused read. not_available: the site says that this EHR has no such data."""


@dataclass(frozen=True, slots=True)
class Availability:
    """What is known about one input (a prefetch key, or `draft_orders`).

    `unreadable` counts resources in it that could not be read; `reason` is our own words, never the EHR's.
    `newest_first` is true when the entries of an incomplete searchset were in descending order of time, so that
    its first entry really is the latest, unless something was `withheld`: that may be of any time.
    """

    state: KeyState
    reason: str = ""
    unreadable: int = 0
    newest_first: bool = False
    withheld: bool = False

    @property
    def complete(self) -> bool:
        """Everything was seen, so that the absence of a thing in it means something."""
        return self.state in ("given", "empty", "fetched") and self.unreadable == 0


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit in UCUM, as reported."""

    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Person:
    """Age in completed years (None: not exactly known), administrative sex; pregnancy, lactation and death where
    recorded. `age_range`: the least and most years where the date of birth leaves the age open."""

    source: Source | None = None
    age_years: int | None = None
    age_days: int | None = None
    sex: Literal["male", "female"] | None = None
    pregnant: bool | None = None
    pregnant_source: Source | None = None
    lactating: bool | None = None
    lactating_source: Source | None = None
    encounter_class: str | None = None
    deceased: bool = False
    age_range: tuple[int, int] | None = None

    @property
    def ages(self) -> tuple[int, ...]:
        """Every age that may be theirs; none where nothing is known."""
        return (self.age_years,) if self.age_years is not None else self.age_range or ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A problem on the list. `concepts` are the ids of the concepts that its codes belong to.

    Only active, unrefuted conditions become facts. `provisional` says that it is not confirmed.
    """

    source: Source
    concepts: frozenset[str]
    provisional: bool = False
    recorded: date | None = None


Interpretation = Literal["LL", "L", "N", "H", "HH"]


IMPLAUSIBLE = "not plausible"  # the problem of a result that no patient can have, as it is written


@dataclass(frozen=True, slots=True)
class Lab:
    """One laboratory result, in the canonical unit of its concept.

    `time` is the end of a month or a year where no more is known. `value` is None where the result cannot be used;
    `problem` then says why in our own words. `comparator` is FHIR's (`<`, `<=`, `>=`, `>`). `low` and `high` are the
    reporting laboratory's own reference range, converted. `reported` is what the laboratory sent, and `unread_unit` the
    text of a unit that could not be read. `trouble` holds specimen trouble: haemolysed, contaminated.
    """

    source: Source
    concept: str
    time: datetime | None
    time_is_date_only: bool = False
    value: Decimal | None = None
    comparator: str | None = None
    unit: str = ""
    reported: Quantity | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    interpretation: Interpretation | None = None
    trouble: frozenset[str] = frozenset()
    status: str = "final"
    code: str = ""
    problem: str = ""
    unread_unit: str = ""


Route = Literal[
    "oral", "enteral", "intravenous", "injection", "topical", "transdermal", "ophthalmic", "otic", "nasal",
    "inhaled", "rectal", "vaginal", "other", "unknown",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Injected:
    """One injection or infusion. `amount`: one dose, the highest where a range is given, and `minutes` in which it goes
    in, the fewest. `rate`: so much an hour, for `hours`. `per_kg`: both are for each kilogram of body weight.

    `per_ml`: how much a millilitre holds, and `volume`: the millilitres of the bag or ampoule, where the text says so.
    `alternative`: the text says it beside a structured dose, so it is the same dose once more.
    """

    amount: Quantity | None = None
    minutes: Decimal | None = None
    rate: Quantity | None = None
    hours: Decimal | None = None
    per_kg: bool = False
    per_ml: Quantity | None = None
    volume: Decimal | None = None
    alternative: bool = False


@dataclass(frozen=True, slots=True)
class Dosage:
    """One dosage instruction, from FHIR Timing.

    `when` holds (event code, offset in minutes). `days` holds FHIR day codes (mon..sun). `start` and `end` come from
    boundsPeriod or boundsDuration; `once`: it is one dose in all. `elemental` is the amount of one dose that `text`
    calls elemental, `total` the mass that it gives a dose in brackets ("2 tablets (800 mg total)").
    `kept_apart_from` holds the drug concepts that our own instruction in this order already names. `problem` says in
    our own words what could not be read.
    """

    sequence: int | None = None
    times: tuple[time, ...] = ()
    when: tuple[tuple[str, int], ...] = ()
    code: str | None = None
    frequency: int | None = None
    frequency_max: int | None = None
    period: Decimal | None = None
    period_max: Decimal | None = None
    period_unit: str | None = None
    days: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None
    as_needed: bool = False
    once: bool = False
    amount: Quantity | None = None
    amount_high: Quantity | None = None
    elemental: Quantity | None = None
    total: Quantity | None = None
    text: str = ""
    kept_apart_from: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Injection:
    """One instruction to inject or infuse. `doses`: the doses and rates that it names. `dosages`: the same instruction
    read as doses at their times, for how often. `once`: it is given one time. `most_a_day`: the most in 24 hours;
    `weight`: the kilograms of the patient that a text names."""

    doses: tuple[Injected, ...] = ()
    dosages: tuple[Dosage, ...] = ()
    once: bool = False
    most_a_day: Quantity | None = None
    weight: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """What one dose unit of a product holds: an ingredient (drug concept id) and its strength.

    `per` is "unit" (one tablet, capsule, sachet) or a UCUM volume such as "mL", with `per_value` of it. `salt_weight`:
    where a text gives both, the weight of the salt that holds `strength` ("oxide 400 mg (241.3 mg magnesium)").
    """

    drug: str
    strength: Quantity | None
    per: str = "unit"
    per_value: Decimal = Decimal(1)
    salt_weight: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Medication:
    """A drug that is ordered, stated or drafted, was ordered and is over (`ended`), or is being or was `given`.

    `drugs` are the ids of the concepts that it belongs to, drug classes included. It is empty when nothing
    was recognised and when code and text disagree (`conflict`). `others`: it holds an ingredient without a concept.
    `name` is the EHR's own text (untrusted). `product_coded`: the strengths of `components` come from the code of a
    product. `elemental` is the amount of one dose unit that the EHR's text calls elemental.
    `injections`: of magnesium that is not taken by mouth, how it is given.
    `replaces`: the orders that it says it takes the place of, or that it is the statement of.
    `selected` says that context.selections points at it. `reasons` are condition concepts of its reasons.
    `since`: the day on which it was ordered, or from which it is taken; `until`: of an ended one, the last day on
    which it is known to have been in force. `at`: the moment of its order, of one that is over the last known one in
    force, of one that was given that of its last dose. `runs`: it is being given, and
    `at` is None. `continuous`: it goes on at a rate. `obstetric`: its words name such a use. Both are read of magnesium
    alone; of what is known to be no drug of ours, nothing is but its name.
    """

    source: Source
    status: Literal["active", "draft", "ended", "given"]
    name: str
    drugs: frozenset[str] = frozenset()
    identified_by: Literal["code", "name", "none"] = "none"
    conflict: bool = False
    others: bool = False
    route: Route = "unknown"
    form: str | None = None
    components: tuple[Component, ...] = ()
    product_coded: bool = False
    elemental: Quantity | None = None
    dosages: tuple[Dosage, ...] = ()
    injections: tuple[Injection, ...] = ()
    reasons: frozenset[str] = frozenset()
    replaces: frozenset[Source] = frozenset()
    since: date | None = None
    until: date | None = None
    at: datetime | None = None
    runs: bool = False
    continuous: bool = False
    obstetric: bool = False
    selected: bool = False

    @property
    def identified(self) -> bool:
        """Whether it is known what it holds, be it one of our drugs or another ingredient."""
        return bool(self.drugs or self.others)


@dataclass(frozen=True, slots=True)
class Unread:
    """A problem or a result that is in no code system and no words that we read. `name`: what the EHR calls it;
    `time`: of a result, None where it is not known; `codes`: systems and codes met, cut short."""

    source: Source
    name: str
    time: datetime | None = None
    codes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """A documented dietary magnesium intake, mg of elemental magnesium a day, with its uncertainty where given."""

    source: Source
    mg_per_day: Decimal | None
    time: datetime | None
    low: Decimal | None = None
    high: Decimal | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """All that the rules may know. `inputs` maps every input key to its Availability.

    `medications` are what is taken or being ordered; `ended` and `given` are kept apart, so that only what asks for
    them sees them.
    `labs` are newest first by concept.
    `unread` holds, by input key, what nobody here could identify. `repairs` counts, by name, what was mended in what
    the EHR sent.
    """

    now: datetime
    person: Person = field(default_factory=Person)
    conditions: tuple[Condition, ...] = ()
    medications: tuple[Medication, ...] = ()
    ended: tuple[Medication, ...] = ()
    given: tuple[Medication, ...] = ()
    labs: Mapping[str, tuple[Lab, ...]] = field(default_factory=dict)
    intakes: tuple[Intake, ...] = ()
    inputs: Mapping[str, Availability] = field(default_factory=dict)
    unread: Mapping[str, tuple[Unread, ...]] = field(default_factory=dict)
    repairs: Mapping[str, int] = field(default_factory=dict)
