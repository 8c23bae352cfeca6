"""Which drug a coded or written medicine is, and whether its code and its text agree.

A code in the tables is taken over a name. Where a known code and a name, or two names, or two known codes, have no
ingredient in common, neither is trusted: the answer is a conflict without drugs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal, NamedTuple

from cds_service.content.concept import MAGNESIUM, Concept
from cds_service.content.products import Form, OtherName, Product
from cds_service.content.tables import NameWords
from cds_service.patient import Component, Quantity, Route
from cds_service.spelling import LONGEST, tokens
from cds_service.terminology.names import ALONE, ELSEWHERE, FILLER, OTHER, NameReader, Phrase, Reading, unpack
from cds_service.terminology.strengths import elemental_amount

Coding = tuple[str | None, str | None, str | None]
"""system, code, display"""


_ATC = re.compile(r"[A-DGHJ-NPRSV]\d\d[A-Z]{2}\d\d")
_WORDS = re.compile(r"[^\W\d_]{6,}(?:[ -][^\W_]+)*")
_CLOSURES = 4096
_REMEMBERED = 2048


@dataclass(frozen=True, slots=True)
class DrugIdentity:
    """What a medicine is.

    `drugs`: its concept ids with every broader drug and class. `others`: it holds an ingredient without a concept;
    `vaguely`: nothing but a brand, a near miss, a vehicle or a nutrient says so, and it may hold more.
    `salt`: the one concept that is a form of a broader drug (magnesium_oxide), None where there is none or more than
    one. `components`: what one dose unit holds; `product_coded`: by the code of a product. `elemental`: what its text
    calls elemental in one dose unit.
    """

    drugs: frozenset[str] = frozenset()
    identified_by: Literal["code", "name", "none"] = "none"
    conflict: bool = False
    others: bool = False
    route: Route = "unknown"
    form: str | None = None
    components: tuple[Component, ...] = ()
    salt: str | None = None
    product_coded: bool = False
    elemental: Quantity | None = None
    vaguely: bool = False


def _digest(codings: Sequence[Coding], text: str | None) -> bytes:
    """Of what is read of the codings and the text; their lengths keep two neighbours apart."""
    parts = [(text or "")[:LONGEST]]
    for system, code, display in codings:
        parts += (system or "", (code or "")[:LONGEST], (display or "")[:LONGEST])
    whole = "".join(parts) + repr([len(p) for p in parts])
    return blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Named(NamedTuple):
    drugs: frozenset[str]
    other: bool
    product: Product | None
    vehicle: bool = False


class DrugIndex:
    """Codes and names of drugs, ready for look-up.

    `broader` maps each concept id to all ids above it (closure). `others` are names of ingredients without a concept;
    they only serve to see that a text names something else.
    """

    def __init__(
        self,
        concepts: Mapping[str, Concept],
        broader: Mapping[str, frozenset[str]],
        joining: NameWords,
        products: Iterable[Product] = (),
        forms: Iterable[Form] = (),
        others: Iterable[str] = (),
        more: Iterable[OtherName] = (),
    ) -> None:
        self._broader = broader
        self._closures: dict[frozenset[str], frozenset[str]] = {}
        self._recent: dict[bytes, DrugIdentity] = {}
        self._older: dict[bytes, DrugIdentity] = {}
        self._rxnorm: dict[str, _Named] = {}
        self._atc: dict[str, frozenset[str]] = {}
        self._snomed: dict[str, frozenset[str]] = {}
        self._prefixes: dict[str, frozenset[str]] = {}
        phrases: list[Phrase] = []
        drugs_only: dict[str, frozenset[str]] = {}
        entries = {name: entry for name, entry in concepts.items() if entry.kind in ("drug", "drug_class")}
        drugs = frozenset(name for name, entry in entries.items() if entry.kind == "drug")
        for name, entry in entries.items():
            one = frozenset({name})
            drugs_only[name] = broader.get(name, frozenset()) & drugs
            phrases += [Phrase(n, one) for n in entry.names]
            phrases += [Phrase(n, one, True) for n in entry.brands]
            phrases += [Phrase(n, frozenset({ALONE})) for n in entry.not_]
            for code in entry.rxnorm_ingredients:
                held = self._rxnorm.get(code)
                self._rxnorm[code] = _Named(one | held.drugs if held else one, False, None)
            for code in entry.snomed:
                self._snomed[code] = self._snomed.get(code, frozenset()) | one
            for code in entry.atc:
                self._atc[code] = self._atc.get(code, frozenset()) | one
            for code in entry.atc_prefixes:
                self._prefixes[code] = self._prefixes.get(code, frozenset()) | one
        groups: dict[str, frozenset[str]] = {}
        for row in products:
            if row.drugs not in groups:
                groups[row.drugs] = frozenset(row.drugs.split())
            self._rxnorm[row.rxcui] = _Named(groups[row.drugs], row.other, row)
            if row.brand:
                held_too = groups[row.drugs] | {OTHER} if row.other else groups[row.drugs]
                phrases.append(Phrase(row.brand, held_too, True))
        meaning = {"drug": {OTHER}, "filler": {FILLER}, "elsewhere": {ELSEWHERE}}
        more = list(more)
        alone = {row.name for row in more if row.kind in ("vehicle", "nutrient")}
        phrases += [Phrase(n, frozenset({OTHER})) for n in others if n not in alone]
        for name, kind in more:
            phrases.append(Phrase(name, frozenset(meaning.get(kind, {ALONE})), kind == "elsewhere"))
        self._drugs_only = drugs_only
        salts = [entry for name, entry in entries.items() if drugs_only[name]]
        self._vehicles = tuple(joining.vehicle_codes)
        self._salt_words = frozenset(tokens(name)[-1] for entry in salts for name in entry.names)
        self._single = drugs
        metal = entries.get(MAGNESIUM)
        acids, short = (metal.counter_ion_of, metal.beside_a_salt) if metal else ((), ())
        self.reader = NameReader(phrases, forms, drugs_only, joining, MAGNESIUM, acids, short)

    def identify(self, codings: Sequence[Coding], text: str | None) -> DrugIdentity:
        """Systems are the short names of `vocabulary.SYSTEMS`. Never raises on what an EHR may send.

        Answers are remembered under a digest, so that nothing of a request is kept; at most two generations of
        `_REMEMBERED`. Threads may share it: a race costs a forgotten answer, no more.
        """
        key = _digest(codings, text)
        found = self._recent.get(key)
        if found is not None:
            return found
        found = self._older.get(key) or self._identify(codings, text)
        if len(self._recent) >= _REMEMBERED:
            self._older, self._recent = self._recent, {}
        self._recent[key] = found
        return found

    def _identify(self, codings: Sequence[Coding], text: str | None) -> DrugIdentity:
        known: list[_Named] = []
        texts = [text] if text else []
        for system, code, display in codings:
            if code and system and (named := self._by_code(system, code.strip())):
                known.append(named)
            # Some local codes are the name itself.
            said = display or (code if code and system is None and _WORDS.fullmatch(code) else None)
            if said and said not in texts:
                texts.append(said)
        if not known:
            readings = [self.reader.read(t) for t in texts]
            found = self._named(readings)
        else:
            strengths = not any(k.product and k.product.components for k in known)
            readings = [self.reader.read(t, strengths) for t in texts]
            found = self._coded(known, readings)
        if found.conflict:
            return found
        surely = any(k.other and not k.vehicle for k in known) or any(r.others and not r.vaguely for r in readings)
        return replace(found, elemental=self._elemental(texts, readings), vaguely=found.others and not surely)

    def _elemental(self, texts: Sequence[str], readings: Sequence[Reading]) -> Quantity | None:
        """What the texts of a single ingredient call elemental; None where they disagree."""
        said = {
            amount
            for text, reading in zip(texts, readings, strict=True)
            if (amount := elemental_amount(text, self._salt_words))
            and not reading.others
            and len(self._lowest(reading.drugs)) == 1
        }
        return said.pop() if len(said) == 1 else None

    def _by_code(self, system: str, code: str) -> _Named | None:
        if system == "rxnorm":
            return self._rxnorm.get(code)
        if system == "snomed":
            drugs = self._snomed.get(code)
            return _Named(drugs, False, None) if drugs else None
        if system != "atc":
            return None
        code = code.upper()
        found = self._atc.get(code, frozenset())
        for n in (3, 4, 5, 7):
            found |= self._prefixes.get(code[:n], frozenset()) if len(code) >= n else frozenset()
        # A whole code of the ATC that is not ours names another drug.
        if not found and not _ATC.fullmatch(code):
            return None
        return _Named(found, not found, None, not found and code.startswith(self._vehicles))

    def _coded(self, known: Sequence[_Named], readings: Sequence[Reading]) -> DrugIdentity:
        leaves, other = known[0].drugs, known[0].other
        for k in known[1:]:
            if not self._agree(known[0].drugs, k.drugs):
                return DrugIdentity(conflict=True)
            leaves |= k.drugs
            other = other or k.other
        for r in readings:
            if (r.drugs and not self._agree(leaves, r.drugs)) or (
                not r.drugs and r.others and not r.vaguely and not other
            ):
                return DrugIdentity(conflict=True)
        leaves = self._lowest(leaves)
        product = next((k.product for k in known if k.product), None)
        form: str | None = None
        route: Route = "unknown"
        components: tuple[Component, ...] = ()
        if product:
            form, route = product.form or None, product.route or "unknown"
            components = unpack(product.components, product.drugs)
        by_code = any(c.strength for c in components)
        if not by_code:
            closed = self._closed(leaves)
            said = (r.components for r in readings if r.components and r.drugs <= closed)
            components = next((c for c in said if any(part.strength for part in c)), components)
        found = self._identity(leaves, "code", readings, form, route, components, other)
        return replace(found, product_coded=True) if by_code else found

    def _named(self, readings: Sequence[Reading]) -> DrugIdentity:
        ours = [r for r in readings if r.drugs]
        if not ours:
            return self._identity(frozenset(), "none", readings, None, "unknown", ())
        # The fullest name speaks: a display of one ingredient beside a text that lists two.
        best = max(ours, key=lambda r: len(r.drugs))
        clash = any(not self._agree(best.drugs, r.drugs) for r in ours)
        if clash or any(r.others and not r.drugs for r in readings):
            return DrugIdentity(conflict=True)
        with_strength = (r.components for r in ours if any(c.strength for c in r.components))
        parts = next(with_strength, best.components)
        return self._identity(self._lowest(best.drugs), "name", [best, *readings], None, "unknown", parts)

    def _identity(
        self,
        leaves: frozenset[str],
        by: Literal["code", "name", "none"],
        readings: Sequence[Reading],
        form: str | None,
        route: Route,
        components: tuple[Component, ...],
        others: bool = False,
    ) -> DrugIdentity:
        others = others or any(r.others and not (leaves and r.vaguely) for r in readings)
        if form is None:
            form = next((r.form for r in readings if r.form), None)
        if route == "unknown":
            route = next((r.route for r in readings if r.route != "unknown"), route)
        salts = [d for d in leaves if self._drugs_only.get(d)]
        if not components:
            components = tuple(Component(d, None) for d in sorted(leaves & self._single))
        salt = salts[0] if len(salts) == 1 else None
        return DrugIdentity(self._closed(leaves), by, False, others, route, form, components, salt)

    def _closed(self, drugs: frozenset[str]) -> frozenset[str]:
        """With all above them. Remembered: there are as many sets as products hold, whatever a request says."""
        found = self._closures.get(drugs)
        if found is None:
            found = drugs.union(*(self._broader.get(d, frozenset()) for d in drugs))
            if len(self._closures) < _CLOSURES:
                self._closures[drugs] = found
        return found

    def _lowest(self, drugs: frozenset[str]) -> frozenset[str]:
        """Without those that stand above another one of them."""
        if len(drugs) < 2:
            return drugs
        return drugs.difference(*(self._broader.get(d, frozenset()) for d in drugs))

    def _agree(self, left: frozenset[str], right: frozenset[str]) -> bool:
        """Some drug of one is, or is above, some drug of the other."""
        return bool(left & right or left & self._closed(right) or right & self._closed(left))
