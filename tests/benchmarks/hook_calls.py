"""How long a hook call takes, beside a static card from the same server and beside HealthChain's validated path.

`python -m tests.benchmarks.hook_calls` from the top of the project. All services run at the same time, each with one
worker, and are called in turn, one call at a time, so that what else the machine does falls on all of them. Quote the
ratios: times differ from machine to machine.

    new      every id, reference and `lastUpdated` differs from all calls before: no resource is known
    again    the same bytes as the call before

HealthChain is installed into an environment of its own (--peer-env); without it its lines are left out, and that is
said.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks import stub
from tests.benchmarks.bodies import SIZES, body, count, fresh
from tests.benchmarks.servers import Server, floor, load, ours, peer, peer_python

PEER = "healthchain==0.16.1"
# Of `--requests`: a peer's call takes long, and its spread is not what is looked for.
PEER_SHARE = 4
LARGE_SHARE = 10
CALLERS = 8
# Results of tests that no rule reads, added to a typical chart.
MORE = 1000
GETS = ("conditions", "medications", "medication_statements", "serum_magnesium", "kidney", "electrolytes")
numbers = itertools.count(1)


class Cell:
    """What was measured of one service with one kind of call; a list entry in `p50` and `cpu` for each round."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.p50: list[float] = []
        self.cpu: list[float] = []

    def measure(self, server: Server, requests: Sequence[bytes]) -> None:
        server.connect()
        server.cpu_ms()
        times = [server.call(request) for request in requests]
        self.cpu.append(server.cpu_ms() / len(times))
        self.p50.append(statistics.median(times))
        self.times += times

    def at(self, percent: int) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def row(self, name: str) -> str:
        p50, cpu = statistics.median(self.p50), statistics.median(self.cpu)
        return f"  {name:<14}{p50:9.2f}{self.at(95):9.2f}{self.at(99):9.2f}{cpu:10.2f}{len(self.times):7d}"


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


@contextmanager
def running(servers: Sequence[Server], request: bytes) -> Iterator[None]:
    """All started, one after the other, each called twenty times. Each was started once before, so that what Python and
    the service compile is there, as after an installation."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start(fresh(request, next(numbers)))
            server.stop()
            server.first.clear()
            server.start(fresh(request, next(numbers)))
            server.first += [server.call(fresh(request, next(numbers))) for _ in range(19)]
        yield


def compare(servers: Sequence[Server], sizes: Sequence[str], rounds: int, requests: int) -> None:
    """The tables of times and ratios."""
    for size in sizes:
        made = body(size)
        cells: dict[str, Cell] = defaultdict(Cell)
        wanted = max(2, requests // (LARGE_SHARE if size == "large" else 1))
        for number in range(rounds):
            turn = number % len(servers)
            for server in (*servers[turn:], *servers[:turn]):
                some = max(2, wanted // PEER_SHARE) if server.name == "peer" else wanted
                cells[f"{server.name} new"].measure(server, [fresh(made, next(numbers)) for _ in range(some)])
                if server.name == "ours":
                    same = fresh(made, next(numbers))
                    server.call(same)
                    cells["ours again"].measure(server, [same] * wanted)
        print(f"\n{size}: {count(size)} resources, {len(made)} bytes; load {load()}")
        print(f"  {'':<14}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'CPU ms':>10}{'calls':>7}")
        for name, cell in cells.items():
            print(cell.row(name))
        for mine in ("ours new", "ours again"):
            line = [f"  {mine}: floor x {ratio(cells[mine].p50, cells['floor new'].p50):.2f}"]
            line.append(f"CPU x {ratio(cells[mine].cpu, cells['floor new'].cpu):.2f}")
            if "peer new" in cells:
                line.append(f"peer / ours {ratio(cells['peer new'].p50, cells[mine].p50):.2f}")
                line.append(f"ours / peer {ratio(cells[mine].p50, cells['peer new'].p50):.3f}")
                line.append(f"CPU peer / ours {ratio(cells['peer new'].cpu, cells[mine].cpu):.2f}")
            print("; ".join(line))


def crowded(servers: Sequence[Server], sizes: Sequence[str], rounds: int, requests: int) -> None:
    """How far the slowest calls are from the usual ones where CALLERS call at once."""
    for size in sizes:
        made = body(size)
        wanted = max(2 * CALLERS, requests // (LARGE_SHARE if size == "large" else 1))
        cells: dict[str, Cell] = defaultdict(Cell)
        for _ in range(rounds):
            for server in servers:
                some = 2 * CALLERS if server.name == "peer" else wanted
                cells[server.name].times += server.call_from(CALLERS, [fresh(made, next(numbers)) for _ in range(some)])
        print(f"\n{size}, {CALLERS} callers at once; load {load()}")
        print(f"  {'':<8}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'p99/p50':>10}{'calls':>7}")
        for name, cell in cells.items():
            p50, p95, p99 = (cell.at(percent) for percent in (50, 95, 99))
            print(f"  {name:<8}{p50:9.2f}{p95:9.2f}{p99:9.2f}{p99 / p50:10.2f}{len(cell.times):7d}")


def slope(servers: Sequence[Server], rounds: int, requests: int) -> None:
    """What a resource costs that no rule reads: a typical chart, and the same with MORE of them."""
    bodies = {0: body("typical"), MORE: body("typical", more=MORE)}
    cells: dict[tuple[str, int], Cell] = defaultdict(Cell)
    for _ in range(rounds):
        for server in servers:
            some = max(2, requests // (LARGE_SHARE if server.name == "peer" else PEER_SHARE))
            for more, made in bodies.items():
                cells[server.name, more].measure(server, [fresh(made, next(numbers)) for _ in range(some)])
    print(f"\na result that no rule reads, of {MORE:,} more in a typical chart; load {load()}")
    for server in servers:
        few, many = cells[server.name, 0], cells[server.name, MORE]
        wall, cpu = ((statistics.median(b) - statistics.median(a)) * 1000 / MORE for a, b in (
            (few.p50, many.p50), (few.cpu, many.cpu),
        ))  # fmt: skip
        print(f"  {server.name:<8}{wall:9.2f} microseconds, {cpu:.2f} of a processor")


def beginnings(servers: Sequence[Server]) -> None:
    """Start-up, the first calls, and memory after all that was done."""
    print(f"\nstart and memory; load {load()}")
    print(f"  {'':<8}{'first card s':>13}{'1st ms':>9}{'20th ms':>9}{'1st/20th':>10}{'largest MB':>12}{'all MB':>9}")
    for server in servers:
        last = statistics.median(server.first[-5:])
        memory = server.memory_mb()
        print(
            f"  {server.name:<8}{server.cold:13.2f}{server.first[0]:9.2f}{last:9.2f}{server.first[0] / last:10.2f}"
            f"{memory[0]:12.1f}{sum(memory):9.1f}"
        )
    mine = servers[0]
    for other in servers[1:]:
        start, memory = mine.cold / other.cold, mine.memory_mb()[0] / other.memory_mb()[0]
        print(f"  ours / {other.name}: start x {start:.2f}, largest process x {memory:.2f}")


def fetching(folder: Path, rounds: int, requests: int, delay_ms: float) -> None:
    """Prefetch given, beside one read and six reads from a FHIR server that takes `delay_ms` for each."""
    made = body("typical")
    with stub.running(made, delay_ms) as base:
        server = ours(folder, "--fhir-server", base)
        with running([server], made):
            stub.learn(base, server.get("/cds-services"))
            kinds = {
                name: stub.to_read(made, base, absent)
                for name, absent in (("given", ()), ("1 GET", GETS[:1]), ("6 GETs", GETS))
            }
            cells: dict[str, Cell] = defaultdict(Cell)
            for _ in range(rounds):
                for name, request in kinds.items():
                    cells[name].measure(server, [fresh(request, next(numbers)) for _ in range(max(2, requests // 4))])
    print(f"\nfetching, typical; a read takes {delay_ms:g} ms; load {load()}")
    print(f"  {'':<14}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'CPU ms':>10}{'calls':>7}")
    for name, cell in cells.items():
        print(cell.row(name))
    print(f"  6 GETs / 1 GET x {ratio(cells['6 GETs'].p50, cells['1 GET'].p50):.2f}")
    print(f"  6 GETs / given x {ratio(cells['6 GETs'].p50, cells['given'].p50):.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=100, help="calls of each service in each round")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--no-peer", action="store_true", help="without HealthChain")
    parser.add_argument("--peer-env", type=Path, default=Path(tempfile.gettempdir()) / "magnesium-cds-peer")
    parser.add_argument("--no-fetching", action="store_true", help="without reads from a FHIR server")
    parser.add_argument("--delay", type=float, default=50.0, help="ms that a read from the FHIR server takes")
    chosen = parser.parse_args(arguments)
    python = None if chosen.no_peer else peer_python(chosen.peer_env, PEER)
    print(f"load {load()} on {os.cpu_count()} processors; {PEER if python else 'no peer'}")
    with tempfile.TemporaryDirectory() as folder:
        servers = [ours(Path(folder) / "calls"), floor(), *([peer(python)] if python else [])]
        with running(servers, body("typical")):
            compare(servers, chosen.sizes, chosen.rounds, chosen.requests)
            crowded(servers, chosen.sizes, chosen.rounds, chosen.requests)
            slope(servers, chosen.rounds, chosen.requests)
            beginnings(servers)
        if not chosen.no_fetching:
            fetching(Path(folder) / "fetching", chosen.rounds, chosen.requests, chosen.delay)


if __name__ == "__main__":
    main()
