"""What counting adds to a hook call: `python -m tests.benchmarks.counting_cost` from the top of the project.

The same calls in one process with counting and without, in turn; quote the ratio, times differ from machine to machine.
Beside it: counting alone, over what the whole call takes, which two noisy runs cannot blur.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from cds_service import create_app
from cds_service.hooks import services
from cds_service.settings import Settings
from tests.benchmarks.bodies import SIZES, body, fresh
from tests.conftest import NOW, shipped

ROUNDS, CALLS = 9, 40
SERVICE = "/cds-services/magnesium-patient-view"


def main() -> None:
    """Prints a line for each size of chart."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder)), now=lambda: NOW, content=shipped())
        client, count, number, inside = app.test_client(), services._count, 0, [0.0]

        def timed(*given: object, **named: object) -> None:
            began = perf_counter()
            count(*given, **named)  # type: ignore[arg-type]
            inside[0] += perf_counter() - began

        for size in SIZES:
            took: dict[str, list[float]] = {"with": [], "without": []}
            shares = []
            for turn in range(ROUNDS):
                for way, does in (("with", timed), ("without", lambda *_, **__: None)):
                    services._count = does  # type: ignore[assignment]
                    bodies = [fresh(body(size, NOW), number := number + 1) for _ in range(CALLS)]
                    inside[0], began = 0.0, perf_counter()
                    for each in bodies:
                        assert client.post(SERVICE, data=each, content_type="application/json").status_code == 200
                    spent = perf_counter() - began
                    if turn:  # the first warms up
                        took[way].append(spent)
                        shares += [inside[0] / (spent - inside[0])] if way == "with" else []
            services._count = count
            ratio = statistics.median(a / b for a, b in zip(took["with"], took["without"], strict=True))
            alone = statistics.median(shares) * 100
            print(f"counting, {size}: with / without x{ratio:.3f}; counting itself adds {alone:.2f} % to a call")
        app.extensions["advisor"].store.close()


if __name__ == "__main__":
    main()
