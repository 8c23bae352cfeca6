"""What an order, a statement or an administration calls its medicine, and which drug that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from msgspec import Raw
from msgspec.json import Decoder

from cds_service.fhir.building import Building, called, name_of, target
from cds_service.fhir.elements import (
    Concept,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    MedicationView,
    Reference,
    SubstanceView,
)
from cds_service.fhir.identity import UNREADABLE, is_elsewhere, split_reference
from cds_service.fhir.inputs import Item
from cds_service.patient import Component
from cds_service.terminology.drugs import DrugIdentity

_read_contained = Decoder(MedicationView | SubstanceView).decode
_DEEPEST = 3
V = TypeVar("V")
Drafted = MedicationRequest | MedicationStatement
Listed = Drafted | MedicationAdministration


class Named(NamedTuple):
    """What a medicine is called and what it is, the drugs that it is kept apart from, and its dose form in words."""

    name: str
    identity: DrugIdentity
    kept_apart: frozenset[str]
    form: str | None

    @property
    def of_others(self) -> bool:
        """Whether it is known, and no drug of ours is in it."""
        return self.identity.others and not self.identity.drugs and not self.identity.conflict


def named_in(building: Building, item: Item, view: Listed) -> Named | None:
    """What an order, a statement or an administration calls its medicine; None where it names none, or one of which
    nobody knows what it means."""
    found = _concept(building, view)
    if found is None:
        return None
    concept, form, ingredients = found
    if concept is None:
        reference = medicine_reference(view)
        name, _ = building.vocabulary.kept_apart((reference.display if reference else None) or "")
        if not name:
            if not item.draft:
                return None
            building.repairs["medication_missing"] += 1
        return Named(name, building.vocabulary.drug([], name or None), frozenset(), form)
    identity, kept_apart = building.drug(concept)
    name = name_of(concept)
    if ingredients and not identity.conflict:
        parts = [building.drug(each).drug for each in ingredients]
        if identity.drugs or identity.others:
            identity = _with_ingredients(parts, identity)
        else:
            identity = _by_ingredients(parts, identity)
            name = name or name_of(ingredients[0])
    if kept_apart:
        name = building.vocabulary.kept_apart(name)[0]
    return Named(name or ("" if identity.drugs or identity.others else called(concept)), identity, kept_apart, form)


def medicine_reference(view: Listed) -> Reference | None:
    return view.medicationReference or (view.medication.reference if view.medication else None)


def _concept(building: Building, view: Listed) -> tuple[Concept | None, str | None, list[Concept]] | None:
    """The code of the medicine; its dose form and its ingredients where a Medication names them. None where it is a
    Medication that is not to be used."""
    inline = view.medicationCodeableConcept or (view.medication.concept if view.medication else None)
    if inline is not None and (inline.coding or inline.text):
        return inline, None, []
    medication = _referred(building, medicine_reference(view), view.contained)
    if not isinstance(medication, MedicationView):
        return None, None, []
    if medication.status == "entered-in-error":
        return None
    form = medication.form or medication.doseForm
    display = next((c.display for c in form.coding or () if c.display), None) if form else None
    ingredients = list(_ingredients(building, medication, view.contained))
    code = medication.code or (Concept() if ingredients else None)
    return code, (form.text or display) if form else None, ingredients


def _ingredients(
    building: Building, medication: MedicationView, contained: list[Raw] | None, depth: int = 0
) -> Iterator[Concept]:
    """What of a Medication acts: coded, in words, or another Medication or Substance."""
    for part in medication.ingredient or ():
        if bytes(part.isActive) == b"false":
            continue
        concept = part.itemCodeableConcept or (part.item.concept if part.item else None)
        reference = part.itemReference or (part.item.reference if part.item else None)
        found = _referred(building, reference, [*(contained or ()), *(medication.contained or ())])
        if concept is None and found is not None:
            concept = found.code if isinstance(found, MedicationView) else _coded(found)
        if concept is None and isinstance(found, MedicationView) and found.ingredient and depth < _DEEPEST:
            yield from _ingredients(building, found, contained, depth + 1)
            continue
        yield concept or Concept(text=reference.display if reference else None)


def _coded(substance: SubstanceView) -> Concept | None:
    """R4 names a Substance by a CodeableConcept, R5 by one inside a CodeableReference."""
    return (substance.code.concept or substance.code) if substance.code else None


def _by_ingredients(parts: Sequence[DrugIdentity], whole: DrugIdentity) -> DrugIdentity:
    """A product as all of its ingredients. One of them that nobody knows leaves it not identified, unless another is
    ours: then it holds something else too."""
    drugs = frozenset[str]().union(*(part.drugs for part in parts))
    known = all(part.drugs or part.others for part in parts)
    return replace(
        whole,
        drugs=drugs,
        others=any(part.others for part in parts) if known else bool(drugs),
        identified_by="code" if any(part.identified_by == "code" for part in parts) else "name" if drugs else "none",
        conflict=any(part.conflict for part in parts),
        components=tuple(component for part in parts for component in _without_strengths(part.components)),
        salt=parts[0].salt if len(parts) == 1 else None,
    )


def _with_ingredients(parts: Sequence[DrugIdentity], whole: DrugIdentity) -> DrugIdentity:
    """A known product with what it holds besides: an infusion is often called after its carrier. Of one that is none of
    ours, an ingredient that nobody knows may be, unless there is no other: that is what the product is called after."""
    more = [part for part in parts if part.conflict or not part.drugs <= whole.drugs]
    if not more:
        unknown = any(not (part.drugs or part.others) for part in parts)
        hidden = unknown and not whole.drugs and (whole.vaguely or len(parts) > 1)
        return replace(whole, others=False) if hidden else whole
    salts = {one.salt for one in (whole, *more) if one.salt}
    return replace(
        whole,
        drugs=whole.drugs.union(*(part.drugs for part in more)),
        others=whole.others or any(part.others for part in more),
        conflict=any(part.conflict for part in more),
        components=(*whole.components, *(held for part in more for held in _without_strengths(part.components))),
        salt=salts.pop() if len(salts) == 1 else None,
        product_coded=False,
    )


def _without_strengths(components: Iterable[Component]) -> Iterator[Component]:
    """The same without strengths: an ingredient's own code says nothing of how much the product holds."""
    return (Component(component.drug, None) for component in components)


def _referred(
    building: Building, named: Reference | None, contained: list[Raw] | None
) -> MedicationView | SubstanceView | None:
    reference = target(named)
    if reference.startswith("#"):
        return _contained(reference[1:], contained)
    if reference in building.medications:
        return building.medications[reference]
    if is_elsewhere(reference, building.base):
        return None  # another server's Medication/1 is not this one's
    parts = split_reference(reference)
    return building.medications.get("/".join(parts)) if parts else None


def _contained(name: str, contained: list[Raw] | None) -> MedicationView | SubstanceView | None:
    for raw in contained or ():
        found: MedicationView | SubstanceView | None = decoded(_read_contained, raw)
        if found is not None and found.id == name:
            return found
    return None


def decoded(read: Callable[[Raw], V], raw: Raw) -> V | None:
    try:
        return read(raw)
    except UNREADABLE:
        return None
