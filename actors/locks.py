"""Locks for threads, passed in, so that a simulation can put its own in their place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


class Lock(Protocol):
    """Mutual exclusion: a `threading.Lock`, or what stands in for it."""

    def acquire(self) -> bool:
        """Wait until it is free, and take it."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...

    def locked(self) -> bool:
        """Whether somebody holds it."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class FairLock:
    """Mutual exclusion with a turnstile, so that a waiting thread gets in
    before the same thread gets it again.

    A `threading.Lock` released and taken again in a loop can keep waiting threads out for the whole
    loop. Here a waiting thread stands in the turnstile, which the loop must pass as well, so it
    waits for one turn at most.
    """

    def __init__(self, new_lock: Callable[[], Lock] = threading.Lock) -> None:
        self._turnstile = new_lock()
        self._lock = new_lock()

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Makes the locks of a process."""

    plain: Callable[[], Lock] = threading.Lock
    fair: Callable[[], FairLock] = FairLock  # for what is taken again and again: a store's slices


THREADS = Locks()
