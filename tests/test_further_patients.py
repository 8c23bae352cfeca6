"""Patients of our own who try the answers: who they are and what is asked stand in `tests/further_patients.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service import create_app
from cds_service.settings import Settings
from tests.asked_patients import NOW, Asked, request
from tests.conftest import shipped


class Further(Asked):
    """A patient in words, what is on the chart and drafted, and what is asked of the answer."""

    patient: str
    given: dict[str, Any]


def patients() -> dict[str, Further]:
    rows = yaml.safe_load((Path(__file__).parent / "further_patients.yaml").read_text())
    return {name: Further.model_validate(row) for name, row in rows.items()}


PATIENTS = patients()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = Settings.model_validate({"data_dir": str(tmp_path_factory.mktemp("data"))})
    return create_app(settings, now=lambda: NOW, content=shipped()).test_client()


@pytest.mark.parametrize("name", PATIENTS)
def test_the_answer_to_a_further_patient_is_right(name: str, client: Any) -> None:
    row = PATIENTS[name]
    body = request(row.given)
    response = client.post(f"/cds-services/magnesium-{body['hook']}", json=body)
    assert response.status_code == 200, response.text
    faults = list(row.faults(response.json["cards"]))
    if row.open:
        assert faults, f"{name} is right now; it need not be open ({row.open})"
        pytest.xfail(row.open)
    assert faults == [], row.patient


def test_each_further_patient_has_something_asked_of_it() -> None:
    assert len(PATIENTS) > 100
    for name, row in PATIENTS.items():
        assert row.model_fields_set & {"least", "most", "first", "says", "never", "cards"}, name
