"""The patients of an outside review, as an EHR would send them, and what each answer must hold.

The patients stand in `../shared/cases/clinical_review.yaml` and are not part of the project; what is asked of the
answers stands in `tests/outside_patients.yaml`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service import create_app
from cds_service.settings import Settings
from tests.asked_patients import NOW, Asked, request
from tests.conftest import shipped

HERE = Path(__file__).parent
CASES = HERE.parents[1] / "shared/cases/clinical_review.yaml"


def asked() -> dict[str, Asked]:
    rows = yaml.safe_load((HERE / "outside_patients.yaml").read_text())
    return {name: Asked.model_validate(row) for name, row in rows.items()}


@cache
def patients() -> dict[str, dict[str, Any]]:
    """By id; empty where the folder is not there."""
    if not CASES.exists():
        return {}
    return {case["id"]: case for case in yaml.safe_load(CASES.read_text())["cases"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = Settings.model_validate({"data_dir": str(tmp_path_factory.mktemp("data"))})
    return create_app(settings, now=lambda: NOW, content=shipped()).test_client()


def faults_of(name: str, client: Any) -> list[str]:
    body = request(patients()[name]["input"])
    response = client.post(f"/cds-services/magnesium-{body['hook']}", json=body)
    assert response.status_code == 200, response.text
    return list(asked()[name].faults(response.json["cards"]))


@pytest.mark.parametrize("name", asked())
def test_the_answer_to_an_outside_patient_is_right(name: str, client: Any) -> None:
    if not patients():
        pytest.skip(f"no folder {CASES.parent.name} beside the project: the patients are not there")
    faults = faults_of(name, client)
    if reason := asked()[name].open:
        assert faults, f"{name} is right now; it need not be open ({reason})"
        pytest.xfail(reason)
    assert faults == [], patients()[name]["patient"]


def test_each_patient_has_something_asked_of_it() -> None:
    if not patients():
        pytest.skip(f"no folder {CASES.parent.name} beside the project: the patients are not there")
    assert asked().keys() == patients().keys()
    assert all(row.model_fields_set - {"open"} for row in asked().values())


def test_what_is_asked_finds_each_kind_of_fault() -> None:
    """A faulty answer does not pass."""
    cards = [{"summary": "High magnesium 3.4 mmol/L", "indicator": "warning", "detail": "Consider this."}]
    good = Asked(least="warning", most="warning", first=["3\\.4"], says=["consider"], never=["withhold"], cards=1)
    assert list(good.faults(cards)) == []
    bad = Asked(least="critical", first=["2\\.2"], says=["digoxin"], never=["consider"], cards=0)
    assert len(list(bad.faults(cards))) == 5
    assert list(Asked(most="none").faults(cards)) == ["louder than none"]
    assert list(Asked(least="info").faults([])) == ["not even info"]
