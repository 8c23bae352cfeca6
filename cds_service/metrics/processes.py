"""What the system says of the master and its workers: memory, processor time, open files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
Values = dict[str, list[tuple[tuple[str, ...], float]]]


def process_values(in_worker: bool) -> Values:
    """By name of the table; nothing where there is no /proc. `in_worker`: the parent of this process is the master.

    The processor time of workers that ended is in that of the master, so that the sum never falls.
    """
    master = os.getppid() if in_worker else os.getpid()
    try:
        own = _stat(master)
        children = [int(pid) for pid in (_PROC / f"{master}/task/{master}/children").read_text().split()]
        booted = next(
            float(line.split()[1]) for line in (_PROC / "stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, StopIteration):
        return {}
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    # Fields by their number in proc(5), less 3: utime, stime, cutime, cstime, starttime, rss.
    ticks, memory, files, workers = sum(map(int, own[11:15])), int(own[21]) * page, _files(master), 0
    for pid in children:
        with suppress(OSError, ValueError, IndexError):
            stat = _stat(pid)
            ticks += sum(map(int, stat[11:13]))
            memory += int(stat[21]) * page
            files += _files(pid)
            workers += 1
    values = {
        "process_cpu_seconds_total": ticks / tick,
        "process_resident_memory_bytes": memory,
        "process_open_fds": files,
        "process_start_time_seconds": booted + int(own[19]) / tick,
        "workers": workers if in_worker else 1,
    }
    return {name: [((), float(value))] for name, value in values.items()}


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything."""
    return (_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()


def _files(pid: int) -> int:
    return len(os.listdir(_PROC / f"{pid}/fd"))  # noqa: PTH208
