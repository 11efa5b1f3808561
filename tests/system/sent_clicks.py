"""Clicks sent to the log of a running system."""

from __future__ import annotations

import zlib

from actors.clicks.partitioner import partition_of
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import producer
from rpc import events_pb2

PARTITIONS = 4
ITEMS = tuple(f"item-{number}" for number in range(100))
USERS = [f"user-{number}" for number in range(20)]


class Clicks:
    """Produces clicks and remembers how far each partition goes."""

    def __init__(self, access: KafkaAccess, topic: str) -> None:
        self._producer = producer(access)
        self._topic = topic
        self.ends = dict.fromkeys(range(PARTITIONS), 0)
        self._made = 0

    def send(self, count: int) -> None:
        """`count` clicks, round the users and items, all acknowledged."""
        sent = []
        for number in range(self._made, self._made + count):
            user = USERS[number % len(USERS)]
            click = events_pb2.Click(
                user=user, item=ITEMS[number % len(ITEMS)], time_ms=1_700_000_000_000 + number
            )
            sent.append(
                self._producer.send(self._topic, key=user.encode(), value=click.SerializeToString())
            )
        self._made += count
        for future in sent:
            at = future.get(10)
            self.ends[at.partition] = max(self.ends[at.partition], at.offset + 1)

    def send_misplaced(self) -> int:
        """A click of each user that does not live where librdkafka's default
        partitioner puts it; how many.
        """
        away = {user: zlib.crc32(user.encode()) % PARTITIONS for user in USERS}
        away = {
            user: partition
            for user, partition in away.items()
            if partition != partition_of(user, PARTITIONS)
        }
        for user, partition in away.items():
            click = events_pb2.Click(user=user, item=ITEMS[0], time_ms=1_700_000_000_000)
            value = click.SerializeToString()
            at = self._producer.send(
                self._topic, key=user.encode(), value=value, partition=partition
            ).get(10)
            self.ends[partition] = at.offset + 1
        return len(away)

    def end(self, user: str) -> int:
        """The offset after the user's newest click."""
        return self.ends[partition_of(user, PARTITIONS)]

    def close(self) -> None:
        self._producer.close()
