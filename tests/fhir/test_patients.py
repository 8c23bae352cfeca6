"""Ninety synthetic patients, read as an EHR would send them. Where the folder is not there, this is skipped."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cds_service.patient import Source
from tests.fhir.charts import NEEDS, read

FOLDER = Path(os.environ.get("MAGNESIUM_PATIENTS", Path(__file__).resolve().parents[3] / "shared" / "patients"))
FILES = sorted(FOLDER.glob("*/*.json.gz"))

pytestmark = pytest.mark.skipif(not FILES, reason="no synthetic patients here (set MAGNESIUM_PATIENTS to their folder)")


def chart_of(path: Path) -> Any:
    entries = json.loads(gzip.decompress(path.read_bytes()))["entry"]
    (patient,) = [e["resource"] for e in entries if e["resource"]["resourceType"] == "Patient"]
    prefetch: dict[str, Any] = {"patient": patient}
    for need in NEEDS[1:]:
        found = [e for e in entries if e["resource"]["resourceType"] == need.resource_type]
        prefetch[need.key] = {"resourceType": "Bundle", "type": "searchset", "entry": found}
    return read(patient_id=patient["id"], **prefetch)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:24])
def test_every_resource_of_a_synthetic_patient_is_read(path: Path) -> None:
    chart = chart_of(path)
    assert {key: state.unreadable for key, state in chart.facts.inputs.items() if state.unreadable} == {}
    assert chart.facts.person.source == Source("Patient", chart.patient_id)
    for labs in chart.facts.labs.values():
        assert all((lab.value is None) == bool(lab.problem) for lab in labs)


def test_there_are_ninety() -> None:
    assert len(FILES) == 90
