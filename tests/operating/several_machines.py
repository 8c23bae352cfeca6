"""Two replicas, nginx and PostgreSQL on one machine, shown: `python -m tests.operating.several_machines`.

--calls N    mixed calls at the end, after each tenth of which memory, open files and threads are printed
--mixed N    the same, and nothing else (200,000 take about an hour)
--bursts     more and more callers at once, and nothing else
--threads N  of each worker: how many calls it works on at the same time is half of them
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import requests

from tests.operating.figures import load, postgres_server
from tests.operating.replicas import Callers, Hospital, hospital
from tests.trust.support import DISCOVERY, FEEDBACK, SERVICE, wait_until

LIMIT = "0.66"
SITE = f"""site: Test hospital
rules:
  shared:
    thresholds:
      lower_limit: {{value: {LIMIT}, reason: Our own interval}}
"""


@dataclass(frozen=True)
class Held:
    """What the processes of both replicas hold: bytes, open files, threads."""

    memory: int
    files: int
    threads: int


@dataclass
class Burst:
    """What callers were told, and the milliseconds of the calls that were let in."""

    told: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    without_retry_after: int = 0


def held(place: Hospital) -> Held:
    """Of both replicas together."""
    return Held(*(sum(each) for each in zip(*(replica.held() for replica in place.replicas), strict=True)))


def revision(place: Hospital, folder: Path) -> float:
    """Seconds from the moment at which a revision is written until it is in force on both replicas."""
    file = folder / "site.yaml"
    file.write_text(SITE)
    before = _digests(place)
    place.replicas[0].command("site", "apply", str(file), "--author", "A. Pharmacist", "--reason", "Interval")
    begun = time.monotonic()
    wait_until(lambda: len(now := _digests(place)) == 1 and now.isdisjoint(before), 20, "not in force on both")
    return time.monotonic() - begun


def _digests(place: Hospital) -> set[str]:
    """Of the site values in force, on all replicas."""
    asked = (requests.get(f"http://127.0.0.1:{replica.port}/readyz", timeout=10) for replica in place.replicas)
    return {answer.json()["site"]["digest"] for answer in asked}


def burst(place: Hospital, callers: int, seconds: float) -> Burst:
    """Many callers at once, for some seconds; one that is sent away comes again when it was told."""
    found, lock, body, until = Burst(), threading.Lock(), place.body(), time.monotonic() + seconds

    def call() -> None:
        http = place.session()
        while time.monotonic() < until:
            headers = place.token(SERVICE)
            begun = time.monotonic()
            answer = http.post(place.base + SERVICE, json=body, headers=headers, timeout=30)
            took = 1000 * (time.monotonic() - begun)
            with lock:
                found.told[answer.status_code] += 1
                if answer.status_code == 200:
                    found.times.append(took)
                elif "Retry-After" not in answer.headers:
                    found.without_retry_after += 1
            if answer.status_code != 200:
                time.sleep(float(answer.headers.get("Retry-After", 1)))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def mixed(
    place: Hospital, calls: int, told: Callable[[int, Held], object] = lambda _number, _held: None
) -> tuple[Held, Held]:
    """Calls of all kinds, good and bad, one after the other by four callers; what is held after a tenth of them, and
    after all. `told` hears it after each tenth."""
    body, lock, left = place.body(), threading.Lock(), [0]

    def call(upto: int) -> None:
        http = place.session()
        while True:
            with lock:
                if left[0] >= upto:
                    return
                left[0] += 1
                number = left[0]
            _one(place, http, body, number)

    found = []
    for part in range(1, 11):
        upto = max(calls * part // 10, 100)
        with ThreadPoolExecutor(4) as callers:
            for done in [callers.submit(call, upto) for _ in range(4)]:
                done.result()
        time.sleep(1)
        found.append(held(place))
        told(upto, found[-1])
    return found[0], found[-1]


def _tell(number: int, now: Held) -> None:
    print(
        f"{datetime.now(UTC):%H:%M:%S} {number:>8} mixed calls: {now.memory / 1e6:.0f} MB, {now.files} open files, "
        f"{now.threads} threads",
        flush=True,
    )


def _one(place: Hospital, http: requests.Session, body: dict[str, Any], number: int) -> None:
    match number % 10:
        case 0:
            http.get(place.base + DISCOVERY, headers=place.token(DISCOVERY), timeout=30)
        case 1:
            http.post(place.base + SERVICE, json={"hook": "patient-view"}, headers=place.token(SERVICE), timeout=30)
        case 2:
            http.post(place.base + SERVICE, json=body, timeout=30)
        case 3:
            http.post(place.base + SERVICE, data=b"{", headers=place.token(SERVICE), timeout=30)
        case 4:
            answer = http.post(place.base + SERVICE, json=body, headers=place.token(SERVICE), timeout=30).json()
            item = {"card": answer["cards"][0]["uuid"], "outcome": "accepted"} if answer.get("cards") else {}
            item["outcomeTimestamp"] = "2026-11-21T09:30:00Z"
            http.post(place.base + FEEDBACK, json={"feedback": [item]}, headers=place.token(FEEDBACK), timeout=30)
        case _:
            http.post(place.base + SERVICE, json=body, headers=place.token(SERVICE), timeout=30)


def killed(place: Hospital, rate: float) -> Counter[int | str]:
    """One replica killed while about so many calls a second come; what callers were told."""
    number = 20
    with Callers(place, number, pause=number / rate) as callers:
        callers.wait_for(100)
        place.replicas[1].kill()
        callers.wait_for(300)
    place.replicas[1].start()
    return callers.told


def restarted(place: Hospital) -> Counter[int | str]:
    """Each replica restarted under calls, one after the other."""
    with Callers(place, 4) as callers:
        callers.wait_for(20)
        for replica in place.replicas:
            replica.stop()
            callers.wait_for(20)
            replica.start()
            callers.wait_for(20)
    return callers.told


def database_away(place: Hospital) -> tuple[Counter[int | str], float]:
    """All connections to the database ended, and none let in for three seconds; what callers were told, and after how
    many seconds both replicas were ready again."""
    url = place.replicas[0].settings["database"]
    name = url.partition("@/")[2].partition("?")[0]
    with Callers(place, 4) as callers, psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as admin:
        callers.wait_for(20)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        time.sleep(3)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        begun = time.monotonic()
        wait_until(lambda: all(replica.ready() for replica in place.replicas), 30, "not ready again")
        again = time.monotonic() - begun
        callers.wait_for(20)
    return callers.told, again


def _bursts(place: Hospital) -> None:
    for callers in (6, 16, 60, 160):
        found = burst(place, callers, 8)
        told, p50 = dict(found.told), statistics.median(found.times)
        print(f"{callers} callers: {told}; those let in {p50:.0f} ms, {found.without_retry_after} without a time")


def main() -> None:
    """Print what happens."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=4000)
    options.add_argument("--mixed", type=int, default=0)
    options.add_argument("--threads", type=int, default=16, help="of each worker")
    options.add_argument("--bursts", action="store_true", help="bursts alone")
    given = options.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}; load {load()}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mg")))
        url = stack.enter_context(postgres_server())()
        (folder / "h").mkdir()
        place = stack.enter_context(
            hospital(folder / "h", [url, url], managed_by="console", replicas=2, threads=given.threads)
        )
        if given.mixed:
            mixed(place, given.mixed, _tell)
            return
        if given.bursts:
            _bursts(place)
            return
        print(f"a revision in force on both: after {revision(place, folder):.1f} s")
        print(f"one replica killed at 100 calls a second: {dict(killed(place, 100))}")
        print(f"each replica restarted in turn: {dict(restarted(place))}")
        told, again = database_away(place)
        print(f"database away for 3 s: {dict(told)}; both ready {again:.1f} s after it was back")
        _bursts(place)
        mixed(place, given.calls, _tell)


if __name__ == "__main__":
    main()
