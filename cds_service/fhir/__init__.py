"""FHIR in: prefetch and fetched answers become PatientFacts. The only room that knows FHIR's shapes."""

from cds_service.fhir.chart import DRAFTS, Chart, Need, read_chart
from cds_service.fhir.problems import IdentityMismatch, UnreadableInput, UnsupportedFhirVersion
from cds_service.fhir.server import FetchFailed, FhirServer
from cds_service.fhir.units import UnitProblem, convert_unit
from cds_service.fhir.validation import warm
from cds_service.fhir.vocabulary import Vocabulary

__all__ = [
    "DRAFTS",
    "Chart",
    "FetchFailed",
    "FhirServer",
    "IdentityMismatch",
    "Need",
    "UnitProblem",
    "UnreadableInput",
    "UnsupportedFhirVersion",
    "Vocabulary",
    "convert_unit",
    "read_chart",
    "warm",
]
