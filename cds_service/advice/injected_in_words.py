"""A dose of injected magnesium in words: the salt that is ordered first, then what that is as the sulfate."""

from __future__ import annotations

from collections.abc import Callable

from cds_service.advice.phrasing import fill, number
from cds_service.content.concept import INJECTED_SALT, SERUM_MAGNESIUM
from cds_service.content.library import Library
from cds_service.planner.model import hours
from cds_service.rules.verdict import InjectedDose


def injected_words(dose: InjectedDose, library: Library, title: Callable[[str], str]) -> dict[str, str]:
    """'magnesium sulfate 40 g over 20 min', of another salt with what it is as the sulfate, of which the limits are;
    and the same number of grams and of mEq, each in the other unit."""
    words, entry, salts = library.wording.injected, library.terminology[SERUM_MAGNESIUM], library.salts
    salt, whole = dose.salt or INJECTED_SALT, salts[INJECTED_SALT].elemental_fraction
    grams = dose.amount if salt == INJECTED_SALT else dose.amount * whole / salts[salt].elemental_fraction
    ordered, sulfate = (number(n.normalize(), None if n % 1 == 0 else 1) for n in (grams, dose.amount))
    equal = words.get(f"equal_{dose.word}", words["equal"])
    amount = {
        "amount": ordered,
        "salt": title(salt) if dose.salt else words["several"],
        "equal": fill(equal, {"sulfate": sulfate}) if salt != INJECTED_SALT else "",
    }
    key = f"{dose.word}_over" if dose.minutes is not None and f"{dose.word}_over" in words else dose.word
    time = hours(round(dose.minutes)) if dose.minutes is not None else ""
    filled = {
        "injected": fill(words[key], amount | {"time": time}),
        "injected.of_the": words["of_the"] if salt != INJECTED_SALT else "",
        "injected.same": "",
    }
    if dose.word in ("dose", "quick_dose") and entry.molar_mass and entry.valence:
        mmol = dose.amount * whole * 1000 / entry.molar_mass
        charge = mmol * entry.valence
        filled["injected.same"] = fill(words["same"], amount | {
            "mmol": number(mmol, 0),
            "meq": number(charge, 0),
            "other": number(grams * grams / charge, 1),
        })  # fmt: skip
    return filled
