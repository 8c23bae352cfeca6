"""The specimen of a result: trouble with it, and what makes it no serum of the patient."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.json import Decoder

from cds_service.fhir.building import Building, target
from cds_service.fhir.elements import (
    UNCLEAR,
    Concept,
    Extension,
    Observation,
    ObservationComponent,
    Reference,
    Specimen,
)
from cds_service.fhir.heads import head_of
from cds_service.fhir.identity import UNREADABLE, split_reference

ABOUT_OTHER = "it is about somebody or something other than the patient"
OTHER_MATERIAL = "the specimen is not serum, plasma or blood of the patient"
_UNFIT = ("unsatisfactory", "entered-in-error")
_read_specimen = Decoder(Specimen).decode


def troubles(
    building: Building, view: Observation, part: Observation | ObservationComponent, specimen: Specimen | None
) -> frozenset[str]:
    """Specimen trouble that is coded, or written down and not denied."""
    concepts = [*(part.interpretation or ()), *((part.dataAbsentReason,) if part.dataAbsentReason else ())]
    concepts += (specimen.condition or ()) if specimen else ()
    concepts += [Concept(coding=[each.valueCoding]) for each in _modifiers(view, part) if each.valueCoding]
    notes = [*(view.note or ()), *((specimen.note or ()) if specimen else ())]
    if not concepts and not notes:
        return frozenset()
    texts, codes = _said_by(concepts, building)
    reader = building.vocabulary.specimens
    coded = {kind for system, code in codes if (kind := reader.trouble_of(system, code))}
    return reader.troubles_in([*(note.text for note in notes if note.text), *texts]) | coded


def _said_by(concepts: Iterable[Concept], building: Building) -> tuple[list[str], list[tuple[str | None, str | None]]]:
    """The texts and the codes of CodeableConcepts, with our short names of their systems."""
    name = building.vocabulary.system_name
    texts = [each.text for each in concepts if each.text]
    codings = [coding for each in concepts for coding in each.coding or ()]
    return [*texts, *(c.display for c in codings if c.display)], [(name(c.system), c.code) for c in codings]


def _modifiers(view: Observation, part: Observation | ObservationComponent) -> list[Extension]:
    """The extensions that modify a result."""
    return [*(view.modifierExtension or ()), *((part.modifierExtension or ()) if part is not view else ())]


def _named(reference: Reference | None) -> str:
    """Type/id of a reference, be it absolute or relative; any other one as it is."""
    parts = split_reference(target(reference))
    return "/".join(parts) if parts else target(reference)


def refused(
    building: Building, view: Observation, part: Observation | ObservationComponent, specimen: Specimen | None
) -> str:
    """Why a result says nothing of this patient's serum, whatever its code; "" if nothing speaks against it."""
    reader, name = building.vocabulary.specimens, building.vocabulary.system_name
    if view.focus and any(_named(each) != _named(view.subject) for each in view.focus):
        return ABOUT_OTHER
    for extension in _modifiers(view, part):
        said = extension.valueCoding
        if extension.url not in reader.modifiers or said is None or not reader.trouble_of(name(said.system), said.code):
            return "it carries a modifier that is not understood"
    if specimen is UNCLEAR:
        return "its specimen is not clear"
    if specimen is not None and specimen.status in _UNFIT:
        return "its specimen is unfit, or was entered in error"
    called = _names(part.code) + (_names(view.code) if part is not view else [])
    if view.bodySite is None and view.specimen is None and not called:
        return ""
    where = [each for each in (view.bodySite, specimen.type if specimen else None) if each]
    texts, codes = _said_by(where, building)
    named = [*called, *([view.specimen.display] if view.specimen and view.specimen.display else [])]
    if (texts or codes or named) and reader.is_other_material([*texts, *named], codes):
        return OTHER_MATERIAL
    return ""


def _names(code: Concept | None) -> list[str]:
    """What a code says in words."""
    return [text for text in (code.text, *(each.display for each in code.coding or ())) if text] if code else []


def specimen_of(building: Building, view: Observation) -> Specimen | None:
    """The specimen, where the resource is contained or was sent. UNCLEAR where two of one id differ, or a contained one
    cannot be read."""
    name = target(view.specimen)
    if not name.startswith("#"):
        found = (building.specimens.get(each) for each in names_of(view.specimen)) if building.specimens else ()
        return next((each for each in found if each), None)
    specimen: Specimen | None = None
    for raw in view.contained or ():
        head = head_of(raw)
        if head is None or head.id != name[1:]:
            continue
        try:
            again = _read_specimen(raw)
        except UNREADABLE:
            return UNCLEAR
        if specimen is not None and specimen != again:
            return UNCLEAR
        specimen = again
    return specimen


def names_of(reference: Reference | None) -> tuple[str, ...]:
    """The names under which what is referred to may be sent, the closest first; none of what is contained."""
    name = target(reference)
    return (name, _named(reference)) if name and not name.startswith("#") else ()
