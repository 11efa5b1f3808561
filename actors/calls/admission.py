"""Room in one server: how many questions are in flight,
how many streams are open, and what is refused beyond.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from actors.errors import Draining, Overloaded, StreamIdle
from monitoring.metrics import Metrics

RETRY_AFTER_S = 0.1  # a full queue empties in less


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one server takes at a time."""

    queue_max: int  # questions in flight, those of streams among them
    streams_max: int = 512  # open streams, whether or not they ask
    stream_idle_s: float = 300.0  # without a question for so long, a stream is ended


class Admission:
    """Counts questions while they are answered and streams while they are open;
    refuses what is beyond the bounds.
    """

    def __init__(self, metrics: Metrics, bounds: Bounds) -> None:
        self._metrics = metrics
        self._bounds = bounds
        self._in_flight = self._streams = 0
        self._draining = False

    def drain(self) -> None:
        """Refuse every question from now on; those in flight go on."""
        self._draining = True

    def check_not_draining(self) -> None:
        """Raise Draining once nothing is taken any more."""
        if self._draining:
            raise Draining(
                "this server is about to stop and takes no new requests; retry, another one will "
                "answer"
            )

    def full(self) -> bool:
        """Whether no further question fits."""
        return self._in_flight >= self._bounds.queue_max

    def check_room(self) -> None:
        """Raise Overloaded if no further question fits."""
        if self.full():
            raise Overloaded(
                f"{self._in_flight} requests are in flight and serving.queue_max is "
                f"{self._bounds.queue_max}; send fewer at a time, or retry later",
                RETRY_AFTER_S,
            )

    @contextmanager
    def question(self) -> Iterator[None]:
        """The place of one question, until it is answered."""
        turn = Turn(self)
        turn.begin()
        try:
            yield
        finally:
            turn.end()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """The place of one stream, until it ends; it takes none of a question's."""
        self.check_not_draining()
        if self._streams >= self._bounds.streams_max:
            raise Overloaded(
                f"{self._streams} streams are open and serving.streams_max is "
                f"{self._bounds.streams_max}; ask several questions on one stream, close those "
                "that are done, or call Score",
                RETRY_AFTER_S,
            )
        self._count_streams(+1)
        try:
            yield
        finally:
            self._count_streams(-1)

    async def each(self, asked: AsyncIterator[Any], turn: Turn) -> AsyncIterator[Any]:
        """The questions of a stream, each of which begins `turn`;
        StreamIdle if none comes for long.
        """
        idle_s = self._bounds.stream_idle_s
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    question = await anext(asked)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise StreamIdle(
                    f"no question came on this stream for {idle_s:g} s (serving.stream_idle_s), "
                    "so it is closed; open a new one with the next question"
                ) from None
            turn.begin()
            yield question

    def count(self, change: int) -> None:
        """Note that questions have come or gone."""
        self._in_flight += change
        self._metrics.requests_in_flight.set(self._in_flight)

    def _count_streams(self, change: int) -> None:
        self._streams += change
        self._metrics.streams_open.set(self._streams)


class Turn:
    """Whether a question, of a stream the one that is being answered, is counted as in flight."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._counted = False

    def begin(self) -> None:
        """Count it; Draining or Overloaded if it finds no place."""
        self._admission.check_not_draining()
        self._admission.check_room()
        self._admission.count(+1)
        self._counted = True

    def end(self) -> None:
        """It is answered, or nobody waits for it; once."""
        if self._counted:
            self._admission.count(-1)
        self._counted = False
