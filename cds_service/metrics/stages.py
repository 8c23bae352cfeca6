"""The stages of a call, each with its own time: what runs inside another stage is not counted there twice.

`@stage("rules")` or `with stage("rules"):` marks one, wherever it is; outside of a call that is recorded it does
nothing. So no code needs to be handed a clock, and the hook endpoint reads as before.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from time import perf_counter
from typing import Final, Self

STAGES: Final = ("auth", "read", "fetch", "rules", "cards", "store")
_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class Recorder:
    """The times of one call. `spent`: seconds by stage; `parts`: stage, beginning and end (seconds since the call
    began) of each part, in the order in which they ended."""

    __slots__ = ("_at", "_open", "_token", "began", "parts", "spent")

    def __init__(self) -> None:
        self.began = perf_counter()
        self.spent: dict[str, float] = {}
        self.parts: list[tuple[str, float, float]] = []
        self._at = self.began
        self._open: list[tuple[str, float]] = []
        self._token: Token[Recorder | None] | None = None

    def start(self) -> Self:
        """From here on the stages of this thread are told to it."""
        self._token = _current.set(self)
        return self

    def end(self) -> float:
        """Seconds of the whole call. Nothing is told to it any more."""
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        return perf_counter() - self.began

    def enter(self, name: str) -> None:
        now = perf_counter()
        self._pass(now)
        self._open.append((name, now))

    def leave(self) -> None:
        now = perf_counter()
        self._pass(now)
        name, since = self._open.pop()
        self.parts.append((name, since - self.began, now - self.began))

    def _pass(self, now: float) -> None:
        if self._open:
            name = self._open[-1][0]
            self.spent[name] = self.spent.get(name, 0.0) + now - self._at
        self._at = now


class stage(ContextDecorator):
    """Marks a stage, one of STAGES."""

    def __init__(self, name: str) -> None:
        assert name in STAGES
        self._name = name

    def __enter__(self) -> None:
        if (recorder := _current.get()) is not None:
            recorder.enter(self._name)

    def __exit__(self, *_: object) -> None:
        if (recorder := _current.get()) is not None:
            recorder.leave()
