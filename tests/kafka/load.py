"""A producer that keeps sending clicks and remembers what was acknowledged."""

from __future__ import annotations

import threading
from typing import Any, Self

from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import producer
from tests.kafka.click_path import Acknowledged, acknowledged, click

PAUSE_S = 0.01


class Load:
    """Sends `per_pause` clicks every 10 ms, in a thread,
    while it is entered; then waits for the answers.
    """

    def __init__(
        self,
        access: KafkaAccess,
        topic: str,
        *,
        per_pause: int = 10,
        first: int = 0,
        **options: Any,
    ) -> None:
        self._access = access
        self._topic = topic
        self._per_pause = per_pause
        self._next = first
        self._options = {"delivery_timeout_ms": 60_000, "request_timeout_ms": 2000} | options
        self._sent: list[tuple[int, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: dict[int, dict[int, Acknowledged]] = {}  # partition, offset
        self.failed: list[int] = []  # clicks whose fate their producer does not know

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._stop.set()
        if not failed:
            self.stop()

    @property
    def sent(self) -> int:
        """How many clicks were handed to the producer so far."""
        return len(self._sent)

    def stop(self) -> None:
        """Send no more; returns when the fate of each click is known."""
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "the producer does not come to its end"

    def records(self, partition: int = 0) -> list[Acknowledged]:
        """What was acknowledged in a partition, in the order of the log."""
        return [record for _, record in sorted(self.acknowledged.get(partition, {}).items())]

    def _run(self) -> None:
        with producer(self._access, **self._options) as writer:
            while not self._stop.wait(PAUSE_S):
                for number in range(self._next, self._next + self._per_pause):
                    key, value = click(number)
                    self._sent.append((number, writer.send(self._topic, value, key=key)))
                self._next += self._per_pause
            writer.flush(80)
        for number, future in self._sent:
            self._settle(number, future)

    def _settle(self, number: int, future: Any) -> None:
        if not future.succeeded():
            self.failed.append(number)
            return
        written = future.value
        same = self.acknowledged.setdefault(written.partition, {})
        assert written.offset not in same, f"offset {written.offset} was acknowledged twice"
        same[written.offset] = acknowledged(written.offset, number)
