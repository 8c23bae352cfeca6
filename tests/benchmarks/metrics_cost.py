"""What metrics and stages add to a hook call: `python -m tests.benchmarks.metrics_cost` from the top of the project.

The numbers are kept in files, as with several workers. The instruments' own time over what the whole call takes, which
two noisy runs cannot blur; beside it the ratio of calls with and without, in turn, and what one scrape takes.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from cds_service.metrics import folder

ROUNDS, CALLS = 9, 30
SERVICE = "/cds-services/magnesium-patient-view"


def main() -> None:
    """Prints a line for each size of chart, and one for a scrape."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as data, folder.shared_folder(Path(data)):
        _measured(Path(data))


def _measured(data: Path) -> None:
    from cds_service import create_app
    from cds_service.metrics import instruments, stages
    from cds_service.settings import Settings
    from tests.benchmarks.bodies import SIZES, body, fresh
    from tests.conftest import NOW, shipped

    app = create_app(Settings(data_dir=data), now=lambda: NOW, content=shipped())
    client, number, inside = app.test_client(), 0, [0.0]
    do, enter, leave = instruments._do, stages.Recorder.enter, stages.Recorder.leave

    def timed(way: Any) -> Any:
        def run(*given: Any) -> None:
            began = perf_counter()
            way(*given)
            inside[0] += perf_counter() - began

        return run

    def none(*_: Any) -> None:
        return None

    for size in SIZES:
        took: dict[str, list[float]] = {"with": [], "without": []}
        shares: list[float] = []
        for turn in range(ROUNDS):
            for way in ("with", "without"):
                on = way == "with"
                instruments._do = timed(do) if on else none
                stages.Recorder.enter = timed(enter) if on else none  # type: ignore[method-assign]
                stages.Recorder.leave = timed(leave) if on else none  # type: ignore[method-assign]
                bodies = [fresh(body(size, NOW), number := number + 1) for _ in range(CALLS)]
                inside[0], began = 0.0, perf_counter()
                for each in bodies:
                    assert client.post(SERVICE, data=each, content_type="application/json").status_code == 200
                spent = perf_counter() - began
                if turn:  # the first warms up
                    took[way].append(spent)
                    shares += [inside[0] / (spent - inside[0])] if on else []
        ratio = statistics.median(a / b for a, b in zip(took["with"], took["without"], strict=True))
        alone = statistics.median(shares) * 100
        print(f"metrics, {size}: with / without x{ratio:.3f}; metrics themselves add {alone:.2f} % to a call")
    instruments._do, stages.Recorder.enter, stages.Recorder.leave = do, enter, leave  # type: ignore[method-assign]
    scrapes = []
    for _ in range(20):
        began = perf_counter()
        text = client.get("/metrics").text
        scrapes.append(perf_counter() - began)
    print(f"a scrape: {statistics.median(scrapes) * 1000:.0f} ms, {text.count(chr(10))} lines")
    app.extensions["advisor"].store.close()


if __name__ == "__main__":
    main()
