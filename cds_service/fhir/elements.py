"""Small typed views of FHIR resources: only the elements that become facts.

Everything else in a resource is skipped by the decoder without being built. Numbers of quantities stay raw text, so
that `0.70` is not turned into `0.7` and a number sent as a string is noticed. R5 spellings stand beside the R4 ones.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, field

NOTHING = Raw(b"")
"""Stands for an element that is not there."""


class Coding(Struct, gc=False):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Concept(Struct, gc=False):
    """A CodeableConcept."""

    coding: list[Coding] | None = None
    text: str | None = None


class Reference(Struct, gc=False):
    reference: str | None = None
    display: str | None = None


class ConceptOrReference(Struct, gc=False):
    """R5 CodeableReference."""

    concept: Concept | None = None
    reference: Reference | None = None


class QuantityView(Struct, gc=False):
    value: Raw = NOTHING
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class RangeView(Struct, gc=False):
    low: QuantityView | None = None
    high: QuantityView | None = None


class Period(Struct, gc=False):
    start: str | None = None
    end: str | None = None


class Extension(Struct, gc=False):
    url: str | None = None
    valueCoding: Coding | None = None
    valueCodeableConcept: Concept | None = None


class Stated(Struct, gc=False):
    """An extension with a code, or with extensions of its own."""

    url: str | None = None
    valueCodeableConcept: Concept | None = None
    extension: list[Stated] | None = None


class Adherence(Struct, gc=False):
    """R5: whether a medicine is really taken."""

    code: Concept | None = None


class Annotation(Struct, gc=False):
    text: str | None = None


class ReferenceRange(Struct, gc=False):
    low: QuantityView | None = None
    high: QuantityView | None = None
    type: Concept | None = None
    appliesTo: list[Concept] | None = None
    age: RangeView | None = None
    text: str | None = None


class ObservationComponent(Struct, gc=False):
    code: Concept | None = None
    valueQuantity: QuantityView | None = None
    valueCodeableConcept: Concept | None = None
    valueString: Raw = NOTHING
    valueBoolean: Raw = NOTHING
    valueInteger: Raw = NOTHING
    valueRange: Raw = NOTHING
    dataAbsentReason: Concept | None = None
    interpretation: list[Concept] | None = None
    referenceRange: list[ReferenceRange] | None = None
    modifierExtension: list[Extension] | None = None


class Repeat(Struct, gc=False):
    boundsDuration: QuantityView | None = None
    boundsRange: RangeView | None = None
    boundsPeriod: Period | None = None
    count: Raw = NOTHING
    countMax: Raw = NOTHING
    duration: Raw = NOTHING
    durationUnit: str | None = None
    frequency: Raw = NOTHING
    frequencyMax: Raw = NOTHING
    period: Raw = NOTHING
    periodMax: Raw = NOTHING
    periodUnit: str | None = None
    dayOfWeek: list[str | None] | None = None
    timeOfDay: list[str | None] | None = None
    when: list[str | None] | None = None
    offset: Raw = NOTHING


class TimingView(Struct, gc=False):
    event: list[str | None] | None = None
    repeat: Repeat | None = None
    code: Concept | None = None


class RatioView(Struct, gc=False):
    numerator: QuantityView | None = None
    denominator: QuantityView | None = None


class DoseAndRate(Struct, gc=False):
    doseQuantity: QuantityView | None = None
    doseRange: RangeView | None = None
    rateQuantity: Raw = NOTHING
    rateRange: Raw = NOTHING
    rateRatio: Raw = NOTHING


class DosageView(Struct, gc=False):
    sequence: Raw = NOTHING
    text: str | None = None
    additionalInstruction: list[Concept] | None = None
    patientInstruction: str | None = None
    timing: TimingView | None = None
    asNeededBoolean: Raw = NOTHING
    asNeededCodeableConcept: Raw = NOTHING
    asNeeded: Raw = NOTHING
    asNeededFor: Raw = NOTHING
    route: Concept | None = None
    doseAndRate: list[DoseAndRate] | None = None
    maxDosePerPeriod: Raw = NOTHING  # a Ratio in R4, a list of them in R5
    doseQuantity: None = None  # STU3
    doseRange: None = None  # STU3
    unread: bool = field(default=False, name="$unread")  # ours, of no FHIR: see `repairs.spare_doses`


class DispenseRequest(Struct, gc=False):
    validityPeriod: Period | None = None
    numberOfRepeatsAllowed: Raw = NOTHING
    expectedSupplyDuration: QuantityView | None = None


class Resource(Struct, gc=False, tag_field="resourceType"):
    """What every view has. An element typed `None` is one that only shapes before R4 have: a resource with it does not
    decode, and is looked at closely."""

    id: str | None = None
    subject: Reference | None = None
    patient: None = None
    contained: list[Raw] | None = None


class Patient(Resource, tag="Patient"):
    birthDate: str | None = None
    gender: str | None = None
    deceasedBoolean: Raw = NOTHING
    deceasedDateTime: Raw = NOTHING
    link: Any = None
    careProvider: None = None  # DSTU2
    animal: None = None  # before R4


class Observation(Resource, tag="Observation"):
    status: str | None = None
    code: Concept | None = None
    effectiveDateTime: str | None = None
    effectiveInstant: str | None = None
    effectivePeriod: Period | None = None
    effectiveTiming: Any = None
    issued: str | None = None
    valueQuantity: QuantityView | None = None
    valueCodeableConcept: Concept | None = None
    valueString: Raw = NOTHING
    valueBoolean: Raw = NOTHING
    valueInteger: Raw = NOTHING
    category: Raw = NOTHING
    valueRange: Raw = NOTHING
    dataAbsentReason: Concept | None = None
    interpretation: list[Concept] | None = None
    note: list[Annotation] | None = None
    referenceRange: list[ReferenceRange] | None = None
    hasMember: list[Raw] | None = None
    component: list[ObservationComponent] | None = None
    focus: list[Reference] | None = None
    bodySite: Concept | None = None
    specimen: Reference | None = None
    modifierExtension: list[Extension] | None = None
    related: None = None  # before R4
    comments: None = None  # DSTU2
    comment: None = None  # STU3
    context: None = None  # STU3


class Specimen(Resource, tag="Specimen"):
    status: str | None = None
    type: Concept | None = None
    condition: list[Concept] | None = None
    note: list[Annotation] | None = None


UNCLEAR = Specimen(status="entered-in-error")
"""In the place of a Specimen of which nobody knows what it means."""


class Condition(Resource, tag="Condition"):
    clinicalStatus: Concept | None = None
    verificationStatus: Concept | None = None
    category: list[Raw] | None = None
    code: Concept | None = None
    abatementDateTime: Raw = NOTHING
    abatementAge: Raw = NOTHING
    abatementPeriod: Raw = NOTHING
    abatementRange: Raw = NOTHING
    abatementString: Raw = NOTHING
    abatementBoolean: Raw = NOTHING
    onsetDateTime: str | None = None
    recordedDate: str | None = None


class Medicine(Resource):
    """What an order, a statement and an administration share."""

    status: str | None = None
    medicationCodeableConcept: Concept | None = None
    medicationReference: Reference | None = None
    medication: ConceptOrReference | None = None  # R5
    reasonCode: list[Concept] | None = None
    reasonReference: list[Reference] | None = None
    reason: list[ConceptOrReference] | None = None  # R5
    extension: list[Raw] | None = None


class MedicationRequest(Medicine, tag="MedicationRequest"):
    intent: str | None = None
    category: list[Raw] | None = None
    doNotPerform: Raw = NOTHING
    authoredOn: str | None = None
    dosageInstruction: list[DosageView] | None = None
    dispenseRequest: DispenseRequest | None = None
    priorPrescription: Raw = NOTHING
    context: None = None  # STU3


class MedicationStatement(Medicine, tag="MedicationStatement"):
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dateAsserted: str | None = None
    dosage: list[DosageView] | None = None
    basedOn: Raw = NOTHING
    derivedFrom: Raw = NOTHING
    adherence: Raw = NOTHING  # R5
    taken: None = None  # STU3
    wasNotTaken: None = None  # DSTU2


class GivenDosage(Struct, gc=False):
    """How a medicine was given: one dose, or a rate."""

    text: str | None = None
    route: Concept | None = None
    dose: QuantityView | None = None
    rateQuantity: Raw = NOTHING
    rateRatio: Raw = NOTHING


class MedicationAdministration(Medicine, tag="MedicationAdministration"):
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    occurenceDateTime: str | None = None  # R5 spells it so
    occurencePeriod: Period | None = None
    dosage: GivenDosage | None = None
    notGiven: None = None  # STU3
    wasNotGiven: None = None  # DSTU2


class Ingredient(Struct, gc=False):
    """An ingredient of a Medication: R4 has the first two, R5 the third."""

    itemCodeableConcept: Concept | None = None
    itemReference: Reference | None = None
    item: ConceptOrReference | None = None
    isActive: Raw = NOTHING


class MedicationView(Resource, tag="Medication"):
    code: Concept | None = None
    ingredient: list[Ingredient] | None = None
    form: Concept | None = None
    status: str | None = None
    doseForm: Concept | None = None  # R5


UNUSABLE = MedicationView(status="entered-in-error")
"""In the place of a Medication of which nobody knows what it means."""


class CodeView(Concept, gc=False):
    """A CodeableConcept of R4 or a CodeableReference of R5."""

    concept: Concept | None = None


class SubstanceView(Resource, tag="Substance"):
    code: CodeView | None = None


class Encounter(Resource, tag="Encounter"):
    status: str | None = None
    period: Period | None = None
    # Coding in R4, a list of CodeableConcept in R5; read when it is asked for.
    class_: Raw = field(default=NOTHING, name="class")


class QuestionnaireResponse(Resource, tag="QuestionnaireResponse"):
    status: str | None = None
    questionnaire: str | None = None
    authored: str | None = None
    item: Raw = NOTHING


class ServiceRequest(Resource, tag="ServiceRequest"):
    status: str | None = None
    code: CodeView | None = None
    doNotPerform: Any = None


class OutcomeIssue(Struct, gc=False):
    severity: str | None = None
    code: str | None = None
    details: Concept | None = None


class OperationOutcome(Resource, tag="OperationOutcome"):
    issue: list[OutcomeIssue] | None = None


class Search(Struct, gc=False):
    mode: str | None = None


class Answer(Struct, gc=False):
    """How one request of a batch went."""

    status: str | None = None
    outcome: Raw = NOTHING


class Entry(Struct, gc=False):
    fullUrl: str | None = None
    resource: Raw = NOTHING
    search: Search | None = None
    response: Answer | None = None
    modifierExtension: Any = None


class Link(Struct, gc=False):
    relation: str | None = None
    url: str | None = None


class Bundle(Resource, tag="Bundle"):
    type: str | None = None
    implicitRules: Any = None
    total: Raw = NOTHING
    link: list[Link] | None = None
    entry: list[Entry] | UnsetType = UNSET  # `null` is no list without entries: FHIR has no such value
