"""Ctrl-C and SIGTERM: both end in order,
also while something starts that can be ended only once it has started.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = signal.SIGTERM, signal.SIGINT

log = logging.getLogger(__name__)


def end_like_ctrl_c() -> None:
    """SIGTERM, as Kubernetes and systemd send it,
    from now on raises KeyboardInterrupt, as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)


class Held:
    """The signals that wait."""

    def __init__(
        self, own: Mapping[signal.Signals, Callable[[int, FrameType | None], Any]]
    ) -> None:
        self._own = own
        self._first: signal.Signals | None = None

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one waits, another one does not."""
        if self._first is None:
            self._first = signal.Signals(number)
            log.warning("ending once Ray has started; a second signal ends at once")
        else:
            self._first = None
            self._own[signal.Signals(number)](number, frame)

    def check(self) -> None:
        """Do now what a signal that waits asks for: usually it raises KeyboardInterrupt."""
        if (number := self._first) is not None:
            self._first = None
            self._own[number](number, None)


@contextmanager
def held_back() -> Iterator[Held]:
    """Let the process's own handlers of SIGTERM and Ctrl-C wait for the end of the block.

    They are those that it has set, or Python's; where a signal has none, and in other threads, all
    stays as it is.
    """
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS if in_main}
    own = {number: handler for number, handler in handlers.items() if callable(handler)}
    held = Held(own)
    for number in own:
        signal.signal(number, held.take)
    try:
        yield held
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
        held.check()
