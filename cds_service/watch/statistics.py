"""What each rule does, in numbers: how often it fires and is shown, and what is done with its cards.

A share stands with the interval in which it may really lie (Wilson, 95 %); of fewer than `FEW` it is not told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from cds_service.content.rulebook import Rulebook
from cds_service.store import Store
from cds_service.store.counts import RULE_COLUMNS
from cds_service.store.outcomes import Answers, Comment
from cds_service.trust.profile import services_served

FEW: Final = 20
TOO_FEW: Final = "too few to say"
SPARK_DAYS: Final = 14
_Z: Final = 1.959964  # of the normal distribution, for 95 %
# When a rule is to be looked at (S19 of the table of hazards).
LEAST_SHOWN: Final = 50
MOST_OVERRIDDEN: Final = 0.9
LEAST_ACCEPTED: Final = 0.05
_HALF_LIFE: Final = 30.0  # days after which a comment weighs half
State = Literal["active", "silent", "hidden", "draft", "retired"]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many. `low` and `high`: the interval, 0 to 1."""

    part: int
    whole: int

    @property
    def told(self) -> bool:
        return self.whole >= FEW

    @property
    def value(self) -> float:
        return self.part / self.whole if self.whole else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        if not self.whole:
            return 0.0, 1.0
        n, p = self.whole, self.value
        middle, wide = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, (middle - wide) / (1 + _Z**2 / n)), min(1.0, (middle + wide) / (1 + _Z**2 / n))

    def words(self) -> str:
        """`34 % (21 to 50)`, or that there are too few."""
        if not self.told:
            return TOO_FEW
        low, high = self.interval
        return f"{self.value:.0%} ({low * 100:.0f} to {high * 100:.0f})".replace("%", " %")


@dataclass(slots=True)
class RuleNumbers:
    """Of one rule in a span of time. `days`: firings by day, the last `SPARK_DAYS` of the span."""

    rule: str
    title: str
    state: State
    calls: int = 0
    last_fired: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    days: list[int] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)

    @property
    def fired(self) -> int:
        return self.counts["fired"]

    @property
    def per_100(self) -> float | None:
        return self.fired / self.calls * 100 if self.calls else None

    @property
    def quiet(self) -> int:
        used = sum(self.counts[name] for name in ("fired", "not_evaluated", "not_applicable", "hidden"))
        return max(0, self.calls - used)

    @property
    def accepted(self) -> Share:
        return Share(self.answers.accepted, self.answers.shown)

    @property
    def overridden(self) -> Share:
        return Share(self.answers.overridden, self.answers.shown)

    @property
    def unanswered(self) -> Share:
        return Share(self.answers.unanswered, self.answers.shown)

    @property
    def review(self) -> str:
        """Why somebody should look at the rule; "" where nothing says so. Where no answer came at all, the EHR sends
        none, which says nothing of the rule."""
        shown = self.answers.shown
        if shown < LEAST_SHOWN or self.answers.unanswered == shown:
            return ""
        if self.overridden.value > MOST_OVERRIDDEN:
            return "more than nine in ten are overridden"
        if self.accepted.value < LEAST_ACCEPTED:
            return "fewer than one in twenty are accepted"
        return ""

    def row(self) -> dict[str, Any]:
        """As a row of a table: the same names on the page, on the command line and in files."""
        told: dict[str, Any] = {
            "rule": self.rule, "title": self.title, "state": self.state, "last_fired": self.last_fired,
            "calls": self.calls, "fired": self.fired,
            "per_100_calls": None if self.per_100 is None else round(self.per_100, 2),
            "lead": self.counts["lead"], "beneath": self.counts["beneath"],
            "not_evaluated": self.counts["not_evaluated"], "not_applicable": self.counts["not_applicable"],
            "quiet": self.quiet, "faults": self.counts["fault"],
            "shown": self.answers.shown,
        }  # fmt: skip
        for name, share in (
            ("accepted", self.accepted), ("overridden", self.overridden), ("no_answer", self.unanswered),
        ):  # fmt: skip
            low, high = share.interval
            told |= {name: share.part, f"{name}_share": share.words()}
            told |= {f"{name}_low": round(low, 3) if share.told else None}
            told |= {f"{name}_high": round(high, 3) if share.told else None}
        reasons = self.answers.reasons.most_common()
        told["reasons"] = [f"{words or code or 'no reason'}: {number}" for (code, words), number in reasons]
        return told | {"days": self.days, "review": self.review}


def rule_numbers(
    store: Store, rulebook: Rulebook, split: bool, since: datetime, until: datetime, client: str | None = None
) -> list[RuleNumbers]:
    """Of every rule of the content, in its order. Counts are whole hours (UTC). StoreUnavailable."""
    sums, days = _sums(store, since, until, client)
    calls: Counter[str] = Counter()
    hidden: Counter[str] = Counter()
    for row in in_parts(store.call_sums, since, until, client, ("version", "hidden")):
        if row["kind"] == "version":
            calls[row["service"]] += int(row["number"])
        else:
            hidden[row["name"]] += int(row["number"])
    served = services_served(rulebook.library.services, split)
    last, answers = store.last_fired(), store.answers(since, until, client)
    made = []
    for name, loaded in rulebook.library.rules.items():
        tried_in = [id_ for id_, (service, _) in served.items() if service in loaded.rule.services]
        own = RuleNumbers(name, loaded.rule.title, _state(name, rulebook), sum(calls[id_] for id_ in tried_in))
        own.last_fired = last.get(name)
        own.counts = sums.get(name, Counter())
        own.counts["hidden"] = hidden[name]
        own.days = days.get(name, [0] * SPARK_DAYS)
        own.answers = answers.get(name, Answers())
        made.append(own)
    return made


def _state(rule: str, rulebook: Rulebook) -> State:
    known = rulebook.rules.get(rule)
    if known is None:
        return "retired" if rulebook.library.rules[rule].rule.status == "retired" else "draft"
    return "active" if known.visibility == "shown" else known.visibility


def _sums(
    store: Store, since: datetime, until: datetime, client: str | None
) -> tuple[dict[str, Counter[str]], dict[str, list[int]]]:
    """By rule: its columns added up, and its firings on each of the last days."""
    sums: dict[str, Counter[str]] = {}
    days: dict[str, list[int]] = {}
    midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = (midnight if midnight == until else midnight + timedelta(days=1)) - timedelta(days=SPARK_DAYS)
    for row in in_parts(store.rule_sums, since, until, client):
        own = sums.setdefault(row["rule"], Counter())
        for name in RULE_COLUMNS:
            own[name] += int(row[name])
    for row in in_parts(store.fired_counts, max(since, first), until, client):
        day = (row["hour"] - first).days
        days.setdefault(row["rule"], [0] * SPARK_DAYS)[day] += row["fired"]
    return sums, days


def in_parts(ask: Any, since: datetime, until: datetime, *more: Any) -> Iterable[Mapping[str, Any]]:
    """Rows a week at a time, so that no question to the database takes long."""
    while since < until:
        end = min(since + timedelta(days=7), until)
        yield from ask(since, end, *more)
        since = end


def ranked(comments: Iterable[Comment], settled: Collection[str], now: datetime) -> list[tuple[float, Comment]]:
    """Comments, what weighs most first: new ones before old ones, and those whose reason says that the card was wrong
    before those that say that all is taken care of (codes in `settled`)."""

    def weight(comment: Comment) -> float:
        age = max(0.0, (now - comment.received_at) / timedelta(days=1))
        kind = 1.0 if comment.reason_code in settled else 1.5 if not comment.reason_code else 2.0
        return float(kind * 0.5 ** (age / _HALF_LIFE))

    return sorted(((weight(one), one) for one in comments), key=lambda each: -each[0])
