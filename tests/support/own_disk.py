"""A small disk of its own for a command, to see what it says when that is full."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

OWN_DISK = ["unshare", "--user", "--map-root-user", "--mount", "--fork", "sh", "-c"]


def _may_mount() -> bool:
    try:
        return not subprocess.run([*OWN_DISK, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode
    except OSError:
        return False


own_disk = pytest.mark.skipif(not _may_mount(), reason="needs a disk of its own, as Linux gives it to a user namespace")
"""The mark of a test that needs one."""


def on_own_disk(
    size: str, folder: Path, words: Sequence[str | Path], before: str = ":", after: str = ":"
) -> tuple[int, str]:
    """The exit code of a command that finds a disk of this size ("500k") at `folder`, and all that was said. `before`
    and `after` are shell in that folder; what lies there goes with the disk.
    """
    script = f"""mount -t tmpfs -o size={size} none "$0" || exit 99
    (cd "$0"; {before}); "$@"; code=$?
    (cd "$0"; {after}); exit $code"""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [*OWN_DISK, script, folder, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout
