"""Whether calls have been coming too late,
and how long a call usually takes here: what is left must be more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MEMORY_S = 0.25  # after one late call the next ones are looked at for so long
STEP = 0.05  # the usual time moves by this share of itself with each call


class Lateness:
    """Of one server. A call that is refused for lack of time moves the usual
    time down, so it cannot stay wrong.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = -1.0
        self._usual_s = 0.0

    def looming(self) -> bool:
        """Whether a call was refused, cancelled or out of time a moment ago."""
        return self._clock() < self._until

    def usual_s(self) -> float:
        """What half of the answers take, in seconds:
        a few that wait for something count no more than others.
        """
        return self._usual_s

    def answered(self, seconds: float) -> None:
        """Take note of an answer."""
        if not self._usual_s:
            self._usual_s = seconds
        self._usual_s *= 1 + STEP if seconds > self._usual_s else 1 - STEP

    def missed(self) -> None:
        """Take note of a call that got no answer for want of time or room."""
        self._until = self._clock() + MEMORY_S

    def refused(self) -> None:
        """Take note of a call that was not even tried."""
        self._usual_s *= 1 - STEP / 10
