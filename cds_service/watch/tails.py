"""How likely a count is: tails of the Poisson and the negative binomial distribution, summed term by term.

No library of statistics is asked: these few lines are held against one in the tests, and it would weigh more than the
whole service.
"""

from __future__ import annotations

import math
from typing import Final

_NEGLIGIBLE: Final = 1e-17
_AS_POISSON: Final = 1e7  # of a larger size the two are one, and its logarithms lose their digits


def lower_tail(count: int, mean: float, variance: float) -> float:
    """The probability of so few or fewer. `mean` is positive; a `variance` not above it makes it Poisson."""
    return _sum(count, -1, mean, variance) if count >= 0 else 0.0


def upper_tail(count: int, mean: float, variance: float) -> float:
    """The probability of so many or more."""
    return _sum(count, 1, mean, variance) if count > 0 else 1.0


def _sum(count: int, step: int, mean: float, variance: float) -> float:
    """From `count` on, away from the mean, where terms fall; on the other side of it, what is left of one."""
    if (step < 0) == (count > mean):
        return (
            max(0.0, 1.0 - _sum(count - step, -step, mean, variance)) if count or step > 0 else _term(0, mean, variance)
        )
    term, total, at = _term(count, mean, variance), 0.0, count
    size = _size(mean, variance)
    while at >= 0 and term > total * _NEGLIGIBLE:
        total += term
        if step < 0:
            term *= at / mean if size is None else at * (size + mean) / ((at - 1 + size) * mean)
        else:
            term *= mean / (at + 1) if size is None else (at + size) / (at + 1) * mean / (size + mean)
        at += step
    return min(1.0, total)


def _size(mean: float, variance: float) -> float | None:
    """The size of the negative binomial, None for Poisson."""
    more = variance - mean
    size = mean * mean / more if more > 0 else math.inf
    return None if size > _AS_POISSON else size


def _term(count: int, mean: float, variance: float) -> float:
    size = _size(mean, variance)
    if size is None:
        return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    ways = math.lgamma(count + size) - math.lgamma(size) - math.lgamma(count + 1)
    return math.exp(ways + size * math.log(size / (size + mean)) + count * math.log(mean / (size + mean)))
