"""The counting client: a steady stream of clicks, each with a number,
and a record of every acknowledgement.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import producer
from rpc.events_pb2 import Click

# a click's time is this and its number, so that the log shows which click it is
FIRST_MS = 1_700_000_000_000
PATIENCE_S = 180.0  # a broker comes back sooner; a click given up counts as refused
TICK_S = 0.01


class Place(NamedTuple):
    """Where the broker says that it has put a record."""

    partition: int
    offset: int


class Ledger:
    """What was sent, acknowledged and refused; filled by one thread, read by another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sent: dict[int, float] = {}  # number: when, of clicks without an answer yet
        self._acknowledged: dict[Place, int] = {}
        # partition: when its newest click was sent, the offset after it
        self._fresh: dict[int, tuple[float, int]] = {}
        self.refused: dict[int, Exception] = {}

    def sent(self, number: int) -> None:
        """A click is on its way."""
        with self._changed:
            self._sent[number] = time.monotonic()

    def acknowledged(self, number: int, metadata: Any) -> None:
        """The broker has it."""
        with self._changed:
            sent = self._sent.pop(number)
            self._acknowledged[Place(metadata.partition, metadata.offset)] = number
            self._fresh[metadata.partition] = max(
                (sent, metadata.offset + 1), self._fresh.get(metadata.partition, (0.0, 0))
            )
            self._changed.notify_all()

    def failed(self, number: int, error: Exception) -> None:
        """The broker may have it or not."""
        with self._changed:
            del self._sent[number]
            self.refused[number] = error
            self._changed.notify_all()

    def all_answered(self, within_s: float) -> bool:
        """Whether every click is acknowledged or refused in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._sent, within_s)

    def fresh_since(self, moment: float, partitions: int, within_s: float) -> dict[int, int]:
        """For each partition the offset after a click that was sent after `moment`;
        TimeoutError if one has none.
        """

        def fresh() -> dict[int, int]:
            return {
                partition: end for partition, (sent, end) in self._fresh.items() if sent > moment
            }

        with self._changed:
            if not self._changed.wait_for(lambda: len(fresh()) == partitions, within_s):
                missing = sorted(set(range(partitions)) - fresh().keys())
                raise TimeoutError(
                    f"no click was acknowledged in partitions {missing} within {within_s:g} s"
                )
            return fresh()

    def places(self) -> dict[Place, int]:
        """The number of each acknowledged click, by its place."""
        with self._changed:
            return dict(self._acknowledged)


class Clicks:
    """A thread that produces `rate` clicks a second of random users and items,
    and makes up for delays; close it.
    """

    def __init__(
        self,
        access: KafkaAccess,
        topic: str,
        *,
        rate: float,
        users: Sequence[str],
        items: int,
        seed: int,
    ) -> None:
        patience_ms = int(PATIENCE_S * 1000)
        self._producer = producer(
            access, linger_ms=5, delivery_timeout_ms=patience_ms, max_block_ms=patience_ms
        )
        self._topic = topic
        self._rate = rate
        self._users = users
        self._items = items
        self._random = np.random.default_rng(seed)
        self._made = 0
        self._going = threading.Event()
        self._closing = threading.Event()
        self._round = threading.Lock()  # held while clicks are handed to the producer
        self.ledger = Ledger()
        self._thread = threading.Thread(target=self._run, name="clicks", daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Produce from now on."""
        self._going.set()

    def pause(self) -> None:
        """Produce no more, and return when every click so far is answered
        for; TimeoutError if one is not.
        """
        self._going.clear()
        with self._round:
            pass
        if not self.ledger.all_answered(PATIENCE_S):
            raise TimeoutError(
                f"some clicks are neither acknowledged nor refused after {PATIENCE_S:g} s"
            )

    def close(self) -> None:
        """End thread and connections."""
        self._closing.set()
        self._going.set()
        self._thread.join()
        self._producer.close(timeout=5)

    def _run(self) -> None:
        began = time.monotonic()
        made = self._made
        while not self._closing.wait(TICK_S):
            if not self._going.is_set():
                self._going.wait()
                began = time.monotonic()
                made = self._made
            due = made + int((time.monotonic() - began) * self._rate)
            with self._round:
                while self._made < due and self._going.is_set() and not self._closing.is_set():
                    self._send(self._made)
                    self._made += 1

    def _send(self, number: int) -> None:
        user = self._users[self._random.integers(len(self._users))]
        item = f"item-{self._random.integers(self._items)}"
        click = Click(user=user, item=item, time_ms=FIRST_MS + number, action="click")
        self.ledger.sent(number)
        sent = self._producer.send(self._topic, key=user.encode(), value=click.SerializeToString())
        sent.add_callback(functools.partial(self.ledger.acknowledged, number))
        sent.add_errback(functools.partial(self.ledger.failed, number))
