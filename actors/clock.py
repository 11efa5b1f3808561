"""Time, passed in, so that tests move it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since 1970; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def processor(self) -> float:
        """Seconds of processor time that the calling thread has taken."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an unspecified moment."""
        return time.monotonic()

    def processor(self) -> float:
        """Seconds of processor time, the system's part included."""
        return time.thread_time()


class ManualClock:
    """A clock that stands still until `advance`,
    and a thread that takes no processor time but by `spend`.
    """

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = float(now_ms)
        self._monotonic = 0.0
        self._processor = 0.0

    def now_ms(self) -> int:
        """The start's milliseconds plus everything advanced since."""
        return int(self._now_ms)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def processor(self) -> float:
        """Seconds spent so far."""
        return self._processor

    def spend(self, seconds: float) -> None:
        """Have taken so much processor time."""
        self._processor += seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now_ms += seconds * 1000
        self._monotonic += seconds
