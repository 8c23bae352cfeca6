"""The closed table of units as charts write them.

A unit that is missing, unknown or at odds with itself is a problem, never a guess: 1.8 is normal in mg/dL and toxic in
mmol/L. The table is `cards/terminology/units.yaml`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

from cds_service.content.tables import UnitRow
from cds_service.content.units import EXACT, Unit, UnitProblem, convert

__all__ = ["EXACT", "UCUM", "Unit", "UnitProblem", "UnitTable", "convert", "folded", "unit_table"]

UCUM = "http://unitsofmeasure.org"
_UCUM = "ucum"  # our short name


class Coded(Protocol):
    """A unit as a chart writes it: a code of a system, and a text."""

    @property
    def system(self) -> str | None: ...
    @property
    def code(self) -> str | None: ...
    @property
    def unit(self) -> str | None: ...


# What is left of a sign whose bytes were read in another encoding: "m\u00c2\u00b2" and "m\ufffd" are m\u00b2.
_DAMAGED = str.maketrans("", "", "\u00c2\u00c3\u0082\u201a\ufffd")
_MARKS = re.compile(r"\s|[*^]+(?=[0-9])")


def folded(text: str) -> str:
    """A unit as it reads when case, width, blanks, the mark of an exponent and the decimal sign do not count."""
    plain = unicodedata.normalize("NFKC", text.translate(_DAMAGED)).casefold()
    return _MARKS.sub("", plain).replace("\u03bc", "u").replace(",", ".")


@dataclass(frozen=True, slots=True)
class UnitTable:
    """Every unit that is understood, by UCUM code and by the other spellings that EHRs send. Case counts."""

    units: Mapping[str, Unit]
    aliases: Mapping[str, Unit]
    coded: Mapping[tuple[str | None, str | None], Unit]
    system_name: Callable[[str | None], str | None]

    def find(self, text: str | None) -> Unit | None:
        """The unit that is written like this, or None."""
        if not text:
            return None
        text = text.strip()
        return self.units.get(text) or self.aliases.get(text)

    def sent(self, codes: Iterable[str]) -> Mapping[str, Unit]:
        """These units by every spelling of theirs, folded."""
        units = [self.units[code] for code in codes]
        spelled = [(text, unit) for text, unit in self.aliases.items() if unit in units]
        return {folded(text): unit for text, unit in [*((unit.code, unit) for unit in units), *spelled]}

    def of(self, quantity: Coded, sent: Mapping[str, Unit] = MappingProxyType({})) -> Unit:
        """The unit of a FHIR Quantity. `sent` are the units of the test as `sent` gives them: among these few, a
        spelling need not be exact, unless it is called UCUM, where "Mg" is a megagram. Raises UnitProblem."""
        system = self.system_name(quantity.system)
        by_code = self.find(quantity.code)
        by_text = self.find(quantity.unit)
        if by_text is None and quantity.unit and (system != _UCUM or by_code is not None):
            by_text = sent.get(folded(quantity.unit))
        if by_code is None and quantity.code and not quantity.system:
            by_code = sent.get(folded(quantity.code))
        if quantity.code and system == _UCUM:
            if by_code is None:
                raise UnitProblem("unit not known")
            if by_text is not None and not by_text.same_as(by_code):
                raise UnitProblem("unit code and unit text disagree")
            return by_code
        if quantity.system and system != _UCUM:
            by_code = self.coded.get((system, quantity.code))
        if by_code and by_text and not by_code.same_as(by_text):
            raise UnitProblem("unit code and unit text disagree")
        found = by_text or by_code
        if found is None:
            raise UnitProblem("unit not known" if quantity.unit or quantity.code else "unit missing")
        return found

    def convert(
        self, value: Decimal, unit: str, target: str, *, molar_mass: Decimal | None = None, valence: int | None = None
    ) -> Decimal:
        """`convert` by codes or other spellings of units. Raises UnitProblem."""
        from_unit, to_unit = self.find(unit), self.find(target)
        if from_unit is None or to_unit is None:
            raise UnitProblem("unit not known")
        return convert(value, from_unit, to_unit, molar_mass=molar_mass, valence=valence)


def unit_table(rows: Mapping[str, UnitRow], system_name: Callable[[str | None], str | None]) -> UnitTable:
    """The table of the rows of `terminology/units.yaml`; `system_name` gives our short name of a code system."""
    units = {code: Unit(code, row.kind, row.factor, row.per) for code, row in rows.items()}
    coded: dict[tuple[str | None, str | None], Unit] = {
        (system, code): units[unit]
        for unit, row in rows.items()
        for system, codes in row.codes.items()
        for code in codes
    }
    aliases = {text: units[code] for code, row in rows.items() for text in row.also}
    return UnitTable(units, aliases, coded, system_name)
