"""Names for answers: 22 hexadecimal digits,
unique in a deployment by their making, and in order of time.
"""

from __future__ import annotations

import threading

COUNT_BITS = 12  # 4,096 answers a millisecond and process; more borrow from the next millisecond


class ScoreIds:
    """Makes ids of 44 bits of milliseconds since 1970, 12 bits of count,
    32 bits of process. For several threads.

    `process` is the number that the coordinator gave to this process and gives to no other one, not
    even to its successor: an incarnation. It has to be known before the first answer.
    """

    def __init__(self, process: int = 0) -> None:
        self.process = process
        self._last = 0
        self._lock = threading.Lock()

    def next(self, now_ms: int) -> str:
        """An id greater than all before, also when the clock steps back."""
        with self._lock:
            self._last = last = max(self._last + 1, now_ms << COUNT_BITS)
        return f"{last:014x}{self.process:08x}"
