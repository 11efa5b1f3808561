"""How much time a call has left, and how complete an answer fits into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.errors import DeadlineExceeded

# the proto's Level
FULL = 1
SEQUENCE = 2
PRIOR = 3
# part of the time kept back from waiting, so that the reply arrives before the deadline
MARGIN = 0.1
MARGIN_MAX_S = 0.1
SANE_S = 86_400.0  # gRPC has reported a missing deadline as None and as centuries (grpc#26236)
HEADROOM = 2.0  # a level is tried when twice its usual time is left
SMOOTHING = 0.05
FIXED_CANDIDATES = 100  # the fixed cost of an answer, in candidates


class TimedCall(Protocol):
    """The part of a gRPC context that knows the caller's deadline."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, or None without one."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in monotonic time at which the caller stops listening."""

    at: float
    clock: Callable[[], float]

    @classmethod
    def of(
        cls, call: TimedCall, default_s: float, clock: Callable[[], float] = time.monotonic
    ) -> Deadline:
        """The caller's deadline, or one `default_s` from now if there is none."""
        left = call.time_remaining()
        return cls(clock() + (default_s if left is None or left > SANE_S else left), clock)

    def left_s(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock()

    def wait_s(self) -> float:
        """Seconds that may be spent waiting, so that a reply still arrives; at least 0."""
        left = self.left_s()
        return max(0.0, left - min(MARGIN * left, MARGIN_MAX_S))

    def check(self, doing: str) -> None:
        """Raise DeadlineExceeded if nothing is left of the time; `doing` names the step."""
        if (left := self.left_s()) <= 0:
            raise DeadlineExceeded(
                f"the deadline passed {-left * 1000:.1f} ms ago, {doing}; allow more time"
            )


class Pace:
    """Picks the most complete level that fits the time left, from how long each took per candidate.

    A level that is passed over is believed a little faster each time, so that one slow answer
    cannot shut it out for ever. Levels above the model's `best` are never answered at, so nothing
    is known of their time and they are not picked.
    """

    def __init__(self, best: int = FULL) -> None:
        self._seconds = {level: 0.0 for level in (FULL, SEQUENCE) if level >= best}

    def level(self, left_s: float, candidates: int) -> int:
        """The level to answer with; the best one until a level has been measured."""
        for level, seconds in self._seconds.items():
            if left_s > HEADROOM * seconds * (candidates + FIXED_CANDIDATES):
                return level
            self._seconds[level] *= 1 - SMOOTHING
        return PRIOR

    def learn(self, level: int, seconds: float, candidates: int) -> None:
        """Take one measured answer into account."""
        if level in self._seconds:
            usual = self._seconds[level]
            self._seconds[level] += SMOOTHING * (seconds / (candidates + FIXED_CANDIDATES) - usual)
