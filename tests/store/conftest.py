"""A PostgreSQL server of our own for the run, and stores on it and on SQLite."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from cds_service.store import Store
from tests.conftest import PATIENCE
from tests.support.requires import missing, require

Opener = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Gives the URL of a new, empty database at each call."""
    with postgres_server() as new_database:
        yield new_database


@contextmanager
def postgres_server() -> Iterator[Callable[[], str]]:
    """As the fixture."""
    initdb = require("initdb", "tests on PostgreSQL", "postgresql")
    psycopg = pytest.importorskip("psycopg") if os.environ.get("MAGNESIUM_CDS_REQUIRE_ALL") != "1" else None
    if psycopg is None:
        import psycopg
    folder = Path(tempfile.mkdtemp(prefix="mgpg"))  # short: a socket's path may have 107 characters
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            missing("no account that PostgreSQL could run as")
        account = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **account}
    data = folder / "data"
    try:
        subprocess.run([initdb, "-D", data, "-U", "mg", "-A", "trust", "-E", "UTF8", "--no-sync"], **quiet)
        options = f"-F -c listen_addresses='' -k {folder}"
        control = initdb.with_name("pg_ctl")
        subprocess.run([control, "-D", data, "-o", options, "-l", folder / "log", "-w", "-t", "30", "start"], **quiet)
        try:

            def new_database() -> str:
                name = f"t{uuid.uuid4().hex[:12]}"
                with psycopg.connect(host=str(folder), user="mg", dbname="postgres", autocommit=True) as connection:
                    connection.execute(f'CREATE DATABASE "{name}"')
                return f"postgresql://mg@/{name}?host={folder}"

            yield new_database
        finally:
            subprocess.run([control, "-D", data, "-m", "immediate", "-w", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_postgres(postgres: Callable[[], str]) -> Iterator[tuple[str, Engine]]:
    """One database for many tests, each of which empties it first: a new one for each costs more."""
    url = postgres()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    yield url, engine


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens stores on one database, of each kind in turn; closes them."""
    url = None
    if request.param == "postgresql":
        url, engine = request.getfixturevalue("shared_postgres")
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    opened: list[Store] = []

    def open_store(feedback_wait: float = PATIENCE, **settings: Any) -> Store:
        opened.append(Store.open(url, data_dir=tmp_path / "data", feedback_wait=feedback_wait, **settings))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(database: Opener) -> Store:
    return database()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def sqlite_store(folder: Path) -> Iterator[Store]:
    with Store.open(data_dir=folder) as opened:
        yield opened
