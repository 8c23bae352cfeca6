"""Schemathesis sends what the OpenAPI document allows, and what it does not: every answer is one that it describes.

The same calls in every run; FUZZ_EXAMPLES sets how many of each kind, and then they are new ones.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, patch

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cds_service.hooks.problems import Problem
from cds_service.publish.openapi import written

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
          response_headers_conformance]  # fmt: skip
ASKED = os.environ.get("FUZZ_EXAMPLES")
READS, CALLS = int(ASKED or 4), int(ASKED or 12)
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
# A hook takes more than its schema says, and tells in its answer what it could not read; a plan takes nothing else.
STRICT = {"/plan"}


def sent(app: Flask, method: str, path: str, mode: GenerationMode) -> Counter[int]:
    """Make the calls of one kind, hold each answer against the document, and count the statuses."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    told: Counter[int] = Counter()
    checks = [*CHECKS, *([negative_data_rejection] if path in STRICT else [])]

    @settings(
        max_examples=CALLS if method == "POST" else READS, deadline=None, database=None, derandomize=ASKED is None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call()
        told[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    send()
    return told


def operations() -> list[Any]:
    """Method, path, and what is sent: of reads only what the document allows, since any text is an argument."""
    found = []
    for route, methods in written().operations.items():
        for method in map(str.upper, methods):
            names = ("patient-view", "order-select", "order-sign") if route == "/cds-services/<service_id>" else ("",)
            for name in names:
                path = route.replace("<service_id>", f"magnesium-{name}" if name else "{service_id}")
                path = path.replace("<", "{").replace(">", "}")
                for mode in BOTH if method == "POST" else BOTH[:1]:
                    found.append(pytest.param(method, path, mode, id=f"{method} {path} {mode.value}"))
    return found


@pytest.mark.parametrize(("method", "path", "mode"), operations())
def test_every_answer_is_one_that_the_document_describes(
    app: Flask, method: str, path: str, mode: GenerationMode
) -> None:
    told = sent(app, method, path, mode)
    print(method, path, mode.value, dict(told))
    assert told
    if method == "POST":
        assert told[200 if mode is GenerationMode.POSITIVE else 400] >= 2, told


@pytest.mark.parametrize(
    ("place", "put", "path", "words"),
    [
        ("hooks.services.uncached", lambda _: ({"cards": 1}, 200), "/cds-services/magnesium-patient-view", "schema"),
        ("web.plan_routes.answer_of", Mock(side_effect=Problem.of(500, "A fault.")), "/plan", "Server error"),
        ("web.plan_routes.answer_of", Mock(side_effect=Problem.of(418, "A pot.")), "/plan", "status code"),
    ],
    ids=["an answer of another shape", "a fault of the server", "a status that nobody described"],
)
def test_a_planted_fault_is_found(app: Flask, place: str, put: Callable[..., Any], path: str, words: str) -> None:
    with patch(f"cds_service.{place}", put), pytest.raises(BaseException, match=words):
        sent(app, "POST", path, GenerationMode.POSITIVE)
