"""When to try again, and whether: one policy for every loop that does.

Own lines, because tenacity and stamina wait themselves, by the machine's clock: here the loop
waits, by the clock that it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double from `min_s` to `max_s`; no try begins later than
    `patience_s` after the first. Nothing is drawn by chance, so a run can be repeated.
    """

    min_s: float = 0.05
    max_s: float = 2.0
    patience_s: float = math.inf

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.max_s, self.min_s * 2.0 ** min(failures - 1, 30))


def is_retriable(error: BaseException) -> bool:
    """Whether the same call may succeed later, as the error's class says;
    EchoRank's have that word, and so have kafka-python's.
    """
    return bool(getattr(error, "retriable", False))


class Tries:
    """The failures of one loop.

    `now_s` is the clock by which the patience ends; `also` are errors that are no reason to end
    here although the same call cannot succeed by itself: a person may mend what is wrong, or the
    next try asks somebody else.
    """

    def __init__(
        self,
        backoff: Backoff,
        now_s: Callable[[], float],
        also: tuple[type[Exception], ...] = (),
    ) -> None:
        self._backoff = backoff
        self._now_s = now_s
        self._also = also
        self._ends_s = now_s() + backoff.patience_s
        self.failures = 0  # in a row

    def failed(self, error: Exception) -> float:
        """Seconds to wait before the next try.

        Raises:
            Exception: the error itself, where no further try is worth it.
        """
        if not (is_retriable(error) or isinstance(error, self._also)):
            raise error
        if self._now_s() >= self._ends_s:
            raise error
        self.failures += 1
        return self._backoff.after(self.failures)

    def worked(self) -> None:
        """Begin with the shortest wait the next time."""
        self.failures = 0
