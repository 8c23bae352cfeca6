"""FHIR in: prefetch and fetched answers become PatientFacts. The only room that knows FHIR's shapes."""

from cds_service.fhir.chart import DRAFTS, Chart, Need, read_chart
from cds_service.fhir.identity import IdentityMismatch, UnreadableInput, UnsupportedFhirVersion
from cds_service.fhir.server import FetchFailed, FhirServer
from cds_service.fhir.validation import warm
from cds_service.terminology.directions import Sigs
from cds_service.terminology.units import UnitTable

__all__ = [
    "DRAFTS",
    "Chart",
    "FetchFailed",
    "FhirServer",
    "IdentityMismatch",
    "Need",
    "Sigs",
    "UnitTable",
    "UnreadableInput",
    "UnsupportedFhirVersion",
    "read_chart",
    "warm",
]
