"""Reading the name of a medicine: which ingredients it names, how much of each, and the dose form and route.

Shared by `fhir` (names in a request) and `content` (building the product table), so it imports only `patient` and
`strengths`. The names and dose forms are data, given to `NameReader`; nothing here knows a drug. Reading is one pass
over at most `LONGEST` characters: no backtracking, so a hostile name costs no more than a long one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from cds_service.content.products import Form
from cds_service.content.tables import NameWords
from cds_service.patient import Component, Quantity, Route
from cds_service.spelling import TOKEN, fold, sound, tokens
from cds_service.terminology.sounds import Sounds
from cds_service.terminology.strengths import ELEMENT, Line, line_of

OTHER = ""
"""Stands in a phrase table for an ingredient that no concept describes."""

ALONE, FILLER, ELSEWHERE = " ", "-", "?"
"""Stand for a brand, a near miss or what a drug is given in, and for a word that says nothing. They name another drug
only where no other word of the text is unknown: "MgXYZ in saline" may be magnesium. The last marks a brand that is
another drug in another country: it names nothing."""

_NAMED_OTHER = frozenset({OTHER})
_LOOKS_LIKE = frozenset({ALONE})
_NOT_OURS = _NAMED_OTHER | _LOOKS_LIKE | {ELSEWHERE}
_SOUNDED = 6
"""A word shorter than this sounds like too many others."""
_SYMBOL = 3  # letters of the longest symbol of a metal
_ENDING = 5  # letters of the shortest word that may end a longer one, and of what stands before it
_FAR = 8  # tokens after an ingredient in which its strength is looked for


class Phrase(NamedTuple):
    """A name and what it stands for. No drugs: the phrase only blocks shorter ones inside it. `brand`: no strength
    is read behind it, because a brand's number may count salt, element or several ingredients."""

    text: str
    drugs: frozenset[str]
    brand: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a name says. `drugs` are concept ids without broader ones; `others` says that an ingredient was named
    that no concept describes, `vaguely` that nothing but a brand, a near miss, a vehicle or a nutrient says so."""

    drugs: frozenset[str] = frozenset()
    others: bool = False
    components: tuple[Component, ...] = ()
    form: str | None = None
    route: Route = "unknown"
    vaguely: bool = False


def pack(components: Iterable[Component]) -> str:
    """Components as one cell of the product table; only those with a strength."""
    cells = []
    for c in components:
        if c.strength is None:
            continue
        per = "" if c.per == "unit" else f"/{'' if c.per_value == 1 else f'{c.per_value} '}{c.per}"
        cells.append(f"{c.drug}={c.strength.value} {c.strength.unit}{per}")
    return ";".join(cells)


@lru_cache(maxsize=8192)
def unpack(cell: str, drugs: str) -> tuple[Component, ...]:
    """The inverse of `pack`; each of `drugs` (ids joined by spaces) without a strength in the cell gets one of None.

    Cached: cells and drugs come from the product table, never from a request. Raises ValueError if malformed.
    """
    found: dict[str, Component] = {}
    for part in cell.split(";") if cell else ():
        drug, _, amount = part.partition("=")
        value, _, unit = amount.partition(" ")
        unit, _, per = unit.partition("/")
        many, _, of = per.rpartition(" ")
        found[drug] = Component(drug, Quantity(Decimal(value), unit), of or "unit", Decimal(many or 1))
    return (*found.values(), *(Component(d, None) for d in drugs.split() if d not in found))


class _Hit(NamedTuple):
    start: int
    end: int
    drugs: frozenset[str]
    brand: bool


_Words = tuple[str, ...]


def _lengths(phrases: Iterable[_Words]) -> dict[str, tuple[int, ...]]:
    """First word -> how many words the phrases that begin with it have, longest first."""
    found: dict[str, set[int]] = {}
    for words in phrases:
        found.setdefault(words[0], set()).add(len(words))
    return {word: tuple(sorted(sizes, reverse=True)) for word, sizes in found.items()}


class NameReader:
    """Reads names by a table of phrases (longest match first) and a table of dose forms.

    `broader` maps a concept id to every concept above it, so that "magnesium 240 mg (as magnesium oxide 400 mg)"
    counts once, as the element. `metal` is the concept of the metal whose salts are drugs of their own; `acids` are the
    drugs and fillers of which it is only the counter-ion ("Esomeprazol-Magnesium"). `beside_a_salt` are the words for
    the metal; the short ones mean it only before a word of one of its salts ("Mg oxide", never "20 mg oxide").

    What no phrase names is looked up by its sound (`spelling.sound`).
    """

    def __init__(
        self,
        phrases: Iterable[Phrase],
        forms: Iterable[Form],
        broader: Mapping[str, frozenset[str]],
        joining: NameWords,
        metal: str = "",
        acids: Iterable[str] = (),
        beside_a_salt: Iterable[str] = (),
    ) -> None:
        merged: dict[_Words, tuple[frozenset[str], bool]] = {}
        for phrase in phrases:
            words = tokens(phrase.text)
            if not words:
                raise ValueError(f"{phrase.text!r} has no word to match")
            drugs, brand = merged.get(words, (phrase.drugs, True))
            if drugs != phrase.drugs:
                # The same words for several: ours win over other ingredients, and a name over a phrase that blocks.
                # A brand may hold both.
                drugs = drugs | phrase.drugs
                if not phrase.brand and drugs - _NOT_OURS:
                    drugs -= _NOT_OURS
            merged[words] = (drugs, brand and phrase.brand)
        self._names = merged
        self._name_lengths = _lengths(merged)
        self._forms = {tokens(form.phrase): form for form in forms}
        self._form_lengths = _lengths(self._forms)
        self._as, self._of = frozenset(joining.salt_of), frozenset(joining.of)
        self._between = self._as.union(joining.made_from)
        self._dilutions, self._remedies = frozenset(joining.dilutions), tuple(joining.remedies)
        self._broader = broader
        self._umbrellas = frozenset[str]().union(*broader.values())
        self._metal = frozenset({metal})
        self._acids = frozenset(map(sound, acids))
        self._beside = frozenset(word for name in beside_a_salt for word in tokens(name))
        self._metals = frozenset(word for word in self._beside if len(word) > _SYMBOL)
        self._sounds, self._salts = self._by_sound(merged, metal)
        endings = (sound(words[0]) for words, (drugs, _) in merged.items() if FILLER in drugs and len(words) == 1)
        self._endings = tuple(sorted((each for each in endings if len(each) >= _ENDING), key=len, reverse=True))

    def _by_sound(self, names: Mapping[_Words, tuple[frozenset[str], bool]], metal: str) -> tuple[Sounds, Sounds]:
        """Names by their sound, and salts by that of their acid."""
        found: list[tuple[str, frozenset[str]]] = []
        salts: list[tuple[str, frozenset[str]]] = []
        for words, (drugs, brand) in names.items():
            if not drugs or brand or FILLER in drugs:
                continue
            acid = [word for word in words if word not in self._metals and len(word) > 2]
            if len(drugs) == 1 and metal in self._broader.get(next(iter(drugs)), ()):
                if len(acid) == 1 < len(words):
                    salts.append((acid[0], drugs))
            elif len(words[0]) >= _SOUNDED and words[0] not in self._metals and words[1:] in ((), ("acid",)):
                found.append((words[0], drugs))
        return Sounds(found), Sounds(salts)

    def _sounded(self, words: list[str], i: int) -> _Hit | None:
        """What words from `i` on sound like: "sulfate de magnesium", "magnesiumsulfat", "levotiroxina", "magnesium
        hydrox". Of an unknown salt in one word no strength is read: it may be the salt's."""
        word, rest = words[i], words[i + 1 : i + 3]
        before = words[i - 1] if i else ""
        if word in self._metals or (word in self._beside and not before[:1].isdigit() and before not in self._beside):
            skip = int(bool(rest) and rest[0] in self._of)
            after = i + 2 + skip
            salt = self._salts.get(rest[skip]) if rest[skip:] else None
            if not salt and rest[skip:] and self._name_ends(words, after):
                salt = self._salts.cut(rest[skip])
            return _Hit(i, after, salt, False) if salt else None
        if len(word) < _SOUNDED:
            return None
        if salt := self._salts.get(word):
            for skip in (0, 1):
                if rest[skip:] and rest[skip] in self._metals and (not skip or rest[0] in self._of):
                    return _Hit(i, i + 2 + skip, salt, False)
        for metal in self._metals:
            if word.startswith(metal) and word != metal:
                acid = word[len(metal) :]
                if salt := self._salts.get(acid) or self._salts.cut(acid):
                    return _Hit(i, i + 1, salt, False)
                return _Hit(i, i + 1, self._metal if sound(acid) not in self._acids else _LOOKS_LIKE, True)
        named = self._sounds.get(word) or self._without_ending(word)
        if not named and self._name_ends(words, i + 1):
            named = self._sounds.cut(word)
            # Many words of a language begin as some drug does, and a brand may have one: "Centrum Silver".
            named = _LOOKS_LIKE if named == _NAMED_OTHER else named
        return _Hit(i, i + 1, named, False) if named else None

    def _name_ends(self, words: list[str], at: int) -> bool:
        """Whether the words of a name end before this one."""
        return at >= len(words) or words[at][0].isdigit() or words[at] in self._form_lengths

    def _without_ending(self, word: str) -> frozenset[str] | None:
        """What a word names without the words at its end that say nothing: "Metoprololsuccinat"."""
        heard = sound(word)
        while heard.endswith(self._endings):
            heard = heard.removesuffix(next(ending for ending in self._endings if heard.endswith(ending)))
            if len(heard) >= _ENDING and (named := self._sounds.get(heard)):
                return named
        return None

    def read(self, text: str, strengths: bool = True) -> Reading:
        """What `text` names (any length; the first 500 characters count). Without `strengths`, no components."""
        text = fold(text)
        words = TOKEN.findall(text)
        hits: list[_Hit] = []
        form: Form | None = None
        name_lengths, form_lengths = self._name_lengths, self._form_lengths
        unknown = False
        i, count = 0, len(words)
        while i < count:
            word = words[i]
            step = 1
            longest = 0
            for n in name_lengths.get(word, ()):
                if i + n > count:
                    continue
                known = self._names.get(tuple(words[i : i + n]))
                if known is not None and not (n > 1 and self._cuts_a_salt(words, i + n)):
                    if FILLER not in known[0]:
                        hits.append(_Hit(i, i + n, *known))
                    longest = step = n
                    break
            if longest < 2 and (alike := self._sounded(words, i)) and alike.end > i + longest:
                if hits and hits[-1].start == i:
                    hits.pop()
                step = alike.end - i
                hits.append(alike)
            elif not longest:
                for n in form_lengths.get(word, ()):
                    row = self._forms.get(tuple(words[i : i + n]))
                    if row is not None:
                        if form is None or row.rank > form.rank:
                            form = row
                        step = n
                        break
                else:
                    unknown = unknown or (len(word) > 2 and word.isalpha())
            i += step
        if len(hits) > 1 and not self._between.isdisjoint(words):
            hits = [h for k, h in enumerate(hits) if not (k and self._counter_ion(hits[k - 1], h, words))]
        hits = [hit if not self._not_the_metal(hit, words) else hit._replace(drugs=_NAMED_OTHER) for hit in hits]
        hits = [hit for hit in hits if ELSEWHERE not in hit.drugs]
        found = frozenset[str]().union(*(h.drugs for h in hits))
        vaguely = OTHER not in found
        others = not vaguely or (ALONE in found and not unknown)
        found -= _NOT_OURS
        parts = self._components(text, words, hits) if strengths and found else ()
        if form is None:
            return Reading(found, others, parts, vaguely=vaguely)
        return Reading(found, others, parts, form.form or None, form.route, vaguely)

    def _cuts_a_salt(self, words: list[str], end: int) -> bool:
        """Whether a name that ends here has the metal of the next one: "omeprazole, magnesium | oxide"."""
        return end < len(words) and words[end - 1] in self._metals and self._salts.get(words[end]) is not None

    def _not_the_metal(self, hit: _Hit, words: list[str]) -> bool:
        """Whether the metal is the counter-ion of an acid beside it, or diluted out of existence."""
        if not hit.drugs or not all(
            d in self._metal or self._metal & self._broader.get(d, frozenset()) for d in hit.drugs
        ):
            return False
        after = words[hit.end : hit.end + 4]
        if hit.drugs == self._metal and not hit.brand:
            before = words[max(hit.start - 2, 0) : hit.start]
            near = [before[-1] if before[-1] not in self._of else before[0]] if before else []
            if any(sound(word) in self._acids for word in (*near, *after[:1])):
                return True
        return self._diluted(after[1:] if after and after[0].endswith(self._remedies) else after)

    def _diluted(self, after: list[str]) -> bool:
        """Whether a homeopathic dilution stands here: "D6", "C30", "9 CH"; not vitamin D3, nor dextrose ("D5W")."""
        if len(after) < 2:
            return False
        letter, number = after[:2] if after[0].isalpha() else (after[1], after[0])
        glucose = letter == "d" and (number == "3" or after[2:3] == ["w"])
        return letter in self._dilutions and number.isdigit() and not glucose

    def _counter_ion(self, previous: _Hit, hit: _Hit, words: list[str]) -> bool:
        """ "Omeprazole (as magnesium)", "Omeprazol 20 mg (als Magnesiumsalz)": an umbrella concept straight after "as"
        is the salt of the drug before it."""
        between = words[previous.end : hit.start]
        bare = hit.drugs == self._metal and hit.end - hit.start == 1
        return (
            not self._as.isdisjoint(between[-1:])
            and (bare or len(between) == 1)
            and bool(hit.drugs)
            and hit.drugs <= self._umbrellas
            and not any(d in hit.drugs or hit.drugs & self._broader.get(d, frozenset()) for d in previous.drugs)
        )

    def _components(self, text: str, words: list[str], hits: Sequence[_Hit]) -> tuple[Component, ...]:
        line = line_of(text, words)
        if len(hits) == 1 and len(hits[0].drugs) == 1:
            return (self._only(line, hits[0]),)
        amounts: dict[str, list[Component]] = {}
        alone = sum(1 for h in hits if h.drugs and h.drugs - _NOT_OURS) == 1
        for k, hit in enumerate(hits):
            stop = hits[k + 1].start if k + 1 < len(hits) else len(words)
            for drug in sorted(hit.drugs - _NOT_OURS):
                amounts.setdefault(drug, [])
                if hit.brand or len(hit.drugs) > 1:
                    continue
                previous = hits[k - 1] if k else None
                found = line.after(hit.end, min(stop, hit.end + _FAR))
                told = alone or words[hit.start] == ELEMENT or self._restated(drug, hit, previous, line)
                if found is None and told:
                    found = line.before(hit.start)
                if found is not None:
                    owner = self._owner(drug, hit, previous, line, found.elemental)
                    part = Component(owner, found.amount, found.per, found.per_value)
                    amounts.setdefault(owner, []).append(part)
        parts = tuple(self._settle(amounts))
        salts = any(self._metal & self._broader.get(drug, frozenset()) for hit in hits for drug in hit.drugs)
        return tuple(self._with_weight(part, line) for part in parts) if salts else parts

    def _with_weight(self, part: Component, line: Line) -> Component:
        """With the salt's weight, where the text gives one more strength and a higher one."""
        if self._metal != {part.drug} or part.strength is None or part.per != "unit" or part.salt_weight:
            return part
        others = line.masses() - {part.strength}
        weight = others.pop() if len(others) == 1 else None
        higher = weight is not None and weight.unit == part.strength.unit and weight.value > part.strength.value
        return replace(part, salt_weight=weight) if higher else part

    def _only(self, line: Line, hit: _Hit) -> Component:
        """The common case: one ingredient."""
        drug = next(iter(hit.drugs))
        found = None
        if not hit.brand:
            found = line.after(hit.end, min(len(line.words), hit.end + _FAR)) or line.before(hit.start)
        if found is None:
            return Component(drug, None)
        owner = self._owner(drug, hit, None, line, found.elemental) if found.elemental else drug
        return Component(owner, found.amount, found.per, found.per_value)

    def _owner(self, drug: str, hit: _Hit, previous: _Hit | None, line: Line, elemental: bool) -> str:
        """Whose strength it is: in "magnesium (as magnesium oxide) 250 mg" and "250 mg elemental", the element's; in
        "magnesium 64 mg (as magnesium chloride 535 mg)" each has its own."""
        above = self._broader.get(drug, frozenset())
        between = set(line.words[previous.end : hit.start]) if previous else set()
        if previous and between & self._between and len(previous.drugs & above) == 1:
            own = line.after(previous.end, hit.start) is not None
            return drug if own else next(iter(previous.drugs & above))
        return min(above) if elemental and len(above) == 1 else drug

    def _restated(self, drug: str, hit: _Hit, previous: _Hit | None, line: Line) -> bool:
        """Whether a salt's amount is said again as the element's: "oxide 400 mg (equivalent to 241 mg magnesium)"."""
        if previous is None or len(previous.drugs) != 1:
            return False
        salt = next(iter(previous.drugs))
        return drug in self._broader.get(salt, frozenset()) and line.amounts(previous.end, hit.start) > (
            not previous.brand
        )

    def _settle(self, amounts: Mapping[str, list[Component]]) -> Iterable[Component]:
        """One component for each drug; of a salt and its element, the one whose strength is stated."""
        stated = {drug for drug, said in amounts.items() if said}
        for drug in amounts:
            above = self._broader.get(drug, frozenset())
            below = [d for d in amounts if drug in self._broader.get(d, frozenset())]
            if above & stated or (below and drug not in stated):
                continue
            said = {(c.strength, c.per, c.per_value): c for c in amounts[drug]}
            part = next(iter(said.values())) if len(said) == 1 else Component(drug, None)
            weights = {c.strength for d in below for c in amounts[d] if c.per == part.per}
            yield replace(part, salt_weight=weights.pop()) if len(weights) == 1 else part
