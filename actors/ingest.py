"""Clicks from Kafka to the shards that own them.

Ingest remembers nothing that matters: the shard says which offset comes next, and reading continues there. A batch
covers the offsets between two positions of the reader, because offsets have holes and counts say nothing.

Each partition runs in a lane of its own. A lane reads, has one batch at its shard, or waits before it asks the
shard again; so one shard that is down, slow or restoring never holds up the partitions of the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.click import ClickBatch
from actors.clock import Clock
from actors.codec import Decoder, Record
from actors.dead_letter import DeadLetter, DeadLetters
from actors.errors import (
    BrokerUnavailable,
    EchoRankError,
    OffsetGap,
    OffsetOutOfRange,
    Overloaded,
    ShardUnavailable,
)
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slice:
    """Everything that one poll found in the offsets [start, stop) of a partition."""

    partition: int
    start: int
    stop: int
    records: Sequence[Record]


class ClickLog(Protocol):
    """The clicks topic, read by one thread at a time."""

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these partitions and no others; new ones wait until `seek` and `resume`."""

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""

    def pause(self, partition: int) -> None:
        """Leave the partition out of polls."""

    def resume(self, partition: int) -> None:
        """Take the partition into polls again."""

    def poll(self) -> list[Slice]:
        """Wait a little for records; one slice for each partition whose position moved, even without records.

        Raises:
            OffsetOutOfRange: the log does not hold the position of a partition.
            BrokerUnavailable: reading failed; try again.
        """
        ...

    def highwater(self, partition: int) -> int | None:
        """The offset after the newest record, as of the last fetch."""
        ...

    def earliest(self, partition: int) -> int:
        """The oldest offset the log holds; BrokerUnavailable if nobody answers."""
        ...

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit `offsets` for the group, without waiting; call `on_error` if that fails."""


class ShardPort(Protocol):
    """The shards, addressed by partition. Calls may fail with any EchoRankError; every call must end."""

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The next offset to apply, of each partition whose shard answers."""
        ...

    async def apply(self, batch: ClickBatch, epoch: int) -> int:
        """Apply a batch; the next offset to apply. OffsetGap if the batch starts beyond that."""
        ...

    async def skip(self, partition: int, start: int, stop: int, epoch: int, reason: str) -> int:
        """Move from `start` to `stop` without events, because the log has lost them; the next offset to apply."""
        ...

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by the newest snapshot, of each partition."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How patient ingest is."""

    commit_interval_s: float = 5.0
    backoff_min_s: float = 0.05  # doubles with each failure in a row
    backoff_max_s: float = 2.0
    apply_patience_s: float = 0.1  # how long a slow shard may delay the others' next poll, once a batch


@dataclass(slots=True)
class _Lane:
    """One partition's progress."""

    partition: int
    epoch: int
    applied: int = 0  # the shard's position, as it last said
    read: int = -1  # the reader's position; -1 before the first seek
    lettered: int = 0  # dead letters below this offset are written already
    open: bool = False  # takes part in polls
    task: asyncio.Task[int] | None = None  # ends with the shard's position
    failures: int = 0  # in a row
    retry_at: float = 0.0


class Ingest:
    """Polls, decodes and applies; one for any number of partitions and shards.

    Not thread-safe: call everything from one event loop. `click_log` blocks, so it runs in a worker thread, one call
    at a time.
    """

    def __init__(
        self,
        click_log: ClickLog,
        dead_letters: DeadLetters,
        decoder: Decoder,
        shards: ShardPort,
        metrics: Metrics,
        clock: Clock,
        settings: IngestSettings,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log, self._dead_letters, self._decoder, self._shards = click_log, dead_letters, decoder, shards
        self._metrics, self._clock, self._settings, self._wait = metrics, clock, settings, wait
        self._lanes: dict[int, _Lane] = {}
        self._epochs: dict[int, int] = {}
        self._durable: asyncio.Task[Mapping[int, int]] | None = None
        self._commit_at = clock.monotonic() + settings.commit_interval_s

    def assign(self, epochs: Mapping[int, int]) -> None:
        """Take over exactly these partitions, each with its owner's epoch, from the next round on."""
        self._epochs = dict(epochs)

    def lags(self) -> dict[int, int | None]:
        """Records between what is applied and the end of the log; None while that is unknown or at a standstill."""
        return {partition: self._lag(lane) for partition, lane in self._lanes.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; wait longer after each failure of the broker in a row."""
        failures = 0
        while not stop.is_set():
            try:
                await self.run_once()
                failures = 0
            except BrokerUnavailable as error:
                failures += 1
                log.warning("reading clicks failed %d times in a row: %s", failures, error)
                self._count_retry(error)
                await self._wait(self._backoff_s(failures))

    async def run_once(self) -> int:
        """One round; the number of clicks handed to shards.

        Raises:
            BrokerUnavailable: the poll failed; nothing was handed over.
        """
        await self._follow_assignment()
        self._settle()
        self._ask_where_to_start()
        batches = await self._without_dead_letters(self._decode(await self._poll()))
        self._hand_over(batches)
        await self._let_apply(batch.partition for batch in batches)
        self._settle()
        self._report_lag()
        self._commit_durable()
        return sum(len(batch) for batch in batches)

    async def close(self) -> None:
        """Abandon what is at the shards; they apply a batch wholly or not at all, and the next ingest asks."""
        self._epochs = {}
        await self._follow_assignment()
        if self._durable is not None:
            await _abandon(self._durable)

    async def _follow_assignment(self) -> None:
        current = {lane.partition: lane.epoch for lane in self._lanes.values()}
        if current == self._epochs:
            return
        for partition, epoch in current.items():
            if self._epochs.get(partition) != epoch:
                lane = self._lanes.pop(partition)
                self._shut(lane)
                if lane.task is not None:
                    await _abandon(lane.task)
        for partition in sorted(self._epochs.keys() - self._lanes.keys()):
            self._lanes[partition] = _Lane(partition, self._epochs[partition])
        self._log.assign(self._lanes)

    def _settle(self) -> None:
        """Take up the results of finished tasks."""
        for lane in self._lanes.values():
            if lane.task is None or not lane.task.done():
                continue
            task, lane.task = lane.task, None
            try:
                position = task.result()
            except OffsetGap as gap:
                if lane.failures:
                    self._back_off(lane, gap)
                else:
                    lane.failures = 1
                    self._count_retry(gap)
                    self._continue_at(lane, gap.expected)
            except EchoRankError as error:
                self._back_off(lane, error)
            else:
                lane.failures = 0
                self._continue_at(lane, position)

    def _continue_at(self, lane: _Lane, position: int) -> None:
        lane.applied = position
        if lane.read != position:
            self._log.seek(lane.partition, position)
            lane.read = position
        if not lane.open:
            self._log.resume(lane.partition)
            lane.open = True

    def _back_off(self, lane: _Lane, error: EchoRankError) -> None:
        """Stop reading the partition for a while; then the shard is asked where to go on."""
        lane.failures += 1
        delay_s = self._backoff_s(lane.failures)
        if isinstance(error, Overloaded):
            delay_s = max(delay_s, error.retry_after_s)
        lane.retry_at = self._clock.monotonic() + delay_s
        lane.read = -1
        self._shut(lane)
        self._count_retry(error)
        log.warning(
            "partition %d: %s: %s; next try in %.2f s", lane.partition, type(error).__name__, error, delay_s
        )

    def _shut(self, lane: _Lane) -> None:
        if lane.open:
            self._log.pause(lane.partition)
            lane.open = False

    def _backoff_s(self, failures: int) -> float:
        settings = self._settings
        return min(settings.backoff_max_s, settings.backoff_min_s * 2.0 ** min(failures - 1, 30))

    def _count_retry(self, error: EchoRankError) -> None:
        self._metrics.ingest_retries_total.labels(type(error).__name__).inc()

    def _ask_where_to_start(self) -> None:
        now = self._clock.monotonic()
        for lane in self._lanes.values():
            if not lane.open and lane.task is None and lane.retry_at <= now:
                lane.task = asyncio.create_task(self._position(lane.partition))

    async def _position(self, partition: int) -> int:
        positions = await self._shards.positions([partition])
        if partition not in positions:
            raise ShardUnavailable(
                f"the owner of partition {partition} does not say where to start; ask again"
            )
        return positions[partition]

    async def _poll(self) -> list[Slice]:
        try:
            return await asyncio.to_thread(self._log.poll)
        except OffsetOutOfRange as error:
            if error.partition in self._lanes:
                await self._pass_lost_offsets(self._lanes[error.partition], error)
            return []

    async def _pass_lost_offsets(self, lane: _Lane, error: OffsetOutOfRange) -> None:
        """Go on at the oldest offset the log still has, if it lies ahead; else stand still and say why."""
        earliest = await asyncio.to_thread(self._log.earliest, lane.partition)
        if earliest > error.wanted:
            self._shut(lane)
            lane.task = asyncio.create_task(self._skip(lane, error.wanted, earliest))
            return
        log.error(
            "partition %d: the state holds every click below offset %d, but the log (which starts at %d) ends before "
            "that: the topic was made anew or cut off, and this state belongs to the old log. Point state.directory "
            "to an empty directory, or bring the old log back.",
            lane.partition,
            error.wanted,
            earliest,
        )
        lane.failures = max(lane.failures, 30)  # the longest wait: only a person can mend this
        self._back_off(lane, error)

    async def _skip(self, lane: _Lane, wanted: int, earliest: int) -> int:
        """Tell the shard that the log has lost [wanted, earliest): only the archive can bring those clicks back."""
        log.error(
            "partition %d: the log has lost offsets %d to %d, which the state does not hold; going on at %d. Rebuild "
            "the state from the archive, and keep the topic's retention longer than the age of snapshots.",
            lane.partition,
            wanted,
            earliest - 1,
            earliest,
        )
        position = await self._shards.skip(
            lane.partition, wanted, earliest, lane.epoch, "the log starts after the state's position"
        )
        self._metrics.events_total.labels(lane.partition, "lost").inc(earliest - wanted)
        lane.lettered = 0
        return position

    def _decode(self, slices: Iterable[Slice]) -> list[tuple[ClickBatch, list[DeadLetter]]]:
        decoded = []
        for found in slices:
            lane = self._lanes[found.partition]
            lane.read = found.stop
            batch, dead = self._decoder.decode_batch(found.partition, found.start, found.stop, found.records)
            decoded.append((batch, [letter for letter in dead if letter.offset >= lane.lettered]))
        return decoded

    async def _without_dead_letters(
        self, decoded: Sequence[tuple[ClickBatch, list[DeadLetter]]]
    ) -> list[ClickBatch]:
        """Make the dead letters durable; the batches that may be applied now."""
        letters = [letter for _, dead in decoded for letter in dead]
        if not letters:
            return [batch for batch, _ in decoded]
        try:
            await asyncio.to_thread(self._dead_letters.send, letters)
        except BrokerUnavailable as error:
            for batch, dead in decoded:
                if dead:
                    self._back_off(self._lanes[batch.partition], error)
            return [batch for batch, dead in decoded if not dead]
        for batch, dead in decoded:
            if dead:
                self._lanes[batch.partition].lettered = batch.stop
        return [batch for batch, _ in decoded]

    def _hand_over(self, batches: Iterable[ClickBatch]) -> None:
        for batch in batches:
            lane = self._lanes[batch.partition]
            lane.task = asyncio.ensure_future(self._shards.apply(batch, lane.epoch))

    async def _let_apply(self, partitions: Iterable[int]) -> None:
        """Wait until the shards are done, within the patience; close the lanes of those that are not."""
        lanes = [self._lanes[partition] for partition in partitions]
        tasks = [lane.task for lane in lanes if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.apply_patience_s)
        for lane in lanes:
            if lane.task is not None and not lane.task.done():
                self._shut(lane)

    def _lag(self, lane: _Lane) -> int | None:
        highwater = self._log.highwater(lane.partition) if lane.open else None
        return None if highwater is None else max(0, highwater - lane.applied)

    def _report_lag(self) -> None:
        for partition, lag in self.lags().items():
            if lag is not None:
                self._metrics.ingest_lag_records.labels(partition).set(lag)

    def _commit_durable(self) -> None:
        """Commit what snapshots cover, for lag tools only: nothing is ever read from there."""
        now = self._clock.monotonic()
        if self._durable is None and now >= self._commit_at:
            self._commit_at = now + self._settings.commit_interval_s
            self._durable = asyncio.ensure_future(self._shards.durable())
        elif self._durable is not None and self._durable.done():
            task, self._durable = self._durable, None
            try:
                offsets = task.result()
            except EchoRankError as error:
                self._commit_failed(error)
            else:
                self._log.commit({p: o for p, o in offsets.items() if p in self._lanes}, self._commit_failed)

    def _commit_failed(self, error: Exception) -> None:
        self._metrics.commit_failures_total.inc()
        log.warning("offsets were not committed, so lag tools are behind; tried again soon: %s", error)


async def _abandon(task: asyncio.Future[object]) -> None:
    """Cancel a task whose result nobody wants any more; its errors belong to the partition's next owner."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
