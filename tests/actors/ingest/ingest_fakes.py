"""A log, shards and a dead-letter topic in memory; faults are items in the lists they are given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actors.clicks.click import Click, ClickBatch
from actors.clicks.dead_letter import OutRecord
from actors.clicks.formats import EventFormat, encode
from actors.errors import (
    BrokerUnavailable,
    NotOwner,
    OffsetGap,
    OffsetOutOfRange,
    RecordsRefused,
    StaleEpoch,
)
from actors.ingest.ports import Slice

NOW_MS = 1_700_000_000_000


@dataclass(frozen=True)
class FakeRecord:
    """A record as Kafka gives it."""

    offset: int
    value: bytes | None
    key: bytes | None = b"u"
    timestamp: int = NOW_MS


def good(offset: int) -> FakeRecord:
    """A valid click at `offset`."""
    return FakeRecord(
        offset, encode(Click("u", f"item-{offset}", "click", NOW_MS - 1000 + offset), EventFormat())
    )


def bad(offset: int) -> FakeRecord:
    """A record that is no click."""
    return FakeRecord(offset, b"\xff")


@dataclass
class FakeLog:
    """Partitions as lists: a record at its offset, or None for a hole.
    `faults` come first, one a poll.
    """

    partitions: dict[int, list[FakeRecord | None]]
    records_per_poll: int = 100
    faults: list[Exception | None] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)  # earliest offsets other than 0
    refuses_beyond_end: bool = True
    commit_faults: list[Exception | None] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)
    polls: int = 0

    def __post_init__(self) -> None:
        self._positions: dict[int, int] = {}
        self._open: set[int] = set()
        self._ends: dict[int, int] = {}

    def assign(self, partitions: Iterable[int]) -> None:
        self._positions = {p: self._positions.get(p, 0) for p in partitions}
        self._open &= self._positions.keys()

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def pause(self, partition: int) -> None:
        self._open.remove(partition)

    def resume(self, partition: int) -> None:
        self._open.add(partition)

    def poll(self) -> list[Slice]:
        self.polls += 1
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        return [
            part for partition in sorted(self._open) if (part := self._read(partition)) is not None
        ]

    def _read(self, partition: int) -> Slice | None:
        start = self._positions[partition]
        records = self.partitions[partition]
        too_far = start > len(records) and self.refuses_beyond_end
        if start < self.starts.get(partition, 0) or too_far:
            raise OffsetOutOfRange(partition, start)
        self._ends[partition] = len(records)
        stop = min(start + self.records_per_poll, len(records))
        if stop <= start:
            return None
        self._positions[partition] = stop
        return Slice(
            partition, start, stop, [record for record in records[start:stop] if record is not None]
        )

    def highwater(self, partition: int) -> int | None:
        return self._ends.get(partition)

    def earliest(self, partition: int) -> int:
        return self.starts.get(partition, 0)

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        if self.commit_faults and (fault := self.commit_faults.pop(0)) is not None:
            on_error(fault)
        else:
            self.committed.update(offsets)


class AfterEffect(Exception):
    """The batch is applied, and then the answer is lost as `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@dataclass
class FakeShards:
    """Applies as a shard does: idempotent by offset, fenced by epoch.
    `faults[p]` come first, one a delivery.
    """

    starts: dict[int, int] = field(default_factory=dict)
    faults: dict[int, list[Exception | asyncio.Event | None]] = field(default_factory=dict)
    position_faults: dict[int, list[Exception | None]] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    journal: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at: dict[int, int] = dict(self.starts)
        self.applied: dict[int, list[int]] = {}
        self.skipped: list[tuple[int, int, int]] = []
        self.ends: dict[int, int] = {}
        self.calls = 0

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        for partition in partitions:
            if (faults := self.position_faults.get(partition)) and (
                fault := faults.pop(0)
            ) is not None:
                raise fault
        return {partition: self.at.get(partition, 0) for partition in partitions}

    async def deliver(self, batch: ClickBatch, epoch: int) -> int:
        self.calls += 1
        fault = faults.pop(0) if (faults := self.faults.get(batch.partition)) else None
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        elif fault is not None and not isinstance(fault, AfterEffect):
            raise fault
        position = self._apply(batch, epoch)
        if isinstance(fault, AfterEffect):
            raise fault.error
        return position

    def _apply(self, batch: ClickBatch, epoch: int) -> int:
        self._fence(batch.partition, epoch)
        at = self.at.get(batch.partition, 0)
        if batch.start > at:
            raise OffsetGap(batch.partition, at, batch.start)
        self.applied.setdefault(batch.partition, []).extend(batch.after(at).offsets.tolist())
        self.at[batch.partition] = max(at, batch.stop)
        self.journal.append(f"deliver {batch.partition} {batch.start}..{batch.stop}")
        return self.at[batch.partition]

    def _fence(self, partition: int, epoch: int) -> None:
        owned = self.epochs.get(partition, 1)
        if epoch < owned:
            raise StaleEpoch(f"partition {partition}: epoch {epoch} is older than {owned}")
        if epoch > owned:
            raise NotOwner(f"partition {partition}: epoch {epoch} is not mine")

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        self._fence(partition, epoch)
        assert self.at.get(partition, 0) == start
        assert reason
        self.skipped.append((partition, start, stop))
        self.at[partition] = stop
        return stop

    async def durable(self) -> Mapping[int, int]:
        return dict(self.at)

    def observe_ends(self, ends: Mapping[int, int]) -> None:
        self.ends.update(ends)


@dataclass
class FakeSink:
    """A dead-letter topic; `faults` come first, one a write.
    `bytes_max` is the longest value taken under a key.
    """

    faults: list[BrokerUnavailable | None] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    written: list[OutRecord] = field(default_factory=list)
    bytes_max: dict[bytes, int] = field(default_factory=dict)

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        assert topic == "clicks.dlq"
        refused = {
            at: "MessageSizeTooLargeError"
            for at, record in enumerate(records)
            if not self._takes(record)
        }
        self.written.extend(record for at, record in enumerate(records) if at not in refused)
        self.journal.append(f"dead {len(records) - len(refused)}")
        if refused:
            raise RecordsRefused(topic, refused)

    def _takes(self, record: OutRecord) -> bool:
        bounds = [
            bound for key, bound in self.bytes_max.items() if key.startswith(record.key or b"")
        ]
        return len(record.value or b"") <= min(bounds, default=1 << 30)

    def header(self, name: str) -> list[str]:
        """The header's value in each record written, in order; missing ones are left out."""
        return [
            value.decode()
            for record in self.written
            for key, value in record.headers
            if key == name
        ]
