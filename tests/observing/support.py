"""Reading `/metrics` as Prometheus does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Value by name and sorted labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def scraped(url: str, **headers: str) -> Samples:
    """What a running service says."""
    answer = requests.get(f"{url}/metrics", headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def of(found: Samples, name: str, **labels: str) -> float:
    """The sum over all series of a metric with these labels; 0 where there is none."""
    wanted = set(labels.items())
    return sum(
        value for (named, has), value in found.items() if named == f"magnesium_cds_{name}" and wanted <= set(has)
    )


def names(found: Mapping[Any, float]) -> set[str]:
    return {name for name, _ in found}
