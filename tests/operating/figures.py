"""The figures of docs/operate, from the top of the project: `python -m tests.operating.figures backup|upgrade|sizing`.

None is a timed test. Seconds differ from machine to machine and with what else it does: its load is printed too.
Needs PostgreSQL, nginx and openssl. `upgrade --from COMMIT` takes the version of that commit as the old one.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

from cds_service.advice.loaded_content import load_content
from cds_service.store import Store
from cds_service.store.backup import copy_sqlite
from cds_service.store.engine import FILE_NAME
from cds_service.store.tables import rule_counts, shown_cards
from tests.benchmarks import stub
from tests.benchmarks.bodies import SIZES, body, fresh
from tests.benchmarks.hook_calls import GETS
from tests.benchmarks.servers import Server, load, ours
from tests.operating.replicas import KEY, Callers, Hospital, hospital, other_version
from tests.store.conftest import postgres_server
from tests.store.helpers import card
from tests.support.proxy import proxy
from tests.support.requires import require

CARDS = 200_000
COUNTS = 1_000_000
READ_MS = 50
PART = 10_000  # rows of one statement


def timed(name: str, work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    taken = time.monotonic() - start
    print(f"  {name:<46}{taken:8.1f} s")
    return taken


def hashed(kind: str, number: int) -> str:
    """As long, and as hard to pack, as one of the store's."""
    return f"12345678.{hashlib.sha256(f'{kind}{number}'.encode()).hexdigest()}"


def fill(engine: Engine, cards: int, counts: int) -> None:
    """Cards of two years and counts of rules by the hour, as a hospital has them."""
    rules = sorted(load_content().library.rules)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

    def shown(number: int) -> dict[str, Any]:
        one = card(
            rule=rules[number % len(rules)], shown_at=now - timedelta(minutes=number * 5),
            subject_hash=hashed("subject", number), finding_hash=hashed("finding", number),
        )  # fmt: skip
        row = {name: getattr(one, name) for name in (column.name for column in shown_cards.columns)}
        row["suggestions"] = list(one.suggestions)
        row["override_reasons"] = [asdict(reason) for reason in one.override_reasons * 4]
        return row

    def count(number: int) -> dict[str, Any]:
        hour, rule = divmod(number, len(rules))
        numbers = {"fired": 3, "lead": 2, "beneath": 1, "not_evaluated": 4, "not_applicable": 90, "fault": 0}
        when = {"hour": now - timedelta(hours=hour), "client": "ehr", "service": "magnesium-patient-view"}
        return {**when, "rule": rules[rule], **numbers}

    with engine.begin() as connection:
        for table, row, total in ((shown_cards, shown, cards), (rule_counts, count, counts)):
            for start in range(0, total, PART):
                connection.execute(table.insert(), [row(n) for n in range(start, min(start + PART, total))])


def backup(cards: int, counts: int) -> None:
    """Copies of a full database, made under calls, and put back."""
    print(f"{cards:,} cards shown, {counts:,} counts; three callers")
    programs = {name: require(name, "copies a PostgreSQL", "postgresql") for name in ("pg_dump", "pg_restore")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mg")))
        new_database = stack.enter_context(postgres_server())
        print("SQLite")
        with hospital(made(folder / "lite"), [""]) as place:
            file = place.replicas[0].folder / "replica-1" / FILE_NAME
            fill(create_engine(f"sqlite:///{file}"), cards, counts)
            print(f"  {'size':<46}{file.stat().st_size / 1e6:8.0f} MB")
            copy = folder / "copy.sqlite3"
            under_calls(place, "magnesium-cds backup", lambda: copy_sqlite(file, copy))
        restored = made(folder / "restored")
        timed("put back: the file copied", lambda: subprocess.run(["cp", copy, restored / FILE_NAME], check=True))
        timed("put back: opened and checked", lambda: opened(None, restored))
        print("PostgreSQL")
        url, other, dump = new_database(), new_database(), folder / "copy.dump"
        with hospital(made(folder / "pg"), [url]) as place:
            fill(create_engine(url.replace("postgresql:", "postgresql+psycopg:")), cards, counts)
            words = [programs["pg_dump"], "--format=custom", f"--file={dump}", url]
            under_calls(place, "pg_dump --format=custom", lambda: subprocess.run(words, check=True))
        print(f"  {'size of the dump':<46}{dump.stat().st_size / 1e6:8.0f} MB")
        words = [programs["pg_restore"], "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={other}"]
        timed("pg_restore", lambda: subprocess.run([*words, dump], check=True))
        timed("opened and checked", lambda: opened(other, restored))


def under_calls(place: Hospital, name: str, work: Callable[[], object]) -> None:
    with Callers(place) as callers:
        callers.wait_for(50)
        callers.slowest = 0.0
        timed(name, work)
        callers.wait_for(20)
    told = dict(callers.told)
    print(f"  {'answers while it was made':<46}{told}, the slowest after {callers.slowest:.2f} s")


def opened(url: str | None, folder: Path) -> None:
    with Store.open(url, data_dir=folder, key=KEY) as store:
        assert store.broken_line() is None


def upgrade(commit: str) -> None:
    """Two replicas of an old version under calls, replaced by this one after the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mg")))
        url = stack.enter_context(postgres_server())()
        old = other_version(folder / "old", commit)
        print(f"from {commit} to this version, three callers; load {load()}")
        place = stack.enter_context(hospital(made(folder / "place"), [url, url], old))
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        print(f"  schema {schema(engine)}")
        with Callers(place) as callers:
            callers.wait_for(50)
            for replica in place.replicas:
                timed(f"{replica.name} stopped", replica.stop)
                replica.code = None
                timed(f"{replica.name} started, with the migration if any", replica.start)
                callers.wait_for(50)
        print(f"  schema {schema(engine)}")
        print(f"  {'answers':<46}{dict(callers.told)}, the slowest after {callers.slowest:.2f} s")


def schema(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM magnesium_cds_schema")).scalar())


def sizing(calls: int) -> None:
    """Processor time of a call by its size, through nginx; memory of a worker; growth of the database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mg")))
        url = stack.enter_context(postgres_server())()
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        print(f"each call of another patient, one at a time; load {load()}")
        for kind in ("SQLite", "PostgreSQL"):
            print(kind)
            with one_service(made(folder / kind), url if kind == "PostgreSQL" else None) as server:
                numbers = iter(range(10**8))
                for size in SIZES:
                    asked = body(size)
                    for _ in range(20):
                        server.call(fresh(asked, next(numbers)))
                    share = calls if size != "large" else calls // 10
                    before, start = size_of(kind, folder, engine), time.monotonic()
                    server.cpu_ms()
                    for _ in range(share):
                        server.call(fresh(asked, next(numbers)))
                    cpu, wall = server.cpu_ms() / share, (time.monotonic() - start) / share * 1000
                    grown = (size_of(kind, folder, engine) - before) / share * 100_000 / 1e6
                    print(
                        f"  {size:<10}{len(asked) / 1024:7.0f} KiB{cpu:8.1f} ms of processor{1000 / cpu:8.0f} calls/s "
                        f"of a core{wall:8.1f} ms in all{grown:8.0f} MB per 100,000 calls"
                    )
                sizes = server.memory_mb()
                print(f"  memory: {', '.join(f'{each:.0f}' for each in sizes)} MB (worker and master)")
        print(f"SQLite, {len(GETS)} inputs read from a FHIR server that takes {READ_MS} ms for each, at the same time")
        for size in SIZES:
            reading(made(folder / size), size, calls if size != "large" else calls // 10)


def reading(folder: Path, size: str, calls: int) -> None:
    """Processor time of a call for which inputs are read from a FHIR server."""
    whole = body(size)
    with stub.running(whole, READ_MS) as base, one_service(folder, None, base) as server:
        stub.learn(base, server.get("/cds-services"))
        asked = stub.to_read(whole, base, GETS)
        for number in range(20):
            server.call(fresh(asked, number))
        server.cpu_ms()
        start = time.monotonic()
        for number in range(calls):
            server.call(fresh(asked, 100 + number))
        cpu, wall = server.cpu_ms() / calls, (time.monotonic() - start) / calls * 1000
        print(f"  {size:<10}{cpu:8.1f} ms of processor{1000 / cpu:8.0f} calls/s of a core{wall:8.1f} ms in all")


@contextmanager
def one_service(folder: Path, url: str | None, fhir_server: str | None = None) -> Iterator[Server]:
    """A service with one worker, called through the proxy."""
    (folder / "key").write_text(KEY)
    settings = folder / "settings.toml"
    settings.write_text(f'key_file = "{folder / "key"}"\n' + (f'database = "{url}"\n' if url else ""))
    more = ("--fhir-server", fhir_server) if fhir_server else ()
    server = ours(folder / "data", "--settings", str(settings), *more)
    try:
        server.start(fresh(body("small"), 99_999_999))
        with proxy(f"127.0.0.1:{server.port}", folder) as port:
            server.port = port
            server.connect()
            yield server
    finally:
        server.stop()


def size_of(kind: str, folder: Path, engine: Engine) -> int:
    time.sleep(6)  # what waits is written every five seconds
    if kind == "SQLite":
        return (folder / kind / "data" / FILE_NAME).stat().st_size
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar() or 0)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["backup", "upgrade", "sizing"])
    parser.add_argument("--from", dest="commit", default="", help="commit of the old version")
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--counts", type=int, default=COUNTS)
    parser.add_argument("--calls", type=int, default=1000)
    chosen = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}; load {load()}")
    if chosen.what == "backup":
        backup(chosen.cards, chosen.counts)
    elif chosen.what == "upgrade":
        upgrade(chosen.commit)
    else:
        sizing(chosen.calls)


if __name__ == "__main__":
    main()
