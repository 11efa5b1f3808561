"""Below which offset of each partition dead letters are written,
as offsets committed in a group of their own.

Kafka keeps them for `offsets.retention.minutes` (a week) after the last commit, whatever becomes of
`state.directory`, and drops them with the clicks topic. The group is named after the dead-letter
topic, so that two deployments with different ones never take each other's marks for their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from kafka.errors import KafkaError

from actors.backoff import Backoff, Tries
from actors.errors import EchoRankError
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.group_commits import GroupCommits

# a group's coordinator may be on its way
BACKOFF = Backoff(min_s=0.5, max_s=0.5, patience_s=10.0)


class KafkaLetterMarks:
    """Marks of one deployment (`actors.ingest.lettering.LetterMarks`).

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.
    """

    def __init__(self, access: KafkaAccess, *, topic: str, group_id: str) -> None:
        self._access = access
        self._topic = topic
        self._group = group_id
        self._commits = GroupCommits(access, topic, self._group)

    def load(self) -> Mapping[int, int]:
        """What was committed; BrokerUnavailable if that cannot be had within the patience."""
        tries = Tries(BACKOFF, time.monotonic)
        while True:
            try:
                return self._load()
            except EchoRankError as error:
                time.sleep(tries.failed(error))

    def save(self, below: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit."""
        try:
            self._commits.commit(below, on_error)
        except KafkaError as error:
            on_error(error)

    def close(self) -> None:
        """Close the connections; what is still under way may be lost."""
        self._commits.close()

    def _load(self) -> dict[int, int]:
        with KafkaAdmin(self._access) as admin:
            return admin.group_offsets(self._group, self._topic)
