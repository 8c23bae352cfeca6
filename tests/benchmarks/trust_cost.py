"""What the trust boundary costs: `python -m tests.benchmarks.trust_cost` from the top of the project.

The same call with its checks and without them (`tests/benchmarks/ways.py` names the four ways), beside a static card
from the same server. All run at the same time, each with one worker, and are called in turn, so that what else the
machine does falls on all of them. Quote the ratios and the differences of CPU: times differ from machine to machine.
Every call has a resource content and a token that no call had before; making them is not timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import requests

from cds_service.sandbox.mock_ehr import Signer
from cds_service.trust.clients import FILE_NAME, written
from tests.benchmarks.bodies import SIZES, body, count, fresh
from tests.benchmarks.hook_calls import LARGE_SHARE, Cell, numbers, ratio, running
from tests.benchmarks.servers import Server, floor, free_port, load
from tests.benchmarks.ways import WAYS

PATH = "/cds-services/magnesium-patient-view"


def guarded(way: str, folder: Path, signer: Signer) -> Server:
    """The service with the checks of this way; calls carry a token where it is looked at."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.ways", way, str(port), str(folder)]
    address = f"http://127.0.0.1:{port}{PATH}"
    token = (lambda: signer.token(address)) if way in ("signature", "all") else None
    return Server(way, PATH, command, port, token=token)


def refusals(server: Server) -> str:
    """What this way refuses, of a call that names its hook twice, one without a token, and one whose token was used."""
    made = fresh(body("small"), next(numbers))
    used = server.token() if server.token else ""
    found = []
    for name, sent, token in (
        ("doubled", made.replace(b'{"hook"', b'{"hook":"patient-view","hook"', 1), None),
        ("no token", made, ""),
        ("used", made, used),
        ("used", made, used),
    ):
        bearer = (server.token() if server.token else "") if token is None else token
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        answer = requests.post(f"http://127.0.0.1:{server.port}{PATH}", data=sent, headers=headers, timeout=60)
        found += [name] if answer.status_code in (400, 401) else []
    return ", ".join(found)


def compare(servers: Sequence[Server], size: str, rounds: int, calls: int) -> None:
    """The table of one size, and what each way adds to the one before."""
    made = body(size)
    cells: dict[str, Cell] = defaultdict(Cell)
    for number in range(rounds):
        turn = number % len(servers)
        for server in (*servers[turn:], *servers[:turn]):
            cells[server.name].measure(server, [fresh(made, next(numbers)) for _ in range(calls)])
    print(f"\n{size}: {count(size)} resources, {len(made)} bytes; load {load()}")
    print(f"  {'':<14}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'CPU ms':>10}{'calls':>7}{'floor x':>9}{'bare x':>8}")
    for name in ("floor", *WAYS):
        cell = cells[name]
        over = f"{ratio(cell.p50, cells['floor'].p50):9.2f}{ratio(cell.p50, cells['bare'].p50):8.2f}"
        print(cell.row(name) + over)
    for before, way in pairwise(WAYS):
        print(f"  {way} adds {added(cells[way], cells[before])}")
    checked, bare = cells["all"], cells["bare"]
    print(f"  all checks add {added(checked, bare)}")
    print(
        f"  all / bare: p50 x {ratio(checked.p50, bare.p50):.2f}, p99 x {checked.at(99) / bare.at(99):.2f}, "
        f"CPU x {ratio(checked.cpu, bare.cpu):.2f}"
    )


def added(cell: Cell, before: Cell) -> str:
    """The medians of the differences of each round."""
    p50 = statistics.median(a - b for a, b in zip(cell.p50, before.p50, strict=True))
    cpu = statistics.median(a - b for a, b in zip(cell.cpu, before.cpu, strict=True))
    return f"{p50:.2f} ms, CPU {cpu:.2f} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=40, help="calls of each way in each round")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    chosen = parser.parse_args(arguments)
    print(f"load {load()} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as made:
        folder, signer = Path(made), Signer("https://ehr.example")
        entry = {"name": "ehr", "issuer": signer.issuer, "jwks": [signer.public()]}
        (folder / FILE_NAME).write_text(written(entry), encoding="utf-8")
        servers = [floor(), *(guarded(way, folder, signer) for way in WAYS)]
        with running(servers, body("typical")):
            for server in servers[1:]:
                print(f"  {server.name:<10} refuses: {refusals(server) or 'nothing'}")
            for size in chosen.sizes:
                wanted = max(2, chosen.requests // (LARGE_SHARE if size == "large" else 1))
                compare(servers, size, chosen.rounds, wanted)


if __name__ == "__main__":
    main()
