"""What a proposal changes, also in values that were set for a time only: they end earlier with it, or stay after their
end. Nobody is to overlook either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=str | tuple[str, ...])
Held = tuple[Mapping[K, Any], datetime | None]
"""Values that hold, and until when; None: until something else is published."""


@dataclass(frozen=True, slots=True)
class Difference(Generic[K]):
    """A value before and after; None where there was or will be nothing. `until`: the end that it had, after which it
    would be `then` again. `stays`: nothing is changed but that it has a later end, or none."""

    key: K
    old: Any
    new: Any
    until: datetime | None = None
    then: Any = None
    stays: bool = False

    def told(self, words: Iterable[str], ends: datetime | None) -> tuple[str, str]:
        """Both sides as they are shown, from `old`, `new` and `then` in words. `ends`: when the proposal ends."""
        old, new, then = words
        before = f"{old} until {moment(self.until)}, then {then}" if self.until else old
        return before, f"{new} {f'until {moment(ends)}' if ends else 'for ever'}" if self.stays else new


def moment(at: datetime) -> str:
    """A time in words, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def differences(held: Sequence[Held[K]], new: Mapping[K, Any], ends: datetime | None) -> list[Difference[K]]:
    """What `new` changes until `ends` in `held`: what holds now and each time that one ends, the last without an end.
    In the order of the keys as they come, of what holds first."""
    found: list[Difference[K]] = []
    for key in dict.fromkeys([*held[0][0], *new, *(key for values, _ in held[1:] for key in values)]):
        old, given = held[0][0].get(key), new.get(key)
        other = next((at for at, (values, _) in enumerate(held) if values.get(key) != old), 0)
        until = held[other - 1][1] if other else None
        stays = old == given and until is not None and (ends is None or ends > until)
        if old != given or stays:
            found.append(Difference(key, old, given, until, held[other][0].get(key) if until else None, stays))
    return found
