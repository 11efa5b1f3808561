"""The clicks topic as ingest and archive read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from kafka import KafkaConsumer
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata, TopicPartition

from actors.errors import OffsetOutOfRange, OtherLog
from actors.ingest.ports import Slice
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import METADATA_AGE_MS, connected, reported
from cluster.kafka.group_commits import GroupCommits

# without a poll; in a shorter time nobody deletes a topic, makes it anew and writes to it
PAUSE_S = 0.05
CONFIRM_S = 1.0  # how long to wait for the topic's id where there are doubts
EARLIEST_TIMEOUT_MS = 5000  # less than a request may take: reading waits for this answer

Divergences = Mapping[TopicPartition, OffsetAndMetadata | None]


class KafkaLog:
    """A topic read by `assign` and `seek` (a `ClickLog`), without group rebalancing.

    The fetch wait equals the poll time-out: a fetch that waits at the broker for idle partitions
    blocks the next one, also for partitions with news, so its wait adds to the time from event to
    score. A reader that has time lets the broker wait for `fetch_bytes_min` of news, which saves
    both of them work.

    A paused partition is taken from the client's assignment, because the client's own pause loses
    it: kafka-python 3.0.12 parks what it has fetched of a paused partition, neither takes it up
    again once its current batch is used up, nor fetches the partition anew.

    The log must stay the log it was. kafka-python fetches by name, so a topic that was deleted and
    made anew looks like the old one as soon as it is longer: its id is compared at each poll, with
    `topic_id` or else with the first one seen. A partition that was cut off is noticed while it is
    shorter, or by its leader's epoch; it stays refused beyond the cut as long as this object lives,
    however long it grows.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.
    """

    def __init__(
        self,
        access: KafkaAccess,
        *,
        topic: str,
        poll_timeout_ms: int,
        records_per_poll_max: int,
        group_id: str | None = None,
        fetch_bytes_min: int = 1,
        topic_id: str | None = None,
    ) -> None:
        self._access = access
        self._topic = topic
        self._poll_timeout_ms = poll_timeout_ms
        self._topic_id = topic_id
        self._positions: dict[int, int] = {}
        self._open: set[int] = set()  # to be read
        self._read: set[int] = set()  # assigned to the client
        self._cuts: dict[int, int] = {}  # where partitions stopped being the log they were
        self._polled_s = time.monotonic()
        self._in_doubt = True  # whether this is the topic that it should be
        self._consumer, self._cluster = connected(
            KafkaConsumer,
            access,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            max_poll_records=records_per_poll_max,
            fetch_min_bytes=fetch_bytes_min,
            fetch_max_wait_ms=poll_timeout_ms,
            metadata_max_age_ms=METADATA_AGE_MS,
        )
        try:
            self._commits = GroupCommits(access, topic, group_id) if group_id else None
        except BaseException:
            self._consumer.close(autocommit=False, timeout_ms=1000)
            raise

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these partitions and no others; new ones wait for `seek` and `resume`."""
        self._positions = {
            partition: self._positions.get(partition, 0) for partition in sorted(partitions)
        }
        self._open &= self._positions.keys()

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        self._positions[partition] = offset
        if offset <= self._cuts.get(partition, -1):
            del self._cuts[partition]
        if partition in self._read:
            self._consumer.seek(self._at(partition), offset)

    def pause(self, partition: int) -> None:
        """Leave the partition out of polls."""
        self._open.discard(partition)

    def resume(self, partition: int) -> None:
        """Take the partition into polls again."""
        self._open.add(partition)

    def poll(self) -> list[Slice]:
        """Wait up to the poll time-out for records;
        one slice for each open partition whose position moved.

        A slice ends at the client's position, which also passes transaction markers, aborted
        records and offsets that compaction removed.

        Raises:
            OffsetOutOfRange: the log does not hold the position of a partition.
            OtherLog: a partition is not the log any more from which it was read before.
            BrokerUnavailable: the broker refused; try again.
        """
        with reported(self._access, f"reading topic {self._topic}"):
            try:
                return self._next()
            except OffsetOutOfRangeError as error:
                self._refuse_place(error.args[0])
            except LogTruncationError as error:
                self._remember_cuts(error.divergent_offsets)
                self._refuse_cuts()
        return []

    def highwater(self, partition: int) -> int | None:
        """The offset after the newest record, as of the last fetch; None before the first."""
        if partition not in self._read:
            return None
        end: int | None = self._consumer.highwater(self._at(partition))
        return end

    def earliest(self, partition: int) -> int:
        """The oldest offset the log holds; BrokerUnavailable if nobody answers."""
        at = self._at(partition)
        with reported(self._access, f"asking for the oldest offset of {self._topic}-{partition}"):
            offsets: dict[TopicPartition, int] = self._consumer.beginning_offsets(
                [at], EARLIEST_TIMEOUT_MS
            )
        return offsets[at]

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit `offsets` for the group;
        a later commit calls `on_error` if that failed.
        """
        assert self._commits is not None, "a log that commits needs a group_id"
        self._commits.commit(offsets, on_error)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False, timeout_ms=1000)
        if self._commits is not None:
            self._commits.close()

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _follow(self) -> None:
        """Assign what is open to the client, each new partition at its place."""
        if self._read == self._open:
            return
        new = self._open - self._read
        self._read = set(self._open)
        self._consumer.assign([self._at(partition) for partition in sorted(self._read)])
        for partition in new:
            self._consumer.seek(self._at(partition), self._positions[partition])

    def _next(self) -> list[Slice]:
        self._refuse_cuts()
        self._follow()
        if not self._read:
            # a client without partitions does not wait by itself
            time.sleep(self._poll_timeout_ms / 1000)
            return []
        self._in_doubt |= time.monotonic() - self._polled_s > PAUSE_S
        try:
            records = self._consumer.poll(timeout_ms=self._poll_timeout_ms)
            self._polled_s = time.monotonic()
            found = [
                Slice(partition, start, stop, records.get(self._at(partition), ()))
                for partition, start in self._positions.items()
                if partition in self._read
                and (
                    stop := self._consumer.position(
                        self._at(partition), timeout_ms=self._poll_timeout_ms
                    )
                )
                != start
            ]
            if not self._is_the_topic(read=bool(found)):
                self._go_back()
                return []
        except (KafkaError, OtherLog):
            self._go_back()
            raise
        self._positions.update((part.partition, part.stop) for part in found)
        return found

    def _go_back(self) -> None:
        """Return to where the caller stands;
        the client may have moved on past records that nobody will see.
        """
        for partition in self._read:
            self._consumer.seek(self._at(partition), self._positions[partition])

    def _is_the_topic(self, *, read: bool) -> bool:
        """Whether the topic is the one that it should be;
        False if something was `read` and that cannot be known now.

        The client's knowledge is old if it says so itself, or if polls paused: who polls all the
        time gets an error when a topic goes, who did not may see the next one only.
        """
        if read and (self._in_doubt or self._cluster.need_update):
            self._in_doubt = not self._ask_for_the_topic()
        found: UUID | None = self._cluster.topic_id(self._topic)
        if not found or not found.int:
            # the topic is gone, else the broker has no topic ids
            self._in_doubt |= self._topic_id is not None
        elif self._topic_id is None:
            self._topic_id = str(found)
        elif self._topic_id != str(found):
            partition = min(self._read)
            what = f"topic {self._topic} was made anew (its id was {self._topic_id} and is {found})"
            raise OtherLog(partition, self._positions[partition], what)
        return not (read and self._in_doubt)

    def _ask_for_the_topic(self) -> bool:
        answered = threading.Event()
        future = self._cluster.request_update()
        future.add_both(lambda _: answered.set())
        answered.wait(CONFIRM_S)
        succeeded: bool = future.succeeded()
        return succeeded

    def _remember_cuts(self, divergences: Divergences) -> None:
        for at, divergence in divergences.items():
            self._cuts[at.partition] = divergence.offset if divergence else 0

    def _refuse_cuts(self) -> None:
        for partition, cut in self._cuts.items():
            if partition in self._open and (position := self._positions[partition]) > cut:
                what = f"the log was cut off at offset {cut}, as by an unclean leader election"
                raise OtherLog(partition, position, what)

    def _refuse_place(self, places: Mapping[TopicPartition, object]) -> None:
        """Say which of `places`, as far as they are still read,
        lies before the log's start or beyond its end.

        A broker lets nobody read beyond the end only if it lost records: committed ones survive a
        clean election.
        """
        for at in places:
            if at.partition not in self._read:
                continue
            if self.earliest(at.partition) > self._positions[at.partition]:
                raise OffsetOutOfRange(at.partition, self._positions[at.partition])
            self._cuts[at.partition] = self._consumer.end_offsets([at], EARLIEST_TIMEOUT_MS)[at]
        self._refuse_cuts()
