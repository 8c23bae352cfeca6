"""A hospital that set values of its own, for the pages that show them, and who is signed in to the console."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.console.conftest import cheap_hashes, clock, dear_hashes, signer_file, worker

__all__ = ["cheap_hashes", "clock", "dear_hashes", "hospital", "reader", "signer_file", "worker"]

SITE = """site: Example hospital
rules:
  shared:
    thresholds:
      lower_limit: {value: 0.60, reason: Our laboratory's own interval}
  ciprofloxacin_timing: {show: silent, reason: Pharmacy tells of it}
  magnesium_for_muscle_cramps: {show: hidden, reason: Not wanted by the board}
exceptions:
  - name: emergency ward
    encounter: emergency
    reason: The ward asked
    rules:
      low_serum_magnesium: {show: silent, reason: Measured on arrival}
"""


@pytest.fixture(scope="module")
def hospital(make_app: Callable[..., Flask], tmp_path_factory: pytest.TempPathFactory) -> Flask:
    file = tmp_path_factory.mktemp("site") / "site.yaml"
    file.write_text(SITE)
    return make_app(site=file)


@pytest.fixture
def reader(hospital: Flask) -> FlaskClient:
    """Somebody who reads the pages of that hospital."""
    return hospital.test_client()
