"""The parts of the demonstration, one after the other: said as they begin, timed as they end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console


class Phases:
    """Seconds of each part so far, by its name."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console
        self._clock = clock
        self._name = ""
        self._started = 0.0

    def begin(self, name: str, says: str) -> None:
        """End the part before and say that this one begins."""
        self.end()
        self._console.rule(f"{len(self.seconds) + 1}. {says}")
        self._name = name
        self._started = self._clock()

    def end(self) -> None:
        """End the part that goes on, if one does, and say how long it took."""
        if self._name:
            seconds = round(self._clock() - self._started, 1)
            self.seconds[self._name] = seconds
            self._console.print(f"{self._name}: {seconds} s")
            self._name = ""
