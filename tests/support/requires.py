"""What a test needs from the machine: where it is missing the test is skipped, or fails in CI."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Debian keeps some programs out of PATH: the servers of PostgreSQL, and what only root runs.
OFF_PATH = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/sbin")


def missing(reason: str) -> NoReturn:
    """Skip the test with this reason, or fail it where MAGNESIUM_CDS_REQUIRE_ALL=1."""
    if os.environ.get("MAGNESIUM_CDS_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (MAGNESIUM_CDS_REQUIRE_ALL=1: nothing may be skipped)", pytrace=False)
    pytest.skip(reason)


def find(program: str) -> Path | None:
    """Where a program (a name, or a path) lies: on PATH or in Debian's other folders; None if nowhere."""
    found = shutil.which(program)
    if found:
        return Path(found)
    if "/" in program:
        return Path(program) if Path(program).exists() else None
    places = sorted(place for pattern in OFF_PATH for place in Path("/").glob(f"{pattern.lstrip('/')}/{program}"))
    return places[-1] if places else None


def require(program_or_path: str, why: str, debian_package: str) -> Path:
    """The path of a program or file that this test needs.

    program_or_path: a name ("chromium", "initdb") or an absolute path. why: what the test does with it, for
    the reason shown. debian_package: what to install. Raises pytest's Skipped, or Failed as `missing` says.
    """
    found = find(program_or_path)
    if found is None:
        missing(f"{program_or_path} is not here ({why}): apt-get install {debian_package}")
    return found


def require_root(why: str) -> None:
    """Go on only as root; else as `require`."""
    if os.geteuid() != 0:
        missing(f"needs root ({why})")
