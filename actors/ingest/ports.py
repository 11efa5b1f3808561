"""What ingest reads from and applies to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.clicks.click import ClickBatch
from actors.clicks.codec import Record


@dataclass(frozen=True, slots=True)
class Slice:
    """Everything that one poll found in the offsets [start, stop) of a partition."""

    partition: int
    start: int
    stop: int
    records: Sequence[Record]


# where partitions end, of those whose leaders said so lately
LogEnds = Callable[[], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Gap:
    """The offsets [start, stop) of a partition,
    which a history does not hold; `reason` says why.
    """

    partition: int
    start: int
    stop: int
    reason: str


class ClickHistory(Protocol):
    """Clicks of the past, by partition and offset: the archive,
    or what the log itself still has.
    """

    def end(self, partition: int) -> int | None:
        """The offset after everything held now, as more may come; None if nothing is."""
        ...

    def read(self, partition: int, start: int, stop: int) -> Iterator[ClickBatch | Gap]:
        """The offsets [start, stop) in order,
        in pieces that follow each other without holes or overlaps.

        Raises:
            ArchiveError, BrokerUnavailable: it cannot be read now; try again.
        """
        ...


class ClickLog(Protocol):
    """The clicks topic, read by one thread at a time."""

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these partitions and no others; new ones wait for `seek` and `resume`."""

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""

    def pause(self, partition: int) -> None:
        """Leave the partition out of polls."""

    def resume(self, partition: int) -> None:
        """Take the partition into polls again."""

    def poll(self) -> list[Slice]:
        """Wait a little for records; one slice for each partition whose
        position moved, even without records.

        Raises:
            OffsetOutOfRange: the log does not hold the position of a partition.
            OtherLog: a partition is not the log any more from which it was read before.
            BrokerUnavailable: reading failed; try again.
        """
        ...

    def highwater(self, partition: int) -> int | None:
        """The offset after the newest record, as of the last fetch; None before the first."""
        ...

    def earliest(self, partition: int) -> int:
        """The oldest offset the log holds; BrokerUnavailable if nobody answers."""
        ...

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit `offsets` for the group, without waiting;
        call `on_error` if that fails.
        """


class ShardPort(Protocol):
    """The shards, addressed by partition.

    Every call ends within a bounded time and may raise any EchoRankError. A batch that came too
    late or twice is the shard's to recognise: calls are repeated whenever their outcome is unknown.
    """

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The next offset to apply, of each partition whose shard answers and
        holds it under its newest epoch.

        Under an older one it may be given up yet and be restored from further back, of which its
        reader heard nothing.
        """
        ...

    async def deliver(self, batch: ClickBatch, epoch: int) -> int:
        """Have a batch applied; the next offset to apply.

        Raises:
            OffsetGap: the batch starts beyond that.
        """
        ...

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        """Move from `start` to `stop` without events,
        because the log has lost them; the next offset to apply.
        """
        ...

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by the newest snapshot, of each partition."""
        ...

    def observe_ends(self, ends: Mapping[int, int]) -> None:
        """Take note of the partitions' high watermarks, without waiting;
        shards know by them how stale they are.
        """
