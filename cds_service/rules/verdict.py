"""What one test says of one patient: true, false or unknown, with what it read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from cds_service.content.rulebook import Limit
from cds_service.patient import Condition, Lab, Medication, Source
from cds_service.rules.amounts import Reading

# Codes of reasons that name what nobody here could identify: in the chart, and anywhere.
IN_CHART = frozenset({
    "active_not_identified", "actives_not_identified", "active_without_name", "condition_not_identified",
    "conditions_not_identified", "result_not_identified",
})  # fmt: skip
UNIDENTIFIED = IN_CHART | {
    "draft_not_identified", "drafts_not_identified", "draft_without_name", "medication_conflict",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is unknown or not applicable: a key of `wording.yaml` reasons, and what it is about.

    `what` is a concept id, an input key or a threshold name; `days` and `time` are filled where the reason is age;
    `names` are the chart's own for what could not be identified, made inert; `labs` are results to be shown.
    """

    code: str
    what: str = ""
    days: int | None = None
    time: datetime | None = None
    problem: str = ""
    names: tuple[str, ...] = ()
    labs: tuple[Lab, ...] = ()


@dataclass(frozen=True, slots=True)
class OnFile:
    """What is on file of some labs, for the card to show: the newest usable result of each, or why there is none."""

    labs: tuple[Lab | Reason, ...]


@dataclass(frozen=True, slots=True)
class LabHit:
    """A laboratory result and the limit that it was held against. `limit_from`: laboratory, flag, rule or site.

    `rule_limit` is the rule's own; `rule_disagrees` says that it would have decided otherwise than the laboratory's.
    Of a test for what persists: `earlier` is a result beyond the limit too, `despite` what was taken against it.
    """

    lab: Lab
    limit: Decimal | None
    limit_from: str
    comparison: str
    rule_limit: Limit
    rule_disagrees: bool
    earlier: Lab | None = None
    despite: tuple[Medication, ...] = ()


@dataclass(frozen=True, slots=True)
class Kidney:
    """eGFR in mL/min/{1.73_m2}; `computed` from creatinine or reported as `lab`. `highest` is filled where sex or age
    leave it open; `value` is then the lowest. `against`: what creatinine of the same time gives, where it contradicts
    a reported one; which of the two is right is not known."""

    value: Decimal
    lab: Lab
    computed: bool
    highest: Decimal | None = None
    against: Kidney | None = None

    @property
    def ends(self) -> tuple[tuple[Decimal, str], ...]:
        """The lowest and the highest that it may be, each with its comparator or ""; one where they are the same."""
        sign = self.lab.comparator or ""
        if self.computed:
            sign = sign.translate(_TURNED)  # more creatinine is less eGFR
        found = {(value, sign) for value in (self.value, self.highest) if value is not None}
        found.update(self.against.ends if self.against else ())
        return tuple(dict.fromkeys((min(found), max(found))))

    @property
    def labs(self) -> tuple[Lab, ...]:
        """The results that it is from."""
        return (self.lab, *(self.against.labs if self.against else ()))

    def may_be_below(self, limit: Decimal) -> bool:
        return any(value < limit or sign.startswith("<") for value, sign in self.ends)


_TURNED = str.maketrans("<>", "><")


State = Literal["in_hospital"]


@dataclass(frozen=True, slots=True)
class Rise:
    """A result that rose from an earlier one."""

    earlier: Lab
    newest: Lab


@dataclass(frozen=True, slots=True)
class Match:
    """What a test found of what it named, and the concepts of the test that it belongs to: a condition, a medication, a
    result, the rise of one, or a state by its key of `wording.yaml`. `since`: where the test asks how long a drug has
    been taken, the day from which that is known."""

    fact: Condition | Medication | Lab | Rise | State
    concepts: frozenset[str]
    since: date | None = None


@dataclass(frozen=True, slots=True)
class DailyMagnesium:
    """Elemental magnesium a day, mg, from the products `counted`; `unknown` are products whose amount is not known.
    `continued`: taken at home, and ordered anew or beside: counted once."""

    counted: tuple[tuple[Medication, Reading], ...]
    unknown: tuple[Medication, ...]
    as_needed: bool
    continued: tuple[tuple[Medication, Reading], ...]

    @property
    def value(self) -> Decimal:
        """What is certain, as labelled."""
        return _whole(reading.certain for _, reading in self.counted)

    @property
    def possible(self) -> Decimal:
        """The most that all products of a known amount can give."""
        return _whole(reading.possible for _, reading in (*self.counted, *self.continued))

    @property
    def doubtful(self) -> tuple[tuple[Medication, Reading], ...]:
        """Drafted orders whose amount can be read two ways."""
        return tuple((item, reading) for item, reading in self.counted if item.status == "draft" and reading.doubtful)

    @property
    def as_salt(self) -> Decimal:
        """The day with the doubtful orders read as a salt's weight."""
        return _whole(r.least if (m, r) in self.doubtful else r.certain for m, r in self.counted)

    @property
    def as_element(self) -> Decimal:
        """The day with the doubtful orders read as magnesium itself."""
        return _whole(r.most if (m, r) in self.doubtful else r.possible for m, r in self.counted)

    @property
    def single(self) -> bool:
        """Whether all that is ordered is one dose each."""
        drafts = [item for item in self.medications if item.status == "draft"]
        return bool(drafts) and all(item.dosages and all(each.once for each in item.dosages) for item in drafts)

    @property
    def medications(self) -> tuple[Medication, ...]:
        return (*(item for item, _ in (*self.counted, *self.continued)), *self.unknown)


def _whole(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0)).quantize(Decimal(1))


@dataclass(frozen=True, slots=True)
class InjectedDose:
    """What an order of injected magnesium gives: grams of magnesium sulfate, of a dose by weight milligrams for each
    kilogram. `word` is that of its limit; `minutes` in which a dose goes in, None where that is not said. `salt`: what
    is ordered, None where that is several salts."""

    word: str
    amount: Decimal
    minutes: Decimal | None = None
    salt: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Magnesium and a drug that meet in the gut. `draft` is the one that is being ordered, if any."""

    magnesium: Medication
    drug: Medication
    draft: Medication | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Three-valued: `truth` None is unknown, and `reasons` then say why.

    `bindings` feed the card's placeholders; `sources` are the resources that it rests on; `notes` are keys of
    `wording.yaml` notes that the card shows under what was not checked.
    """

    truth: bool | None
    reasons: tuple[Reason, ...] = ()
    bindings: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()


def unknown(*reasons: Reason) -> Verdict:
    return Verdict(None, reasons=reasons)


TRUE = Verdict(True)
FALSE = Verdict(False)


def _merge(truth: bool | None, verdicts: Iterable[Verdict]) -> Verdict:
    bindings: dict[str, Any] = {}
    reasons: list[Reason] = []
    sources: list[Source] = []
    notes: list[str] = []
    limits: list[Limit] = []
    for verdict in verdicts:
        for key, value in verdict.bindings.items():
            bindings[key] = (*bindings.get(key, ()), *value) if key == "matched" else value
        reasons += verdict.reasons
        sources += verdict.sources
        notes += verdict.notes
        limits += verdict.limits
    return Verdict(
        truth,
        tuple(dict.fromkeys(reasons)),
        bindings,
        tuple(dict.fromkeys(sources)),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys(limits)),
    )


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene's and: one false decides, and nothing after it is looked at; else one unknown decides."""
    known: list[Verdict] = []
    open_ones: list[Verdict] = []
    for verdict in verdicts:
        if verdict.truth is False:
            return FALSE
        (open_ones if verdict.truth is None else known).append(verdict)
    return _merge(None, open_ones) if open_ones else _merge(True, known)


def any_of(verdicts: Iterable[Verdict], at_least: int = 1) -> Verdict:
    """Kleene's or, of at least so many: what is true is kept together; else the unknown ones decide if they could."""
    verdicts = list(verdicts)
    true_ones = [verdict for verdict in verdicts if verdict.truth is True]
    if len(true_ones) >= at_least:
        return _merge(True, true_ones)
    open_ones = [verdict for verdict in verdicts if verdict.truth is None]
    return _merge(None, open_ones) if open_ones and len(true_ones) + len(open_ones) >= at_least else FALSE


def none_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene's nor. What made it true is absence, so it binds and cites nothing."""
    verdict = any_of(verdicts)
    if verdict.truth is None:
        return verdict
    return FALSE if verdict.truth else TRUE
