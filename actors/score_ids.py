"""Names for answers: 64 bits in hexadecimal, unique in a deployment, and in order of time."""

from __future__ import annotations

import threading

NODE_BITS = 10
COUNT_BITS = 12  # 4,096 answers a millisecond and node; more borrow from the next millisecond


class ScoreIds:
    """Makes ids of 42 bits of milliseconds since 1970, 10 bits of node, 12 bits of count. For several threads."""

    def __init__(self, node: int) -> None:
        self._node = node % (1 << NODE_BITS)
        self._last = 0
        self._lock = threading.Lock()

    def next(self, now_ms: int) -> str:
        """16 hexadecimal digits, greater than all before, also when the clock steps back."""
        with self._lock:
            self._last = last = max(self._last + 1, now_ms << COUNT_BITS)
        milliseconds, count = last >> COUNT_BITS, last & ((1 << COUNT_BITS) - 1)
        return f"{milliseconds << (NODE_BITS + COUNT_BITS) | self._node << COUNT_BITS | count:016x}"
