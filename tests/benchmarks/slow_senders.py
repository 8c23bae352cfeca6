"""What callers notice of others who send slowly or not at all: `python -m tests.benchmarks.slow_senders`.

One worker behind the proxy (nginx with docker/nginx.conf), called one call at a time, each over a new connection:
alone, without the proxy, then beside each kind of slow sender, in turn. Quote the ratios to "alone". A call that has no
answer after five seconds counts as five seconds and as lost.

    idle      connections on which nothing is ever sent
    heads     requests whose heads come one byte a second
    bodies    requests with a whole head, whose bodies come one byte a second
    stayers   callers who ask for the connection to be closed and then do not close their end
"""

from __future__ import annotations

import argparse
import http.client
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

from tests.benchmarks.bodies import body, fresh
from tests.benchmarks.servers import HEADERS, load, ours
from tests.support.proxy import proxy

PATH = "/cds-services/magnesium-patient-view"
LONGEST = 5.0
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KINDS = {
    "idle": b"",
    "heads": HEAD.encode() + b"X-A: ",
    "bodies": HEAD.encode() + b"Content-Length: 100000\r\n\r\n{",
    "stayers": f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
}


@contextmanager
def slow(port: int, kind: str, count: int) -> Iterator[Callable[[], int]]:
    """So many of a kind; one that is sent away comes again. Gives how many came in all."""
    first, stop, came = KINDS[kind], threading.Event(), [0]

    def opened() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), LONGEST)
        came[0] += 1
        sock.sendall(first)
        sock.setblocking(False)
        return sock

    def gone(sock: socket.socket) -> bool:
        try:
            if kind in ("heads", "bodies"):
                sock.send(b"x")
            return kind != "stayers" and not sock.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def drip() -> None:
        for number in cycle(range(count)):
            if stop.wait(1 / count):
                return
            if gone(socks[number]):
                socks[number].close()
                with suppress(OSError):
                    socks[number] = opened()

    socks = [opened() for _ in range(count)]
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield lambda: came[0]
    finally:
        stop.set()
        thread.join()
        for sock in socks:
            sock.close()


def call(port: int, request: bytes) -> float:
    """Milliseconds of one call over a connection of its own."""
    before = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
    try:
        connection.request("POST", PATH, request, HEADERS)
        if connection.getresponse().status != 200:
            return LONGEST * 1000
    except OSError:
        return LONGEST * 1000
    finally:
        connection.close()
    return (time.perf_counter() - before) * 1000


def row(name: str, times: Sequence[float], alone: Sequence[float], memory: float) -> str:
    ordered, base = sorted(times), sorted(alone)
    p99, base99 = (each[min(len(each) - 1, len(each) * 99 // 100)] for each in (ordered, base))
    p50, base50 = statistics.median(ordered), statistics.median(base)
    lost = sum(one >= LONGEST * 1000 for one in times)
    return (
        f"  {name:<14}{p50:9.2f}{p99:9.2f}{p50 / base50:9.2f}{p99 / base99:9.2f}{lost:7d}{len(times):7d}{memory:11.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=40, help="calls beside each kind in each round")
    parser.add_argument("--idle", type=int, nargs="*", default=[500, 2000])
    parser.add_argument("--slow", type=int, default=50)
    chosen = parser.parse_args(arguments)
    made = body("small")
    crowds = [("idle", count) for count in chosen.idle]
    crowds += [(kind, chosen.slow) for kind in KINDS if kind != "idle"]
    with tempfile.TemporaryDirectory() as folder:
        server = ours(Path(folder))
        server.start(fresh(made, 0))
        try:
            alone: list[float] = []
            direct: list[float] = []
            beside: dict[tuple[str, int], list[float]] = {crowd: [] for crowd in crowds}
            memory: dict[tuple[str, int], float] = {}
            number = 0
            with proxy(f"127.0.0.1:{server.port}", Path(folder)) as port:
                for _ in range(chosen.rounds):
                    for crowd in crowds:
                        for _ in range(chosen.requests // len(crowds) + 1):
                            alone.append(call(port, fresh(made, number := number + 1)))
                            direct.append(call(server.port, fresh(made, number := number + 1)))
                        with slow(port, *crowd):
                            time.sleep(1.0)
                            for one in range(chosen.requests):
                                if one and beside[crowd][-1] >= LONGEST * 1000 and one > 3:
                                    break  # it will not get better
                                beside[crowd].append(call(port, fresh(made, number := number + 1)))
                            memory[crowd] = server.memory_mb()[0]
            print(f"load {load()}")
            print(f"  {'':<14}{'p50 ms':>9}{'p99':>9}{'x p50':>9}{'x p99':>9}{'lost':>7}{'calls':>7}{'MB':>11}")
            print(row("alone", alone, alone, server.memory_mb()[0]))
            print(row("without proxy", direct, alone, server.memory_mb()[0]))
            for (kind, count), times in beside.items():
                print(row(f"{count} {kind}", times, alone, memory[kind, count]))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
