"""Counting and timing: `count`, `observe`, `level`. None of them ever raises or waits: a call is worth more than its
number.

Where several workers serve, the numbers stand in files that all share (`folder`); in one process alone, in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import structlog

from cds_service.metrics.folder import in_use
from cds_service.metrics.table import BUCKETS, METRICS, Metric

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
log = structlog.get_logger("magnesium_cds.metrics")
_children: dict[tuple[str, ...], Any] = {}
_state = {"off": False, "lost": False}
_making = Lock()


def switch_off() -> None:
    """Nothing is counted in this process and in what it forks."""
    _state["off"] = True


def count(name: str, *labels: str, by: float = 1) -> None:
    """Add to a counter; `labels` in the order of the table."""
    _do(name, labels, "inc", by)


def observe(name: str, seconds: float, *labels: str) -> None:
    """Add a duration to a histogram."""
    _do(name, labels, "observe", seconds)


def level(name: str, value: float, *labels: str) -> None:
    """Set a gauge of this worker."""
    _do(name, labels, "set", value)


def begin(name: str, *labels: str) -> None:
    """Have a counter stand at 0 from the start, so that its first step is seen as one."""
    _do(name, labels, "inc", 0)


def _do(name: str, labels: tuple[str, ...], way: str, value: float) -> None:
    if _state["off"]:
        return
    try:
        child = _children.get((name, *labels))
        if child is None:
            made = _made()[name]
            child = _children[(name, *labels)] = made.labels(*labels) if labels else made
        getattr(child, way)(value)
    except OSError as error:  # the folder is gone, or its disk is full
        if not _state["lost"]:
            _state["lost"] = True
            log.error("metrics not written", kind=type(error).__name__)


@lru_cache(maxsize=1)
def _registry() -> Any:
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


def _made() -> dict[str, Any]:
    """The instruments of the table, but for what is learned when it is asked for."""
    with _making:  # the first calls of a worker come at once, and a registry takes each instrument once
        return _made_once()


@lru_cache(maxsize=1)
def _made_once() -> dict[str, Any]:
    from prometheus_client import Counter, Gauge, Histogram

    found: dict[str, Any] = {}
    for metric in METRICS.values():
        names = (metric.full_name, metric.help, tuple(metric.labels))
        if metric.kind == "counter" and not metric.name.startswith("process_"):
            found[metric.name] = Counter(*names, registry=_registry())
        elif metric.kind == "histogram":
            found[metric.name] = Histogram(*names, registry=_registry(), buckets=BUCKETS)
        elif metric.live:
            found[metric.name] = Gauge(*names, registry=_registry(), multiprocess_mode=metric.live)
    return found


class _Learned:
    """A collector of what is learned when it is asked for."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> list[Family]:
        return self._families


def family(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    """One metric with its values by labels."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made: Any = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    found: Family = made(metric.full_name, metric.help, labels=tuple(metric.labels))
    for labels, value in samples:
        found.add_metric(labels, value)  # type: ignore[attr-defined]
    return found


def exposition(learned: Mapping[str, Iterable[tuple[tuple[str, ...], float]]]) -> bytes:
    """All metrics in the text format of Prometheus. `learned`: values by labels, by name of the table."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    if not _state["off"]:
        _made()
    added = _Learned(family(METRICS[name], samples) for name, samples in learned.items())
    folder = in_use()
    if folder is None:
        registry = CollectorRegistry()
        registry.register(_registry())
        registry.register(added)
        return generate_latest(registry)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(added)
    return generate_latest(registry)
