"""How much a text says: strengths with their unit, per what, and whether the amount is called elemental.

Reading is one pass over at most `LONGEST` characters, without backtracking; nothing here knows a drug.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from cds_service.patient import Quantity
from cds_service.spelling import TOKEN, fold

ELEMENT = "elemental"
# The same word in the languages of charts, folded.
_ELEMENTS = frozenset({
    "elemental", "elementaire", "elementair", "elementaires", "elementares", "elementar", "elementare", "elementarny",
    "elementarnego", "elementart", "element", "elemento", "elementos",
})  # fmt: skip
_STRENGTH = {
    "mg": "mg", "mgs": "mg", "milligram": "mg", "milligrams": "mg",
    "mcg": "ug", "mcgs": "ug", "ug": "ug", "\u03bcg": "ug", "microgram": "ug", "micrograms": "ug",
    "g": "g", "gm": "g", "gram": "g", "grams": "g", "ng": "ng",
    "meq": "meq", "mmol": "mmol", "unt": "[iU]", "unit": "[iU]", "units": "[iU]", "iu": "[iU]", "%": "%",
}  # fmt: skip
_PER = {
    "ml": "mL", "l": "L", "hr": "h", "h": "h", "actuat": "{actuat}", "actuation": "{actuat}",
    "mg": "mg", "g": "g", "gm": "g",
}  # fmt: skip
_PER_WORDS = frozenset({"per", "in"})
_OF = frozenset({"of", "de", "d", "di", "do", "van"})


class Amount(NamedTuple):
    amount: Quantity
    per: str = "unit"
    per_value: Decimal = Decimal(1)
    elemental: bool = False


class Line(NamedTuple):
    """A folded text and its words."""

    text: str
    words: list[str]

    def after(self, start: int, stop: int) -> Amount | None:
        """The strength among words[start:stop]: the first, or one that is called elemental. "20-12.5 mg" (whose is
        it?) is none."""
        words = self.words
        first: Amount | None = None
        for i in range(start, stop):
            if not words[i][0].isdigit() or i + 1 >= len(words):
                continue
            amount: Amount | None = None
            if words[i + 1][0].isdigit():
                if first is not None:
                    continue
                # "400 (241.3 Mg) MG": the salt's strength with the element's in between.
                if words[i + 2 : i + 3] != ["mg"] or words[i + 3 : i + 4] not in (["mg"], ["g"], ["mcg"]):
                    return None
                return self._amount(i, i + 3)
            if words[i + 1] in _STRENGTH:
                amount = self._amount(i, i + 1)
            if amount is not None and (first is None or amount.elemental):
                first = amount
                if amount.elemental:
                    break
        return first

    def masses(self) -> set[Quantity]:
        """Every mass of a dose unit in the text."""
        found = set[Quantity]()
        for i in range(len(self.words) - 1):
            if self.words[i][0].isdigit() and _STRENGTH.get(self.words[i + 1]) in ("mg", "g"):
                amount = self._amount(i, i + 1)
                found |= {amount.amount} if amount and amount.per == "unit" else set()
        return found

    def amounts(self, start: int, stop: int) -> int:
        """How many strengths stand among words[start:stop]."""
        words = self.words
        return sum(1 for i in range(start, stop - 1) if words[i][0].isdigit() and words[i + 1] in _STRENGTH)

    def elemental(self, sources: frozenset[str]) -> set[Quantity]:
        """The strengths of one dose unit that are called elemental, or whose salt is named as source ("as oxide")."""
        words, found = self.words, set[Quantity]()
        for i in range(len(words) - 1):
            if not words[i][0].isdigit() or words[i + 1] not in _STRENGTH:
                continue
            amount = self._amount(i, i + 1)
            if amount is None or amount.per != "unit":
                continue
            source = words[i + 2 : i + 3] in (["as"], ["from"]) and not sources.isdisjoint(words[i + 3 : i + 4])
            if amount.elemental or source or ELEMENT in words[max(i - 2, 0) : i]:
                found.add(amount.amount)
        return found

    def before(self, start: int) -> Amount | None:
        """A strength that ends just before words[start]: "400 mg magnesium oxide", "241 mg of magnesium"."""
        i = start - 1
        if i >= 1 and self.words[i] == ELEMENT:
            i -= 1
        if i >= 1 and self.words[i] in _OF:
            i -= 1
        if i < 1 or self.words[i] not in _STRENGTH or not self.words[i - 1][0].isdigit():
            return None
        if i >= 2 and self.words[i - 2][0].isdigit() and "(" not in self._between(i - 2):
            return None
        return self._amount(i - 1, i)

    def _amount(self, number: int, unit: int) -> Amount | None:
        words = self.words
        value = _number(words[number])
        if value is None:
            return None
        amount = Quantity(value, _STRENGTH[words[unit]])
        end = unit + 1
        elemental = self._called_elemental(unit)
        if elemental:
            # "167 mg of elemental magnesium per 5 mL"
            end = words.index(ELEMENT, end) + 1
            end += words[end + 1 : end + 2] == ["per"]
        if end >= len(words) or (elemental and words[end] not in _PER_WORDS):
            return Amount(amount, elemental=elemental)
        word = words[end]
        k = end + (word in _PER_WORDS)
        many = _number(words[k]) if k < len(words) and words[k][0].isdigit() else None
        k += many is not None
        if k >= len(words) or words[k] not in _PER or not (word in _PER_WORDS or self._slash(unit)):
            return Amount(amount, elemental=elemental)
        elemental = elemental or words[k + 1 : k + 2] == [ELEMENT]
        return Amount(amount, _PER[words[k]], many or Decimal(1), elemental)

    def _called_elemental(self, unit: int) -> bool:
        """Whether "elemental" speaks of the amount that ends at words[unit]; in "500 mg (elemental magnesium 144 mg)"
        it speaks of the next one."""
        words, at = self.words, unit + 1 + (self.words[unit + 1 : unit + 2] == ["of"])
        if words[at : at + 1] != [ELEMENT]:
            return False
        next_one = any(words[k][0].isdigit() for k in range(at + 1, min(at + 3, len(words))))
        return not (next_one and self._between(unit).strip())

    def _slash(self, word: int) -> bool:
        """Whether a slash, and nothing else, stands between this word and the next."""
        return self._between(word).strip() == "/"

    def _between(self, word: int) -> str:
        """What stands between this word and the next."""
        places = [m.span() for m in islice(TOKEN.finditer(self.text), word, word + 2)]
        return self.text[places[0][1] : places[1][0]]


def line_of(text: str, words: list[str]) -> Line:
    """A folded text whose words for "elemental" are all that one."""
    return Line(text, [ELEMENT if word in _ELEMENTS else word for word in words] if "element" in text else words)


def masses(text: str) -> set[Quantity]:
    """Every mass of a dose unit that a text gives."""
    text = fold(text)
    return Line(text, TOKEN.findall(text)).masses()


def elemental_amount(text: str, sources: frozenset[str] = frozenset()) -> Quantity | None:
    """The strength that a text calls elemental ("400 mg elemental"), or that it gives as one of the salts whose last
    words are `sources` ("400 mg as oxide"); None where there is none, or more than one."""
    text = fold(text)
    if "element" not in text and not sources:
        return None
    found = line_of(text, TOKEN.findall(text)).elemental(sources)
    return found.pop() if len(found) == 1 else None


def _number(word: str) -> Decimal | None:
    """0.088, 1,000 (thousands), 0,5 (decimal comma). None for 1.2.3 and the like."""
    head, comma, tail = word.partition(",")
    if comma:
        if "," in tail or "." in head:
            thousands = word.split(",")
            if any(len(group) != 3 for group in thousands[1:]):
                return None
            word = "".join(thousands)
        elif len(tail.partition(".")[0]) == 3 and head != "0":
            word = head + tail
        else:
            word = f"{head}.{tail}"
    return Decimal(word) if word.count(".") <= 1 else None
