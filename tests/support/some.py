"""What a test loops over."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def some(things: Iterable[T]) -> list[T]:
    """These things, of which there must be some: a loop over nothing would assert nothing."""
    found = list(things)
    assert found, "nothing to test"
    return found
