"""A few typed facts of one patient as a FHIR Bundle, with codes and units of the content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

from flask import request

from cds_service.content.concept import SERUM_MAGNESIUM
from cds_service.content.library import Library
from cds_service.spelling import nearest
from cds_service.terminology.index import Vocabulary
from cds_service.terminology.units import UCUM

DRUG_ROWS, ORDER_ROWS, MOST_ROWS = 6, 2, 40
OLDEST: Final = 130
LONGEST: Final = 200  # characters of a name
LABS: Final = {"magnesium": SERUM_MAGNESIUM, "egfr": "egfr", "creatinine": "creatinine"}
"""The field of the form, and the concept that it is of."""
SEXES: Final = ("female", "male", "other", "unknown")
PATIENT: Final = "typed"
_NUMBER: Final = re.compile(r"\d{1,6}(\.\d{1,4})?", re.ASCII)
_AT: Final = r"(?:[01]?\d|2[0-3]):[0-5]\d"
_CLOCKS: Final = re.compile(rf"(?:at )?({_AT}(?:(?:,| and|;)? *{_AT})*)", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)", re.ASCII)
# Which code fits a unit of this kind; a charge is a substance counted another way.
_PROPERTY: Final = {"mass": "mass", "substance": "substance", "charge": "substance"}
Resource = dict[str, Any]


class Faults(ValueError):
    """What cannot be used: the field, and what to change, in words that repeat nothing of what was typed."""

    def __init__(self, found: Mapping[str, str]) -> None:
        super().__init__("; ".join(found.values()))
        self.found = dict(found)


@dataclass(frozen=True, slots=True)
class Taken:
    """One row of the form: a medicine, and when or how it is taken, as typed."""

    name: str = ""
    when: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """The whole short form, as typed. `values`: age, sex, and each laboratory field with its `_unit`."""

    values: Mapping[str, str] = field(default_factory=dict)
    drugs: Sequence[Taken] = ()
    orders: Sequence[Taken] = ()

    def rows(self, kind: str) -> list[Taken]:
        """The rows to show: what was typed, and empty ones."""
        typed, least = (self.drugs, DRUG_ROWS) if kind == "drugs" else (self.orders, ORDER_ROWS)
        return [*typed, *[Taken()] * max(least - len(typed), 0)]


def rows_of(kind: str) -> list[Taken]:
    """The rows of the form at hand, in order, without the empty ones; a field that was not sent is empty."""
    pairs = zip_longest(request.form.getlist(kind), request.form.getlist(f"{kind}_when"), fillvalue="")
    return [Taken(name.strip(), when.strip()) for name, when in pairs if name.strip() or when.strip()]


def units_of_form(library: Library) -> dict[str, list[str]]:
    """The units that each laboratory field offers, the content's own first."""
    found = {}
    for name, concept in LABS.items():
        entry = library.terminology[concept]
        found[name] = list(dict.fromkeys(filter(None, (entry.unit, *entry.site_units))))
    return found


def drug_names(library: Library) -> list[str]:
    """Names to choose from, for a list that a browser offers."""
    return sorted({entry.title for entry in library.terminology.values() if entry.kind == "drug"}, key=str.lower)


def not_recognised(typed: Typed, vocabulary: Vocabulary, names: Sequence[str]) -> list[str]:
    """The typed names that mean no medicine to us, each with the nearest that we know. What is known and of no interest
    to these rules is not among them."""
    found = []
    for row in (*typed.drugs, *typed.orders):
        known = vocabulary.drug([], row.name)
        if known.conflict or not (known.drugs or known.others):
            found.append(f"{row.name}{nearest(row.name.capitalize(), names)}")
    return found


def bundle_of(typed: Typed, library: Library, now: datetime, ordering: bool) -> Resource:
    """A Bundle with the patient, all results as of `now`, and all medicines. `ordering`: the hook is about orders, so
    at least one is needed. Raises Faults."""
    faults: dict[str, str] = {}
    entries = [_patient(typed, now, faults)]
    for name, concept in LABS.items():
        if result := _result(name, concept, typed.values, library, now, faults):
            entries.append(result)
    for kind, rows, status in (("drug", typed.drugs, "active"), ("order", typed.orders, "draft")):
        for number, row in enumerate(rows, 1):
            if not row.name:
                faults[f"{kind}-{number}"] = f"Medicine {number}: type its name, or clear how it is taken."
            elif len(row.name) > LONGEST or len(row.when) > LONGEST:
                faults[f"{kind}-{number}"] = f"Medicine {number}: shorten it to {LONGEST} characters."
            entries.append(_medicine(row, f"{kind}-{number}", status, now))
    if len(typed.drugs) > MOST_ROWS or len(typed.orders) > MOST_ROWS:
        # Said, since one that is left out unsaid could be the one that matters.
        faults["drug-1"] = f"Medicines: no more than {MOST_ROWS} can be typed. Paste a Bundle in place of the form."
    if ordering and not typed.orders:
        faults["order-1"] = "This hook is about an order: type what is ordered, or choose patient-view."
    if faults:
        raise Faults(faults)
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}


def _patient(typed: Typed, now: datetime, faults: dict[str, str]) -> Resource:
    age, sex = typed.values.get("age", ""), typed.values.get("sex", "")
    made: Resource = {"resourceType": "Patient", "id": PATIENT}
    if not (age.isascii() and age.isdigit()) or int(age) > OLDEST:
        faults["age"] = f"Age: type a whole number of years, 0 to {OLDEST}."
    else:
        # The first of this month is past in any case, so the age is the one typed.
        made["birthDate"] = f"{now.year - int(age):04d}-{now.month:02d}-01"
    if sex not in SEXES:
        faults["sex"] = f"Sex: choose {', '.join(SEXES[:-1])} or {SEXES[-1]}."
    return made | {"gender": sex}


def _result(
    name: str, concept: str, values: Mapping[str, str], library: Library, now: datetime, faults: dict[str, str]
) -> Resource | None:
    """An Observation of now; None where the field is empty."""
    text, entry = values.get(name, ""), library.terminology[concept]
    if not text:
        return None
    unit = values.get(f"{name}_unit") or entry.unit or ""
    if not _NUMBER.fullmatch(text):
        faults[name] = f"{entry.title}: type a number with a point and no unit; the unit is chosen beside it."
        return None
    if unit not in units_of_form(library)[name]:
        faults[name] = f"{entry.title}: choose one of the units listed."
        return None
    wanted = _PROPERTY.get(library.units[unit].kind, "")
    codes = [code for code in entry.codes if code.system == "loinc" and not code.flag]
    code = next((code for code in codes if code.property == wanted), codes[0])
    moment = now.replace(microsecond=0).isoformat()
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
                                  "code": "laboratory"}]}],
        "code": {"coding": [{"system": library.code_systems["loinc"].uris[0], "code": code.code}], "text": entry.title},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": moment,
        "valueQuantity": {"value": float(text), "unit": unit, "system": UCUM, "code": unit},
    }  # fmt: skip


def _medicine(row: Taken, identifier: str, status: str, now: datetime) -> Resource:
    made: Resource = {
        "resourceType": "MedicationRequest",
        "id": identifier,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {"text": row.name},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "authoredOn": now.date().isoformat(),
    }
    if times := clock_times(row.when):
        repeat = {"frequency": len(times), "period": 1, "periodUnit": "d", "timeOfDay": [f"{at}:00" for at in times]}
        made["dosageInstruction"] = [{"timing": {"repeat": repeat}}]
    elif row.when:
        made["dosageInstruction"] = [{"text": row.when}]
    return made


def clock_times(text: str) -> list[str]:
    """ "7:00 and 19:00" -> ["07:00", "19:00"]; nothing where a text holds anything else than times of day."""
    found = _CLOCKS.fullmatch(text.strip())
    return [f"{int(hour):02d}:{minute}" for hour, minute in _CLOCK.findall(found[1])] if found else []
