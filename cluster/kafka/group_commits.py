"""Offsets committed in a consumer group's name, so that ordinary lag tools work,
or as a note for the next process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata, TopicPartition

from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import METADATA_AGE_MS, connected


class GroupCommits:
    """Commits in the background, over connections of its own.

    A consumer that has a group asks for the group's coordinator in each poll and reads nothing
    while there is none. So the one that reads has no group.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.
    """

    def __init__(self, access: KafkaAccess, topic: str, group_id: str) -> None:
        self._topic = topic
        options = {
            "group_id": group_id,
            "enable_auto_commit": False,
            "metadata_max_age_ms": METADATA_AGE_MS,
        }
        self._consumer, _ = connected(KafkaConsumer, access, **options)

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit `offsets` by partition;
        the next call reports by `on_error` what failed meanwhile.
        """

        def done(_: object, response: object) -> None:
            if isinstance(response, Exception):
                on_error(response)

        if offsets:
            wanted = {
                TopicPartition(self._topic, p): OffsetAndMetadata(offset, "", -1)
                for p, offset in offsets.items()
            }
            self._consumer.commit_async(wanted, callback=done)

    def close(self) -> None:
        """Close the connections; what is still under way may be lost."""
        self._consumer.close(autocommit=False, timeout_ms=1000)
