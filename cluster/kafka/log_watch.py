"""Watches the clicks topic from beside: is anybody leading it,
does a transaction hold it back, did it get partitions.

A Kafka client that cannot reach a broker reads nothing and says nothing, as if there were no news.
So somebody has to ask for an answer.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from actors.clock import Clock
from actors.errors import BrokerUnavailable
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
SILENT_S = 10.0  # an election takes less
TIMEOUT_S = 3.0  # a broker that hangs delays the look at the others by so much


class LogAdmin(Protocol):
    """What is asked of Kafka; each call may raise BrokerUnavailable."""

    def leaders(self, topic: str) -> dict[int, int]:
        """The node that leads each partition, -1 where none does;
        empty if there is no such topic.
        """
        ...

    def ends(self, topic: str, partitions: Iterable[int], *, committed: bool) -> dict[int, int]:
        """Where each partition ends; `committed` leaves out what lies
        behind the first open transaction.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def watch_kafka(
    access: KafkaAccess,
    topic: str,
    expected: int,
    partitions: Iterable[int],
    metrics: Metrics,
    clock: Clock,
    connect: Callable[[KafkaAccess], LogAdmin] = KafkaAdmin,
) -> LogWatch:
    """A watch over a real topic; see `LogWatch`."""
    quick = dataclasses.replace(
        access,
        request_timeout_s=min(TIMEOUT_S, access.request_timeout_s),
        connect_timeout_s=min(TIMEOUT_S, access.connect_timeout_s),
    )
    return LogWatch(functools.partial(connect, quick), topic, expected, partitions, metrics, clock)


class LogWatch:
    """Asks at each `look`, once in `INTERVAL_S`, and exports what it learns.

    `log_silence_seconds{partition}`      since the partition's leader last said where the log ends
    `log_held_back_records{partition}`    written, but behind a transaction that is still open, so
                                          not to be read yet
    `unread_partitions`                   partitions that the topic has beyond the `expected` ones:
                                          nobody reads them
    """

    def __init__(
        self,
        connect: Callable[[], LogAdmin],
        topic: str,
        expected: int,
        partitions: Iterable[int],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._connect = connect
        self._topic = topic
        self._expected = expected
        self._metrics = metrics
        self._clock = clock
        now_s = clock.monotonic()
        self._heard = dict.fromkeys(partitions, now_s)
        self._ends: dict[int, int] = {}
        self._silent: set[int] = set()  # partitions whose silence was reported
        self._unread = 0
        self._admin: LogAdmin | None = None
        for partition in self._heard:
            metrics.log_silence_seconds.labels(partition).set_function(
                functools.partial(self._silence_s, partition)
            )

    def ends(self) -> dict[int, int]:
        """Where each partition ends for who reads what is committed,
        of those that were heard in time; any thread.
        """
        return {at: end for at, end in self._ends.copy().items() if self._silence_s(at) < SILENT_S}

    def close(self) -> None:
        """Close the connections."""
        self._disconnect()

    def look(self) -> None:
        """One round; it lasts as long as the brokers take,
        at most a request's time-out for each that hangs.
        """
        try:
            self._admin = self._admin or self._connect()
            leaders = self._admin.leaders(self._topic)
            self._look_at_leaders(self._admin, leaders)
        except BrokerUnavailable as error:
            log.debug("the log's watch gets no answer: %s", error)
            self._disconnect()
        except Exception:  # whatever it is, the alarm of silence must not end with it
            log.exception("the log's watch failed; it looks again in %.0f s", INTERVAL_S)
            self._disconnect()
        else:
            self._count_partitions(leaders)
        self._report_silence()

    def _silence_s(self, partition: int) -> float:
        return self._clock.monotonic() - self._heard[partition]

    def _look_at_leaders(self, admin: LogAdmin, leaders: dict[int, int]) -> None:
        led: defaultdict[int, list[int]] = defaultdict(list)
        for partition in self._heard:
            led[leaders.get(partition, -1)].append(partition)
        led.pop(-1, None)
        for partitions in led.values():
            try:
                written = admin.ends(self._topic, partitions, committed=False)
                readable = admin.ends(self._topic, partitions, committed=True)
            except BrokerUnavailable as error:  # the other leaders may answer
                log.debug("the leader of partitions %s gives no answer: %s", partitions, error)
                continue
            for partition in partitions:
                held_back = max(0, written[partition] - readable[partition])
                self._metrics.log_held_back_records.labels(partition).set(held_back)
                self._ends[partition] = readable[partition]
                self._heard[partition] = self._clock.monotonic()

    def _count_partitions(self, leaders: dict[int, int]) -> None:
        unread = max(0, len(leaders) - self._expected)
        self._metrics.unread_partitions.set(unread)
        if unread > self._unread:
            log.error(
                "topic %s has %d partitions now, but topics.partitions is %d: %d of them are not "
                "read, and producers send the clicks of most users to other partitions than "
                "before, where nobody looks for them. Make a new topic with the number of "
                "partitions that you want, copy the clicks by key, and start with topics.clicks, "
                "topics.partitions and empty directories for it.",
                *(self._topic, len(leaders), self._expected, unread),
            )
        self._unread = unread

    def _report_silence(self) -> None:
        silent = {partition for partition in self._heard if self._silence_s(partition) >= SILENT_S}
        if new := sorted(silent - self._silent):
            log.error(
                "topic %s: nobody has said for %.0f s where partitions %s end, so nothing is read "
                "from them, and lag and age of their states are unknown. Check the brokers, the "
                "network, and that the topic exists.",
                *(self._topic, SILENT_S, new),
            )
        if back := sorted(self._silent - silent):
            log.warning("topic %s: partitions %s answer again", self._topic, back)
        self._silent = silent

    def _disconnect(self) -> None:
        admin = self._admin
        self._admin = None
        if admin is not None:
            admin.close()
