"""A lock that lets a waiting thread in before the same thread gets it again."""

from __future__ import annotations

import threading
from types import TracebackType


class FairLock:
    """Mutual exclusion with a turnstile.

    A `threading.Lock` released and taken again in a loop can keep waiting threads out for the whole
    loop. Here a waiting thread stands in the turnstile, which the loop must pass as well, so it
    waits for one turn at most.
    """

    def __init__(self) -> None:
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._turnstile:
            self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
