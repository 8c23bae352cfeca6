"""FHIR in: prefetch and fetched answers become PatientFacts. The only room that knows FHIR's shapes."""

from cds_service.fhir.chart import DRAFTS, Chart, Need, read_chart
from cds_service.fhir.problems import IdentityMismatch, UnreadableInput, UnsupportedFhirVersion
from cds_service.fhir.server import FetchFailed, FhirServer
from cds_service.fhir.sigs import Sigs
from cds_service.fhir.units import UnitProblem, UnitTable
from cds_service.fhir.validation import warm
from cds_service.fhir.vocabulary import Vocabulary

__all__ = [
    "DRAFTS",
    "Chart",
    "FetchFailed",
    "FhirServer",
    "IdentityMismatch",
    "Need",
    "Sigs",
    "UnitProblem",
    "UnitTable",
    "UnreadableInput",
    "UnsupportedFhirVersion",
    "Vocabulary",
    "read_chart",
    "warm",
]
