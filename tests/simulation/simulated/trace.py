"""What happened, step by step: its digest always, its text for who wants to read it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import xxhash

Echo = Callable[[str], None]


class Violation(Exception):
    """Something that must never happen has happened."""


class Trace:
    """Notes everything with its virtual time; the first violation counts."""

    def __init__(self, now: Callable[[], float], echo: Echo | None) -> None:
        self._now = now
        self._echo = echo
        self._digest = xxhash.xxh3_64()
        self.violation: str | None = None

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return self._digest.hexdigest()

    def say(self, who: object, text: str) -> None:
        """Note what somebody does."""
        line = f"{self._now():9.4f}  {who!s:14} {text}"
        self._digest.update(line.encode())
        if self._echo:
            self._echo(line)

    def fail(self, text: str) -> None:
        """Note what must not happen."""
        if self.violation is None:
            self.violation = f"at {self._now():.4f} s: {text}"
            self.say("VIOLATION", text)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """A violation raised within is noted."""
        try:
            yield
        except Violation as violation:
            self.fail(str(violation))

    @contextmanager
    def logged(self) -> Iterator[None]:
        """The product's log goes to the reader of the trace, or nowhere."""
        root = logging.getLogger()
        disabled = logging.root.manager.disable
        handler = _Handler(self._now, self._echo) if self._echo else None
        if handler:
            root.addHandler(handler)
        else:
            logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            if handler:
                root.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, now: Callable[[], float], echo: Echo) -> None:
        super().__init__()
        self._now = now
        self._echo = echo

    def emit(self, record: logging.LogRecord) -> None:
        self._echo(f"{self._now():9.4f}  {'    log':14} {record.getMessage()}")
