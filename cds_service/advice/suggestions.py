"""Suggestions: a laboratory order to create, or the draft in the request updated whole. Nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from cds_service.advice.in_words import Display
from cds_service.advice.phrasing import fill
from cds_service.advice.plan_in_words import plan_times
from cds_service.advice.plan_of_findings import DayPlan
from cds_service.content.concept import MAGNESIUM
from cds_service.content.shared import KeepApart, LabOrder
from cds_service.fhir import Chart, Sigs
from cds_service.patient import Medication, Source
from cds_service.planner.model import DAYS, TimesWeek, alike, clock
from cds_service.planner.times_in_words import day_words
from cds_service.rules.evaluate import Outcome
from cds_service.spelling import joined

KEEP_APART = "urn:magnesium-cds:keep-apart"
LOINC = "http://loinc.org"
MAX_LABEL_WORDS = 5
# What the new times say in place of the old ones.
REPLACED = {"frequency", "period", "periodUnit", "when", "offset", "dayOfWeek", "timeOfDay"}
# What new times would leave without meaning.
RANGES = {"frequencyMax", "periodMax", "count", "countMax"}


def suggestions_for(
    outcomes: Sequence[Outcome],
    chart: Chart,
    display: Display,
    day: DayPlan | None,
    no_magnesium: bool,
    phrase_in_text: bool,
    tests: set[str],
) -> list[tuple[str, dict[str, Any]]]:
    """The suggestions of one card, each once, with their names. With `no_magnesium` none that presumes giving magnesium
    is made. `tests`: what the cards above propose to order; those of this one are added."""
    library = display.library
    made: dict[str, tuple[str, dict[str, Any]]] = {}
    # Beside a drug that no distance mends, none is proposed.
    avoided = any(outcome.written.avoid for outcome in outcomes)
    for outcome in outcomes:
        for name in outcome.written.card.suggest:
            suggestion = library.suggestions[name]
            if isinstance(suggestion, LabOrder):
                if suggestion.lab not in tests and not _already_drafted(suggestion, chart):
                    tests.add(suggestion.lab)
                    made[name] = (name, _lab_order(suggestion, outcome.written.title, chart, display))
            elif not no_magnesium and not avoided and f"{name}:0" not in made:
                drafted = [item for item in outcomes if name in item.rule.loaded.rule.card.suggest]
                update = _Update(suggestion, drafted, chart, display, phrase_in_text)
                made |= {f"{name}:{place}": (name, item) for place, item in enumerate(update.made(day))}
    return list(made.values())


def _lab_order(suggestion: LabOrder, reason: str, chart: Chart, display: Display) -> dict[str, Any]:
    order = display.library.terminology[suggestion.lab].order
    assert order is not None  # checked at load
    resource = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": [{"system": LOINC, "code": order.code, "display": order.display}], "text": order.display},
        "subject": {"reference": f"Patient/{chart.patient_id}"},
        "reasonCode": [{"text": reason}],
    }
    return _suggestion(suggestion.label, "create", suggestion.description, resource)


def _already_drafted(suggestion: LabOrder, chart: Chart) -> bool:
    """Whether a draft in the request orders the test already, so that it is not proposed again."""
    drafted = (chart.vocabulary.lab_concept(system, code) for system, code in chart.drafted_codes)
    return any(test is not None and test.id == suggestion.lab for test in drafted)


@dataclass(frozen=True)
class _Update:
    """Updates of one draft that speak of every drug that it meets."""

    suggestion: KeepApart
    outcomes: Sequence[Outcome]
    chart: Chart
    display: Display
    phrase_in_text: bool

    def made(self, day: DayPlan | None) -> list[dict[str, Any]]:
        """The draft with the keep-apart instruction, and with the plan's times where they can be written.

        Where the doses ordered do not fit, a second one with as many as do.
        """
        pairs = [
            (pair, outcome)
            for outcome in self.outcomes
            if outcome.verdict
            for pair in outcome.verdict.bindings.get("pairs", ())
            if pair.draft
        ]
        if not pairs:
            return []
        draft: Medication = pairs[0][0].draft
        mine = [(pair, outcome) for pair, outcome in pairs if pair.draft is draft]
        found = [self._update(draft, mine, None, day)]
        if day is not None and draft.source == day.product.source:
            if day.plan.possible and day.plan.complete:
                found = [self._update(draft, mine, day.plan.week, day) or found[0]]
            elif day.fewer is not None:
                found.append(self._update(draft, mine, day.fewer.week, day))
        return [item for item in found if item is not None]

    def _update(
        self, draft: Medication, pairs: Sequence[tuple[Any, Outcome]], week: TimesWeek | None, day: DayPlan | None
    ) -> dict[str, Any] | None:
        """One update; None where the times of `week` cannot be written."""
        words = self.display.library.wording
        resource = self.chart.resource(draft.source)
        steady = ""
        if week is not None:
            timed = with_times(resource, week, self.chart.vocabulary.sigs)
            if timed is None:
                return None
            resource, days = timed
            resource["dosageInstruction"] = [
                _with_patient_text(item, self._take(week, weekdays))
                for item, weekdays in zip(resource["dosageInstruction"], days, strict=True)
            ]
            steady = plan_times(week) if len(days) == 1 and len(days[0]) == len(week) else ""
        names: dict[str, None] = {}
        for _, outcome in pairs:
            assert outcome.verdict is not None
            other = outcome.verdict.bindings["drug"] if draft is pairs[0][0].magnesium else MAGNESIUM
            if other in names:
                continue
            names[other] = None
            values = self.display.placeholders(outcome.rule, outcome.verdict)
            same = values.get("hours_before") == values.get("hours_after")
            text = fill(self.suggestion.instruction_same if same else self.suggestion.instruction, values)
            resource = with_instruction(resource, text, other)
        phrases = [fill(words.plan.times_phrase, {"times": steady})] if steady else []
        phrases += [fill(words.keep_apart_phrase, {"drug": self.display.title(name)}) for name in names]
        _name_the_drug(resource, draft, self.display, "".join(phrases) if self.phrase_in_text else "")
        label, description = self._words(list(names), week, steady, day)
        return _suggestion(label, "update", description, resource)

    def _take(self, week: TimesWeek, weekdays: Sequence[int]) -> str:
        words = self.display.library.wording.plan
        times = plan_times((week[weekdays[0]],) * len(week))
        if len(weekdays) == len(week):
            return fill(words.instruction, {"times": times})
        return fill(words.instruction_days, {"times": times, "days": day_words(weekdays)})

    def _words(self, names: list[str], week: TimesWeek | None, steady: str, day: DayPlan | None) -> tuple[str, str]:
        """Label and description: what the update changes."""
        words = self.display.library.wording.plan
        drugs = joined(self.display.title(name) for name in names)
        if week is None or day is None:
            return self.suggestion.label, fill(self.suggestion.description, {"drug": drugs})
        doses, ordered = max(map(len, week)), day.request.doses_per_day
        values = {"times": plan_times(week), "drugs": drugs, "doses": str(doses), "ordered": str(ordered)}
        if doses < ordered:
            label = words.fewer_label_one if doses == 1 else words.fewer_label
            return fill(label, values), fill(words.fewer_one if doses == 1 else words.fewer, values)
        label = fill(words.update_label, {"times": steady})
        fits = len(names) > 1 and steady and len(label.split()) <= MAX_LABEL_WORDS
        return label if fits else self.suggestion.label, fill(words.update, values)


def with_times(resource: dict[str, Any], week: TimesWeek, sigs: Sigs) -> tuple[dict[str, Any], list[list[int]]] | None:
    """The draft with these times, and the weekdays (0 Monday) of each of its dosage instructions.

    One instruction for each set of days that has the same times. None where that cannot be done faithfully: several
    instructions, a range or number of doses, or words of which we cannot read all, since they may name other times.
    """
    dosages = resource.get("dosageInstruction")
    if not isinstance(dosages, list) or len(dosages) != 1 or not isinstance(dosages[0], dict):
        return None
    old = dict(dosages[0])
    timing = old.get("timing") or {}
    repeat = timing.get("repeat") or {} if isinstance(timing, dict) else None
    if not isinstance(repeat, dict) or timing.get("event") or RANGES & repeat.keys():
        return None
    code = timing.get("code")
    written = {name: old.pop(name, None) for name in ("text", "patientInstruction")}
    for text in (*written.values(), (code or {}).get("text")):
        if text and not _replaceable(text, "doseAndRate" in old, sigs):
            return None
    sets = {minutes: days for minutes, days in alike(week).items() if minutes}
    if len(sets) > 1:
        old.pop("id", None)  # no two elements have the same
    made = []
    for minutes, days in sets.items():
        new = {name: value for name, value in repeat.items() if name not in REPLACED}
        new |= {"frequency": len(minutes), "period": 1, "periodUnit": "d"}
        if len(days) < len(DAYS):
            new["dayOfWeek"] = [DAYS[weekday] for weekday in days]
        new["timeOfDay"] = [f"{clock(minute)}:00" for minute in minutes]
        kept = {name: text for name, text in written.items() if text and _still_true(text, len(minutes), sigs)}
        made.append({**old, **kept, "timing": {"repeat": new}})
    return {**resource, "dosageInstruction": made}, list(sets.values())


def _still_true(text: Any, doses: int, sigs: Sigs) -> bool:
    """Whether the words hold beside the new times: as many doses a day, and no time of day of their own."""
    read = sigs.read(text) if isinstance(text, str) else None
    if read is None or read.get("when") or read.get("times") or read.get("code") or read.get("days"):
        return False
    return (read.get("frequency"), read.get("period"), read.get("period_unit")) == (doses, 1, "d")


def _replaceable(text: Any, amount_known: bool, sigs: Sigs) -> bool:
    """Whether the words say nothing but a timing, and an amount that stands in the order too."""
    read = sigs.read(text) if isinstance(text, str) else None
    return read is not None and ("amount" not in read or amount_known)


def _with_patient_text(dosage: dict[str, Any], text: str) -> dict[str, Any]:
    before = dosage.get("patientInstruction")
    return dosage | {"patientInstruction": f"{before} {text}" if isinstance(before, str) and before else text}


def with_instruction(resource: dict[str, Any], text: str, other: str) -> dict[str, Any]:
    """The draft with our coded instruction added to every dosage instruction; all else as it was."""
    coded = {"coding": [{"system": KEEP_APART, "code": other, "display": text}], "text": text}
    dosages = resource.get("dosageInstruction")
    dosages = [dict(item) for item in dosages if isinstance(item, dict)] if isinstance(dosages, list) else []
    updated = dict(resource)
    updated["dosageInstruction"] = [_instructed(item, coded, text) for item in dosages or [{}]]
    return updated


def _instructed(dosage: dict[str, Any], coded: dict[str, Any], text: str) -> dict[str, Any]:
    present = dosage.get("additionalInstruction")
    kept = [item for item in present if isinstance(item, dict)] if isinstance(present, list) else []
    return _with_patient_text(dosage | {"additionalInstruction": [*kept, coded]}, text)


def _name_the_drug(resource: dict[str, Any], draft: Medication, display: Display, phrase: str) -> None:
    """A client swaps in the drug of an update, so it needs a text (ours where the draft has none).

    `phrase` goes behind it where a client keeps nothing of an update but the drug's text: the next call reads it there.
    """
    concept = resource.get("medicationCodeableConcept")
    if not isinstance(concept, dict):
        return
    codings = concept.get("coding")
    displays = [item.get("display") for item in codings if isinstance(item, dict)] if isinstance(codings, list) else []
    text = concept.get("text") or next((name for name in displays if name), None) or display.medication(draft)
    resource["medicationCodeableConcept"] = concept | {"text": f"{text}{phrase}"}


def pruned(value: Any) -> Any:
    """Without null, empty text, empty lists and empty objects: the wire allows none of them."""
    if isinstance(value, dict):
        kept = {key: pruned(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [item for item in map(pruned, value) if item not in (None, "", [], {})]
    return value


def _suggestion(label: str, kind: str, description: str, resource: dict[str, Any]) -> dict[str, Any]:
    action = {"type": kind, "description": description, "resource": pruned(resource)}
    return {"label": label, "uuid": str(uuid4()), "actions": [action]}


def sources_cited(outcomes: Sequence[Outcome]) -> list[Source]:
    """Every resource that the findings rest on, each once."""
    return list(dict.fromkeys(source for o in outcomes if o.verdict for source in o.verdict.sources))
