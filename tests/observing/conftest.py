"""An EHR with keys and a FHIR server, as the tests of trust have it."""

from tests.trust.conftest import ehr, folder, one_ehr, signer  # noqa: F401 - fixtures
