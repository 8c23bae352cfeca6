"""What the planner needs of the content in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cds_service.planner import Interval, Schedule

Find = Callable[[str], Iterable[str]]
"""From a medicine's name to concept ids; none if the name is not known."""


@dataclass(frozen=True, slots=True)
class PlanContent:
    """What the content says on one day: intervals by drug concept, the schedule, and how names are
    recognised.

    `names` labels the concepts that have no interval.
    """

    intervals: Mapping[str, Interval]
    schedule: Schedule
    find: Find
    names: Mapping[str, str] = field(default_factory=dict)
