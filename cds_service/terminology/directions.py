"""Written directions: amounts, times and conditions, read by the word tables of `cards/tables/directions/`.

Nothing is guessed. The whole text has to be understood by the table of one language, and by no other in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_service.content.tables import Directions, Frequency
from cds_service.terminology.direction_reading import Reading
from cds_service.terminology.direction_words import Language, direction_words, fields_of

_LONGEST_TEXT = 200


class Sigs:
    """All tables, ready for reading. Read-only, so threads may share it."""

    def __init__(self, tables: Mapping[str, Directions], codes: Mapping[str, Frequency]) -> None:
        self._languages = [Language(table) for table in tables.values()]
        self._codes = {code: fields_of(row) for code, row in codes.items()}

    def coded(self, code: str) -> dict[str, Any]:
        """Dosage fields of a timing code such as BID; empty if it is not listed."""
        return dict(self._codes.get(code.upper(), {}))

    def read(self, text: str) -> dict[str, Any] | None:
        """Dosage fields of a direction that is one dose at its times; None where it is not understood, or is more."""
        doses = self.read_all(text)
        return doses[0] if doses and len(doses) == 1 else None

    def read_all(self, text: str) -> list[dict[str, Any]] | None:
        """Dosage fields of each dose that differs; None unless every word is understood, in one way."""
        if len(text) > _LONGEST_TEXT:
            return None
        words = direction_words(text)
        found = [doses for language in self._languages if (doses := Reading(language, words).doses())]
        return found[0] if found and all(doses == found[0] for doses in found) else None
