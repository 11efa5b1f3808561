"""A training that dies at a look of its keeper, by a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.fit.keeper import FileKeeper, Keepable


class Ticks:
    """A clock that is a second later whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds since the start."""
        self.now += 1.0
        return self.now


class Looking(FileKeeper):
    """Calls `at_look` with the number of each look, after it."""

    def __init__(
        self, folder: Path, at_look: Callable[[int], None] = lambda _: None, **more: Any
    ) -> None:
        super().__init__(
            folder, **{"say": lambda _: None, "interval_s": 0.0, "clock": Ticks()} | more
        )
        self.looks = 0
        self._at_look = at_look

    def look(self, training: Keepable, *, now: bool = False) -> None:
        """See `FileKeeper`."""
        super().look(training, now=now)
        self.looks += 1
        self._at_look(self.looks)


class Killed(BaseException):
    """What a kill looks like from inside: nothing is done any more."""


def kill_at(look: int) -> Callable[[int], None]:
    """At that look the process dies."""

    def at(number: int) -> None:
        if number == look:
            raise Killed

    return at
